"""The bytes of KV memory: one arena for the device pool, one for the host pool, viewed by stride.

A page is block-major: `[layer, k/v, head, ...]`, then `page_tokens x head_dim` numbers. On CPU the numbers of a
key are dim-major (`[dim, token]`), so that one vector load brings the same dimension of neighbouring tokens; the
values are `[token, dim]`. Measured at batch 32, context 160: 0.14 ms a layer against 0.5 with token-major keys.
Nobody but the kernels can tell: pages are moved whole.
"""

from __future__ import annotations

import contextlib
import mmap
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from systems.core.errors import OutOfMemory, PrerequisiteError
from systems.core.plan import Pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from systems.core.memory.layout import Group, KVLayout
    from systems.core.plan import Transfer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Arena:
    """`pages` pages in each pool, in units of the layout's largest page.

    Raises PrerequisiteError when the machine has not that much memory.
    """

    def __init__(self, layout: KVLayout, pages: dict[Pool, int], device: str) -> None:
        self.layout = layout
        self.pages = pages
        self.unit = max(group.page_bytes for group in layout.groups)
        self.bytes = {
            Pool.DEVICE: _allocate(pages[Pool.DEVICE] * self.unit, device, pinned=False),
            Pool.HOST: _allocate(pages[Pool.HOST] * self.unit, "cpu", pinned=device == "cuda"),
        }
        cuda: Any = torch.cuda
        self._stream = cuda.Stream() if device == "cuda" else None
        self._under_way: dict[int, Any] = {}  # transfer -> the event that ends it

    def group_pages(self, group: Group, pool: Pool = Pool.DEVICE) -> int:
        """How many pages of `group` fit in `pool`."""
        return self.bytes[pool].numel() // group.page_bytes

    def view(self, group: Group, dtype: torch.dtype, pool: Pool = Pool.DEVICE) -> torch.Tensor:
        """The pool as `[page, layer, k/v, kv_head, page_tokens * head_dim]`."""
        count = self.group_pages(group, pool)
        numbers = self.bytes[pool][: count * group.page_bytes].view(dtype)
        return numbers.view(count, len(group.layers), 2, group.kv_heads, group.page_tokens * group.head_dim)

    def rows(self, group: Group, pool: Pool) -> torch.Tensor:
        """The pool as bytes, one row per page of `group`."""
        count = self.group_pages(group, pool)
        return self.bytes[pool][: count * group.page_bytes].view(count, group.page_bytes)

    def copy(self, transfer: Transfer) -> None:
        """Copy the pages of `transfer`: at once on a CPU, else on the copy stream, beside whatever step runs.

        Raises OutOfMemory when a page lies outside its pool.
        """
        group = self.layout.groups[transfer.group]
        source, target = transfer.source.pool, transfer.target.pool
        for pool, ids in ((source, transfer.source_pages), (target, transfer.target_pages)):
            if ids and not 0 <= min(ids) <= max(ids) < self.group_pages(group, pool):
                raise OutOfMemory(f"Transfer {transfer.id} names a page outside the {pool} pool.")
        taken, put = transfer.source_pages, transfer.target_pages
        if self._stream is None:
            _copy_now(self.rows(group, source), taken, self.rows(group, target), put)
        else:
            self._under_way[transfer.id] = self._copy(self.rows(group, source), taken, self.rows(group, target), put)

    def copied(self, transfer: int) -> bool:
        """Whether the bytes of that transfer have arrived."""
        event = self._under_way.get(transfer)
        if event is not None and not event.query():
            return False
        self._under_way.pop(transfer, None)
        return True

    def _copy(self, source: torch.Tensor, taken: Sequence[int], target: torch.Tensor, put: Sequence[int]) -> Any:
        """Copy on the stream; the event that says it is through. A step ends synchronised, so its KV is all there."""
        cuda: Any = torch.cuda
        with cuda.stream(self._stream):
            for one, other in zip(taken, put, strict=True):
                target[other].copy_(source[one], non_blocking=True)
            event = cuda.Event()
            event.record(self._stream)
        return event


def _copy_now(source: torch.Tensor, taken: Sequence[int], target: torch.Tensor, put: Sequence[int]) -> None:
    from systems.core.torch.pages import copy_rows

    copy_rows(source.numpy(), np.asarray(taken, np.int64), target.numpy(), np.asarray(put, np.int64))


def _allocate(size: int, device: str, *, pinned: bool) -> torch.Tensor:
    try:
        if device == "cpu" and not pinned and size:
            return torch.from_numpy(_huge(size))
        return torch.zeros(size, dtype=torch.uint8, device=device, pin_memory=pinned and size > 0)
    except (RuntimeError, MemoryError, OSError) as error:
        raise PrerequisiteError(
            f"{size / 2**30:.1f} GiB of KV memory cannot be had on {device}.", "Lower --kv-bytes or --host-bytes."
        ) from error


def _huge(size: int) -> NDArray[np.uint8]:
    """Zeroed bytes on huge pages where the system has them: scattered KV pages cost a tenth less (fewer TLB misses).

    Touched here: a first touch during a swap would cost 30 times the copy.
    """
    memory = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    found = np.frombuffer(memory, np.uint8)
    found.fill(0)
    return found
