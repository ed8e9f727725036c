"""Requests and their decode batches as arrays, and one flattened pass over them.

A pass has the lane's decode members first, one row each, and after them the rows of every span. What it puts out
is ordered as `Step` asks: emitting spans first, then members.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from systems.core.torch.sampler import Draws

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from systems.core.plan import Grant, Iteration, Span
    from systems.core.request import Request

Failure = tuple[int, str]


@dataclass(slots=True)
class Live:
    """A request that iterations may name, with every token it has: prompt, then output."""

    request: Request
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a block table may say: pages in the pool, pages of one request, tokens a page, tokens of one request."""

    pages: int
    table: int
    page_tokens: int
    length: int


@dataclass(slots=True)
class Rows:
    """One flattened pass of R rows over S sequences.

    tokens, positions: int64 [R]; starts: int32 [S + 1]; lengths: int32 [S], context including the sequence's rows;
    tables: int32 [S, *]; emit: int64 [E], the rows whose logits are wanted (None: all, in order).
    """

    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    starts: NDArray[np.int32]
    lengths: NDArray[np.int32]
    tables: NDArray[np.int32]
    emit: NDArray[np.int64] | None
    requests: list[int]
    draws: Draws

    def emitting(self) -> Rows:
        """The rows that emit, each as a sequence of one row that sees what it saw. Others are in nobody's way."""
        if self.emit is None:
            return self
        sequence = np.searchsorted(self.starts, self.emit, side="right") - 1
        after = self.starts[sequence + 1] - 1 - self.emit  # rows of its sequence that come later
        return Rows(
            tokens=self.tokens[self.emit],
            positions=self.positions[self.emit],
            starts=np.arange(len(self.emit) + 1, dtype=np.int32),
            lengths=(self.lengths[sequence] - after).astype(np.int32),
            tables=self.tables[sequence],
            emit=None,
            requests=self.requests,
            draws=self.draws,
        )


class Lane:
    """The decode members of one lane, in the order in which they joined."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.ids: list[int] = []
        self.live: list[Live] = []
        self.row: dict[int, int] = {}
        self.draws = Draws.none()
        self._allocate(16)

    def __len__(self) -> int:
        return len(self.ids)

    def _allocate(self, capacity: int) -> None:
        self.last = np.zeros(capacity, np.int64)
        self.length = np.zeros(capacity, np.int64)  # tokens held, the last of which is not in memory yet
        self.pages = np.zeros(capacity, np.int64)
        self.tables = np.zeros((capacity, self.limits.table), np.int32)
        self.count = np.arange(capacity + 1, dtype=np.int32)

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self.last, self.length, self.pages, self.tables

    def _grow(self, capacity: int) -> None:
        size, old = len(self.ids), self._arrays()
        self._allocate(capacity)
        for new, values in zip(self._arrays(), old, strict=True):
            new[:size] = values[:size]

    def leave(self, gone: Iterable[int]) -> None:
        """Drop members; a name that is no member is no error (it may have failed to join)."""
        drop = {request for request in gone if request in self.row}
        if not drop:
            return
        keep = [row for row, request in enumerate(self.ids) if request not in drop]
        for array in self._arrays():
            array[: len(keep)] = array[keep]
        self.ids = [self.ids[row] for row in keep]
        self.live = [self.live[row] for row in keep]
        self._renew()

    def join(self, span: Span, live: Live) -> str:
        """Make the request a member; a reason when it cannot be."""
        table = span.tables[0]
        if reason := check_table(table, span.start + 1, self.limits):
            return reason
        if span.start != len(live.tokens) - 1:
            return f"A decode at position {span.start} was asked for, but {len(live.tokens)} tokens are known."
        row = self.row.get(span.request, len(self.ids))
        if row == len(self.last):
            self._grow(2 * row)
        if row == len(self.ids):
            self.ids.append(span.request)
            self.live.append(live)
        self.last[row], self.length[row], self.pages[row] = live.tokens[-1], len(live.tokens), len(table)
        self.tables[row, : len(table)] = table
        self.row[span.request] = row
        return ""

    def joined(self) -> None:
        """Call once after one or more `join`."""
        self._renew()

    def _renew(self) -> None:
        self.row = {request: row for row, request in enumerate(self.ids)}
        self.draws = Draws.of([one.request.sampling for one in self.live])

    def grow(self, grants: Sequence[Grant]) -> list[Failure]:
        """Append granted pages to their members' tables; what failed."""
        failed: list[Failure] = []
        for request, _, page in grants:
            row = self.row.get(request)
            if row is None:
                continue
            count = self.pages[row]
            if count >= self.limits.table or not 0 <= page < self.limits.pages:
                failed.append((request, f"Page {page} cannot be added to a table of {count} pages."))
                continue
            self.tables[row, count] = page
            self.pages[row] = count + 1
        return failed

    def overrun(self) -> list[Failure]:
        """Members whose next token has no page, or no place in the context window."""
        size = len(self.ids)
        room = np.minimum(self.pages[:size] * self.limits.page_tokens, self.limits.length)
        if not (self.length[:size] > room).any():
            return []
        return [
            (self.ids[row], f"Token {self.length[row]} does not fit the {room[row]} tokens it has memory for.")
            for row in np.flatnonzero(self.length[:size] > room)
        ]

    def advance(self, tokens: NDArray[np.int64], values: list[int]) -> None:
        """Every member got one more token."""
        size = len(self.ids)
        self.last[:size] = tokens
        self.length[:size] += 1
        for live, token in zip(self.live, values, strict=True):
            live.tokens.append(token)


