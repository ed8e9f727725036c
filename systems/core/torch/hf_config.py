"""`config.json` read without the library, for the models that the short paths compute.

Importing `transformers` costs about as much as the rest of a server's start, so the two families with a short path are
read here, with the library's own defaults (a test compares every field). Whatever is unusual gives None: then the
library reads the file, and its modules run.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from systems.core.errors import UsageError
from systems.core.torch.shape import FAMILIES, Shape, supported

Raw = Mapping[str, Any]
"""A parsed config.json."""

_LLAMA_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {
        "vocab_size": 32000, "intermediate_size": 11008, "max_position_embeddings": 2048, "eos_token_id": 2,
        "num_key_value_heads": None, "sliding_window": None,
    },
    "mistral": {
        "vocab_size": 32000, "intermediate_size": 14336, "max_position_embeddings": 131072, "eos_token_id": 2,
        "num_key_value_heads": 8, "sliding_window": 4096,
    },
    "qwen2": {
        "vocab_size": 151936, "intermediate_size": 22016, "max_position_embeddings": 32768, "eos_token_id": None,
        "num_key_value_heads": 32, "sliding_window": 4096,
    },
}  # fmt: skip
_LLAMA_SHARED = {
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "head_dim": None, "hidden_act": "silu",
    "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
    "use_sliding_window": False, "max_window_layers": 28, "layer_types": None,
}  # fmt: skip
_OPT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "ffn_dim": 3072, "num_attention_heads": 12,
    "max_position_embeddings": 2048, "do_layer_norm_before": True, "_remove_final_layer_norm": False,
    "word_embed_proj_dim": None, "activation_function": "relu", "eos_token_id": 2, "enable_bias": True,
    "layer_norm_elementwise_affine": True, "tie_word_embeddings": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary frequencies: `kind` is "default", "linear" (with `factor`) or "llama3" (with all four numbers)."""

    theta: float
    kind: str = "default"
    factor: float = 1.0
    low: float = 1.0
    high: float = 1.0
    original: int = 0


@dataclass(frozen=True, slots=True)
class LlamaSettings:
    """What the short path of llama, mistral and qwen2 needs. `windows` has one number per layer (0: none)."""

    shape: Shape
    hidden: int
    inner: int
    eps: float
    rope: Rope
    windows: tuple[int, ...]
    qkv_bias: bool
    out_bias: bool
    tied: bool


@dataclass(frozen=True, slots=True)
class OptSettings:
    """What the short path of OPT needs."""

    shape: Shape
    hidden: int
    inner: int
    bias: bool
    tied: bool


def read_raw(directory: str) -> Raw:
    """The `config.json` in `directory`, parsed.

    Raises UsageError when there is none, it is no JSON object, or its family is not one of `FAMILIES`.
    """
    file = Path(directory) / "config.json"
    if not file.is_file():
        raise UsageError(f"{directory} holds no config.json.", "Give the directory of a Hugging Face checkpoint.")
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {error}.", supported()) from error
    family = raw.get("model_type") if isinstance(raw, dict) else None
    if family not in FAMILIES:
        raise UsageError(f"Models of the family {family!r} are not supported.", supported())
    return {**raw, "model_type": family}


def end_ids(raw: Raw, directory: str) -> tuple[int, ...]:
    """End-of-sequence ids: generation_config.json comes first, as `generate` has it."""
    ids = raw.get("eos_token_id")
    file = Path(directory) / "generation_config.json"
    if file.is_file():
        ids = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") or ids
    if ids is None:
        return ()
    return tuple(operator.index(i) for i in (ids if isinstance(ids, list) else [ids]))


def settings_of(raw: Raw, directory: str) -> LlamaSettings | OptSettings | None:
    """The settings of a model that a short path computes exactly; None for every other."""
    read = {"opt": _opt}.get(raw["model_type"], _llama if raw["model_type"] in _LLAMA_DEFAULTS else None)
    if read is None or raw.get("quantization_config"):
        return None
    try:
        return read(raw, directory)
    except (TypeError, ValueError, AttributeError, KeyError, ZeroDivisionError):
        return None  # what is wrong with it, the library says


