"""An engine with a compute in modeled time: real tokens (torch) or made-up ones, one iteration at a time.

With torch compute this is deterministic on a noisy machine (torch+modeled): real drafts can meet a paper's latencies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from systems.core.compute import CostModel
from systems.core.events import Times
from systems.core.instance import Instance
from systems.core.plan import Iteration, Message, Plan, Transfer
from systems.core.virtual.engine import Client, Run


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


class Computed:
    """An `Instance` whose iterations take what `cost` says."""

    def __init__(self, instance: Instance, cost: CostModel) -> None:
        self.clients: dict[int, Client] = {}
        self._instance = instance
        self._cost = cost
        self._loads: dict[int, _Load] = {}
        self._running: dict[int, tuple[Iteration, Times]] = {}

    @property
    def load(self) -> int:
        """Requests that are not over."""
        return self._instance.live

    def arrive(self, client: Client, now: int) -> None:
        """Take a request. Raises RequestRejected."""
        self._instance.arrive(client.request, now)
        self.clients[client.request.id] = client

    def cancel(self, request: int, now: int) -> None:
        """Its client went away."""
        client = self.clients.get(request)
        if client and client.status == "live":
            client.close("cancelled", "", now)
        self._instance.cancel(request, now)

    def moved(self, transfer: Transfer, now: int) -> None:
        """Copy now: until it has landed nobody looks at the target, and the source stands still."""
        compute = self._instance.compute
        compute.copy(transfer)
        while not compute.copied(transfer.id):
            pass  # a GPU's copy stream; modeled time stands still
        self._instance.moved(transfer, now)

    def said(self, sender: str, message: Message, carried: Sequence[Client], now: int) -> None:
        """Raise NotImplementedError: real requests cannot change engines yet."""
        raise NotImplementedError("An engine with a compute takes no messages yet.")

    def hand_over(self, requests: tuple[int, ...]) -> list[Client]:
        """Raise NotImplementedError: see `said`."""
        raise NotImplementedError("An engine with a compute sends no messages yet.")

    def woke(self, now: int) -> None:
        """The time the policy asked for has come."""
        self._instance.woke(now)

    def plan(self, now: int) -> Plan:
        """The policy's plan."""
        plan = self._instance.plan(now)
        for request in plan.finished:
            for load in self._loads.values():  # a cancelled member, of whichever lane
                load.drop(request)
            del self.clients[request]
        return plan

    def begin(self, iteration: Iteration, now: int, ready: int, horizon: int) -> int:
        """Start one step; when it ends."""
        del horizon
        load = self._loads.setdefault(iteration.lane, _Load())
        load.apply(iteration)
        chunks = [(span.count, span.start) for span in iteration.spans]
        takes = self._cost.iteration_ns(chunks, len(load.start), load.context)
        self._running[iteration.lane] = iteration, Times(ready - now, takes)
        return ready + takes

    def cut(self, now: int) -> list[tuple[int, int]]:
        """One step is never cut."""
        del now
        return []

    def end(self, lane: int, now: int) -> None:
        """Compute the tokens of the iteration: every transfer it waited for has landed by now."""
        iteration, times = self._running.pop(lane)
        step = self._instance.compute.step(iteration)
        load = self._loads[lane]
        load.step()
        for request, token, finish in self._instance.finish(iteration, step, (now,), times):
            client = self.clients[request]
            if token >= 0:
                client.runs.append(Run(now, now, 1))
            if finish:
                load.drop(request)
                client.over = True
                client.close("failed" if finish.startswith("error") else "ok", finish, now)
