"""Every metric, once: pure functions of records, real or simulated. All results are in seconds or per second.

The same words mean different things in different tools, so each docstring gives the formula and the
denominator. Latency runs from the *scheduled* arrival (a late client then counts as queueing); `since="sent"`
is the second column. Warm-up requests are in no metric. Failed and cancelled requests have no latency, are
counted apart, and miss every SLO.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from ae.figure import Metric, Part
    from systems.core.record import Record

DEFINITIONS = 1  # version of the definitions below, written next to every result
P99_SAMPLES = 1000  # below this a 99th percentile rests on fewer than ten samples and is refused
SHARED = 0.05  # above this share of tokens that came together, gaps between reads are not gaps between tokens

Since = Literal["scheduled", "sent"]


class Targets(NamedTuple):
    """Latency targets in seconds (None: not part of the SLO). `normalized` and `tpot` are per output token."""

    normalized: float | None = None
    ttft: float | None = None
    tpot: float | None = None


class Window(NamedTuple):
    """The measured time: requests scheduled in [start, end) count; rates are divided by end - start."""

    start: float
    end: float


def ttft(record: Record, since: Since = "scheduled") -> float | None:
    """Time to first token = first token - arrival. None when no token came."""
    return record.tokens[0].first - getattr(record, since) if record.tokens else None


def tpot(record: Record) -> float | None:
    """Time per output token = (end - first token) / (output tokens - 1). None for fewer than two tokens."""
    return (record.end - record.tokens[0].first) / (record.output - 1) if record.tokens and record.output > 1 else None


def e2e(record: Record, since: Since = "scheduled") -> float:
    """End-to-end latency = end - arrival."""
    return record.end - float(getattr(record, since))


def normalized_latency(record: Record, since: Since = "scheduled") -> float | None:
    """End-to-end latency / output tokens. None when no token came."""
    return e2e(record, since) / record.output if record.output else None


def latency_per_token(record: Record, since: Since = "scheduled") -> float:
    """End-to-end latency / (prompt + output tokens)."""
    return e2e(record, since) / max(1, record.prompt + record.output)


def seconds_in(record: Record, part: Part) -> float | None:
    """Time that a request spent in one part of its latency; None where nobody counted it (it was not simulated).

    queueing = end-to-end latency - executing - swapping; the other two: systems/core/virtual/ledger.py.
    """
    if record.executing is None or record.swapping is None:
        return None
    if part == "queueing":
        return max(0.0, e2e(record) - record.executing - record.swapping)
    return record.executing if part == "executing" else record.swapping


def latency_share(records: Iterable[Record], part: Part) -> float:
    """Time that all requests spent in `part` / their latency, both summed over those that ended well.

    NaN without such requests, or where nobody counted.
    """
    good = [r for r in measured(records) if r.status == "ok"]
    spent = [s for r in good if (s := seconds_in(r, part)) is not None]
    return sum(spent) / sum(map(e2e, good)) if good and len(spent) == len(good) else float("nan")


def itl(record: Record) -> NDArray[np.float64]:
    """Gaps between consecutive output tokens, output - 1 of them; tokens of one read are 0 apart."""
    if not record.tokens:
        return np.empty(0)
    parts = [run.first + run.step * np.arange(run.number) for run in record.tokens]
    return np.diff(np.concatenate(parts))


def meets(record: Record, targets: Targets, since: Since = "scheduled") -> bool:
    """Whether a request ended well and within every target; one without a defined value meets that target."""
    if record.status != "ok":
        return False
    pairs = (
        (normalized_latency(record, since), targets.normalized),
        (ttft(record, since), targets.ttft),
        (tpot(record), targets.tpot),
    )
    return all(target is None or value is None or value <= target for value, target in pairs)


def measured(records: Iterable[Record], window: Window | None = None) -> list[Record]:
    """All requests but warm-up, those scheduled inside `window` if one is given."""
    kept = [r for r in records if not r.warmup]
    return kept if window is None else [r for r in kept if window.start <= r.scheduled < window.end]


def slo_attainment(records: Iterable[Record], targets: Targets, since: Since = "scheduled") -> float:
    """Divide requests that meet all targets by all requests; failed and cancelled ones are misses. NaN for no request."""
    kept = measured(records)
    return sum(meets(r, targets, since) for r in kept) / len(kept) if kept else float("nan")


def goodput(records: Sequence[Record], targets: Targets, window: Window | None = None) -> float:
    """Divide requests that meet all targets by the seconds of the window."""
    kept = measured(records, window)
    return sum(meets(r, targets) for r in kept) / _seconds(kept, window) if kept else 0.0


def percentile(values: Sequence[float] | NDArray[np.float64], q: float) -> float | None:
    """Take the q-th percentile (linear interpolation). None without values, and from 99 on below 1,000 of them."""
    if len(values) == 0 or (q >= 99 and len(values) < P99_SAMPLES):
        return None
    return float(np.percentile(values, q))


@dataclass(frozen=True, slots=True)
class Spread:
    """One metric over its `n` samples, in seconds; None where it is undefined or refused."""

    n: int = 0
    mean: float | None = None
    std: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


def spread(values: Iterable[float | None]) -> Spread:
    """Statistics of the defined values."""
    known = np.array([v for v in values if v is not None], np.float64)
    return _spread(known)


def _spread(known: NDArray[np.float64]) -> Spread:
    if not len(known):
        return Spread()
    quantiles = (percentile(known, q) for q in (50, 95, 99))
    return Spread(len(known), float(known.mean()), float(known.std()), *quantiles)


@dataclass(frozen=True, slots=True)
class Summary:
    """All metrics of one measurement. `ttft`, `e2e`, `normalized` and `per_token` run from the scheduled arrival.

    `seconds` is the window, throughputs divide by it and count requests that ended well inside it. `shared` is
    the share of tokens that did not come alone; `itl` then has no percentiles, only its mean.
    """

    n: int
    ok: int
    failed: int
    cancelled: int
    seconds: float
    prompt_tokens: int
    output_tokens: int
    request_throughput: float
    output_throughput: float
    total_throughput: float
    ttft: Spread
    tpot: Spread
    itl: Spread
    e2e: Spread
    normalized: Spread
    per_token: Spread
    sent_ttft: Spread
    sent_e2e: Spread
    sent_normalized: Spread
    lateness: Spread
    shared: float
    definitions: int = DEFINITIONS


def summarise(records: Iterable[Record], window: Window | None = None) -> Summary:
    """All metrics; without `window` it reaches from the first scheduled arrival to the last end."""
    kept = measured(records, window)
    good = [r for r in kept if r.status == "ok"]
    seconds = _seconds(kept, window)
    inside = good if window is None else [r for r in good if r.end <= window.end]
    prompt, output = sum(r.prompt for r in inside), sum(r.output for r in inside)
    per_second = 1 / seconds if seconds > 0 else 0.0
    return Summary(
        n=len(kept),
        ok=len(good),
        failed=sum(r.status == "failed" for r in kept),
        cancelled=sum(r.status == "cancelled" for r in kept),
        seconds=seconds,
        prompt_tokens=prompt,
        output_tokens=output,
        request_throughput=len(inside) * per_second,
        output_throughput=output * per_second,
        total_throughput=(prompt + output) * per_second,
        ttft=spread(map(ttft, good)),
        tpot=spread(map(tpot, good)),
        itl=_itl(good),
        e2e=spread(map(e2e, good)),
        normalized=spread(map(normalized_latency, good)),
        per_token=spread(map(latency_per_token, good)),
        sent_ttft=spread(ttft(r, "sent") for r in good),
        sent_e2e=spread(e2e(r, "sent") for r in good),
        sent_normalized=spread(normalized_latency(r, "sent") for r in good),
        lateness=spread(r.sent - r.scheduled for r in kept),
        shared=shared(good),
    )


def _seconds(kept: Sequence[Record], window: Window | None) -> float:
    if window is not None:
        return window.end - window.start
    return max(r.end for r in kept) - min(r.scheduled for r in kept) if kept else 0.0


def _itl(good: Sequence[Record]) -> Spread:
    gaps = _spread(np.concatenate([np.empty(0), *map(itl, good)]))
    return gaps if shared(good) <= SHARED else Spread(gaps.n, gaps.mean)


def shared(records: Iterable[Record]) -> float:
    """Tokens that came in one read with an earlier one / all tokens."""
    runs = [run for r in records for run in r.tokens]
    together = sum(run.number - 1 for run in runs if run.step == 0 and run.number > 1)
    return together / max(1, sum(run.number for run in runs))


def metric(
    name: Metric,
    records: Sequence[Record],
    slo: Targets | None = None,
    since: Since = "scheduled",
    part: Part | None = None,
) -> float:
    """Compute a figure's metric over all measured requests. NaN when no request defines it.

    A latency runs over the requests that ended well, so it is valid only where all did: see `validity.judge`.
    `part` is which share a "latency_share" is.
    """
    if name == "slo_attainment":
        return slo_attainment(records, slo or Targets(), since)
    if name == "latency_share":
        assert part, "a line of a panel of shares says which part it shows"
        return latency_share(records, part)
    good = [r for r in measured(records) if r.status == "ok"]
    values = np.array([v for v in (_PER_REQUEST[name](r, since) for r in good) if v is not None])
    if not len(values):
        return float("nan")
    return float(np.percentile(values, 95) if name.endswith("p95") else values.mean())


_PER_REQUEST: dict[Metric, Callable[[Record, Since], float | None]] = {
    "normalized_latency_mean": normalized_latency,
    "normalized_latency_p95": normalized_latency,
    "latency_per_token_mean": latency_per_token,
}
