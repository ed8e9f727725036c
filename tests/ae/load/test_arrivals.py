from __future__ import annotations

import numpy as np
import pytest

from ae.load.arrivals import Arrivals, times
from systems.core.errors import UsageError

N = 20_000
# Kolmogorov-Smirnov critical value at the 0.1 % level.
CRITICAL = 1.95 / np.sqrt(N)


def gaps(process: Arrivals, rate: float, n: int = N, seed: int = 3) -> np.ndarray:
    return np.diff(times(process, rate, np.random.default_rng(seed), n=n, seconds=None), prepend=0.0)


def ks(sample: np.ndarray, rate: float) -> float:
    ordered = np.sort(sample)
    model = 1 - np.exp(-rate * ordered)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return float(max((model - steps[:-1]).max(), (steps[1:] - model).max()))


def test_poisson_gaps_are_exponential_and_independent() -> None:
    sample = gaps(Arrivals("poisson"), 5.0)
    assert ks(sample, 5.0) < CRITICAL
    assert abs(np.corrcoef(sample[:-1], sample[1:])[0, 1]) < 4 / np.sqrt(N)


def test_the_test_above_can_tell_poisson_from_its_neighbours() -> None:
    assert ks(gaps(Arrivals("gamma", cv=1.1), 5.0), 5.0) > CRITICAL
    assert ks(gaps(Arrivals("poisson"), 5.3), 5.0) > CRITICAL


def test_counts_per_second_of_poisson_have_variance_equal_to_the_mean() -> None:
    at = times(Arrivals("poisson"), 20.0, np.random.default_rng(0), n=None, seconds=2000.0)
    counts = np.bincount(at.astype(int), minlength=2000)
    assert counts.mean() == pytest.approx(20, rel=0.02)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("cv", [0.5, 2.0, 4.0])
def test_gamma_gaps_have_the_cv_and_the_mean(cv: float) -> None:
    sample = gaps(Arrivals("gamma", cv=cv), 8.0, n=10 * N)
    assert sample.mean() == pytest.approx(1 / 8, rel=0.03)
    assert sample.std() / sample.mean() == pytest.approx(cv, rel=0.04)


def test_constant_is_constant() -> None:
    assert np.diff(times(Arrivals("constant"), 4.0, np.random.default_rng(0), n=9, seconds=None)).tolist() == [0.25] * 8
    assert len(times(Arrivals("constant"), 4.0, np.random.default_rng(0), n=None, seconds=2.0)) == 8


def test_the_same_seed_gives_the_same_pattern_at_another_rate() -> None:
    slow, fast = gaps(Arrivals(), 1.0, n=50), gaps(Arrivals(), 4.0, n=50)
    assert (slow / 4).tolist() == pytest.approx(fast.tolist())


def test_a_duration_cuts_the_same_sequence() -> None:
    whole = times(Arrivals(), 10.0, np.random.default_rng(5), n=1000, seconds=None)
    part = times(Arrivals(), 10.0, np.random.default_rng(5), n=None, seconds=40.0)
    assert part.tolist() == whole[whole < 40].tolist()
    assert 300 < len(part) < 500


def test_rescale_takes_exactly_n_over_rate_seconds_and_raw_does_not() -> None:
    raw = times(Arrivals(), 10.0, np.random.default_rng(1), n=100, seconds=None)
    scaled = times(Arrivals(rescale=True), 10.0, np.random.default_rng(1), n=100, seconds=None)
    assert scaled[-1] == pytest.approx(10.0)
    assert abs(raw[-1] - 10.0) > 0.01
    assert (scaled / raw).std() == pytest.approx(0, abs=1e-12)


def test_trace_keeps_its_times_or_is_stretched_to_a_rate() -> None:
    trace = Arrivals("trace", trace=(100.0, 101.0, 104.0))
    rng = np.random.default_rng(0)
    assert times(trace, 0, rng, n=3, seconds=None).tolist() == [0, 1, 4]
    assert times(trace, 1.0, rng, n=3, seconds=None).tolist() == [0, 0.5, 2]
    assert times(trace, 0, rng, n=None, seconds=2.0).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("process", "rate", "n", "seconds"),
    [
        (Arrivals(), 0.0, 5, None),
        (Arrivals(), -1.0, 5, None),
        (Arrivals("gamma", cv=0), 1.0, 5, None),
        (Arrivals(), 1.0, None, None),
        (Arrivals(), 1.0, 5, 5.0),
        (Arrivals(rescale=True), 1.0, None, 5.0),
        (Arrivals("trace", trace=(1.0,)), 1.0, 1, None),
        (Arrivals("trace", trace=(1.0, 2.0)), 1.0, 3, None),
    ],
)
def test_what_cannot_be_drawn_is_refused(process: Arrivals, rate: float, n: int | None, seconds: float | None) -> None:
    with pytest.raises(UsageError):
        times(process, rate, np.random.default_rng(0), n=n, seconds=seconds)
