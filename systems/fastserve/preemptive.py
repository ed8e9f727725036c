"""Iteration-level preemption: before every iteration, the requests that are first in order run.

FastServe (NSDI'26), section 4.1: walk the order from the front and take ready jobs up to the batch limit;
preemption happens only between iterations. FCFS, fixed priority, SRPT and the MLFQ family differ only in the
order; what happens to the KV of a preempted job is the business of its `Keeping` (section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from systems.core.lane import Job
from systems.core.memory.blocks import PagedBlocks, Where
from systems.core.plan import Iteration, Leap, Transfer
from systems.core.policy import Estimator, Limits
from systems.core.single_lane import SingleLane
from systems.fastserve.keeping import Keeping, Reactive, Recompute, Scheduling
from systems.fastserve.order import Order, Outside
from systems.fastserve.proactive import Proactive

KeepName = Literal["proactive", "reactive", "recompute"]
Choice = tuple[Iteration | None, tuple[Transfer, ...]]

ENDLESS = 1 << 62  # more pages than there are

KEEPINGS: dict[KeepName, Callable[[Scheduling], Keeping]] = {
    "proactive": Proactive,
    "reactive": Reactive,
    "recompute": Recompute,
}


class Preemptive(SingleLane):
    """Keeps all live jobs in `order` and runs the first ready ones."""

    def __init__(self, limits: Limits, blocks: PagedBlocks, estimator: Estimator, keep: KeepName, order: Order) -> None:
        super().__init__(limits, blocks, estimator)
        self.order = order
        self.outside = Outside()
        self.batch: dict[int, Job] = {}  # the jobs of the last iteration, prompts included
        self.changed = True
        self.keeping = KEEPINGS[keep](self)

    # -- for the policy to answer ------------------------------------------------------------------------

    def before(self, now: int) -> None:
        """Change the order before an iteration is chosen (promotion)."""

    def taken(self, job: Job) -> None:
        """`job` enters the batch."""

    def preempted(self, job: Job) -> None:
        """`job` leaves the batch without being over."""

    def may_start(self, job: Job) -> bool:
        """Whether a job that has put out no token may run now; any other may."""
        return True

    def skips(self) -> bool:
        """Whether jobs behind a prompt that exceeds the token budget may run before it."""
        return True

    def overtakes(self) -> bool:
        """Whether jobs behind one whose memory is short may run before it."""
        return True

    def next_scheduled(self, job: Job, now: int) -> int:
        """Estimated time until `job` runs again (only the order matters; among equals, their places); here no time."""
        return 0

    def leap(self, now: int) -> Leap:
        """How long the same batch would be chosen again if nothing else happened: here until memory runs short."""
        return Leap(self.lane.steps_within(self.keeping.slack(now)))

    # -- events ----------------------------------------------------------------------------------------

    def ended(self, job: Job) -> None:
        """Forget the job's place."""
        self.changed = True
        self.order.remove(job.request)
        self.outside.discard(job.request)
        self.batch.pop(job.request, None)

    def arrived(self, job: Job, now: int) -> None:
        """Add the job to the arrival history; a policy then gives it its place in the order."""
        self.changed = True
        self.outside.add(job.request, self.blocks.pages_for(job.known))
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
            moves = self.keeping.between(now)
            return self.lane.launch(leap=self.leap(now)), moves
        chosen = self._walk(now)
        self.changed = False
        moves, hold = self.keeping.after_walk(chosen, now)  # a job dropped here makes room that the next walk may use
        while not chosen and not moves and not self.keeping.moving and self.jobs:
            # nothing is ready and nothing is on its way: make the first job ready, whatever it costs
            moves = self.keeping.force(self.jobs[next(iter(self.order))])
            chosen = self._walk(now) if not moves else {}
        self.changed |= hold or not chosen
        return (None if hold or not chosen else self._launch(chosen, now)), moves

    def _walk(self, now: int) -> dict[int, Job]:
        """Jobs to run, in order; their memory is granted. At most `max_batch`, prompts within the token budget."""
        self.keeping.before_walk(now)
        jobs, members, blocks, keeping = self.jobs, self.lane.members, self.blocks, self.keeping
        places, max_tokens = self.limits.max_batch, self.limits.max_tokens
        budget = max_tokens
        # with memory to spare, members get their pages in one go; else one by one, the first in order first
        due = self.lane.due()
        short: Mapping[int, Job] = {} if 4 * len(due) <= blocks.device_free and self.lane.grow() else due
        chosen: dict[int, Job] = {}
        floor = 0  # free pages that are spoken for by a job of this walk that lacks memory
        full = not blocks.device_free
        among = narrowed = (ENDLESS, True)  # pages that a new job may need; whether jobs on the host count
        order = iter(self.order)
        while places and (request := next(order, None)) is not None:
            job = jobs[request]
            if request in members and request not in short:
                chosen[request] = job
                places -= 1
            elif (where := blocks.where(request)) is Where.LEAVING or where is Where.COMING:
                pass
            elif 1 < job.todo > budget < max_tokens:  # the first prompt is never too long
                if not self.skips():
                    break
            elif request not in members and (chosen or keeping.moving) and not self.may_start(job):
                pass
            elif where is not Where.HOST and self._granted(job, where):
                chosen[request] = job
                places -= 1
                budget -= job.todo if job.todo > 1 else 0
                full = blocks.device_free <= floor
            else:
                kept = keeping.wanted(job)
                places -= kept
                if not self.overtakes():
                    break
                floor = floor or blocks.device_free - keeping.spare()
                full = blocks.device_free <= floor
                if not kept and (chosen or not keeping.waits):
                    new = where is Where.NOWHERE and self.skips()
                    among = (min(among[0], blocks.pages_for(job.known) if new else ENDLESS), False)
            if full:
                among = (0, among[1] and keeping.waits)
            if among != narrowed:
                order, narrowed = self._behind(request, among), among
        return chosen

    def _behind(self, last: int, among: tuple[int, bool]) -> Iterator[int]:
        """Requests behind `last` that may still be granted memory or a place, in order.

        Memory only shrinks along a walk: what a new job could not get, no later one will that needs as much. So
        these are the ones that hold some and the new ones that need fewer pages than `among` says. Those on the host
        count until a job was short and its place was not kept: only the first such job matters.
        """
        limit, host = among
        keys, blocks = self.order.keys, self.blocks
        candidates = (*blocks.on_device, *(blocks.on_host if host else ()), *self.outside.below(limit))
        place = keys[last]
        behind = [request for request in candidates if keys[request] > place]
        behind.sort(key=keys.__getitem__)
        return iter(behind)

    def _granted(self, job: Job, where: Where) -> bool:
        """Get the pages that `job`, which is not on the host, needs for its next iteration."""
        request, blocks = job.request, self.blocks
        if request in self.lane.members:
            return self.lane.grow_one(job) or (self.keeping.make_room(job) and self.lane.grow_one(job))
        new = where is Where.NOWHERE
        spare = self.keeping.spare() if new else blocks.device_free
        if blocks.missing(request, job.known) > spare and not self.keeping.make_room(job):
            return False
        if blocks.extend(request, job.known) is None:
            return False
        if new:
            self.outside.discard(request)
        return True

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
        self.outside.add(job.request, self.blocks.pages_for(job.known))
        job.computed = 0
        self.changed = True
