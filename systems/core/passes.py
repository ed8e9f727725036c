"""The forward passes of an event log, one by one: what was in each and when it ran. A leap is as many as it has steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

Row = list[Any]
"""One line of an event log behind its header: [ns, event], or [ns, null, plan]."""


class Pass(NamedTuple):
    """One pass on `lane`, of the iteration `id`, from `begin` to `end` (ns); before it, `waited` ns for transfers.

    `chunks` are its prompts as (tokens, tokens of context before them); `batch` requests decoded over `context` tokens.
    """

    id: int
    lane: int
    begin: int
    end: int
    waited: int
    chunks: tuple[tuple[int, int], ...]
    batch: int
    context: int


@dataclass(slots=True)
class _Batch:
    """The decode members of a lane as aggregates: a member's context is what is kept here plus the tick."""

    start: dict[int, int] = field(default_factory=dict)
    context: int = 0
    tick: int = 0

    def join(self, request: int, context: int) -> None:
        self.start[request] = context - self.tick
        self.context += context

    def drop(self, request: int) -> None:
        start = self.start.pop(request, None)
        if start is not None:
            self.context -= start + self.tick

    def step(self) -> None:
        self.tick += 1
        self.context += len(self.start)


class Passes:
    """Fed with the rows of a log in order, gives the passes as they end. Keeps what is live and no more."""

    def __init__(self) -> None:
        self._batches: dict[int, _Batch] = {}
        self._launched: dict[int, Row] = {}

    def running(self) -> set[int]:
        """The requests in the iterations that have been launched and have not ended."""
        spans = {span[0] for row in self._launched.values() for span in row[2]}
        return spans.union(*(self._batches[row[1]].start for row in self._launched.values()))

    def feed(self, row: Row) -> list[Pass]:
        """Take one row; the passes of the iteration that ended with it, if one did."""
        _, event, *plan = row
        if plan:
            self._plan(plan[0])
            return []
        return self._ran(event) if event[0] == "ran" else []

    def _plan(self, plan: Row) -> None:
        launched, _, finished, *_ = plan
        for request in finished:  # a member that was cancelled took part until now
            for batch in self._batches.values():
                batch.drop(request)
        for row in launched:
            number, lane, _, joined, left, *_ = row
            self._launched[number] = row
            batch = self._batches.setdefault(lane, _Batch())
            for request in left:
                batch.drop(request)
            for request, context, *_ in joined:
                batch.join(request, context)

    def _ran(self, event: Row) -> list[Pass]:
        _, number, ends, _, over, (waited, compute, sampling) = event
        _, lane, spans, *_ = self._launched.pop(number)
        batch = self._batches[lane]
        begin = ends[-1] - compute - sampling
        chunks = tuple((count, start) for _, start, count, *_ in spans)
        found: list[Pass] = []
        for step, end in enumerate(ends):
            found.append(Pass(number, lane, begin, end, waited, chunks, len(batch.start), batch.context))
            begin, waited, chunks = end, 0, ()
            batch.step()
            for request, _, at in over:
                if at == step:
                    batch.drop(request)
        return found
