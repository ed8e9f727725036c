"""Continuous batching as in vLLM 0.6 (V0 engine): first come, first served, preemption by recompute.

vLLM (SOSP'23), section 4.5. `waiting` is in arrival order with preempted requests at its head; `running` is in
order of admission, and the last one is preempted first.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from systems.core.errors import UsageError
from systems.core.lane import Job
from systems.core.memory.blocks import PagedBlocks
from systems.core.plan import Iteration, Leap
from systems.core.policy import Estimator, Limits
from systems.core.single_lane import SingleLane


class Continuous(SingleLane):
    """Admission and preemption; how prompts and decodes share iterations is for the two policies to say."""

    @dataclass(frozen=True, slots=True)
    class Settings:
        """`watermark` is the share of the pool that admission leaves free (vLLM: 1 %). Raises UsageError from 1 on."""

        watermark: float = 0.01

        def __post_init__(self) -> None:
            if self.watermark >= 1:
                raise UsageError(f"The setting watermark is {self.watermark:g}.", "Give a share from 0 to below 1.")

    def __init__(self, limits: Limits, blocks: PagedBlocks, estimator: Estimator, settings: Settings) -> None:
        super().__init__(limits, blocks, estimator)
        self.waiting: deque[Job] = deque()
        self.running_jobs: dict[int, Job] = {}
        self._watermark = int(settings.watermark * blocks.device_pages)

    def arrived(self, job: Job, now: int) -> None:
        """Queue up."""
        self.waiting.append(job)

    def ended(self, job: Job) -> None:
        """Leave whichever queue it is in."""
        if self.running_jobs.pop(job.request, None) is None:
            self.waiting.remove(job)

    def admit(self, tokens: int) -> bool:
        """Move the first waiting request to the running ones if there is a place and memory for its first `tokens`.

        The watermark does not apply to a request that would run alone.
        """
        job = self.waiting[0]
        if len(self.running_jobs) >= self.limits.max_batch:
            return False
        need = self.blocks.missing(job.request, tokens)
        if need > self.blocks.device_free - (self._watermark if self.running_jobs else 0):
            return False
        self.blocks.extend(job.request, tokens)
        self.running_jobs[job.request] = self.waiting.popleft()
        return True

    def preempt_last(self) -> Job:
        """Drop the KV of the request admitted last; it goes to the head of the queue."""
        _, job = self.running_jobs.popitem()
        if job.request in self.lane.members:
            self.lane.leave(job)
        self.blocks.release(job.request)
        job.computed = 0
        self.waiting.appendleft(job)
        return job

    def grow_decodes(self) -> None:
        """Make every running decode a lane member with room for its next token, preempting from the end if need be."""
        members = self.lane.members
        if len(members) < len(self.running_jobs):
            for job in list(self.running_jobs.values()):
                if job.todo == 1 and job.request not in members:
                    while job.request in self.running_jobs and not self._fits(job):
                        self.preempt_last()
                    if job.request in self.running_jobs:
                        self.lane.join(job)
        if self.lane.grow():
            return
        for job in list(self.lane.members.values()):
            while job.request in self.lane.members and not self.lane.grow_one(job):
                self.preempt_last()

    def decode(self) -> Iteration:
        """One iteration of the members, and the same again for as long as memory lasts: nothing else could be done.

        Whoever waits goes on waiting: places and memory only become scarcer until a request ends or arrives.
        """
        members = self.lane.members
        return self.lane.launch(leap=Leap(self.lane.steps_within(self.blocks.device_free)) if members else Leap())

    def _fits(self, job: Job) -> bool:
        return self.blocks.extend(job.request, job.known) is not None
