"""Proactive swapping: copies overlap with compute, ordered by the estimated next scheduled time (ENST).

FastServe (NSDI'26), section 4.2: swap out the job with the largest ENST, swap in the one with the smallest, and
keep some pages idle for a burst of new jobs. The size of that reserve comes from the arrival history: here the
pages that the prompts of the last `window` ns asked for, at most a quarter of the pool.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from systems.core.lane import Job
from systems.core.memory.blocks import Where
from systems.core.plan import Transfer
from systems.fastserve.keeping import Keeping, Moves, Scheduling


class Proactive(Keeping):
    """Keeps a reserve free and brings back, in the background, the jobs that will run soonest."""

    def __init__(self, policy: Scheduling) -> None:
        super().__init__(policy)
        self._history: deque[tuple[int, int]] = deque()
        self._asked = 0
        self._short: Job | None = None

    def arrived(self, job: Job, now: int) -> None:
        """Add a prompt's pages to the history."""
        pages = self.blocks.pages_for(job.prompt)
        self._history.append((now, pages))
        self._asked += pages

    def reserve(self, now: int) -> int:
        """Pages to keep idle for new jobs."""
        while self._history and self._history[0][0] < now - self.window:
            self._asked -= self._history.popleft()[1]
        return min(self._asked, self.blocks.device_pages // 4)

    def before_walk(self, now: int) -> None:
        """Forget the last walk's shortage."""
        super().before_walk(now)
        self._short = None

    def wanted(self, job: Job) -> bool:
        """Note the first job that is not ready; others run in its place meanwhile."""
        if self._short is None:
            self._short = job
        return False

    def make_room(self, job: Job) -> bool:
        """Never at once: copies overlap with what can run."""
        return False

    def between(self, now: int) -> Moves:
        """Refill the reserve if it was used; nothing else changes while the batch goes on."""
        self._short = None
        if self.blocks.device_free + self.blocks.leaving >= self.reserve(now):
            return ()
        return self._out(self.policy.batch, now)

    def slack(self, now: int) -> int:
        """Down to the reserve, which only shrinks until somebody arrives; all of it when there is nobody to swap out."""
        free = self.blocks.device_free
        if len(self.blocks.on_device) == len(self.policy.batch):
            return free
        return max(0, min(free, free + self.blocks.leaving - self.reserve(now)))

    def spare(self) -> int:
        """Pages that are not spoken for by the first job that is not ready."""
        if self._short is None:
            return self.blocks.device_free
        return max(0, self.blocks.device_free - max(0, self.policy.lacking(self._short) - self.blocks.leaving))

    def after_walk(self, chosen: dict[int, Job], now: int) -> tuple[Moves, bool]:
        """Swap out the largest ENST for the reserve and the first short job, swap in the smallest; never hold."""
        return (*self._out(chosen, now), *self._in(chosen, now)), False

    def _out(self, chosen: dict[int, Job], now: int) -> Moves:
        short = self._short
        lacking = (self.policy.lacking(short) if short else 0) - self.blocks.device_free - self.blocks.leaving
        spare = lacking + self.reserve(now)
        if spare <= 0:
            return ()
        moves: list[Transfer] = []
        for victim in self._by_enst(Where.DEVICE, chosen, now, largest=True):
            held = self.blocks.held(victim.request)
            # a full host pool costs a job its work: worth it for a job that waits, not for the reserve
            if victim is not short and (lacking > 0 or (spare > 0 and held <= self.blocks.host_free)):
                moves.extend(self.swap_out(victim))
                lacking -= held
                spare -= held
        if short is not None and lacking > 0:
            moves.extend(self._out_of_batch(chosen, short, lacking))
        return tuple(moves)

    def _out_of_batch(self, chosen: dict[int, Job], short: Job, lacking: int) -> Iterator[Transfer]:
        """The batch itself makes room for a job before it in order, or that job would wait as long as it runs."""
        keys = self.policy.order.keys
        mine = keys[short.request]
        for victim in reversed(list(chosen.values())):
            if lacking <= 0 or keys[victim.request] < mine:
                return
            lacking -= self.blocks.held(victim.request)
            del chosen[victim.request]
            yield from self.swap_out(victim)

    def _in(self, chosen: dict[int, Job], now: int) -> Moves:
        """Bring jobs back, the first short one before all, then the soonest, in pages that nobody waits for.

        Not at the cost of the reserve unless nothing else could run; another reserve is left for jobs that are not
        short yet, or they would go back and forth.
        """
        short, reserve = self._short, self.reserve(now) if chosen else 0
        spare = self.blocks.device_free - reserve
        moves: list[Transfer] = []
        if short is not None:
            spare -= self.policy.lacking(short)
            if spare >= 0 and self.blocks.where(short.request) is Where.HOST:
                moves.extend(self.start(self.blocks.swap_in(short.request)))
        for job in self._by_enst(Where.HOST, chosen, now, largest=False) if spare > reserve else ():
            spare -= self.blocks.held(job.request)
            if spare < reserve:
                break
            moves.extend(self.start(self.blocks.swap_in(job.request)))
        return tuple(moves)

    def _by_enst(self, where: Where, chosen: dict[int, Job], now: int, *, largest: bool) -> list[Job]:
        policy = self.policy
        there = self.blocks.on_host if where is Where.HOST else self.blocks.on_device
        found = [
            (policy.next_scheduled(policy.jobs[request], now), policy.order.keys[request], request)
            for request in there
            if request not in chosen
        ]
        found.sort(reverse=largest)
        return [policy.jobs[request] for _, _, request in found]