def _shape(c: Raw, directory: str, kv_heads: int, head_dim: int) -> Shape:
    heads = operator.index(c["num_attention_heads"])
    if c["hidden_size"] % heads or heads % kv_heads or head_dim % 2:
        raise ValueError(heads)
    return Shape(
        family=c["model_type"],
        layers=operator.index(c["num_hidden_layers"]),
        heads=heads,
        kv_heads=operator.index(kv_heads),
        head_dim=operator.index(head_dim),
        vocab=operator.index(c["vocab_size"]),
        positions=operator.index(c["max_position_embeddings"]),
        eos=end_ids(c, directory),
    )


def _llama(raw: Raw, directory: str) -> LlamaSettings | None:
    family = raw["model_type"]
    c = {**_LLAMA_SHARED, **_LLAMA_DEFAULTS[family], **raw}
    rope = _rope(raw, c["max_position_embeddings"])
    if c["hidden_act"] != "silu" or (family == "llama" and c["mlp_bias"]) or rope is None:
        return None
    heads = c["num_attention_heads"]
    shape = _shape(c, directory, c["num_key_value_heads"] or heads, c["head_dim"] or c["hidden_size"] // heads)
    return LlamaSettings(
        shape=shape,
        hidden=operator.index(c["hidden_size"]),
        inner=operator.index(c["intermediate_size"]),
        eps=float(c["rms_norm_eps"]),
        rope=rope,
        windows=_windows(c, shape.layers),
        qkv_bias=family == "qwen2" or (family == "llama" and bool(c["attention_bias"])),
        out_bias=family == "llama" and bool(c["attention_bias"]),
        tied=bool(c["tie_word_embeddings"]),
    )


def _windows(c: Raw, layers: int) -> tuple[int, ...]:
    """Llama has no window, mistral one for the model, qwen2 one for some layers."""
    if c["model_type"] == "llama":
        return (0,) * layers
    window = operator.index(c["sliding_window"] or 0)
    if c["model_type"] == "mistral":
        return (window,) * layers
    if not c["use_sliding_window"]:
        return (0,) * layers
    if c["layer_types"] is None:
        return tuple(window if i >= c["max_window_layers"] else 0 for i in range(layers))
    windows = tuple(window if kind == "sliding_attention" else 0 for kind in c["layer_types"])
    if len(windows) != layers:
        raise ValueError(windows)
    return windows


def _rope(raw: Raw, positions: int) -> Rope | None:
    """Releases before 5 write `rope_theta` and `rope_scaling`, later ones `rope_parameters`."""
    given = raw.get("rope_scaling") or raw.get("rope_parameters") or {}
    theta = float(given["rope_theta"] if "rope_theta" in given else raw.get("rope_theta", 10000.0))
    partial = given.get("partial_rotary_factor", raw.get("partial_rotary_factor"))
    kind = given.get("rope_type", given.get("type", "default"))
    if partial not in {None, 1.0} or "original_max_position_embeddings" in raw:
        return None
    if kind == "default":
        return Rope(theta)
    if kind == "linear":
        return Rope(theta, kind, float(given["factor"]))
    if kind != "llama3":
        return None
    low, high = float(given["low_freq_factor"]), float(given["high_freq_factor"])
    return Rope(
        theta, kind, float(given["factor"]), low, high, given.get("original_max_position_embeddings", positions)
    )


def _opt(raw: Raw, directory: str) -> OptSettings | None:
    c = {**_OPT_DEFAULTS, **raw}
    covered = (
        c["do_layer_norm_before"]
        and not c["_remove_final_layer_norm"]
        and c["activation_function"] == "relu"
        and c["layer_norm_elementwise_affine"]
        and c["word_embed_proj_dim"] in {None, c["hidden_size"]}
    )
    if not covered:
        return None
    heads = operator.index(c["num_attention_heads"])
    return OptSettings(
        shape=_shape(c, directory, heads, c["hidden_size"] // heads),
        hidden=operator.index(c["hidden_size"]),
        inner=operator.index(c["ffn_dim"]),
        bias=bool(c["enable_bias"]),
        tied=bool(c["tie_word_embeddings"]),
    )
