"""Closed-loop bursts against one server: what it can carry, and how long its decode iterations are meanwhile."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ae.load import records as recorded
from ae.load.facts import Settings
from ae.load.schedule import Load, draw
from ae.load.workload import drawn
from systems.core.decode_times import Decoding, full_batch
from systems.core.errors import ServerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ae.figure import Workload
    from ae.launch import Server
    from ae.load.launch import Generator
    from systems.core.record import Record

BURST_SECONDS = 1.5
AGREE = 1.1  # two bursts agree when one is at most so many times the other
TIMEOUT = 60.0  # seconds for one answer
LIMIT = 120.0  # seconds for one burst


class Saturated(NamedTuple):
    """`bursts` in requests/s, in the order they were measured; `capacity` is what they say together."""

    capacity: float
    bursts: tuple[float, ...]
    how: str
    decoding: Decoding


@dataclass(frozen=True, slots=True)
class Bench:
    """One server under closed loops. `scratch` takes the files; `vocab` and `length` are the model's limits."""

    server: Server
    generator: Generator
    scratch: Path
    vocab: int
    length: int

    def saturate(self, workload: Workload, batch: int) -> Saturated:
        """Run the bursts: twice as many clients as the batch has places, so that it is never short of work.

        A first, short one warms the server up and says how many requests the others need to last. Raises AeError.
        """
        few = 8 * batch
        _, seconds = between(self._burst(workload, few, batch), 2 * batch)
        enough = min(20_000, max(few, int(few * BURST_SECONDS / seconds)))
        logs: list[Path] = []

        def burst() -> float:
            logs.append(self.scratch / f"events-{len(logs)}.jsonl")
            self.server.reset(logs[-1])
            return self._rate(workload, enough, batch)

        capacity, bursts, how = agreed(burst)
        self.server.reset(None)  # writes what is buffered of the last log
        return Saturated(capacity, bursts, how, full_batch(logs))

    def _rate(self, workload: Workload, requests: int, batch: int) -> float:
        """Output tokens/s of a full batch / the workload's mean output length.

        Counting tokens instead of requests keeps the luck of the drawn lengths out of the unit of load.
        """
        tokens, seconds = between(self._burst(workload, requests, batch), 2 * batch)
        return tokens / seconds / mean_output(workload, self.length)

    def _burst(self, workload: Workload, requests: int, batch: int) -> list[Record]:
        load = Load(1000.0, requests=requests, seed=0, vocab=self.vocab, max_model_len=self.length)
        file, out = self.scratch / "schedule.jsonl", self.scratch / "requests.jsonl"
        draw(workload, load).write(file)
        settings = Settings(self.server.url, file, out, timeout=TIMEOUT, concurrency=2 * batch, requests=requests)
        self.generator.run(settings, alive=lambda: self.server.alive, limit=LIMIT)
        found = recorded.read(out)
        if bad := [r for r in found if r.status != "ok"]:
            raise ServerFailed(f"{len(bad)} requests of the calibration failed: {bad[0].error}", str(self.server.log))
        return found


class Agreed(NamedTuple):
    """The capacity that bursts say together, the bursts, and how the one follows from the others."""

    capacity: float
    bursts: tuple[float, ...]
    how: str


def agreed(burst: Callable[[], float]) -> Agreed:
    """Two bursts if they agree, with their mean; else a third, and the median."""
    first = (burst(), burst())
    if max(first) <= AGREE * min(first):
        return Agreed(statistics.mean(first), first, f"mean of two bursts that agree within {AGREE - 1:.0%}")
    three = (*first, burst())
    return Agreed(statistics.median(three), three, "median of three bursts: the first two did not agree")


def mean_output(workload: Workload, limit: int) -> float:
    """Mean output length of a workload, over a sample large enough that it does not vary."""
    return float(drawn(workload.name, scale=workload.scale)(20_000, limit, np.random.default_rng(0)).output.mean())


def between(records: Sequence[Record], concurrency: int) -> tuple[float, float]:
    """Tokens and seconds from when the loop was first full to when its last request was sent."""
    sent = sorted(r.sent for r in records)
    begin, end = sent[min(concurrency, len(sent) - 1)], sent[-1]
    tokens = sum(run.number for r in records for run in r.tokens if begin <= run.first < end)
    return float(tokens), max(end - begin, 1e-9)
