"""What serving adds to profiled passes, measured on the warm-up of served points: requests that no metric counts."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

from ae.load.records import read
from ae.sim.served import LOG, Host, served_by
from systems.core.passes import Pass, Passes
from systems.core.profile import ProfileCost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from systems.core.record import Record


class Sample(NamedTuple):
    """One point's warm-up, in ns: what passes took beyond the profile, what requests spent outside the engine.

    `decodes` and `prompts` (with prompts in it, or not) followed another pass at once; `woken` (with the number of its
    prompts) was the first after the engine had been idle, counted from the arrival.
    """

    decodes: tuple[int, ...]
    prompts: tuple[int, ...]
    woken: tuple[tuple[int, int], ...]
    requests: tuple[int, ...]


class _Arrived(NamedTuple):
    at: int
    prompt: int
    idle: bool  # it found the engine idle: others waited, unseen by it, for the end of a pass, as simulated ones do


def host_of(samples: Iterable[Sample]) -> Host:
    """The constants that the samples of one machine give together: means, since a rare delay delays as well."""
    samples = list(samples)
    turn = _mean(ns for sample in samples for ns in sample.decodes)
    prompts = _mean(ns - turn for sample in samples for ns in sample.prompts)
    wake = _mean(ns - turn - prompts * (n > 0) for sample in samples for ns, n in sample.woken)
    return Host(turn, prompts, wake, _mean(ns for sample in samples for ns in sample.requests))


def _mean(values: Iterable[int]) -> int:
    found = list(values)
    return round(statistics.fmean(found)) if found else 0


def sample(folder: Path) -> Sample:
    """What the warm-up of the point in `folder` says. Raises UsageError."""
    cost = ProfileCost(served_by(folder).profile)
    records = read(folder / "requests.jsonl")
    warm = sorted((r for r in records if r.warmup), key=lambda record: record.sent)
    with (folder / LOG).open() as lines:
        probes = sum(',["arrived",' in line for line in lines) - len(
            records
        )  # the load generator tries the server first
        lines.seek(0)
        engine = _Warmup(probes + len(warm), cost)
        next(lines)
        for line in lines:
            if not line.endswith("\n") or engine.over:
                break
            engine.feed(json.loads(line))
    requests = tuple(_outside(warm, probes, engine))
    return Sample(tuple(engine.decodes), tuple(engine.prompts), tuple(engine.woken), requests)


def _outside(warm: list[Record], probes: int, engine: _Warmup) -> Iterator[int]:
    """The client's time less the engine's; the k-th request sent is the k-th to arrive, unless their lengths differ."""
    for record, (request, one) in zip(warm, list(engine.arrived.items())[probes:], strict=False):
        end = engine.ended.get(request)
        if end is not None and one.idle and one.prompt == record.prompt and record.status == "ok":
            yield round((record.end - record.scheduled) * 1e9) - (end - one.at)


class _Warmup:
    """Reads an event log up to the end of its first `count` requests."""

    def __init__(self, count: int, cost: ProfileCost) -> None:
        self.decodes: list[int] = []
        self.prompts: list[int] = []
        self.woken: list[tuple[int, int]] = []
        self._count = count
        self._cost = cost
        self._passes = Passes()
        self.arrived: dict[int, _Arrived] = {}  # in order
        self.ended: dict[int, int] = {}  # request -> ns
        self._idle = True
        self._woke: int | None = None  # when a request found the engine idle that has not run yet
        self._measuring = False  # a request that counts has arrived
        self._last: dict[int, int] = {}  # lane -> end of its last pass, until somebody plans something else
        self._at_once: dict[int, int] = {}  # iteration -> the end that it followed at once

    @property
    def over(self) -> bool:
        """Whether all of the warm-up has ended."""
        return self._measuring and len(self.ended) == self._count

    def feed(self, row: list[Any]) -> None:
        """Take one row of the log."""
        _, event, *plan = row
        passes = self._passes.feed(row)
        if plan:
            for iteration in plan[0][0]:
                if iteration[1] in self._last:
                    self._at_once[iteration[0]] = self._last[iteration[1]]
            self._last.clear()
            self._idle = not plan[0][0]
        elif event[0] == "arrived":
            self._arrive(event[1], *event[2:4])
        elif event[0] == "ran":
            self._ran(event, passes[0].lane, passes[-1].end)
            if not self._measuring:
                self._pass(passes[0])
            self._idle, self._woke = False, None

    def _arrive(self, request: int, now: int, prompt: int) -> None:
        if self._idle and self._woke is None:
            self._woke = now
        if len(self.arrived) < self._count:
            self.arrived[request] = _Arrived(now, prompt, self._idle)
        else:
            self._measuring = True

    def _ran(self, event: list[Any], lane: int, end: int) -> None:
        self._last[lane] = end
        for request, _, step in event[4]:
            if request in self.arrived:
                self.ended[request] = event[2][step]

    def _pass(self, one: Pass) -> None:
        """What it took from the end of the pass that it followed at once, or from the arrival that woke the engine."""
        before = self._at_once.pop(one.id, None)
        beyond = one.end - one.waited - self._cost.iteration_ns(one.chunks, one.batch, one.context)
        if before is not None:
            (self.prompts if one.chunks else self.decodes).append(beyond - before)
        elif self._woke is not None:
            self.woken.append((beyond - self._woke, len(one.chunks)))