def check_table(table: Sequence[int], tokens: int, limits: Limits) -> str:
    """Why `table` cannot hold `tokens` tokens; "" when it can."""
    if tokens > limits.length:
        return f"{tokens} tokens exceed the context window of {limits.length}."
    if len(table) > limits.table or len(table) * limits.page_tokens < tokens:
        return f"A table of {len(table)} pages does not fit {tokens} tokens."
    if table and not 0 <= min(table) <= max(table) < limits.pages:
        return f"A page of the table lies outside the pool of {limits.pages}."
    return ""


@dataclass(slots=True)
class Batches:
    """All live requests and lanes of an engine."""

    limits: Limits
    live: dict[int, Live] = field(default_factory=dict)
    lanes: dict[int, Lane] = field(default_factory=dict)

    def admit(self, request: Request) -> None:
        """A request that iterations may name from now on."""
        self.live[request.id] = Live(request, list(request.prompt))

    def forget(self, request: int) -> None:
        """Drop the request wherever it is."""
        self.live.pop(request, None)
        for lane in self.lanes.values():
            lane.leave((request,))

    def lane(self, number: int) -> Lane:
        """The lane, made when it is first named."""
        if number not in self.lanes:
            self.lanes[number] = Lane(self.limits)
        return self.lanes[number]

    def change(self, iteration: Iteration) -> list[Failure]:
        """Apply the changes of membership; members that failed are out of the batch."""
        lane = self.lane(iteration.lane)
        if iteration.left:
            lane.leave(iteration.left)
        failed = lane.grow(iteration.grown) if iteration.grown else []
        for span in iteration.joined:
            live = self.live.get(span.request)
            reason = lane.join(span, live) if live else "The request is not known."
            if reason:
                failed.append((span.request, reason))
        if iteration.joined:
            lane.joined()
        failed += lane.overrun()
        if failed:
            lane.leave([request for request, _ in failed])
        return failed

    def check(self, span: Span) -> str:
        """Why the span cannot run; "" when it can."""
        live = self.live.get(span.request)
        if live is None:
            return "The request is not known."
        if span.tree is not None:
            return "Token trees cannot be verified by this compute."
        if span.count < 1 or span.start < 0 or span.start + span.count > len(live.tokens):
            return f"Tokens {span.start} to {span.start + span.count} are not known; {len(live.tokens)} are."
        return check_table(span.tables[0], span.start + span.count, self.limits)

    def rows(self, lane: Lane, spans: Sequence[Span]) -> Rows:
        """The pass over the lane's members and `spans`."""
        size = len(lane)
        if not spans:
            return Rows(
                tokens=lane.last[:size],
                positions=lane.length[:size] - 1,
                starts=lane.count[: size + 1],
                lengths=lane.length[:size].astype(np.int32),
                tables=lane.tables[:size],
                emit=None,
                requests=list(lane.ids),
                draws=lane.draws.at(lane.length[:size]),
            )
        return self._mixed(lane, spans)

    def _mixed(self, lane: Lane, spans: Sequence[Span]) -> Rows:
        size, live = len(lane), [self.live[span.request] for span in spans]
        counts = np.asarray([span.count for span in spans])
        ends = np.asarray([span.start + span.count for span in spans])
        starts = np.concatenate([lane.count[: size + 1], size + np.cumsum(counts)]).astype(np.int32)
        tables = np.zeros((size + len(spans), self.limits.table), np.int32)
        tables[:size] = lane.tables[:size]
        for row, span in enumerate(spans, size):
            tables[row, : len(span.tables[0])] = span.tables[0]
        said = [number for number, span in enumerate(spans) if span.emits]
        draws = Draws.of([live[number].request.sampling for number in said]).at(ends[said])
        tokens: list[Any] = [one.tokens[s.start : s.start + s.count] for one, s in zip(live, spans, strict=True)]
        return Rows(
            tokens=np.concatenate([lane.last[:size], *tokens]).astype(np.int64),
            positions=np.concatenate([lane.length[:size] - 1, *(np.arange(s.start, s.start + s.count) for s in spans)]),
            starts=starts,
            lengths=np.concatenate([lane.length[:size], ends]).astype(np.int32),
            tables=tables,
            emit=np.concatenate([starts[size + 1 :][said] - 1, lane.count[:size]]).astype(np.int64),
            requests=[spans[number].request for number in said] + lane.ids,
            draws=draws.then(lane.draws.at(lane.length[:size])),
        )
