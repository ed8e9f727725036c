"""A policy's idea of time in a simulation: asked of a cost model, but not the object that decides how long things take."""

from __future__ import annotations

from systems.core.compute import CostModel
from systems.core.errors import UsageError


class CostEstimator:
    """An `Estimator` over its own cost model; `error` (0.2: 20 % too long) is for studies of wrong predictions."""

    def __init__(self, cost: CostModel, error: float = 0.0) -> None:
        if error <= -1:
            raise UsageError(f"An estimate cannot be off by {error:.0%}.", "Give an error above -1.")
        self._cost = cost
        self._factor = 1.0 + error
        self._shortest = self._scaled(cost.iteration_ns((), 1, 1))

    def prefill(self, tokens: int) -> int:
        """Ns for the first iteration of a prompt of `tokens`, alone."""
        return self._scaled(self._cost.iteration_ns(((tokens, 0),), 0, 0))

    def decode(self, batch: int, context: int) -> int:
        """Ns for one decode iteration of `batch` requests with `context` tokens in all."""
        return self._scaled(self._cost.iteration_ns((), batch, context))

    def shortest(self) -> int:
        """Ns of one decode alone, with one token of context."""
        return self._shortest

    def _scaled(self, ns: int) -> int:
        return ns if self._factor == 1.0 else round(ns * self._factor)
