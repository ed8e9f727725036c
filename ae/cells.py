"""What each system did at each rate of a what-if: means over trials, from records and counters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from ae import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from systems.core.instance import Counters
    from systems.core.record import Record


class Trial(NamedTuple):
    """One simulated point: what its clients saw and what its engine counted."""

    records: Sequence[Record]
    counters: Counters


class Numbers(NamedTuple):
    """What one point, or the mean over its trials, comes to; times in seconds, over the requests that ended well.

    `normalized` and `p95` are end-to-end latency per output token; `attainment` is the share of all requests that keep
    to the SLO. `offered` is the offered concurrency: rate x mean end-to-end latency (Little's law). An iteration
    takes `iteration` and brings `tokens`. `waiting` is the share of its busy time in which the engine waited for
    copies. `preemptions`, `recomputed` (prompt tokens beyond the prompts themselves) and `swapped` (bytes, both ways)
    are per request.
    """

    normalized: float
    p95: float
    ttft: float
    attainment: float
    offered: float
    iteration: float
    tokens: float
    waiting: float
    preemptions: float
    recomputed: float
    swapped: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One system at one rate (requests/s). `failed` of `requests` were refused; `error` says why the first was."""

    series: str
    rate: float
    trials: int
    requests: int
    failed: int
    error: str
    numbers: Numbers


def cell(series: str, rate: float, slo: float, found: Sequence[Trial]) -> Cell:
    """Sum up at least one trial of `series` at `rate`; `slo` is in s per output token."""
    each = [_numbers(rate, slo, trial) for trial in found]
    every = [record for trial in found for record in trial.records]
    errors = [record.error for record in every if record.status != "ok"]
    means = Numbers(*map(fmean, zip(*each, strict=True)))
    return Cell(series, rate, len(found), len(every), len(errors), errors[0] if errors else "", means)


def _numbers(rate: float, slo: float, trial: Trial) -> Numbers:
    records, counted = trial.records, trial.counters
    good = [record for record in records if record.status == "ok"]
    first, whole = (metrics.spread(map(of, good)).mean for of in (metrics.ttft, metrics.e2e))
    nothing = math.nan  # no request ended well: no latency is known
    asked, iterations = max(1, len(records)), max(1, counted.iterations)
    return Numbers(
        normalized=metrics.metric("normalized_latency_mean", records),
        p95=metrics.metric("normalized_latency_p95", records),
        ttft=nothing if first is None else first,
        attainment=metrics.slo_attainment(records, metrics.Targets(normalized=slo)),
        offered=nothing if whole is None else rate * whole,
        iteration=counted.compute_ns / 1e9 / iterations,
        tokens=counted.generated_tokens / iterations,
        waiting=counted.waiting_ns / max(1, counted.waiting_ns + counted.compute_ns),
        preemptions=counted.preemptions / asked,
        recomputed=(counted.prompt_tokens - sum(record.prompt for record in good)) / asked,
        swapped=(counted.swapped_out_bytes + counted.swapped_in_bytes) / asked,
    )
