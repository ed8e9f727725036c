"""Which short path, if any, covers a model, and what the short paths share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from systems.core.torch.hf_config import LlamaSettings, read_raw, settings_of
from systems.core.torch.hf_weights import Shapes, chosen, read_weights
from systems.core.torch.model import Model

if TYPE_CHECKING:
    from systems.core.config import EngineConfig
    from systems.core.torch.attention import CpuPaged
    from systems.core.torch.batch import Rows
    from systems.core.torch.linear import Packed


def short_model(config: EngineConfig) -> Model | None:
    """The model of `config` on its short path, or None where only the library's modules will do.

    Raises UsageError when there is no model of a supported family.
    """
    from systems.core.torch import fast_llama, fast_opt

    settings = settings_of(read_raw(config.model), config.model)
    if settings is None:
        return None
    if isinstance(settings, LlamaSettings):
        wanted, words = fast_llama.shapes(settings), fast_llama.WORDS
    else:
        wanted, words = fast_opt.shapes(settings), fast_opt.WORDS
    tensors = _tensors(config, wanted, words if settings.tied else "")
    if tensors is None:
        return None
    size = 4 * sum(math.prod(shape) for shape in wanted.values())
    if isinstance(settings, LlamaSettings):
        return Model(settings.shape, size, lambda paged: fast_llama.FastLlama(settings, tensors, paged))
    return Model(settings.shape, size, lambda paged: fast_opt.FastOpt(settings, tensors, paged))


def _tensors(config: EngineConfig, wanted: Shapes, tied_to: str) -> dict[str, torch.Tensor] | None:
    if not config.dummy_weights:
        return read_weights(config.model, wanted, tied_to=tied_to)
    from systems.core.torch.adapter import load_model  # made up by the library, as its modules would have them

    return chosen(load_model(config).state_dict(), wanted, tied_to=tied_to)


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


def only_emitting(
    paged: CpuPaged, rows: Rows, layer: int, qkv: torch.Tensor, columns: tuple[int, int], x: torch.Tensor
) -> tuple[Rows, torch.Tensor, torch.Tensor]:
    """Cut the last layer down to the rows that emit: of the others it takes no more than their keys and values.

    `columns` are where keys and values begin in `qkv`. What comes back is rows, qkv and x (padded) of the pass from
    here on; those rows write their keys and values a second time, the same ones. Of a prompt all but one row end
    here, which spares a model of n layers nearly 1/n of its prefill.
    """
    if rows.emit is None:
        return rows, qkv, x
    flat = qkv.numpy()
    paged.store(layer, (flat, columns[0]), (flat, columns[1]))
    few, kept = rows.emitting(), pad(rows.emit)
    paged.begin(few)
    return few, qkv.index_select(0, kept), x.index_select(0, kept)


def project(head: Packed, x: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Logits of the rows that emit, without the padding."""
    return head(x)[: len(rows.requests)]
