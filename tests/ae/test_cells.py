"""A cell of a what-if: means over trials of what clients saw and the engine counted."""

from __future__ import annotations

import math

import pytest

from ae.cells import Trial, cell
from systems.core.instance import Counters
from systems.core.record import Record, Tokens


def record(i: int, latency: float, output: int = 10, prompt: int = 5) -> Record:
    """A request that came at `i` and whose first token took half a second."""
    tokens = (Tokens(i + 0.5, output, (latency - 0.5) / max(1, output - 1), output),)
    return Record(i, float(i), float(i), i + 0.5, i + latency, "ok", prompt, output, output, tokens)


def refused(i: int) -> Record:
    return Record(i, float(i), float(i), None, float(i), "failed", 5, 10, 0, error="no")


def test_a_cell_is_the_mean_of_its_trials() -> None:
    counters = Counters(
        preemptions=3, swapped_out_bytes=600, swapped_in_bytes=400, iterations=50, prompt_tokens=30,
        generated_tokens=100, waiting_ns=10**9, compute_ns=4 * 10**9,
    )  # fmt: skip
    first = Trial([record(0, 1.0), record(1, 3.0)], counters)
    second = Trial([record(0, 2.0), refused(1)], Counters(iterations=10, prompt_tokens=5))
    one = cell("a/b", 4.0, 0.15, [first, second])
    x = one.numbers
    assert (one.trials, one.requests, one.failed, one.error) == (2, 4, 1, "no")
    assert x.normalized == pytest.approx((0.2 + 0.2) / 2)
    assert x.p95 == pytest.approx((0.29 + 0.2) / 2)
    assert x.ttft == pytest.approx(0.5)
    assert x.attainment == pytest.approx((0.5 + 0.0) / 2)
    assert x.offered == pytest.approx(4.0 * 2.0)
    assert x.iteration == pytest.approx(0.08 / 2)
    assert x.tokens == pytest.approx(2.0 / 2)
    assert x.waiting == pytest.approx(0.2 / 2)
    assert x.preemptions == pytest.approx(1.5 / 2)
    assert x.recomputed == pytest.approx(10 / 2)  # (30 - 2 x 5) / 2 requests, and none
    assert x.swapped == pytest.approx(500 / 2)


def test_a_cell_in_which_nothing_ended_well_has_no_latency() -> None:
    one = cell("a/b", 4.0, 0.15, [Trial([refused(0)], Counters())])
    assert math.isnan(one.numbers.normalized)
    assert math.isnan(one.numbers.ttft)
    assert one.numbers.attainment == 0.0
