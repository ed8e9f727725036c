"""What every policy with one lane does alike: keep jobs, take note of outcomes, hold pages while in use.

A policy derives from `SingleLane` and answers `choose`; the hooks tell it what happened. Time is passed in.
"""

from __future__ import annotations

from systems.core.events import Arrived, Cancelled, Event, Moved, Ran
from systems.core.lane import Job, Lane
from systems.core.memory.blocks import PagedBlocks
from systems.core.plan import IDLE, Iteration, Plan, Transfer
from systems.core.policy import Estimator, Limits


class SingleLane:
    """A policy over one lane and paged memory; `choose` decides, everything else is bookkeeping."""

    def __init__(self, limits: Limits, blocks: PagedBlocks, estimator: Estimator) -> None:
        self.limits = limits
        self.blocks = blocks
        self.estimator = estimator
        self.jobs: dict[int, Job] = {}
        self.lane = Lane(blocks)
        self.running: Iteration | None = None
        self.launched_at = 0
        self._finished: list[int] = []
        self._cancelled: list[Job] = []  # of the running iteration

    # -- for the policy to answer ----------------------------------------------------------------------

    def choose(self, now: int) -> tuple[Iteration | None, tuple[Transfer, ...]]:
        """The next iteration (or None) and the transfers to start. Called when the lane is idle."""
        raise NotImplementedError  # pragma: no cover - every policy answers it

    def arrived(self, job: Job, now: int) -> None:
        """`job` is new."""

    def ended(self, job: Job) -> None:
        """`job` is over; its memory is about to be released."""

    def ran(self, iteration: Iteration, elapsed: int, now: int) -> None:
        """An iteration took `elapsed` ns; token counts are up to date, ended jobs are still there."""

    def moved(self, transfer: Transfer, now: int) -> None:
        """A transfer is over; its request may be gone."""

    def describe(self, request: int) -> str:
        """Where a request stands, in the policy's words."""
        job = self.jobs.get(request)
        return f"{job.known} tokens, {self.blocks.where(request)}" if job else ""

    # -- the protocol ------------------------------------------------------------------------------------

    def on(self, event: Event, now: int) -> None:
        """Take note of one event."""
        if isinstance(event, Ran):
            self._ran(event, now)
        elif isinstance(event, Arrived):
            job = Job.of(event.arrival)
            self.jobs[job.request] = job
            self.arrived(job, now)
        elif isinstance(event, Moved):
            self.blocks.settle(event.transfer, ok=event.ok)
            self.moved(event.transfer, now)
        elif isinstance(event, Cancelled) and (gone := self.jobs.get(event.request)):
            if self._in_use(event.request):
                self._cancelled.append(gone)
            else:
                self._end(gone)

    def plan(self, now: int) -> Plan:
        """Launch the next iteration when the lane is idle; report requests whose memory was released."""
        iteration, moves = (None, ()) if self.running or not self.jobs else self.choose(now)
        finished = tuple(self._finished)
        if iteration is None and not moves and not finished:
            return IDLE
        self._finished.clear()
        if iteration is not None:
            self.running = iteration
            self.launched_at = now
        return Plan(launch=(iteration,) if iteration else (), move=moves, finished=finished)

    # -- bookkeeping ---------------------------------------------------------------------------------------

    def _ran(self, event: Ran, now: int) -> None:
        iteration, outcome = event
        self.running = None
        if iteration.lane == self.lane.number:
            self.lane.advance(len(outcome.ends))
        over = [job for end in outcome.ended if (job := self.jobs.get(end.request))]
        for span, done in zip(iteration.spans, outcome.spans, strict=True):
            job = self.jobs[span.request]
            job.computed = span.start + done.computed
            job.known += done.tokens
        self.ran(iteration, outcome.ends[-1] - self.launched_at, now)
        over.extend(self._cancelled)
        self._cancelled.clear()
        for job in over:
            if job.request in self.jobs:
                self._end(job)

    def _in_use(self, request: int) -> bool:
        if self.running is None:
            return False
        member = self.running.lane == self.lane.number and request in self.lane.members
        return member or any(span.request == request for span in self.running.spans)

    def _end(self, job: Job) -> None:
        self.ended(job)
        self.lane.ended(job)
        self.blocks.release(job.request)
        del self.jobs[job.request]
        self._finished.append(job.request)
