"""Paged attention on a CUDA device. Written against torch's documentation and NEVER RUN: no GPU was at hand.

`scripts/gpu_check.py` compares it with the CPU path and measures it. Keys and values of a page are both
`[token, head, dim]` here, the form `varlen_attn` takes together with block tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812  its usual name

from systems.core.errors import UsageError
from systems.core.torch.arena import DTYPES

if TYPE_CHECKING:
    from systems.core.plan import SlotCopy
    from systems.core.torch.arena import Arena
    from systems.core.torch.batch import Rows


def _varlen() -> Any:
    """The library's paged variable-length attention, or None where this release has none."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


class CudaPaged:
    """`varlen_attn` over block tables where torch has it, else one gather and `sdpa` per sequence."""

    def __init__(self, arena: Arena) -> None:
        group = arena.layout.groups[0]
        dtype = DTYPES["bfloat16" if group.itemsize == 2 else "float32"]
        flat = arena.view(group, dtype)
        self.page = group.page_tokens
        self.kv = flat.view(*flat.shape[:3], group.page_tokens, group.kv_heads, group.head_dim)
        # flash attention knows no float32: parity runs in float32 go through sdpa
        self.kernel = _varlen() if dtype is torch.bfloat16 else None
        self.name = "gather + sdpa" if self.kernel is None else "varlen_attn"

    def begin(self, rows: Rows) -> None:
        """Bring the pass to the device: one copy of each array, whatever the number of layers."""
        device = self.kv.device
        self.lengths = [int(n) for n in rows.lengths]
        self.counts = [int(n) for n in rows.starts[1:] - rows.starts[:-1]]
        width = -(-max(self.lengths) // self.page)
        self.tables = torch.from_numpy(rows.tables[:, :width].copy()).to(device)
        self.starts, self.used = (torch.from_numpy(part).to(device) for part in (rows.starts, rows.lengths))
        positions = torch.from_numpy(rows.positions).to(device)
        sequence = torch.repeat_interleave(torch.tensor(self.counts, device=device))
        self.pages = self.tables[sequence, positions // self.page].long()
        self.slots = positions % self.page

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
        """See `Paged`. Raises UsageError for a softcap."""
        if softcap:
            raise UsageError("Models that cap attention scores are not supported on cuda.", "Use device cpu.")
        keys, values = self.kv[:, layer, 0], self.kv[:, layer, 1]
        keys[self.pages, self.slots] = key
        values[self.pages, self.slots] = value
        if self.kernel is None:
            return self._gathered(query, keys, values, scale, window)
        out: torch.Tensor = self.kernel(
            query.contiguous(), keys, values, self.starts, None, max(self.counts), max(self.lengths),
            scale=scale, window_size=(window - 1 if window else -1, 0), enable_gqa=query.shape[1] != keys.shape[2],
            seqused_k=self.used, block_table=self.tables,
        )  # fmt: skip
        return out

    def _gathered(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, window: int
    ) -> torch.Tensor:
        """One sequence after the other: slow, exact, and available everywhere."""
        out, first = torch.empty_like(query), 0
        for number, (count, length) in enumerate(zip(self.counts, self.lengths, strict=True)):
            table = self.tables[number, : -(-length // self.page)].long()
            k, v = (part[table].flatten(0, 1)[:length].transpose(0, 1).unsqueeze(0) for part in (keys, values))
            q = query[first : first + count].transpose(0, 1).unsqueeze(0)
            row = torch.arange(length - count, length, device=query.device)[:, None]
            column = torch.arange(length, device=query.device)[None]
            seen = (column <= row) & (column > row - window if window else column >= 0)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale, enable_gqa=True)
            out[first : first + count] = mixed[0].transpose(0, 1)
            first += count
        return out

    def move(self, copy: SlotCopy) -> None:
        """Copy one token slot to another, in every layer."""
        self.kv[copy.target_page, :, :, copy.target_slot] = self.kv[copy.source_page, :, :, copy.source_slot]
