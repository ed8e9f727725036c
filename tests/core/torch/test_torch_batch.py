"""What a pass is cut down to where only the rows that emit go on."""

from __future__ import annotations

import numpy as np

from systems.core.plan import Span, SpanKind
from systems.core.request import Request, Sampling
from systems.core.torch.batch import Batches, Limits

LIMITS = Limits(pages=64, table=4, page_tokens=16, length=64)


def chunk(request: int, start: int, count: int, *, emits: bool) -> Span:
    return Span(request, start, count, SpanKind.CHUNK, ((4 * request, 4 * request + 1),), emits=emits)


def batches() -> Batches:
    known = Batches(LIMITS)
    for name in range(4):
        known.admit(Request(name, tuple(range(10 * name, 10 * name + 20)), Sampling()))
    known.lane(0).join(Span(0, 19, 1, SpanKind.DECODE, ((0, 1),)), known.live[0])
    known.lane(0).joined()
    return known


def test_emitting_rows_keep_what_they_see() -> None:
    known = batches()
    spans = [chunk(1, 4, 16, emits=True), chunk(2, 0, 8, emits=False), chunk(3, 0, 20, emits=True)]
    rows = known.rows(known.lane(0), spans)
    few = rows.emitting()
    assert few.requests == [1, 3, 0]
    assert few.tokens.tolist() == [29, 49, 19]
    assert few.positions.tolist() == [19, 19, 19]
    assert few.lengths.tolist() == [20, 20, 20]
    assert few.starts.tolist() == [0, 1, 2, 3]
    assert few.tables[:, :2].tolist() == [[4, 5], [12, 13], [0, 1]]
    assert few.emit is None


def test_a_row_in_the_middle_of_its_sequence_does_not_see_what_follows() -> None:
    known = batches()
    rows = known.rows(known.lane(0), [chunk(1, 4, 16, emits=True)])
    rows.emit = np.asarray([3], np.int64)
    assert rows.emitting().lengths.tolist() == [rows.positions[3] + 1]


def test_nothing_emits() -> None:
    known = batches()
    few = known.rows(known.lane(7), [chunk(2, 0, 8, emits=False)]).emitting()
    assert (len(few.tokens), few.starts.tolist(), few.tables.shape) == (0, [0], (0, LIMITS.table))
