"""Skip-join multi-level feedback queue: FastServe (NSDI'26), section 4.1, Algorithm 1; Figures 11 to 18.

* Queues Q1, Q2, ... with quanta q1, 2 q1, 4 q1, ...; q1 is the shortest iteration.
* A new job skips to the first queue whose quantum covers its first iteration (its prompt's length is known).
* A job that has consumed its quantum sinks: at least one queue, and to one whose quantum covers its next iteration.
* A job that has waited `alpha` is promoted to Q1. Within a queue, first come first served.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from systems.core.errors import UsageError
from systems.core.lane import Job
from systems.core.memory.blocks import PagedBlocks
from systems.core.plan import Iteration, Leap
from systems.core.policy import Estimator, Limits
from systems.fastserve.order import Queues
from systems.fastserve.preemptive import KeepName, Preemptive


@dataclass(slots=True)
class Standing:
    """A job's level (0 is Q1) and, while it is not in the batch, the ns it has left of its quantum there."""

    level: int = 0
    left: int = 0


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
        self.queues = Queues()
        super().__init__(limits, blocks, estimator, settings.keep, self.queues)
        self.settings = settings
        self.base = max(1, estimator.shortest())
        self.alpha = round(settings.alpha_s * 1e9)
        if settings.alpha_steps:
            self.alpha = round(settings.alpha_steps * estimator.decode(limits.max_batch, 0))
        self.keeping.window = self.alpha
        self.standing: dict[int, Standing] = {}
        self.served = 0  # ns of service: every job of a batch is charged the whole iteration
        self.due: dict[int, int] = {}  # of the jobs in the batch: the service clock at which the quantum ends
        self._waiting: deque[tuple[int, int]] = deque()  # (since, request), oldest first
        self._above: dict[int, int] = {}  # level -> ns until all jobs above have sunk to it; until the order changes
        self._decode_level = self.first_level(estimator.decode(1, 0))

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

    def enqueue(self, request: int, level: int, *, first: bool = False) -> None:
        """Put a job at the tail of `level`, or at its head, with a fresh quantum."""
        standing = self.standing[request]
        standing.level = level
        standing.left = self.quantum(level)
        if request in self.due:
            self.due[request] = self.served + standing.left
        self.queues.enqueue(request, level, first=first)
        self._above.clear()
        self.changed = True

    # -- events ----------------------------------------------------------------------------------------

    def arrived(self, job: Job, now: int) -> None:
        """Skip-join."""
        super().arrived(job, now)
        level = self.first_level(self.estimator.prefill(job.prompt)) if self.settings.skip else 0
        self.standing[job.request] = Standing()
        self.enqueue(job.request, level)
        self._waiting.append((job.since, job.request))

    def ended(self, job: Job) -> None:
        """Forget the job's standing."""
        super().ended(job)
        self._above.clear()
        del self.standing[job.request]
        self.due.pop(job.request, None)

    def taken(self, job: Job) -> None:
        """The quantum runs from now on."""
        self.due[job.request] = self.served + self.standing[job.request].left

    def preempted(self, job: Job) -> None:
        """The quantum stands still; the wait begins."""
        self.standing[job.request].left = self.due.pop(job.request) - self.served
        self._waiting.append((job.since, job.request))

    def ran(self, iteration: Iteration, elapsed: int, now: int) -> None:
        """Charge the batch; demote the jobs whose quantum is used up."""
        super().ran(iteration, elapsed, now)
        served = self.served = self.served + elapsed
        for _, request in sorted((due, request) for request, due in self.due.items() if due <= served):
            self.demote(request)

    def demote(self, request: int) -> None:
        """Sink a job of the batch, which starts a fresh quantum at the tail of its new queue."""
        self.enqueue(request, self.sink(self.standing[request].level))

    def before(self, now: int) -> None:
        """Promote every job that has waited `alpha` to Q1."""
        waiting = self._waiting
        while waiting and waiting[0][0] + self.alpha <= now:
            since, request = waiting.popleft()
            job = self.jobs.get(request)
            waits = job is not None and job.since == since and request not in self.batch
            if waits and self.standing[request].level:
                self.enqueue(request, 0)

    def leap(self, now: int) -> Leap:
        """Until a quantum ends or somebody is promoted, too."""
        ends = now + min(self.due.values()) - self.served
        if self._waiting:
            ends = min(ends, self._waiting[0][0] + self.alpha)
        return super().leap(now)._replace(stop_after=ends)

    # -- ENST, section 4.2 -----------------------------------------------------------------------------

    def next_scheduled(self, job: Job, now: int) -> int:
        """ENST = min(time to promotion, time until every job above has sunk to this one's level, over B)."""
        level = self.standing[job.request].level
        if level not in self._above:
            through, counts = self._through(level), self.queues.counts(level)
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
        quantum = self.quantum(standing.level)
        used = quantum - (self.due[request] - self.served if request in self.due else standing.left)
        return f"Q{standing.level + 1}, used {used / 1e6:.2f} of {quantum / 1e6:.2f} ms, {super().describe(request)}"
