"""One place where keys, values and queries of a flattened pass meet paged memory, for every path and device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from systems.core.plan import Pool
from systems.core.torch.kernels import WIDE, attention, storing
from systems.core.torch.pages import copy_slot

if TYPE_CHECKING:
    from systems.core.plan import SlotCopy
    from systems.core.torch.arena import Arena
    from systems.core.torch.batch import Rows


class Paged(Protocol):
    """Writes keys and values to their pages, then attends. `begin` comes before the first layer of a pass."""

    def begin(self, rows: Rows) -> None:
        """Take note of the pass."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
        window: int,
        softcap: float,
    ) -> torch.Tensor:
        """Attention of one layer: [rows, heads, dim] in (key and value: [rows, kv_heads, dim]) and out.

        `window` is the number of tokens a row sees, itself included (0: all); `softcap` 0 means none.
        """

    def move(self, copy: SlotCopy) -> None:
        """Copy one token slot to another, in every layer."""


class CpuPaged:
    """The compiled kernels. `heads` is the number of query heads, `longest` the most tokens of a request."""

    def __init__(self, arena: Arena, heads: int, longest: int) -> None:
        group = arena.layout.groups[0]
        self.group, self.heads, self.longest = group, heads, longest
        self.kv = arena.view(group, torch.float32, Pool.DEVICE).numpy()
        self.kernel = attention(group.page_tokens, group.head_dim, heads // group.kv_heads)
        self.storing = storing(group.page_tokens, group.head_dim)
        self.scratch = np.zeros(WIDE * -(-longest // group.page_tokens) * group.page_tokens, np.float32)
        self.rows: Rows | None = None

    def begin(self, rows: Rows) -> None:
        """Take note of the pass."""
        self.rows = rows

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
        window: int,
        softcap: float,
    ) -> torch.Tensor:
        """See `Paged`. Any strides are fine; what is not contiguous is copied."""
        count, dim = query.shape[0], self.group.head_dim
        flat = [part.reshape(count, -1).contiguous().numpy() for part in (query, key, value)]
        out = torch.empty(count, self.heads * dim)
        self.run(layer, flat[0], (flat[1], 0), (flat[2], 0), scale, window, softcap, out.numpy())
        return out.view(count, self.heads, dim)

    def run(
        self,
        layer: int,
        query: np.ndarray[tuple[int, int], np.dtype[np.float32]],
        key: tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], int],
        value: tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], int],
        scale: float,
        window: int,
        softcap: float,
        out: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    ) -> None:
        """The kernel itself, on [rows, *] arrays; key and value come with the column at which they begin."""
        rows = self.rows
        assert rows is not None, "begin comes first"
        self.kernel(
            query, key[0], key[1], value[0], value[1], self.kv, layer, rows.starts, rows.lengths, rows.positions,
            rows.tables, np.float32(scale), window, np.float32(softcap), out, self.scratch,
        )  # fmt: skip

    def store(
        self,
        layer: int,
        key: tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], int],
        value: tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], int],
    ) -> None:
        """Write keys and values of the pass, as `run` does, where nobody asks what its rows see."""
        rows = self.rows
        assert rows is not None, "begin comes first"
        self.storing(*key, *value, self.kv, layer, rows.starts, rows.positions, rows.tables)

    def move(self, copy: SlotCopy) -> None:
        """Copy one token slot to another, in every layer."""
        copy_slot(
            self.kv, copy.source_page, copy.source_slot, copy.target_page, copy.target_slot, self.group.page_tokens
        )
