"""Skip-join multi-level feedback queue: FastServe (NSDI'26), section 4.1, Algorithm 1; Figures 11 to 18.

* Queues Q1, Q2, ... with quanta q1, 2 q1, 4 q1, ...; q1 is the shortest iteration.
* A new job skips to the first queue whose quantum covers its first iteration (its prompt's length is known).
* A job that has consumed its quantum sinks: at least one queue, and to one whose quantum covers its next iteration.
* A job that has waited `alpha` is promoted to Q1. Within a queue, first come first served.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise

from systems.core.errors import UsageError
from systems.core.lane import Job
from systems.core.memory.blocks import PagedBlocks
from systems.core.plan import Iteration
from systems.core.policy import Estimator, Limits
from systems.fastserve.preemptive import KeepName, Preemptive

FIRST = -(1 << 62)  # before every place in a queue


@dataclass(slots=True)
class Standing:
    """A job's level (0 is Q1), the time it has used of its quantum, and the service clock when that was so."""

    level: int
    used: int = 0
    mark: int = 0
    turn: int = 0


class SkipJoin(Preemptive):
    """The paper's MLFQ. `alpha_s` is tied to the SLO (the paper: 0.3 s); so many decode iterations if `alpha_steps`."""

    @dataclass(frozen=True, slots=True)
    class Settings:
        """`skip` off is the naive MLFQ: every job joins Q1.

        `alpha_steps` above 0 wins over `alpha_s`. Raises UsageError for a `ratio` below 2: quanta that do not grow
        never cover a long prompt.
        """

        keep: KeepName = "proactive"
        skip: bool = True
        alpha_s: float = 0.3
        alpha_steps: float = 0.0
        ratio: int = 2

        def __post_init__(self) -> None:
            if self.ratio < 2:
                raise UsageError(f"The setting ratio is {self.ratio}.", "Give a whole number of at least 2.")

    def __init__(self, limits: Limits, blocks: PagedBlocks, estimator: Estimator, settings: Settings) -> None:
        super().__init__(limits, blocks, estimator, settings.keep)
        self.settings = settings
        self.base = max(1, estimator.shortest())
        self.alpha = round(settings.alpha_s * 1e9)
        if settings.alpha_steps:
            self.alpha = round(settings.alpha_steps * estimator.decode(limits.max_batch, 0))
        self.keeping.window = self.alpha
        self.standing: dict[int, Standing] = {}
        self.served = 0  # ns of service: every job of a batch is charged the whole iteration
        self._due: list[tuple[int, int, int]] = []  # (service clock at which the quantum ends, request, turn)
        self._waiting: deque[tuple[int, int]] = deque()  # (since, request), oldest first
        self._above: dict[int, int] = {}  # level -> ns until all jobs above have sunk to it; until the order changes
        self._decode_level = self.first_level(estimator.decode(1, 0))
        self._places = 0

    # -- levels ----------------------------------------------------------------------------------------

    def quantum(self, level: int) -> int:
        """Ns that a job may use on `level`."""
        return self.base * int(self.settings.ratio**level)

    def first_level(self, iteration: int) -> int:
        """The highest-priority level whose quantum covers an iteration of that many ns."""
        level = 0
        while self.quantum(level) < iteration:
            level += 1
        return level

    def sink(self, level: int) -> int:
        """Where a job goes that has used up `level`: its next iteration is a decode."""
        return max(level + 1, self._decode_level)

    def enqueue(self, job: Job, level: int) -> None:
        """Put `job` at the tail of `level`."""
        self._places += 1
        self._above.clear()
        self.place(job, (level, self._places))

    # -- events ----------------------------------------------------------------------------------------

    def arrived(self, job: Job, now: int) -> None:
        """Skip-join."""
        super().arrived(job, now)
        level = self.first_level(self.estimator.prefill(job.prompt)) if self.settings.skip else 0
        self.standing[job.request] = Standing(level)
        self.enqueue(job, level)
        self._waiting.append((job.since, job.request))

    def ended(self, job: Job) -> None:
        """Forget the job's standing."""
        super().ended(job)
        self._above.clear()
        del self.standing[job.request]

    def taken(self, job: Job) -> None:
        """The quantum runs from now on."""
        standing = self.standing[job.request]
        standing.mark = self.served
        self.set_due(job, standing)

    def preempted(self, job: Job) -> None:
        """The quantum stands still; the wait begins."""
        standing = self.standing[job.request]
        standing.used += self.served - standing.mark
        standing.turn += 1
        self._waiting.append((job.since, job.request))

    def ran(self, iteration: Iteration, elapsed: int, now: int) -> None:
        """Charge the batch; demote the jobs whose quantum is used up."""
        super().ran(iteration, elapsed, now)
        self.served += elapsed
        while self._due and self._due[0][0] <= self.served:
            _, request, turn = heappop(self._due)
            standing = self.standing.get(request)
            if standing and standing.turn == turn and request in self.batch:
                self.demote(self.batch[request], standing)

    def demote(self, job: Job, standing: Standing) -> None:
        """Sink one job, which starts a fresh quantum at the tail of its new queue."""
        self.restart(standing, self.sink(standing.level))
        self.enqueue(job, standing.level)
        self.set_due(job, standing)

    def before(self, now: int) -> None:
        """Promote every job that has waited `alpha` to Q1."""
        waiting = self._waiting
        while waiting and waiting[0][0] + self.alpha <= now:
            since, request = waiting.popleft()
            job = self.jobs.get(request)
            if job is not None and job.since == since and request not in self.batch:
                standing = self.standing[request]
                if standing.level:
                    self.restart(standing, 0)
                    self.enqueue(job, 0)

    def restart(self, standing: Standing, level: int) -> None:
        """A fresh quantum on `level`."""
        standing.level = level
        standing.used = 0
        standing.mark = self.served
        standing.turn += 1

    def set_due(self, job: Job, standing: Standing) -> None:
        """Note the service clock at which the job's quantum ends."""
        heappush(self._due, (standing.mark + self.quantum(standing.level) - standing.used, job.request, standing.turn))

    # -- ENST, section 4.2 -----------------------------------------------------------------------------

    def next_scheduled(self, job: Job, now: int) -> int:
        """ENST = min(time to promotion, time until every job above has sunk to this one's level, over B)."""
        level = self.standing[job.request].level
        if level not in self._above:
            ends = [bisect_left(self.order, ((other + 1, FIRST), 0)) for other in range(level)]
            counts = [end - begin for begin, end in pairwise([0, *ends])]
            through = self._through(level)
            self._above[level] = sum(n * (through - self._through(other)) for other, n in enumerate(counts))
        promote = max(0, job.since + self.alpha - now)
        return min(promote, self._above[level] // self.limits.max_batch)

    def _through(self, level: int) -> int:
        """Sum of the quanta of the levels above `level`."""
        ratio = self.settings.ratio
        return self.base * (int(ratio**level) - 1) // (ratio - 1)

    def describe(self, request: int) -> str:
        """Queue and quantum in the paper's words."""
        standing = self.standing.get(request)
        if standing is None:
            return ""
        used = standing.used + (self.served - standing.mark if request in self.batch else 0)
        quantum = self.quantum(standing.level)
        return f"Q{standing.level + 1}, used {used / 1e6:.2f} of {quantum / 1e6:.2f} ms, {super().describe(request)}"
