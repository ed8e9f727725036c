"""The short path of OPT (pre-norm, learned positions, ReLU). Tested token for token against the library's modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from systems.core.torch.elementwise import embed, layer_norm
from systems.core.torch.fast import head_rows, padded, project, weights
from systems.core.torch.linear import Packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from systems.core.torch.attention import CpuPaged
    from systems.core.torch.batch import Rows


def covers(settings: Any) -> bool:
    """Whether a configuration is an OPT with nothing this path does not compute (the 350M one norms afterwards)."""
    return (
        settings.model_type == "opt"
        and settings.do_layer_norm_before
        and not settings._remove_final_layer_norm  # noqa: SLF001  the library's own name for it
        and settings.activation_function == "relu"
        and settings.layer_norm_elementwise_affine
        and settings.word_embed_proj_dim == settings.hidden_size
    )


class _Norm:
    def __init__(self, norm: Any) -> None:
        self.weight, self.bias, self.eps = weights(norm.weight), weights(norm.bias), np.float32(norm.eps)

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        layer_norm(x.numpy(), self.weight, self.bias, self.eps, out.numpy())
        return out


class _Layer:
    def __init__(self, layer: Any) -> None:
        mixer = layer.self_attn
        qkv = (mixer.q_proj, mixer.k_proj, mixer.v_proj)
        bias = None if qkv[0].bias is None else torch.cat([part.bias for part in qkv])
        self.qkv = Packed(torch.cat([part.weight for part in qkv]), bias)
        self.out = Packed(mixer.out_proj.weight, mixer.out_proj.bias)
        self.up = Packed(layer.fc1.weight, layer.fc1.bias, "relu")
        self.down = Packed(layer.fc2.weight, layer.fc2.bias)
        self.norm, self.norm2 = _Norm(layer.self_attn_layer_norm), _Norm(layer.final_layer_norm)
        self.scale = float(mixer.scaling)


class FastOpt:
    """Weights packed once, at load."""

    name = "fast opt"

    def __init__(self, model: Any, paged: CpuPaged) -> None:
        decoder = model.model.decoder
        self.paged = paged
        self.width = paged.heads * paged.group.head_dim
        self.words, self.places = weights(decoder.embed_tokens.weight), weights(decoder.embed_positions.weight)
        self.offset = decoder.embed_positions.offset
        self.layers = [_Layer(layer) for layer in decoder.layers]
        self.norm, self.head = _Norm(decoder.final_layer_norm), Packed(model.lm_head.weight)

    def forward(self, rows: Rows) -> torch.Tensor:
        """Logits [E, vocabulary] of the rows that emit."""
        self.paged.begin(rows)
        x = torch.zeros(padded(len(rows.tokens)), self.width)
        embed(rows.tokens, self.words, rows.positions, self.places, self.offset, x.numpy())
        h = torch.empty_like(x)
        for number, layer in enumerate(self.layers):
            x = layer.out(self._mix(number, layer.scale, layer.qkv(layer.norm(x, h)).numpy()), x)
            x = layer.down(layer.up(layer.norm2(x, h)), x)
        x = head_rows(x, rows)
        return project(self.head, self.norm(x, torch.empty_like(x)), rows)

    def _mix(self, number: int, scale: float, qkv: NDArray[np.float32]) -> torch.Tensor:
        out = torch.zeros(qkv.shape[0], self.width)
        self.paged.run(number, qkv, (qkv, self.width), (qkv, 2 * self.width), scale, 0, 0.0, out.numpy())
        return out
