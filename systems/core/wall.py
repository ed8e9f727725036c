"""The real-time driver of one instance: messages in, plans out, one iteration at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from systems.core.copier import Copier
from systems.core.errors import RequestRejected
from systems.core.event_log import EventLog
from systems.core.events import Times
from systems.core.instance import Instance
from systems.core.plan import Iteration
from systems.core.wire import (
    Abort,
    Emitted,
    FromEngine,
    Rejected,
    Reset,
    ResetDone,
    Start,
    Stats,
    Stop,
    Submit,
    ToEngine,
)

Inbox = Callable[[float | None], Sequence[ToEngine]]
Outbox = Callable[[FromEngine], None]

STATS_EVERY = 200_000_000  # ns
IDLE_WAIT = 1.0  # s


class WallLoop:
    """Runs `instance` until `Stop`. `inbox(seconds)` returns queued messages, waiting at most so long if there are none.

    `facts` go into the header of every event log, so that a replay can build the same policy.
    """

    def __init__(
        self, instance: Instance, inbox: Inbox, outbox: Outbox, *, bytes_per_s: float = 0.0, facts: dict[str, Any]
    ) -> None:
        self._instance = instance
        self._inbox = inbox
        self._outbox = outbox
        self._facts = facts
        self._epoch = perf_counter_ns()
        self._copier = Copier(instance.compute, self.now, bytes_per_s)
        self._flying: set[int] = set()
        self._stopped = False
        self._told = 0
        self._wake: int | None = None
        self._busy = False

    def now(self) -> int:
        """Ns since the loop was made."""
        return perf_counter_ns() - self._epoch

    def run(self) -> None:
        """Serve until told to stop."""
        wait: float | None = None
        while not self._stopped:
            for message in self._inbox(wait):
                self._take(message)
            wait = self._turn()
        if self._instance.log:
            self._instance.log.close()

    def _turn(self) -> float | None:
        """One round: land transfers, plan, run what was planned. How long to wait for messages before the next."""
        self._land()
        now = self.now()
        if self._wake is not None and now >= self._wake:
            self._instance.woke(now)
        plan = self._instance.plan(now)
        self._wake = plan.wake_at
        for transfer in plan.move:
            self._flying.add(transfer.id)
            self._copier.start(transfer)
        for iteration in plan.launch:
            self._run(iteration)
        self._tell(worked=bool(plan.launch))
        if plan.launch or plan.finished:
            return 0.0
        wait = self._copier.left() if self._copier.pending else IDLE_WAIT
        return wait if plan.wake_at is None else min(wait, max(0.0, (plan.wake_at - self.now()) / 1e9))

    def _run(self, iteration: Iteration) -> None:
        began = self.now()
        while not self._flying.isdisjoint(iteration.after):
            self._copier.wait()
            self._land()
        ready = self.now()
        step = self._instance.compute.step(iteration)
        end = self.now()
        emitted = self._instance.finish(iteration, step, (end,), Times(ready - began, end - ready))
        if emitted:
            self._outbox(Emitted(emitted))

    def _land(self) -> None:
        for transfer, ok in self._copier.done():
            self._flying.discard(transfer.id)
            self._instance.moved(transfer, self.now(), ok=ok)

    def _take(self, message: ToEngine) -> None:
        if isinstance(message, Submit):
            request = replace(message.request, arrival=self.now())
            try:
                self._instance.arrive(request, request.arrival)
            except RequestRejected as error:
                self._outbox(Rejected(request.id, error.status, error.kind, str(error)))
        elif isinstance(message, Abort):
            self._instance.cancel(message.id, self.now())
        elif isinstance(message, Reset):
            self._outbox(self._reset(message.event_log))
        else:
            assert isinstance(message, Stop | Start)
            self._stopped = isinstance(message, Stop)

    def _reset(self, path: str) -> ResetDone:
        if self._instance.live or self._copier.pending:
            return ResetDone(ok=False, reason=f"{self._instance.live} requests are live")
        try:
            log = EventLog(Path(path), self._facts) if path else None
        except OSError as error:
            return ResetDone(ok=False, reason=str(error))
        self._instance.start_log(log)
        return ResetDone()

    def _tell(self, *, worked: bool) -> None:
        """Stats now and then while there is work, and once more when there is none left."""
        now = self.now()
        if now - self._told >= STATS_EVERY if worked else self._busy:
            self._told = now
            self._outbox(self._stats(self._instance.running if worked else 0))
        self._busy = worked

    def _stats(self, running: int) -> Stats:
        device, host = self._instance.usage()
        counters = self._instance.counters
        return Stats(
            running=running,
            waiting=self._instance.live - running,
            kv_usage=device,
            host_usage=host,
            **{name: getattr(counters, name) for name in counters.__slots__},
        )
