"""Whether a measurement can be believed: a list of checks, each with what was found, wanted and what to change."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from ae.metrics import P99_SAMPLES, measured, percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ae.load.facts import Facts
    from systems.core.record import Record

RATE = 0.02  # relative difference between the sent and the scheduled rate
LATE_MEDIAN = 0.010  # s
LATE_P95 = 0.050  # s; one long pause delays too few sends to move the median, and yet adds to their latency
FAILED = 0.01  # share of requests; of a share only, which counts them as misses: a latency has no place for them
CLIENT_EVENTS = 20_000  # stream events/s; the aiohttp client saturates near 28,000
CLIENT_CPU = 0.90  # share of one core
# Samples that leave ten beyond the percentile; a mean or share of fewer than 20 requests is an anecdote.
SAMPLES = {"mean": 20, "share": 20, "p95": 200, "p99": P99_SAMPLES}


@dataclass(frozen=True, slots=True)
class Check:
    """One condition. `remedy` is empty when it holds."""

    code: str
    ok: bool
    found: str
    wanted: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Valid exactly when every check holds."""

    checks: tuple[Check, ...]

    @property
    def valid(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)

    @property
    def why(self) -> str:
        """The failed checks and their remedies in one line, "" when valid."""
        return "; ".join(f"{c.code}: {c.found}, wanted {c.wanted}. {c.remedy}" for c in self.checks if not c.ok)

    def to_json(self) -> str:
        """Write the contents of `verdict.json`."""
        return json.dumps({"valid": self.valid, "checks": [asdict(c) for c in self.checks]}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """Read `to_json` back."""
        return cls(tuple(Check(**row) for row in json.loads(text)["checks"]))

    def __str__(self) -> str:
        rows = [f"  {'ok  ' if c.ok else 'FAIL'} {c.code}: {c.found} (wanted {c.wanted})" for c in self.checks]
        remedies = [f"       -> {c.remedy}" if not c.ok else "" for c in self.checks]
        lines = [line for pair in zip(rows, remedies, strict=True) for line in pair if line]
        return "\n".join([f"measurement {'VALID' if self.valid else 'INVALID'}", *lines])


def judge(records: Iterable[Record], facts: Facts | None = None, *, statistic: str = "mean") -> Verdict:
    """Give the verdict on one measurement, or on the pooled trials of one point.

    `facts` are the client's own (None for a simulation, which has no client to doubt). `statistic` is what will be
    read off: "mean", "p95" or "p99" of a latency, which any failed request invalidates, or the "share" of requests
    that meet the SLO, which counts the failed ones as misses.
    """
    kept = measured(records)
    checks = [_failures(kept, statistic), _samples(kept, statistic), _output(kept)]
    if facts is not None:
        checks += _client(kept, facts)
    return Verdict(tuple(checks))


def _check(code: str, ok: bool, found: str, wanted: str, remedy: str) -> Check:  # noqa: FBT001 - the verdict itself
    return Check(code, ok, found, wanted, "" if ok else remedy)


def _failures(kept: Sequence[Record], statistic: str) -> Check:
    bad = [r for r in kept if r.status != "ok"]
    reasons = Counter(r.error or r.status for r in bad).most_common(1)
    found = f"{len(bad)} of {len(kept)} requests" + (f" (mostly: {reasons[0][0]})" if reasons else "")
    remedy = "Read server.log; a lower load or a longer timeout helps only if the server is healthy."
    if statistic != "share":
        return _check("failures", not bad, found, f"none for the {statistic}", remedy)
    return _check("failures", not bad or len(bad) < FAILED * len(kept), found, f"< {FAILED:.0%}", remedy)


def _samples(kept: Sequence[Record], statistic: str) -> Check:
    n, need = sum(r.status == "ok" for r in kept), SAMPLES[statistic]
    remedy = "Run longer (a larger -n or --seconds), or pool more trials."
    return _check("samples", n >= need, f"{n} finished requests", f">= {need} for the {statistic}", remedy)


def _output(kept: Sequence[Record]) -> Check:
    good = [r for r in kept if r.status == "ok"]
    wrong = sum(r.output != r.want for r in good)
    remedy = "The server must honour max_tokens and ignore_eos, and its context window must hold the request."
    return _check("output_tokens", wrong == 0, f"{wrong} of {len(good)} with another count", "exact counts", remedy)


def _client(kept: Sequence[Record], facts: Facts) -> list[Check]:
    busiest = busiest_second(kept)
    checks = [
        _check(
            "token_times",
            facts.guessed_wrong == 0,
            f"{facts.guessed_wrong} requests with several tokens per event",
            "0",
            "Without continuous_usage_stats the server does not say which event held how many tokens.",
        ),
        _check(
            "client_events",
            busiest <= CLIENT_EVENTS,
            f"{busiest:.0f} events in the busiest second",
            f"<= {CLIENT_EVENTS}",
            "The client is the limit: lower the load, or let the server put more tokens into an event.",
        ),
        _check(
            "client_cpu",
            facts.cpu_share <= CLIENT_CPU,
            f"{facts.cpu_share:.0%} of a core in the busiest second",
            f"<= {CLIENT_CPU:.0%}",
            "The client is the limit: lower the load or free a core.",
        ),
    ]
    return checks if facts.mode == "closed" else [*_punctual(kept), *checks]


def _punctual(kept: Sequence[Record]) -> list[Check]:
    late = np.array([r.sent - r.scheduled for r in kept]) if kept else np.zeros(1)
    median, p95, off = float(np.median(late)), float(np.percentile(late, 95)), rate_error(kept)
    p99 = percentile(late, 99)
    tail = f"latest {late.max() * 1e3:.1f} ms" if p99 is None else f"p99 {p99 * 1e3:.1f} ms"
    remedy = "Another program used the core of the load generator; free one and run again."
    found = f"median {median * 1e3:.1f} ms, p95 {p95 * 1e3:.1f} ms, {tail}"
    wanted = f"median < {LATE_MEDIAN * 1e3:.0f} ms and p95 < {LATE_P95 * 1e3:.0f} ms"
    return [
        _check("rate", abs(off) <= RATE, f"{off:+.1%} off the schedule", f"within {RATE:.0%}", remedy),
        _check("lateness", median < LATE_MEDIAN and p95 < LATE_P95, found, wanted, remedy),
    ]


def rate_error(records: Sequence[Record]) -> float:
    """Rate at which requests were sent / rate at which they were scheduled, minus 1 (0 for fewer than two)."""
    wanted = [r.scheduled for r in records]
    sent = [r.sent for r in records]
    if len(records) < 2 or max(wanted) == min(wanted):
        return 0.0
    return (max(wanted) - min(wanted)) / (max(sent) - min(sent)) - 1


def busiest_second(records: Iterable[Record]) -> float:
    """Stream events read in the busiest whole second."""
    reads = [(run.first, run.events) for r in records for run in r.tokens]
    if not reads:
        return 0.0
    at, events = np.array(reads).T
    return float(np.bincount((at - at.min()).astype(np.int64), weights=events).max())
