"""Which short path, if any, covers a model, and what the short paths share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from systems.core.torch.attention import CpuPaged
    from systems.core.torch.batch import Rows
    from systems.core.torch.compute import Path
    from systems.core.torch.linear import Packed


def fast_path(model: Any, paged: CpuPaged) -> Path | None:
    """The short path for `model`, or None where only the library's modules will do."""
    from systems.core.torch import fast_llama, fast_opt

    if fast_llama.covers(model.config):
        return fast_llama.FastLlama(model, paged)
    if fast_opt.covers(model.config):
        return fast_opt.FastOpt(model, paged)
    return None


def padded(rows: int) -> int:
    """The number of rows computed for `rows`: few sizes, because oneDNN compiles a product for every size (1 ms)."""
    step = 1 if rows <= 8 else 8 if rows <= 64 else 16
    return -(-rows // step) * step


def pad(values: np.ndarray[Any, np.dtype[np.int64]]) -> torch.Tensor:
    """`values` with zeros up to the padded size."""
    out = np.zeros(padded(len(values)), np.int64)
    out[: len(values)] = values
    return torch.from_numpy(out)


def weights(parameter: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A float32 parameter as a contiguous array."""
    array: np.ndarray[Any, np.dtype[np.float32]] = parameter.detach().float().contiguous().numpy()
    return array


def head_rows(x: torch.Tensor, rows: Rows) -> torch.Tensor:
    """The rows of `x` that emit (padded)."""
    return x if rows.emit is None else x.index_select(0, pad(rows.emit))


def project(head: Packed, x: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Logits of the rows that emit, without the padding."""
    return head(x)[: len(rows.requests)]
