"""How fast the load generator is on this machine, measured against a server that does nothing."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ae.load import records
from ae.load.arrivals import Arrivals
from ae.load.facts import Settings
from ae.load.launch import null_server, run_once
from ae.load.schedule import Load, build
from ae.load.workload import fixed
from ae.metrics import Spread, summarise
from ae.validity import busiest_second

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROMPT = 32  # tokens; long prompts cost the client an encoding before the start, not during the run


@dataclass(frozen=True, slots=True)
class Punctuality:
    """Open loop at `rate` requests/s with `events` stream events each: how late the sends were, in seconds."""

    rate: float
    events: int
    requests: int
    failed: int
    lateness: Spread
    latest: float
    busiest: float
    cpu_share: float


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Closed loop against a server without any delay: the most events/s this client can read.

    `per_read` events came in one socket read on average: the more, the less each costs.
    """

    concurrency: int
    events: int
    seconds: float
    per_second: float
    per_read: float
    cpu_share: float


def punctuality(rates: Sequence[float], *, events: int = 8, seconds: float = 5.0) -> Iterator[Punctuality]:
    """Measure at each of `rates`; the server puts out an event of every live request each 10 ms."""
    with null_server("--gap", "0.01") as url, tempfile.TemporaryDirectory(prefix="ae-selftest-") as temporary:
        for rate in rates:
            load = Load(rate=rate, seconds=seconds, warmup=1.0)
            settings = _settings(url, Path(temporary), load, events)
            share = run_once(settings).facts.cpu_share
            found = [r for r in records.read(settings.out) if not r.warmup]
            summary = summarise(found)
            latest = max(r.sent - r.scheduled for r in found)
            busiest = busiest_second(found)
            yield Punctuality(rate, events, summary.n, summary.failed, summary.lateness, latest, busiest, share)


def ceiling(*, concurrency: int = 64, requests: int = 1000, events: int = 128) -> Ceiling:
    """Measure the most stream events/s the client can read."""
    with null_server() as url, tempfile.TemporaryDirectory(prefix="ae-selftest-") as temporary:
        load = Load(rate=requests, requests=requests, warmup=0.2)
        outcome = run_once(_settings(url, Path(temporary), load, events, concurrency))
        reads = [run for r in records.read(Path(temporary) / "requests.jsonl") if not r.warmup for run in r.tokens]
    seconds = json.loads(outcome.line)["duration"]
    total = sum(run.events for run in reads)
    return Ceiling(concurrency, events, seconds, total / seconds, total / len(reads), outcome.facts.cpu_share)


def _settings(url: str, folder: Path, load: Load, events: int, concurrency: int = 0) -> Settings:
    schedule = folder / "schedule.jsonl"
    build(fixed(PROMPT, events), Arrivals(), load).write(schedule)
    return Settings(url, schedule, folder / "requests.jsonl", concurrency=concurrency)
