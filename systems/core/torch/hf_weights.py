"""A checkpoint's weights read straight from its safetensors files, by the names of the library's modules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

Shapes = Mapping[str, tuple[int, ...]]
"""Names of tensors, and the shape that each must have."""

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
HEAD = "lm_head.weight"


def read_weights(directory: str, wanted: Shapes, *, tied_to: str = "") -> dict[str, torch.Tensor] | None:
    """The `wanted` tensors of the checkpoint in `directory`, in float32.

    `tied_to` names the tensor that serves as output head too. None when the checkpoint is not exactly this: no
    safetensors, a tensor missing, of another shape or not of floating point, a head of its own where it is tied.
    """
    try:
        files = _files(Path(directory), wanted)
        found: dict[str, torch.Tensor] = {}
        for file in sorted(set(files.values())):
            with safe_open(file, framework="pt") as tensors:
                there = set(tensors.keys())
                for name in (*wanted, HEAD):
                    if name in there and files.get(name, file) == file:
                        found[name] = tensors.get_tensor(name)
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    return chosen(found, wanted, tied_to=tied_to)


def chosen(found: Mapping[str, torch.Tensor], wanted: Shapes, *, tied_to: str = "") -> dict[str, torch.Tensor] | None:
    """The `wanted` tensors among `found`, in float32 and checked; see `read_weights`."""
    for name, shape in wanted.items():
        tensor = found.get(name)
        if tensor is None or tuple(tensor.shape) != shape or tensor.dtype not in _FLOATS:
            return None
    out = {name: found[name].detach().float() for name in wanted}
    if tied_to:
        if HEAD in found and not torch.equal(found[HEAD], found[tied_to]):
            return None
        out[HEAD] = out[tied_to]
    return out


def _files(directory: Path, wanted: Shapes) -> dict[str, Path]:
    """Which file holds each tensor. Raises OSError or KeyError when that cannot be said."""
    whole = directory / "model.safetensors"
    if whole.is_file():
        return dict.fromkeys(wanted, whole)
    index = json.loads((directory / "model.safetensors.index.json").read_text(encoding="utf-8"))["weight_map"]
    return {name: directory / index[name] for name in (*wanted, HEAD) if name in wanted or name in index}
