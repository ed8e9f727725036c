"""The event log: every event a policy was fed and every plan it answered, one JSON line each.

`ae replay` feeds the events to a fresh policy object and compares the plans: equal decisions prove that the
policy is a pure function of its events. Block tables are logged as checksums.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO
from zlib import crc32

from systems.core.events import (
    Arrived,
    Cancelled,
    Ended,
    Event,
    Moved,
    Outcome,
    Ran,
    SpanOutcome,
    StopReason,
    Times,
    Woke,
)
from systems.core.plan import Iteration, Place, Plan, Span, Transfer
from systems.core.request import Arrival, Slo

Json = list[Any]


def encode_plan(plan: Plan) -> Json:
    """A plan as JSON values; two plans are the same decision exactly if these are equal."""
    return [
        [_iteration(i) for i in plan.launch],
        [_transfer(t) for t in plan.move],
        list(plan.finished),
        plan.wake_at,
        [[m.target, repr(m.body), list(m.carries)] for m in plan.say],
    ]


def _iteration(it: Iteration) -> Json:
    return [
        it.id,
        it.lane,
        [_span(s) for s in it.spans],
        [_span(s) for s in it.joined],
        list(it.left),
        [list(g) for g in it.grown],
        list(it.after),
        [list(c) for c in it.copies],
        [it.model, list(it.leap), repr(it.beam) if it.beam else ""],
    ]


def _span(span: Span) -> Json:
    tables = crc32(repr(span.tables).encode())
    row = [span.request, span.start, span.count, str(span.kind), int(span.emits), tables]
    return [*row, list(span.tree)] if span.tree else row


def _transfer(t: Transfer) -> Json:
    ends = [[str(place.pool), place.instance, list(pages)] for place, pages in _ends(t)]
    return [t.id, t.request, *ends, str(t.kind), t.group, t.link, t.model]


def _ends(t: Transfer) -> tuple[tuple[Place, tuple[int, ...]], tuple[Place, tuple[int, ...]]]:
    return (t.source, t.source_pages), (t.target, t.target_pages)


def encode_event(event: Event) -> Json:
    """An event as JSON values, with a letter for its kind; iterations and transfers by their id."""
    if isinstance(event, Ran):
        o = event.outcome
        return [
            "ran",
            event.iteration.id,
            list(o.ends),
            [[s.computed, s.tokens] for s in o.spans],
            [[e.request, str(e.reason), e.step] for e in o.ended],
            list(o.times),
        ]
    if isinstance(event, Arrived):
        a = event.arrival
        return [
            "arrived",
            a.request,
            a.at,
            a.prompt,
            a.model,
            a.priority,
            [a.slo.name, a.slo.ttft, a.slo.tpot],
            a.output,
        ]
    if isinstance(event, Cancelled):
        return ["cancelled", event.request]
    if isinstance(event, Moved):
        return ["moved", event.transfer.id, int(event.ok)]
    return ["woke"]


class EventDecoder:
    """Turns logged events back into events, given the plans they refer to."""

    def __init__(self) -> None:
        self._iterations: dict[int, Iteration] = {}
        self._transfers: dict[int, Transfer] = {}

    def note(self, plan: Plan) -> None:
        """Remember what later events refer to by id."""
        self._iterations.update((i.id, i) for i in plan.launch)
        self._transfers.update((t.id, t) for t in plan.move)

    def decode(self, row: Json) -> Event:
        """The event of one logged row. Raises ValueError or KeyError when there is none that fits the plans so far."""
        kind, *rest = row
        if kind == "arrived":
            request, at, prompt, model, priority, slo, output = rest
            return Arrived(Arrival(request, at, prompt, model, priority, Slo(*slo), (), output))
        if kind == "ran":
            iteration, ends, spans, ended, times = rest
            outcome = Outcome(
                ends=tuple(ends),
                spans=tuple(SpanOutcome(*s) for s in spans),
                ended=tuple(Ended(r, StopReason(why), step) for r, why, step in ended),
                times=Times(*times),
            )
            return Ran(self._iterations.pop(iteration), outcome)
        if kind == "moved":
            return Moved(self._transfers.pop(rest[0]), bool(rest[1]))
        if kind == "cancelled":
            return Cancelled(rest[0])
        if kind == "woke":
            return Woke()
        raise ValueError(f"unknown event {kind!r}")


class EventLog:
    """Appends to `path`; the first line says which policy and settings the events were fed to."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self._file: TextIO = path.open("w", buffering=1 << 20)
        self._write({"schema": 1, **header})

    def event(self, event: Event, now: int) -> None:
        """Log one event."""
        self._write([now, encode_event(event)])

    def plan(self, plan: Plan, now: int) -> None:
        """Log one plan that is not empty."""
        self._write([now, None, encode_plan(plan)])

    def close(self) -> None:
        """Write what is buffered."""
        self._file.close()

    def _write(self, row: object) -> None:
        self._file.write(json.dumps(row, separators=(",", ":")))
        self._file.write("\n")
