"""The short path of OPT (pre-norm, learned positions, ReLU). Tested token for token against the library's modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from systems.core.torch.elementwise import embed, layer_norm
from systems.core.torch.fast import only_emitting, padded, project, weights
from systems.core.torch.hf_weights import HEAD
from systems.core.torch.linear import Packed, warm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from systems.core.torch.attention import CpuPaged
    from systems.core.torch.batch import Rows
    from systems.core.torch.hf_config import OptSettings
    from systems.core.torch.hf_weights import Shapes

DECODER = "model.decoder."
WORDS, PLACES = f"{DECODER}embed_tokens.weight", f"{DECODER}embed_positions.weight"
OFFSET = 2  # the first two rows of the table of positions belong to no token
EPS = np.float32(1e-5)  # nn.LayerNorm's, which the family has never changed


def shapes(settings: OptSettings) -> Shapes:
    """Every tensor of the model but a tied head, with its shape."""
    shape, hidden, inner = settings.shape, settings.hidden, settings.inner
    out: dict[str, tuple[int, ...]] = {
        WORDS: (shape.vocab, hidden),
        PLACES: (shape.positions + OFFSET, hidden),
        f"{DECODER}final_layer_norm.weight": (hidden,),
        f"{DECODER}final_layer_norm.bias": (hidden,),
    }
    if not settings.tied:
        out[HEAD] = (shape.vocab, hidden)
    for number in range(shape.layers):
        layer = f"{DECODER}layers.{number}."
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            out[f"{layer}{name}.weight"] = out[f"{layer}{name}.bias"] = (hidden,)
        products = [(f"self_attn.{name}", hidden, hidden) for name in ("q_proj", "k_proj", "v_proj", "out_proj")]
        for name, rows, columns in (*products, ("fc1", inner, hidden), ("fc2", hidden, inner)):
            out[f"{layer}{name}.weight"] = (rows, columns)
            if settings.bias:
                out[f"{layer}{name}.bias"] = (rows,)
    return out


class _Norm:
    def __init__(self, tensors: dict[str, torch.Tensor], name: str) -> None:
        self.weight, self.bias = weights(tensors.pop(f"{name}.weight")), weights(tensors.pop(f"{name}.bias"))

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        layer_norm(x.numpy(), self.weight, self.bias, EPS, out.numpy())
        return out


class _Layer:
    def __init__(self, tensors: dict[str, torch.Tensor], prefix: str, scale: float) -> None:
        def packed(*names: str, activation: str = "none") -> Packed:
            biases = [bias for name in names if (bias := tensors.pop(f"{prefix}{name}.bias", None)) is not None]
            weight = torch.cat([tensors.pop(f"{prefix}{name}.weight") for name in names])
            return Packed(weight, torch.cat(biases) if biases else None, activation)

        self.qkv = packed("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        self.out = packed("self_attn.out_proj")
        self.up, self.down = packed("fc1", activation="relu"), packed("fc2")
        self.norm = _Norm(tensors, f"{prefix}self_attn_layer_norm")
        self.norm2 = _Norm(tensors, f"{prefix}final_layer_norm")
        self.scale = scale


class FastOpt:
    """Weights packed once, at load; `tensors` is used up, to spare memory."""

    name = "fast opt"

    def __init__(self, settings: OptSettings, tensors: dict[str, torch.Tensor], paged: CpuPaged) -> None:
        self.paged = paged
        self.width = settings.hidden
        self.words, self.places = weights(tensors[WORDS]), weights(tensors[PLACES])
        self.head, self.norm = Packed(tensors[HEAD]), _Norm(tensors, f"{DECODER}final_layer_norm")
        scale = float(settings.shape.head_dim**-0.5)
        self.layers = [_Layer(tensors, f"{DECODER}layers.{i}.", scale) for i in range(settings.shape.layers)]

    def forward(self, rows: Rows) -> torch.Tensor:
        """Logits [E, vocabulary] of the rows that emit."""
        self.paged.begin(rows)
        x = torch.zeros(padded(len(rows.tokens)), self.width)
        embed(rows.tokens, self.words, rows.positions, self.places, OFFSET, x.numpy())
        h = torch.empty_like(x)
        for number, layer in enumerate(self.layers):
            qkv = layer.qkv(layer.norm(x, h))
            if number == len(self.layers) - 1:
                rows, qkv, x = only_emitting(self.paged, rows, number, qkv, (self.width, 2 * self.width), x)
                h = h[: len(x)]
            x = layer.out(self._mix(number, layer.scale, qkv.numpy()), x)
            x = layer.down(layer.up(layer.norm2(x, h)), x)
        return project(self.head, self.norm(x, h), rows)

    def warm(self, rows: int) -> None:
        """Compile every product for `rows` rows; all layers have the same."""
        layer = self.layers[0]
        products = [(layer.qkv, False), (layer.out, True), (layer.up, False), (layer.down, True), (self.head, False)]
        warm(products, rows)

    def _mix(self, number: int, scale: float, qkv: NDArray[np.float32]) -> torch.Tensor:
        out = torch.zeros(qkv.shape[0], self.width)
        self.paged.run(number, qkv, (qkv, self.width), (qkv, 2 * self.width), scale, 0, 0.0, out.numpy())
        return out
