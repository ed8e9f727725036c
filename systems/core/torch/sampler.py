"""Greedy and temperature sampling. A draw depends on (seed, position) and on nothing else.

So it is the same in any batch, after a preemption, a migration, or under another policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from systems.core.request import Sampling

_GOLDEN, _MIX1, _MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, slots=True)
class Draws:
    """How each of E rows is drawn: arrays of temperature, top_p, seed and the position of the token drawn."""

    temperature: NDArray[np.float64]
    top_p: NDArray[np.float64]
    seed: NDArray[np.uint64]
    position: NDArray[np.int64]
    greedy: bool

    @classmethod
    def none(cls) -> Draws:
        """No rows."""
        return cls.of([])

    @classmethod
    def of(cls, samplings: Sequence[Sampling]) -> Draws:
        """One row for each of `samplings`, at position 0."""
        return cls(
            temperature=np.asarray([s.temperature for s in samplings], np.float64),
            top_p=np.asarray([s.top_p for s in samplings], np.float64),
            seed=np.asarray([s.seed & 0xFFFFFFFFFFFFFFFF for s in samplings], np.uint64),
            position=np.zeros(len(samplings), np.int64),
            greedy=all(s.temperature <= 0 for s in samplings),
        )

    def at(self, position: NDArray[np.int64]) -> Draws:
        """The same rows at other positions."""
        return self if self.greedy else Draws(self.temperature, self.top_p, self.seed, position.copy(), greedy=False)

    def then(self, more: Draws) -> Draws:
        """These rows, then `more`."""
        return Draws(
            temperature=np.concatenate([self.temperature, more.temperature]),
            top_p=np.concatenate([self.top_p, more.top_p]),
            seed=np.concatenate([self.seed, more.seed]),
            position=np.concatenate([self.position, more.position]),
            greedy=self.greedy and more.greedy,
        )


def uniform(seed: NDArray[np.uint64], position: NDArray[np.int64]) -> NDArray[np.float64]:
    """One number in [0, 1) for each pair: the SplitMix64 output function, applied twice."""
    mixed = _mix(_mix(seed + _GOLDEN) + (position.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * _MIX1
    x = (x ^ (x >> np.uint64(27))) * _MIX2
    return x ^ (x >> np.uint64(31))


def sample(logits: torch.Tensor, draws: Draws) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The token of each of E rows of `logits` [E, vocabulary], and whether the row was finite."""
    best, token = logits.max(dim=-1)
    tokens: NDArray[np.int64] = token.cpu().numpy()
    sound: NDArray[np.bool_] = np.isfinite(best.float().cpu().numpy())
    if not draws.greedy:
        rows = np.flatnonzero((draws.temperature > 0) & sound)
        values = logits[torch.from_numpy(rows)].double().cpu().numpy()
        tokens[rows] = _draw(
            values, draws.temperature[rows], draws.top_p[rows], uniform(draws.seed, draws.position)[rows]
        )
    return tokens, sound


def _draw(
    logits: NDArray[np.float64], temperature: NDArray[np.float64], top_p: NDArray[np.float64], u: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Inverse of the cumulative distribution at `u`, row by row, within the nucleus of mass `top_p`."""
    scaled = logits / temperature[:, None]
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    cut = np.flatnonzero(top_p < 1)
    if cut.size:
        weights[cut] *= _nucleus(weights[cut], top_p[cut])
    steps = np.cumsum(weights, axis=1)
    below: NDArray[np.int64] = (steps <= (u * steps[:, -1])[:, None]).sum(axis=1)
    drawn: NDArray[np.int64] = np.minimum(below, logits.shape[1] - 1)
    return drawn


def _nucleus(weights: NDArray[np.float64], top_p: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The fewest most likely tokens of each row whose share reaches `top_p`."""
    order = np.argsort(-weights, axis=1)  # vectorised, unlike the stable kind; rows are sorted one by one
    sorted_weights = np.take_along_axis(weights, order, axis=1)
    before = np.cumsum(sorted_weights, axis=1) - sorted_weights
    kept = before < top_p[:, None] * weights.sum(axis=1, keepdims=True)
    kept[:, 0] = True
    inside: NDArray[np.bool_] = np.zeros(kept.shape, np.bool_)
    np.put_along_axis(inside, order, kept, axis=1)
    return inside
