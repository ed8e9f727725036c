"""The MLFQ that the published code really runs (LLMServe/FastServe `scheduler.py` at 187a274), for comparison.

Every rule here that differs from the paper is tagged; docs/fastserve.md puts the two side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

from systems.core.errors import UsageError
from systems.core.lane import Job
from systems.core.memory.blocks import PagedBlocks
from systems.core.plan import Iteration, Leap
from systems.core.policy import Estimator, Limits
from systems.fastserve.proactive import Proactive
from systems.fastserve.skip_join import SkipJoin


class ConstantReserve(Proactive):
    """Proactive swapping with as many idle pages as the batch has places. `owed`: the last job room was made for."""

    owed = -1

    def wanted(self, job: Job) -> bool:
        """Remember whom room is made for: the pages that leave for it may fill the host pool and shut it out again."""
        if self._short is None:
            self.owed = job.request
        return super().wanted(job)

    def reserve(self, now: int) -> int:
        """DEVIATION: a constant instead of the arrival history."""
        return min(self.policy.limits.max_batch, self.blocks.device_pages // 4)


class Artifact(SkipJoin):
    """`base_s`, `starvation_s` and `check_every` are hard-coded in the original (10 ms, 3 s, 1000 iterations)."""

    @dataclass(frozen=True, slots=True)
    class Settings:
        """`base_steps` > 0 gives the base quantum in shortest iterations, for models whose iteration is not 20 ms.

        `host_guard` is the share of the host pool that must be free for a new prompt. Raises UsageError above 1.
        """

        base_s: float = 0.010
        base_steps: float = 0.0
        starvation_s: float = 3.0
        starvation_steps: float = 0.0
        check_every: int = 1000
        host_guard: float = 0.1

        def __post_init__(self) -> None:
            if self.host_guard > 1:
                raise UsageError(f"The setting host_guard is {self.host_guard:g}.", "Give a share from 0 to 1.")

    def __init__(self, limits: Limits, blocks: PagedBlocks, estimator: Estimator, settings: Settings) -> None:
        super().__init__(
            limits,
            blocks,
            estimator,
            SkipJoin.Settings(alpha_s=settings.starvation_s, alpha_steps=settings.starvation_steps),
        )
        self.rules = settings
        # DEVIATION: q1 is 10 ms, below one iteration of the paper's 13B model
        base = settings.base_steps * estimator.shortest() if settings.base_steps else settings.base_s * 1e9
        self.base = max(1, round(base))
        self.keeping = self.swapping = ConstantReserve(self)
        self._iterations = 0

    def sink(self, level: int) -> int:
        """DEVIATION: one level down, however far the quantum was overshot."""
        return level + 1

    def demote(self, request: int) -> None:
        """DEVIATION: to the head of the next queue, not to its tail."""
        self.enqueue(request, self.sink(self.standing[request].level), first=True)

    def ran(self, iteration: Iteration, elapsed: int, now: int) -> None:
        """Count iterations for the starvation check."""
        super().ran(iteration, elapsed, now)
        self._iterations += 1

    def before(self, now: int) -> None:
        """DEVIATION: starvation is looked for every 1000 iterations only; every job that never ran qualifies.

        Each goes to the head of Q1, so their order is reversed.
        """
        if self._iterations < self.rules.check_every:
            return
        self._iterations = 0
        for request in list(self.order):
            job = self.jobs[request]
            if request not in self.batch and (not job.prefilled or job.since + self.alpha <= now):
                self.enqueue(request, 0, first=True)

    def leap(self, now: int) -> Leap:
        """None: iterations are counted."""
        return Leap()

    def may_start(self, job: Job) -> bool:
        """DEVIATION: no new prompt while less than a tenth of the host pool is free."""
        pages = self.blocks.host_pages
        if job.prefilled or not pages or job.request == self.swapping.owed:
            return True
        return self.blocks.host_free >= self.rules.host_guard * pages

    def skips(self) -> bool:
        """DEVIATION: a prompt that exceeds the token budget blocks everything behind it."""
        return False

    def next_scheduled(self, job: Job, now: int) -> int:
        """DEVIATION: no ENST; alike for all, so that the place in the order decides."""
        return 0
