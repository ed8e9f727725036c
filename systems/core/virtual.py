"""The modeled clock: drives one instance through a schedule in virtual time, whatever its compute is.

With torch compute this serves real tokens deterministically on a noisy machine (torch+modeled); with synthetic
compute it is a simulation. Iterations take what the cost model says, transfers are a FIFO of
latency + bytes / bandwidth per link.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

from systems.core.errors import RequestRejected
from systems.core.events import Times
from systems.core.instance import Instance
from systems.core.plan import Iteration, Plan, Transfer
from systems.core.record import Record, Tokens
from systems.core.request import Request


class CostModel(Protocol):
    """How long an iteration takes."""

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], decode_batch: int, decode_context: int) -> int:
        """Ns for `chunks` (tokens, context before them) and `decode_batch` decodes over `decode_context` tokens in all."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link between pools: `latency` ns, then `bytes_per_s` (0: no time at all)."""

    bytes_per_s: float = 0.0
    latency: int = 0


@dataclass(slots=True)
class _Load:
    """A lane's decode members as aggregates."""

    start: dict[int, int] = field(default_factory=dict)  # context at join minus the tick then
    context: int = 0
    tick: int = 0

    def apply(self, iteration: Iteration) -> None:
        for request in iteration.left:
            self.drop(request)
        for span in iteration.joined:
            self.start[span.request] = span.start - self.tick
            self.context += span.start

    def drop(self, request: int) -> None:
        start = self.start.pop(request, None)
        if start is not None:
            self.context -= start + self.tick

    def step(self) -> None:
        self.tick += 1
        self.context += len(self.start)


@dataclass(slots=True)
class _Client:
    request: Request
    times: list[int] = field(default_factory=list)
    status: str = "live"
    why: str = ""
    end: int = 0


class VirtualTime:
    """One instance on a modeled clock. `run` serves a schedule and returns the records, ordered by id."""

    def __init__(self, instance: Instance, cost: CostModel, links: Mapping[str, Link] | None = None) -> None:
        self._instance = instance
        self._cost = cost
        self._links = dict(links or {})
        self._link_free: dict[str, int] = {}
        self._heap: list[tuple[int, int, object]] = []
        self._count = 0
        self._loads: dict[int, _Load] = {}
        self._landing: dict[int, int] = {}
        self._clients: dict[int, _Client] = {}
        self._now = 0

    def run(self, schedule: Iterable[Request], cancels: Iterable[tuple[int, int]] = ()) -> list[Record]:
        """Serve `schedule` (arrivals in ns); `cancels` are (time, request). Returns when nothing is left to do."""
        for request in schedule:
            self._push(request.arrival, request)
        for at, request_id in cancels:
            self._push(at, request_id)
        while self._heap:
            self._now = self._heap[0][0]
            while self._heap and self._heap[0][0] == self._now:
                self._happen(heappop(self._heap)[2])
            self._carry_out(self._instance.plan(self._now))
        assert not self._instance.live, "the policy left requests waiting with nothing to happen"
        return [_record(c) for _, c in sorted(self._clients.items())]

    def _push(self, at: int, what: object) -> None:
        self._count += 1
        heappush(self._heap, (at, self._count, what))

    def _happen(self, what: object) -> None:
        now, instance = self._now, self._instance
        if isinstance(what, Request):
            client = self._clients[what.id] = _Client(what)
            try:
                instance.arrive(what, now)
            except RequestRejected as error:
                client.status, client.why, client.end = "failed", str(error), now
        elif isinstance(what, Transfer):
            instance.compute.copy(what)
            while not instance.compute.copied(what.id):
                pass  # a GPU's copy stream; modeled time stands still
            self._landing.pop(what.id)
            instance.moved(what, now)
        elif isinstance(what, _Running):
            self._end(what)
        elif isinstance(what, int):
            client = self._clients[what]
            if client.status == "live":
                client.status, client.end = "cancelled", now
            instance.cancel(what, now)
        else:
            instance.woke(now)

    def _carry_out(self, plan: Plan) -> None:
        for request in plan.finished:
            for load in self._loads.values():  # a cancelled member, of whichever lane
                load.drop(request)
        for transfer in plan.move:
            self._push(self._landing_time(transfer), transfer)
        for iteration in plan.launch:
            self._launch(iteration)
        if plan.wake_at is not None:
            self._push(max(plan.wake_at, self._now), None)

    def _landing_time(self, transfer: Transfer) -> int:
        link = self._links.get(transfer.link, Link())
        begin = max(self._now, self._link_free.get(transfer.link, 0))
        takes = link.latency + (round(transfer.bytes * 1e9 / link.bytes_per_s) if link.bytes_per_s else 0)
        self._link_free[transfer.link] = self._landing[transfer.id] = begin + takes
        return begin + takes

    def _launch(self, iteration: Iteration) -> None:
        load = self._loads.setdefault(iteration.lane, _Load())
        load.apply(iteration)
        begin = max([self._now, *(self._landing.get(t, 0) for t in iteration.after)])
        chunks = [(span.count, span.start) for span in iteration.spans]
        takes = self._cost.iteration_ns(chunks, len(load.start), load.context)
        self._push(begin + takes, _Running(iteration, Times(begin - self._now, takes)))

    def _end(self, running: _Running) -> None:
        # real tokens are computed when the iteration ends: every transfer it waited for has landed by then
        step = self._instance.compute.step(running.iteration)
        load = self._loads[running.iteration.lane]
        load.step()
        for request, token, finish in self._instance.finish(running.iteration, step, (self._now,), running.times):
            client = self._clients[request]
            if token >= 0:
                client.times.append(self._now)
            if finish:
                load.drop(request)
                client.status = "failed" if finish.startswith("error") else "ok"
                client.why, client.end = finish, self._now


@dataclass(frozen=True, slots=True)
class _Running:
    iteration: Iteration
    times: Times


def _record(client: _Client) -> Record:
    request, times = client.request, client.times
    at = request.arrival / 1e9
    failed = client.status == "failed"
    return Record(
        id=request.id,
        scheduled=at,
        sent=at,
        first_byte=times[0] / 1e9 if times else None,
        end=client.end / 1e9,
        status="failed" if failed else "cancelled" if client.status == "cancelled" else "ok",
        prompt=len(request.prompt),
        want=request.sampling.max_tokens,
        output=len(times),
        tokens=tuple(Tokens(t / 1e9, 1) for t in times),
        error=client.why if failed else "",
        finish="" if failed else client.why,
        slo=request.slo.name,
    )
