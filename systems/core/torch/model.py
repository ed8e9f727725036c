"""A model as `TorchCompute` takes it: sizes, and a way to compute a pass over paged memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from systems.core.torch.batch import Rows
    from systems.core.torch.shape import Shape


class Path(Protocol):
    """A way to compute a pass: the library's modules, or a short path for one family."""

    name: str

    def forward(self, rows: Rows) -> torch.Tensor:
        """Logits [E, vocabulary] of the rows that emit."""

    def warm(self, rows: int) -> None:
        """Make ready for passes of `rows` rows, as far as that depends on their number."""


@dataclass(frozen=True, slots=True)
class Model:
    """`path` is called once, with the `Paged` memory made for `shape`."""

    shape: Shape
    weights_bytes: int
    path: Callable[[Any], Path]
