"""When requests arrive: Poisson, gamma, constant, or the times of a trace. All times are seconds.

The gaps of one seed are the same numbers at every rate, only divided by it, so that loads differ in load alone.
Gaps are used as drawn ("raw", as the papers' clients do: n requests then rarely take exactly n/rate seconds);
`rescale` is the other, named mode, in which they are stretched to do so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from systems.core.errors import UsageError

Kind = Literal["poisson", "gamma", "constant", "trace"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """An arrival process. `cv` is the gaps' standard deviation / mean, used by gamma alone.

    `trace` has recorded times; they are stretched to the asked rate, or kept when the rate is 0.
    """

    kind: Kind = "poisson"
    cv: float = 1.0
    rescale: bool = False
    trace: tuple[float, ...] = ()


def times(process: Arrivals, rate: float, rng: np.random.Generator, *, n: int | None, seconds: float | None) -> Floats:
    """Arrival times from 0 on: `n` of them, or all before `seconds`. Raises UsageError for what cannot be drawn."""
    if (n is None) == (seconds is None):
        raise UsageError("A schedule needs either a number of requests or a duration.")
    if process.kind == "trace":
        return _replay(process, rate, n, seconds)
    if not rate > 0 or not process.cv > 0:
        raise UsageError(f"Arrivals need a rate and a CV above 0, not {rate:g} and {process.cv:g}.")
    if process.rescale and n is None:
        raise UsageError("Rescaled arrivals need a number of requests, not a duration.")
    at = _first(process, rate, rng, n) if n is not None else _until(process, rate, rng, seconds or 0.0)
    return at * (n / rate / at[-1]) if process.rescale and n and at[-1] > 0 else at


def _first(process: Arrivals, rate: float, rng: np.random.Generator, n: int) -> Floats:
    if process.kind == "constant":
        return np.arange(n) / rate
    return np.cumsum(_gaps(process, rng, n)) / rate


def _until(process: Arrivals, rate: float, rng: np.random.Generator, seconds: float) -> Floats:
    if process.kind == "constant":
        return np.arange(int(np.ceil(seconds * rate))) / rate
    gaps = _gaps(process, rng, 256)
    while gaps.sum() < seconds * rate:
        gaps = np.concatenate([gaps, _gaps(process, rng, len(gaps))])
    at = np.cumsum(gaps) / rate
    return at[at < seconds]


def _gaps(process: Arrivals, rng: np.random.Generator, n: int) -> Floats:
    """`n` gaps of mean 1."""
    if process.kind == "poisson":
        return rng.standard_exponential(n)
    shape = 1 / process.cv**2
    gaps: Floats = rng.standard_gamma(shape, n) / shape
    return gaps


def _replay(process: Arrivals, rate: float, n: int | None, seconds: float | None) -> Floats:
    at = np.sort(np.asarray(process.trace, np.float64))
    if len(at) < 2:
        raise UsageError("A trace needs at least two arrivals.")
    at = at - at[0]
    if rate > 0:
        at = at * ((len(at) - 1) / at[-1] / rate)
    if n is not None and n > len(at):
        raise UsageError(f"The trace has {len(at)} arrivals, {n} were asked for.", "Ask for fewer.")
    kept: Floats = at[:n] if n is not None else at[at < (seconds or 0.0)]
    return kept
