"""Policies whose order is one number: FCFS, fixed priority, and shortest remaining time first with an oracle.

FastServe (NSDI'26), section 6.2 (FCFS) and Figure 16 (fixed priority by input length). SRPT is the upper bound
that no real system reaches: it is told the output length.
"""

from __future__ import annotations

from dataclasses import dataclass

from systems.core.lane import Job
from systems.core.memory.blocks import PagedBlocks
from systems.core.policy import Estimator, Limits
from systems.fastserve.order import Sorted
from systems.fastserve.preemptive import KeepName, Preemptive


class Fcfs(Preemptive):
    """First come, first served, to completion: a later job never takes an earlier one's place."""

    @dataclass(frozen=True, slots=True)
    class Settings:
        """`keep`: what happens to the KV of a job that must make room."""

        keep: KeepName = "reactive"

    def __init__(self, limits: Limits, blocks: PagedBlocks, estimator: Estimator, settings: Settings) -> None:
        self.places = Sorted()
        super().__init__(limits, blocks, estimator, settings.keep, self.places)

    def key(self, job: Job) -> int:
        """The job's place; smaller runs first."""
        return job.arrived

    def skips(self) -> bool:
        """No prompt overtakes one that waits for the token budget."""
        return False

    def overtakes(self) -> bool:
        """No job overtakes one that waits for memory: the last in order make room for it."""
        return False

    def arrived(self, job: Job, now: int) -> None:
        """Take its place."""
        super().arrived(job, now)
        self.places.place(job.request, self.key(job))


class FixedPriority(Fcfs):
    """Shorter prompts first, whatever their output: bad when prompts are short and outputs long (Figure 16)."""

    def key(self, job: Job) -> int:
        """Input length."""
        return job.prompt


class SrptOracle(Fcfs):
    """Shortest remaining processing time first; knows the output length."""

    def __init__(self, limits: Limits, blocks: PagedBlocks, estimator: Estimator, settings: Fcfs.Settings) -> None:
        super().__init__(limits, blocks, estimator, settings)
        self._decode = estimator.decode(limits.max_batch, 0) // limits.max_batch  # ns of a token

    def key(self, job: Job) -> int:
        """Ns of compute left, by the estimator: the prompt, unless it is computed, and one decode per token."""
        assert job.output is not None, "an oracle policy is told the output length"
        left = job.output - (job.known - job.prompt)
        return left * self._decode + (self.estimator.prefill(job.todo) if job.todo > 1 else 0)

    def before(self, now: int) -> None:
        """Jobs that ran have less left: update their places when a choice is to be made.

        In between they only gain on those that wait, so the batch stays what it is.
        """
        if self.changed and len(self.jobs) > len(self.batch):
            for job in self.lane.members.values():
                self.lane.sync(job)
            self.places.replace({request: (self.key(job), request) for request, job in self.batch.items()})
