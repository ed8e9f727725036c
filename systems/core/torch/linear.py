"""Linear layers on weights packed once for oneDNN: on CPUs where MKL falls back to AVX2, twice as fast.

Measured on an AVX-512 CPU of AMD, one thread, 32 rows by [256, 1408]: 109 us packed, 229 us plain. For a handful of
rows the packed call's own cost (about 12 us) is the larger part, so those take the plain product.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

SMALL = 400_000  # multiplications; up to here the plain product is faster
KEEP = 8 << 20  # bytes; a larger plain weight is not kept beside the packed one


def packing() -> bool:
    """Whether this build of torch has the packed product."""
    backend: Any = torch.backends.mkldnn
    return bool(backend.is_available()) and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


class Packed:
    """`x @ weight.T (+ bias) (+ residual)`, `weight` being [out, in] float32."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None, activation: str = "none") -> None:
        self.bias, self.activation = bias, activation
        self.outputs, self.inputs = weight.shape
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous()) if packing() else None  # noqa: SLF001  torch offers it under no other name
        small = self.packed is None or weight.nbytes <= KEEP
        self.plain = weight.t().contiguous() if small else None
        self.small_rows = SMALL // weight.numel()

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """[rows, in] to [rows, out]; `residual` is [rows, out] and excludes an activation."""
        if self.packed is None or (self.plain is not None and x.shape[0] <= self.small_rows):
            return self._small(x, residual)
        ops = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
        out: torch.Tensor
        if residual is None:
            out = ops(x, self.packed, self.bias, self.activation, [], "")
        else:
            out = ops.binary(x, residual, self.packed, self.bias, "add")
        return out

    def _small(self, x: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
        assert self.plain is not None
        if residual is not None:
            out = torch.addmm(residual, x, self.plain)
            return out if self.bias is None else out.add_(self.bias)
        out = torch.mm(x, self.plain) if self.bias is None else torch.addmm(self.bias, x, self.plain)
        return out.relu_() if self.activation == "relu" else out


def warm(products: Iterable[tuple[Packed, bool]], rows: int) -> None:
    """Compute each product once for `rows` rows, with a residual where that is said: oneDNN compiles for every size."""
    for product, residual in products:
        product(torch.zeros(rows, product.inputs), torch.zeros(rows, product.outputs) if residual else None)


class PackedLinear(nn.Module):
    """Stands in for an `nn.Linear`; its weight stays readable under the same name."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.product = Packed(linear.weight, linear.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., in] to [..., out]."""
        return self.product(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)


def pack_linears(model: Any) -> list[Packed]:
    """Replace every float32 `nn.Linear` inside `model` by its packed equal; one product of each kind."""
    kinds = {}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child.weight.dtype is torch.float32:
                packed = PackedLinear(child)
                setattr(parent, name, packed)
                kinds[child.weight.shape, child.bias is None] = packed.product
    return list(kinds.values())
