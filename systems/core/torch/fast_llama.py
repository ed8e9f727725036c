"""The short path of the pre-norm rotary gated family: llama, mistral, qwen2.

Per layer: norm, one product for q, k and v, rotation, attention, product + residual, norm, one product for gate and
up, gate, product + residual. Tested token for token against the library's modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from systems.core.torch.elementwise import gate, rms_norm, rotate
from systems.core.torch.fast import head_rows, pad, project, weights
from systems.core.torch.linear import Packed

if TYPE_CHECKING:
    from systems.core.torch.attention import CpuPaged
    from systems.core.torch.batch import Rows

FAMILIES = ("llama", "mistral", "qwen2")
_STATIC_ROPE = ("default", "linear", "llama3", "yarn")


def covers(settings: Any) -> bool:
    """Whether a configuration is of this family with nothing this path does not compute."""
    return (
        settings.model_type in FAMILIES
        and settings.hidden_act == "silu"
        and not getattr(settings, "mlp_bias", False)
        and settings.rope_parameters.get("rope_type", "default") in _STATIC_ROPE
    )


class _Layer:
    def __init__(self, layer: Any) -> None:
        mixer, mlp = layer.self_attn, layer.mlp
        qkv = (mixer.q_proj, mixer.k_proj, mixer.v_proj)
        bias = None if qkv[0].bias is None else torch.cat([part.bias for part in qkv])
        self.qkv = Packed(torch.cat([part.weight for part in qkv]), bias)
        self.out = Packed(mixer.o_proj.weight, mixer.o_proj.bias)
        self.up = Packed(torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]))
        self.down = Packed(mlp.down_proj.weight)
        self.norm, self.norm2 = weights(layer.input_layernorm.weight), weights(layer.post_attention_layernorm.weight)
        # qwen2 has a window per layer, mistral one for the model, llama none
        self.window = getattr(mixer, "sliding_window", getattr(mixer.config, "sliding_window", None)) or 0
        self.scale = float(mixer.scaling)


class FastLlama:
    """Weights packed once, at load."""

    def __init__(self, model: Any, paged: CpuPaged) -> None:
        settings, inner = model.config, model.model
        self.name = f"fast {settings.model_type}"
        self.paged = paged
        self.dim, self.kv_heads = paged.group.head_dim, paged.group.kv_heads
        self.heads = paged.heads
        self.inner = settings.intermediate_size
        self.eps = np.float32(settings.rms_norm_eps)
        self.words = inner.embed_tokens.weight.detach()
        self.layers = [_Layer(layer) for layer in inner.layers]
        self.norm, self.head = weights(inner.norm.weight), Packed(model.lm_head.weight)
        places = torch.arange(settings.max_position_embeddings).unsqueeze(0)
        cosine, sine = inner.rotary_emb(self.words[:1], position_ids=places)
        self.cosine, self.sine = (weights(table[0, :, : self.dim // 2]) for table in (cosine, sine))

    def forward(self, rows: Rows) -> torch.Tensor:
        """Logits [E, vocabulary] of the rows that emit."""
        self.paged.begin(rows)
        x = self.words.index_select(0, pad(rows.tokens))
        h = torch.empty_like(x)
        for number, layer in enumerate(self.layers):
            rms_norm(x.numpy(), layer.norm, self.eps, h.numpy())
            x = layer.out(self._mix(number, layer, layer.qkv(h), rows), x)
            rms_norm(x.numpy(), layer.norm2, self.eps, h.numpy())
            x = self._feed(layer, h, x)
        x = head_rows(x, rows)
        h = torch.empty_like(x)
        rms_norm(x.numpy(), self.norm, self.eps, h.numpy())
        return project(self.head, h, rows)

    def _mix(self, number: int, layer: _Layer, qkv: torch.Tensor, rows: Rows) -> torch.Tensor:
        flat, width = qkv.numpy(), self.heads * self.dim
        rotate(flat, self.heads + self.kv_heads, self.dim, rows.positions, self.cosine, self.sine)
        out = torch.zeros(flat.shape[0], width)
        value = width + self.kv_heads * self.dim
        self.paged.run(number, flat, (flat, width), (flat, value), layer.scale, layer.window, 0.0, out.numpy())
        return out

    def _feed(self, layer: _Layer, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        both = layer.up(h)
        act = torch.empty(both.shape[0], self.inner)
        gate(both.numpy(), act.numpy())
        return layer.down(act, x)
