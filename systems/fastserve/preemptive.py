"""Iteration-level preemption: before every iteration, the requests that are first in order run.

FastServe (NSDI'26), section 4.1: walk the order from the front and take ready jobs up to the batch limit;
preemption happens only between iterations. FCFS, fixed priority, SRPT and the MLFQ family differ only in the
order; what happens to the KV of a preempted job is the business of its `Keeping` (section 4.2).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from typing import Literal

from systems.core.lane import Job
from systems.core.memory.blocks import PagedBlocks, Where
from systems.core.plan import Iteration, Transfer
from systems.core.policy import Estimator, Limits
from systems.core.single_lane import SingleLane
from systems.fastserve.keeping import Keeping, Key, Reactive, Recompute, Scheduling
from systems.fastserve.proactive import Proactive

KeepName = Literal["proactive", "reactive", "recompute"]
Choice = tuple[Iteration | None, tuple[Transfer, ...]]

KEEPINGS: dict[KeepName, Callable[[Scheduling], Keeping]] = {
    "proactive": Proactive,
    "reactive": Reactive,
    "recompute": Recompute,
}


class Preemptive(SingleLane):
    """Keeps all live jobs sorted by `Key` (smaller runs first) and runs the first ready ones."""

    def __init__(self, limits: Limits, blocks: PagedBlocks, estimator: Estimator, keep: KeepName) -> None:
        super().__init__(limits, blocks, estimator)
        self.order: list[tuple[Key, int]] = []
        self.keys: dict[int, Key] = {}
        self.batch: dict[int, Job] = {}  # the jobs of the last iteration, prompts included
        self.changed = True
        self._floor = 0  # free pages that are spoken for by a job of this walk that lacks memory
        self.keeping = KEEPINGS[keep](self)

    # -- for the policy to answer ------------------------------------------------------------------------

    def before(self, now: int) -> None:
        """Change the order before an iteration is chosen (promotion)."""

    def taken(self, job: Job) -> None:
        """`job` enters the batch."""

    def preempted(self, job: Job) -> None:
        """`job` leaves the batch without being over."""

    def may_start(self, job: Job) -> bool:
        """Whether a job that has never run may run now."""
        return True

    def skips(self) -> bool:
        """Whether jobs behind a prompt that exceeds the token budget may run before it."""
        return True

    def overtakes(self) -> bool:
        """Whether jobs behind one whose memory is short may run before it."""
        return True

    def next_scheduled(self, job: Job, now: int) -> int:
        """Estimated time until `job` runs again (only the order matters); here its place."""
        return self.place_of(job)

    # -- the order -------------------------------------------------------------------------------------

    def place(self, job: Job, key: Key) -> None:
        """Put `job` at `key` in the order, wherever it was before."""
        request, order = job.request, self.order
        old = self.keys.get(request)
        if old is not None:
            del order[bisect_left(order, (old, request))]
        self.keys[request] = key
        insort(order, (key, request))
        self.changed = True

    def unplace(self, job: Job) -> None:
        """Take `job` out of the order."""
        self.changed = True
        key = self.keys.pop(job.request, None)
        if key is not None:
            del self.order[bisect_left(self.order, (key, job.request))]

    def place_of(self, job: Job) -> int:
        """How many jobs are before `job` in the order."""
        return bisect_left(self.order, (self.keys[job.request], job.request))

    # -- events ----------------------------------------------------------------------------------------

    def ended(self, job: Job) -> None:
        """Forget the job's place."""
        self.unplace(job)
        self.batch.pop(job.request, None)

    def arrived(self, job: Job, now: int) -> None:
        """Add the job to the arrival history; a policy then places it."""
        self.keeping.arrived(job, now)

    def moved(self, transfer: Transfer, now: int) -> None:
        """A job that was on its way is there: choose anew."""
        self.keeping.moving -= 1
        self.changed = True

    def ran(self, iteration: Iteration, elapsed: int, now: int) -> None:
        """A prompt that has been computed becomes a decode: choose anew."""
        self.changed |= bool(iteration.spans)

    # -- choosing --------------------------------------------------------------------------------------

    def choose(self, now: int) -> Choice:
        """The same batch again if nothing changed and memory suffices, else a walk down the order."""
        self.before(now)
        members = self.lane.members
        same = not self.changed or len(members) == len(self.jobs)  # nobody else is there: the order decides nothing
        if same and members and self.lane.grow():
            return self.lane.launch(), self.keeping.between(now)
        chosen = self._walk(now)
        self.changed = False
        moves, hold = self.keeping.after_walk(chosen, now)  # a job dropped here makes room that the next walk may use
        while not chosen and not moves and not self.keeping.moving and self.jobs:
            # nothing is ready and nothing is on its way: make the first job ready, whatever it costs
            moves = self.keeping.force(self.jobs[self.order[0][1]])
            chosen = self._walk(now) if not moves else {}
        self.changed |= hold or not chosen
        return (None if hold or not chosen else self._launch(chosen, now)), moves

    def _walk(self, now: int) -> dict[int, Job]:
        """Jobs to run, in order; their memory is granted. At most `max_batch`, prompts within the token budget."""
        self.keeping.before_walk(now)
        jobs, members, max_tokens = self.jobs, self.lane.members, self.limits.max_tokens
        places, budget = self.limits.max_batch, max_tokens
        # with memory to spare, members get their pages in one go; else one by one, the first in order first
        grown = 4 * self.lane.due() <= self.blocks.device_free and self.lane.grow()
        chosen: dict[int, Job] = {}
        for request in self._candidates():
            if not places:
                break
            job = jobs[request]
            if request in members:
                granted = grown or self._granted(job)
            else:
                where = self.blocks.where(request)
                if where is Where.LEAVING or where is Where.COMING:
                    continue
                if job.todo > 1 and job.todo > budget < max_tokens:  # the first prompt is never too long
                    if self.skips():
                        continue
                    break
                if not job.prefilled and not self.may_start(job) and (chosen or self.keeping.moving):
                    continue
                granted = where is not Where.HOST and self._granted(job)
                budget -= job.todo if granted and job.todo > 1 else 0
            if granted:
                chosen[request] = job
                places -= 1
                continue
            places -= self.keeping.wanted(job)
            if not self.overtakes():
                break
            self._floor = self._floor or self.blocks.device_free - self.keeping.spare()
        return chosen

    def _candidates(self) -> Iterator[int]:
        """Requests in order; once no page is left to start with, only those that hold some."""
        self._floor = 0
        for place, request in self.order:
            yield request
            if self.blocks.device_free <= self._floor:
                here, keys = (place, request), self.keys
                held = (*self.blocks.on_device, *self.blocks.on_host) if self.keeping.waits else self.blocks.on_device
                behind = [(keys[r], r) for r in held if (keys[r], r) > here]
                behind.sort()
                yield from (r for _, r in behind)
                return

    def _granted(self, job: Job) -> bool:
        """Get the pages that `job` needs for its next iteration."""
        if job.request in self.lane.members:
            if self.lane.grow_one(job):
                return True
            return self.keeping.make_room(job) and self.lane.grow_one(job)
        missing = self.blocks.missing(job.request, job.known)
        new = self.blocks.where(job.request) is Where.NOWHERE
        if missing > (self.keeping.spare() if new else self.blocks.device_free) and not self.keeping.make_room(job):
            return False
        return self.blocks.extend(job.request, job.known) is not None

    def _launch(self, chosen: dict[int, Job], now: int) -> Iteration:
        batch, members = self.batch, self.lane.members
        for job in [job for request, job in batch.items() if request not in chosen]:
            self.put_aside(job, now)
        chunks: list[tuple[Job, int]] = []
        for job in [job for request, job in chosen.items() if request not in members]:
            if job.request not in batch:
                batch[job.request] = job
                self.taken(job)
            if job.todo > 1:
                chunks.append((job, job.todo))
            else:
                self.lane.join(job)
        return self.lane.launch(chunks)

    def lacking(self, job: Job) -> int:
        """Device pages that `job` needs for its next iteration, all of them when its KV is on the host."""
        if job.request in self.lane.members:
            self.lane.sync(job)
        if self.blocks.where(job.request) is Where.HOST:
            return self.blocks.held(job.request)
        return self.blocks.missing(job.request, job.known)

    def put_aside(self, job: Job, now: int) -> None:
        """Take a live job out of the batch; its wait begins."""
        if job.request in self.lane.members:
            self.lane.leave(job)
        if self.batch.pop(job.request, None):
            job.since = now
            self.preempted(job)

    def drop(self, job: Job, now: int) -> None:
        """Give up the KV of a live job; it will be recomputed (prompt and output so far)."""
        self.put_aside(job, now)
        self.blocks.release(job.request)
        job.computed = 0
        self.changed = True
