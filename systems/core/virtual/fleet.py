"""The modeled clock: one event queue over any number of engines, with a front end that dispatches to them.

Iterations take what each engine's cost model says, transfers queue on named links, messages take a latency, wake-ups
come when they were asked for. At one instant the order is: arrivals, cancellations, landings, messages, wake-ups, ends
of iterations; then every engine that something happened to plans once. So the same input gives the same output, bit
for bit, whatever the engines compute and however many steps they leap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush
from typing import NamedTuple

from systems.core.errors import RequestRejected
from systems.core.plan import Message, Plan, Transfer
from systems.core.record import Record
from systems.core.request import Request
from systems.core.virtual.dispatch import Dispatch, RoundRobin
from systems.core.virtual.engine import Client, Engine
from systems.core.virtual.links import Link, Links

CANCEL, LANDING, MESSAGE, WAKE, END = range(1, 6)
NEVER = 1 << 62


class _Said(NamedTuple):
    sender: str
    message: Message
    carried: list[Client]


class _Member:
    """An engine, its links and the number of the iteration that runs on each lane (older ends do not count)."""

    def __init__(self, index: int, name: str, engine: Engine, links: Links) -> None:
        self.index = index
        self.name = name
        self.engine = engine
        self.links = links
        self.version: dict[int, int] = {}


class Fleet:
    """Engines by name. `run` serves a schedule and returns the records, ordered by id.

    `message_ns` is how long a message travels. An engine may be added while the fleet runs (`add`), or taken out of
    the dispatch (`retire`): it then finishes what it has.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        links: Mapping[str, Link] | None = None,
        dispatch: Dispatch | None = None,
        message_ns: int = 0,
    ) -> None:
        self.now = 0
        self._links = dict(links or {})
        self._dispatch = dispatch or RoundRobin()
        self._message_ns = message_ns
        self._members: dict[str, _Member] = {}
        self._open: list[_Member] = []
        self._heap: list[tuple[int, int, int, int, _Member, object]] = []  # time, kind, number, version, where, what
        self._count = 0
        self._where: dict[int, _Member] = {}
        self._clients: list[Client] = []
        self._pending: Request | None = None
        for name, engine in engines.items():
            self.add(name, engine)

    def add(self, name: str, engine: Engine) -> None:
        """An engine that requests may be sent to from now on."""
        member = _Member(len(self._members), name, engine, Links(self._links))
        self._members[name] = member
        self._open.append(member)

    def retire(self, name: str) -> None:
        """Send no further request to that engine."""
        self._open.remove(self._members[name])

    def run(
        self,
        schedule: Iterable[Request],
        cancels: Iterable[tuple[int, int]] = (),
    ) -> list[Record]:
        """Serve `schedule` (sorted by arrival); `cancels` are (time, request). Returns when nothing is left to do."""
        arrivals = iter(schedule)
        self._pending = next(arrivals, None)
        for at, request in cancels:
            self._push(at, CANCEL, self._open[0], request)
        heap = self._heap
        touched: dict[_Member, None] = {}
        while heap or self._pending:
            now = self._pending.arrival if self._pending else NEVER
            if heap and heap[0][0] < now:
                now = heap[0][0]
            self.now = now
            while self._pending and self._pending.arrival == now:
                touched[self._arrive(self._pending, now)] = None
                self._pending = self._next(arrivals, now)
            while heap and heap[0][0] == now:
                happened = self._happen(heappop(heap), now)
                if happened is not None:
                    touched[happened] = None
            for member in touched:
                self._carry_out(member, member.engine.plan(now), now)
            touched.clear()
        left = sum(member.engine.load for member in self._members.values())
        assert not left, f"the policy left requests waiting with nothing to happen: {left}"
        clients, records = self._clients, []
        clients.sort(key=lambda client: client.request.id, reverse=True)
        while clients:  # a million requests must not be held twice
            records.append(clients.pop().record())
        return records

    # -- events ------------------------------------------------------------------------------------------------

    def _next(self, arrivals: Iterator[Request], now: int) -> Request | None:
        request = next(arrivals, None)
        assert request is None or request.arrival >= now, "a schedule is sorted by arrival"
        return request

    def _push(self, at: int, kind: int, member: _Member, what: object) -> None:
        self._count += 1
        heappush(self._heap, (at, kind, self._count, 0, member, what))

    def _arrive(self, request: Request, now: int) -> _Member:
        member = self._open[self._dispatch([m.engine.load for m in self._open])]
        client = Client(request, request.sampling.max_tokens)
        self._clients.append(client)
        try:
            member.engine.arrive(client, now)
        except RequestRejected as error:
            client.close("failed", str(error), now)
            return member
        self._where[request.id] = member
        self._cut(member, now)
        return member

    def _happen(self, event: tuple[int, int, int, int, _Member, object], now: int) -> _Member | None:
        """One event; the engine it happened to, or None for the end of an iteration that had been cut short."""
        _, kind, number, version, member, what = event
        if kind == END:
            lane = number % LANES
            if member.version[lane] != version:
                return None
            member.engine.end(lane, now)
            return member
        if isinstance(what, Transfer):
            member.links.landed(what.id)
            member.engine.moved(what, now)
        elif isinstance(what, int):
            member = self._where.get(what, member)
            member.engine.cancel(what, now)
        elif isinstance(what, _Said):
            for client in what.carried:
                self._where[client.request.id] = member
            member.engine.said(what.sender, what.message, what.carried, now)
        else:
            member.engine.woke(now)
        self._cut(member, now)
        return member

    def _cut(self, member: _Member, now: int) -> None:
        for lane, end in member.engine.cut(now):
            self._ends(member, lane, end)

    # -- plans -------------------------------------------------------------------------------------------------

    def _carry_out(self, member: _Member, plan: Plan, now: int) -> None:
        for transfer in plan.move:
            self._push(member.links.start(transfer, now), LANDING, member, transfer)
        for iteration in plan.launch:
            horizon = self._pending.arrival if self._pending else NEVER
            end = member.engine.begin(iteration, now, member.links.ready(iteration.after, now), horizon)
            self._ends(member, iteration.lane, end)
        for message in plan.say:
            target = self._members[message.target]
            carried = member.engine.hand_over(message.carries)
            self._push(now + self._message_ns, MESSAGE, target, _Said(member.name, message, carried))
        if plan.wake_at is not None:
            self._push(max(plan.wake_at, now), WAKE, member, None)

    def _ends(self, member: _Member, lane: int, at: int) -> None:
        version = member.version[lane] = member.version.get(lane, 0) + 1
        heappush(self._heap, (at, END, member.index * LANES + lane, version, member, None))


LANES = 1024  # lanes of an engine, at most; ends at one instant are taken in order of engine and lane


def serve(
    engine: Engine,
    schedule: Iterable[Request],
    links: Mapping[str, Link] | None = None,
    cancels: Iterable[tuple[int, int]] = (),
) -> list[Record]:
    """One engine through one schedule, in any order; the records, ordered by id."""
    return Fleet({"": engine}, links).run(sorted(schedule, key=lambda request: request.arrival), cancels)
