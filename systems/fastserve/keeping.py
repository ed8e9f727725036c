"""What happens to the KV of a preempted job: dropped and recomputed, or swapped out when its memory is needed.

FastServe (NSDI'26), section 4.2 and Figure 17: `Recompute` and `Reactive` are the rejected alternatives (wasted
work; swapping on the critical path), `Proactive` (proactive.py) is the paper's answer. A host pool that is full
is no error: the last job in order is dropped and recomputed (the artifact asserts there and hangs).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from systems.core.lane import Job
from systems.core.memory.blocks import PagedBlocks, Where
from systems.core.plan import Transfer
from systems.core.policy import Limits
from systems.fastserve.order import Order

Moves = tuple[Transfer, ...]


class Scheduling(Protocol):
    """What a way of keeping needs to know and to do about the policy it serves."""

    limits: Limits
    blocks: PagedBlocks
    jobs: dict[int, Job]
    batch: dict[int, Job]
    order: Order
    changed: bool

    def next_scheduled(self, job: Job, now: int) -> int:
        """Estimated time until `job` runs again, in ns (only the order matters; among equals, their places)."""

    def lacking(self, job: Job) -> int:
        """Device pages that `job` needs for its next iteration."""

    def put_aside(self, job: Job, now: int) -> None:
        """Take a live job out of the batch."""

    def drop(self, job: Job, now: int) -> None:
        """Give up the KV of a live job."""


class Keeping:
    """Makes room for the jobs that are first in order. `moving` counts transfers under way.

    `waits`: whether the engine waits for a job whose KV is on the host, so that such jobs take places in the batch.
    """

    waits = False
    window = 300_000_000  # ns of arrival history that size a reserve; a policy with an alpha sets it to that

    def __init__(self, policy: Scheduling) -> None:
        self.policy = policy
        self.blocks = policy.blocks
        self.now = 0
        self.moving = 0

    def arrived(self, job: Job, now: int) -> None:
        """A new job (for the history that sizes a reserve)."""

    def before_walk(self, now: int) -> None:
        """A walk down the order begins."""
        self.now = now

    def wanted(self, job: Job) -> bool:
        """`job` would run but its KV is not ready; whether its place in the batch is kept for it."""
        return False

    def make_room(self, job: Job) -> bool:
        """Whether the pages that `job` lacks could be freed at once."""
        raise NotImplementedError  # pragma: no cover - every way of keeping answers it

    def spare(self) -> int:
        """Device pages that a new job may take."""
        return self.blocks.device_free

    def after_walk(self, chosen: dict[int, Job], now: int) -> tuple[Moves, bool]:
        """Transfers to start, and whether the engine must hold until they are over. May take jobs out of `chosen`."""
        return (), False

    def between(self, now: int) -> Moves:
        """Transfers to start while the batch goes on unchanged."""
        return ()

    def slack(self, now: int) -> int:
        """Pages that the batch may take in further iterations before something is done about memory; at least 0."""
        return self.blocks.device_free

    def force(self, first: Job) -> Moves:
        """Make the first job ready by dropping the others, last in order first."""
        for victim in list(self.residents(after=first)):
            if self.policy.lacking(first) <= self.blocks.device_free:
                break
            self.policy.drop(victim, self.now)
        if self.blocks.where(first.request) is Where.HOST:
            return self.start(self.blocks.swap_in(first.request))
        return ()

    def residents(self, after: Job) -> Iterator[Job]:
        """Jobs on the device, last in order first, down to (not including) `after`."""
        keys, first = self.policy.order.keys, after.request
        behind = [request for request in self.blocks.on_device if keys[request] > keys[first]]
        behind.sort(key=keys.__getitem__, reverse=True)
        return (self.policy.jobs[request] for request in behind)

    def start(self, transfer: Transfer | None) -> Moves:
        """Take note that `transfer` starts."""
        if transfer is None:
            return ()
        self.moving += 1
        self.policy.changed = True
        return (transfer,)

    def swap_out(self, job: Job) -> Moves:
        """Start swapping `job` out; drop it when the host pool is full or when nothing of it is computed yet."""
        if not job.computed or self.blocks.host_free < self.blocks.held(job.request):
            self.policy.drop(job, self.now)
            return ()
        self.policy.put_aside(job, self.now)
        return self.start(self.blocks.swap_out(job.request))


class Recompute(Keeping):
    """Kill the jobs that are last in order and redo their work later."""

    def __init__(self, policy: Scheduling) -> None:
        super().__init__(policy)
        self._victims: list[Job] | None = None  # jobs on the device, last in order at the end; made once a walk

    def before_walk(self, now: int) -> None:
        """Look for victims anew."""
        super().before_walk(now)
        self._victims = None

    def make_room(self, job: Job) -> bool:
        """Drop jobs behind `job`, last first, if that yields what it lacks. All that a walk has chosen is before it."""
        if self._victims is None:
            self._victims = list(self.residents(after=job))[::-1]
        keys = self.policy.order.keys
        mine = keys[job.request]
        short = self.policy.lacking(job) - self.blocks.device_free
        take = len(self._victims)
        while short > 0 and take and keys[self._victims[take - 1].request] > mine:
            take -= 1
            short -= self.blocks.held(self._victims[take].request)
        if short > 0:
            return False
        for victim in reversed(self._victims[take:]):
            self.policy.drop(victim, self.now)
        del self._victims[take:]
        return True


class Reactive(Keeping):
    """Swap when the chosen jobs need it, while the engine waits."""

    waits = True

    def __init__(self, policy: Scheduling) -> None:
        super().__init__(policy)
        self._short: list[Job] = []
        self._waited = False

    def before_walk(self, now: int) -> None:
        """Forget the last walk's shortage."""
        super().before_walk(now)
        self._short.clear()

    def wanted(self, job: Job) -> bool:
        """Bring `job` back before the next iteration."""
        self._short.append(job)
        return not self._waited

    def make_room(self, job: Job) -> bool:
        """Never at once; `wanted` notes the shortage."""
        return False

    def after_walk(self, chosen: dict[int, Job], now: int) -> tuple[Moves, bool]:
        """Swap jobs out from the end of the order for those that are short, then those in; hold meanwhile.

        One round of waiting per iteration: a changing order cannot starve the engine.
        """
        if self.moving:
            return (), True
        if self._short and not (self._waited and chosen):
            victims = list(self.residents(after=self._short[0]))[::-1]
            moves = tuple(move for job in self._short for move in self._for(job, chosen, victims))
            if moves:
                self._waited = True
                return moves, True
        self._waited = False
        return (), False

    def _for(self, job: Job, chosen: dict[int, Job], victims: list[Job]) -> Iterator[Transfer]:
        """Swap out the last of `victims` (in order) until `job` has room or no victim is behind it."""
        lacking = self.policy.lacking(job) - self.blocks.device_free - self.blocks.leaving
        keys = self.policy.order.keys
        while lacking > 0 and victims and keys[victims[-1].request] > keys[job.request]:
            victim = victims.pop()
            lacking -= self.blocks.held(victim.request)
            chosen.pop(victim.request, None)
            yield from self.swap_out(victim)
        if self.blocks.where(job.request) is Where.HOST:
            yield from self.start(self.blocks.swap_in(job.request))
