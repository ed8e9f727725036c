"""The front end's choice of an engine for a new request."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Dispatch = Callable[[Sequence[int]], int]


class RoundRobin:
    """One after the other."""

    def __init__(self) -> None:
        self._last = -1

    def __call__(self, loads: Sequence[int]) -> int:
        """The place of the next engine; `loads` has the live requests of each."""
        self._last = (self._last + 1) % len(loads)
        return self._last


class LeastLoaded:
    """The engine with the fewest live requests, the first of several."""

    def __call__(self, loads: Sequence[int]) -> int:
        """The place of that engine."""
        return min(range(len(loads)), key=loads.__getitem__)
