"""The running batch of one lane: decodes as persistent members, told to the executor as changes only.

A step in which nothing changes touches neither the members nor any list: the tokens of a member are
`tick - join tick` more than when it joined, and page boundaries sit in a calendar of page-size slots, so that
a step looks only at the members whose next token starts a new page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from systems.core.memory.blocks import PagedBlocks
from systems.core.plan import Grant, Iteration, Leap, Span, SpanKind
from systems.core.request import Arrival, Slo


@dataclass(slots=True, eq=False)
class Job:
    """A live request as a policy keeps it.

    `known` counts tokens whose value exists (prompt and output), `computed` those whose KV exists; their
    difference is what is left to compute: 1 for a decode, more for a prompt or after a drop. Both stand still
    while the job is a lane member (`Lane.sync` brings them up to date). `since` is when it began to wait.
    """

    request: int
    arrived: int
    prompt: int
    priority: int = 0
    slo: Slo | None = None
    output: int | None = None
    known: int = 0
    computed: int = 0
    since: int = 0
    tick: int = -1

    @classmethod
    def of(cls, arrival: Arrival) -> Job:
        """A job for a request that has just arrived."""
        return cls(
            request=arrival.request,
            arrived=arrival.at,
            prompt=arrival.prompt,
            priority=arrival.priority,
            slo=arrival.slo,
            output=arrival.output,
            known=arrival.prompt,
            since=arrival.at,
        )

    @property
    def todo(self) -> int:
        """Tokens left to compute before the next one comes out."""
        return self.known - self.computed

    @property
    def prefilled(self) -> bool:
        """Whether it has put out a token."""
        return self.known > self.prompt

    @property
    def kind(self) -> SpanKind:
        """What a span over `todo` computes."""
        return SpanKind.RECOMPUTE if self.prefilled else SpanKind.CHUNK


class Lane:
    """The decode batch of one lane of one model over paged memory."""

    def __init__(self, blocks: PagedBlocks, model: str = "", number: int = 0) -> None:
        self.number = number
        self.members: dict[int, Job] = {}
        self.tick = 0
        self._blocks = blocks
        self._model = model
        self._slots: list[dict[int, Job]] = [{} for _ in range(blocks.page_tokens)]
        self._joined: dict[int, Job] = {}
        self._left: dict[int, None] = {}
        self._grown: list[Grant] = []
        self._iterations = 0

    # -- membership ----------------------------------------------------------------------------------

    def join(self, job: Job) -> None:
        """Make `job`, which has one token to compute and the page for it, a member."""
        assert job.todo == 1
        job.tick = self.tick
        self.members[job.request] = job
        self._joined[job.request] = job
        self._slots[self._slot(job)][job.request] = job

    def leave(self, job: Job) -> None:
        """End the membership of `job` and bring its token counts up to date."""
        self._remove(job)
        if self._joined.pop(job.request, None) is None:
            self._left[job.request] = None

    def ended(self, job: Job) -> None:
        """A request is over, member or not: the executor drops it by itself."""
        if job.request in self.members:
            self._remove(job)
        self._joined.pop(job.request, None)
        self._left.pop(job.request, None)

    def sync(self, job: Job) -> None:
        """Bring the token counts of a member up to date."""
        steps = self.tick - job.tick
        if steps:
            # the calendar slot is (tick - computed) mod page size, which a step leaves unchanged
            job.known += steps
            job.computed += steps
            job.tick = self.tick

    def advance(self, steps: int) -> None:
        """The members have put out `steps` more tokens each; after a leap, get the pages of the steps in between."""
        for _ in range(steps - 1):
            self.tick += 1
            assert self.grow(), "a leap was longer than memory allows"
        self.tick += 1

    def _remove(self, job: Job) -> None:
        self.sync(job)
        del self.members[job.request]
        del self._slots[self._slot(job)][job.request]
        job.tick = -1
        if self._grown:  # it may be back before the next launch, with a table that has these pages
            self._grown = [grant for grant in self._grown if grant.request != job.request]

    def _slot(self, job: Job) -> int:
        return (job.tick - job.computed) % len(self._slots)

    # -- memory --------------------------------------------------------------------------------------

    def due(self) -> Mapping[int, Job]:
        """Members whose next token starts a new page; all others have room for it."""
        return self._slots[self.tick % len(self._slots)]

    def steps_within(self, pages: int) -> int:
        """How many steps can be taken in a row with so many more pages; those of the first are granted already."""
        slots, size = self._slots, len(self._slots)
        rounds, left = divmod(pages, len(self.members))  # a round of page-size steps takes one page a member
        steps = 1 + rounds * size
        for ahead in range(1, size + 1):
            left -= len(slots[(self.tick + ahead) % size])
            if left < 0:
                break
            steps += 1
        return steps

    def grow(self) -> bool:
        """Get the pages that members need for their next token; false if memory is short (call again later)."""
        short = 0
        for job in self._slots[self.tick % len(self._slots)].values():
            short += not self.grow_one(job)
        return not short

    def grow_one(self, job: Job) -> bool:
        """Get the page that `job`, a member, needs for its next token."""
        pages = self._blocks.extend(job.request, job.computed + self.tick - job.tick + 1)
        if pages and job.request not in self._joined:
            self._grown.extend(Grant(job.request, 0, page) for page in pages)
        return pages is not None

    # -- launching -----------------------------------------------------------------------------------

    def launch(self, chunks: Iterable[tuple[Job, int]] = (), leap: Leap = Leap()) -> Iteration:
        """The next iteration: the members and `chunks` (job, tokens), with all changes since the last one."""
        table = self._blocks.table
        iteration = Iteration(
            id=self._next_id(),
            model=self._model,
            lane=self.number,
            spans=self._spans(chunks),
            joined=tuple(
                Span(job.request, job.computed, 1, SpanKind.DECODE, (table(job.request),))
                for job in self._joined.values()
            ),
            left=tuple(self._left),
            grown=tuple(self._grown),
            leap=leap,
        )
        self._joined.clear()
        self._left.clear()
        self._grown.clear()
        return iteration

    def launch_apart(self, chunks: Iterable[tuple[Job, int]]) -> Iteration:
        """An iteration of `chunks` alone, in which the members do not take part (the lane beside this one)."""
        return Iteration(id=self._next_id(), model=self._model, lane=self.number + 1, spans=self._spans(chunks))

    def _spans(self, chunks: Iterable[tuple[Job, int]]) -> tuple[Span, ...]:
        return tuple(
            Span(
                job.request,
                job.computed,
                count,
                job.kind,
                (self._blocks.table(job.request),),
                emits=count == job.todo,
            )
            for job, count in chunks
        )

    def _next_id(self) -> int:
        self._iterations += 1
        return self._iterations - 1
