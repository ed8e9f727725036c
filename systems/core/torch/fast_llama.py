"""The short path of the pre-norm rotary gated family: llama, mistral, qwen2.

Per layer: norm, one product for q, k and v, rotation, attention, product + residual, norm, one product for gate and
up, gate, product + residual. Tested token for token against the library's modules.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from systems.core.torch.elementwise import gate, rms_norm, rotate
from systems.core.torch.fast import only_emitting, pad, project, weights
from systems.core.torch.hf_weights import HEAD
from systems.core.torch.linear import Packed, warm

if TYPE_CHECKING:
    from systems.core.torch.attention import CpuPaged
    from systems.core.torch.batch import Rows
    from systems.core.torch.hf_config import LlamaSettings, Rope
    from systems.core.torch.hf_weights import Shapes

WORDS = "model.embed_tokens.weight"


def shapes(settings: LlamaSettings) -> Shapes:
    """Every tensor of the model but a tied head, with its shape."""
    shape, hidden, inner = settings.shape, settings.hidden, settings.inner
    width, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    out: dict[str, tuple[int, ...]] = {WORDS: (shape.vocab, hidden), "model.norm.weight": (hidden,)}
    if not settings.tied:
        out[HEAD] = (shape.vocab, hidden)
    for number in range(shape.layers):
        layer = f"model.layers.{number}."
        for name, size in (("q", width), ("k", kv), ("v", kv)):
            out[f"{layer}self_attn.{name}_proj.weight"] = (size, hidden)
            if settings.qkv_bias:
                out[f"{layer}self_attn.{name}_proj.bias"] = (size,)
        out[f"{layer}self_attn.o_proj.weight"] = (hidden, width)
        if settings.out_bias:
            out[f"{layer}self_attn.o_proj.bias"] = (hidden,)
        out[f"{layer}mlp.gate_proj.weight"] = out[f"{layer}mlp.up_proj.weight"] = (inner, hidden)
        out[f"{layer}mlp.down_proj.weight"] = (hidden, inner)
        out[f"{layer}input_layernorm.weight"] = out[f"{layer}post_attention_layernorm.weight"] = (hidden,)
    return out


def frequencies(rope: Rope, dim: int) -> torch.Tensor:
    """Radians per token of each pair of a head's numbers, [dim / 2], computed as the library does."""
    plain = 1.0 / (rope.theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
    if rope.kind == "default":
        return plain
    slow = plain / rope.factor
    if rope.kind == "linear":
        return slow
    wave = 2 * math.pi / plain
    share = (rope.original / wave - rope.low) / (rope.high - rope.low)
    between = (1 - share) * plain / rope.factor + share * plain
    scaled = torch.where(wave > rope.original / rope.low, slow, plain)
    medium = (wave >= rope.original / rope.high) & (wave <= rope.original / rope.low)
    return torch.where(medium, between, scaled)


class _Layer:
    def __init__(self, tensors: dict[str, torch.Tensor], prefix: str, window: int, scale: float) -> None:
        def all_of(kind: str, *names: str) -> torch.Tensor | None:
            parts = [tensors.pop(f"{prefix}{name}.{kind}", None) for name in names]
            return torch.cat([part for part in parts if part is not None]) if parts[0] is not None else None

        def packed(*names: str) -> Packed:
            weight = all_of("weight", *names)
            assert weight is not None
            return Packed(weight, all_of("bias", *names))

        self.qkv = packed("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        self.out = packed("self_attn.o_proj")
        self.up, self.down = packed("mlp.gate_proj", "mlp.up_proj"), packed("mlp.down_proj")
        self.norm = weights(tensors.pop(f"{prefix}input_layernorm.weight"))
        self.norm2 = weights(tensors.pop(f"{prefix}post_attention_layernorm.weight"))
        self.window, self.scale = window, scale


class FastLlama:
    """Weights packed once, at load; `tensors` is used up, to spare memory."""

    def __init__(self, settings: LlamaSettings, tensors: dict[str, torch.Tensor], paged: CpuPaged) -> None:
        shape = settings.shape
        self.name = f"fast {shape.family}"
        self.paged = paged
        self.dim, self.kv_heads, self.heads = shape.head_dim, shape.kv_heads, shape.heads
        width = self.heads * self.dim
        self.columns = width, width + self.kv_heads * self.dim  # of keys and values, behind the queries
        self.inner, self.eps = settings.inner, np.float32(settings.eps)
        self.words, self.head = tensors[WORDS], Packed(tensors[HEAD])
        self.norm = weights(tensors["model.norm.weight"])
        scale = float(shape.head_dim**-0.5)
        self.layers = [
            _Layer(tensors, f"model.layers.{i}.", window, scale) for i, window in enumerate(settings.windows)
        ]
        places = torch.arange(paged.longest, dtype=torch.float32)
        angles = places[:, None] * frequencies(settings.rope, shape.head_dim)
        self.cosine, self.sine = weights(angles.cos()), weights(angles.sin())

    def forward(self, rows: Rows) -> torch.Tensor:
        """Logits [E, vocabulary] of the rows that emit."""
        self.paged.begin(rows)
        x = self.words.index_select(0, pad(rows.tokens))
        h = torch.empty_like(x)
        for number, layer in enumerate(self.layers):
            rms_norm(x.numpy(), layer.norm, self.eps, h.numpy())
            qkv = layer.qkv(h)
            rotate(qkv.numpy(), self.heads + self.kv_heads, self.dim, rows.positions, self.cosine, self.sine)
            if number == len(self.layers) - 1:
                rows, qkv, x = only_emitting(self.paged, rows, number, qkv, self.columns, x)
                h = h[: len(x)]
            x = layer.out(self._mix(number, layer, qkv), x)
            rms_norm(x.numpy(), layer.norm2, self.eps, h.numpy())
            x = self._feed(layer, h, x)
        rms_norm(x.numpy(), self.norm, self.eps, h.numpy())
        return project(self.head, h, rows)

    def warm(self, rows: int) -> None:
        """Compile every product for `rows` rows; all layers have the same."""
        layer = self.layers[0]
        products = [(layer.qkv, False), (layer.out, True), (layer.up, False), (layer.down, True), (self.head, False)]
        warm(products, rows)

    def _mix(self, number: int, layer: _Layer, qkv: torch.Tensor) -> torch.Tensor:
        flat, (key, value) = qkv.numpy(), self.columns
        out = torch.zeros(flat.shape[0], key)
        self.paged.run(number, flat, (flat, key), (flat, value), layer.scale, layer.window, 0.0, out.numpy())
        return out

    def _feed(self, layer: _Layer, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        both = layer.up(h)
        act = torch.empty(both.shape[0], self.inner)
        gate(both.numpy(), act.numpy())
        return layer.down(act, x)
