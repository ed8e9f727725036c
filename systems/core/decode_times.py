"""How long decode iterations took, read off an event log: the engine's own clock, nothing of the client's."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

from systems.core.errors import MeasurementInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FULL = 0.9  # a batch is full that is at least as large as this share of the decode-only ones


class Step(NamedTuple):
    """One iteration that only decoded: its `batch`, and its `period` in ns (see `steps`)."""

    batch: int
    period: int


class Decoding(NamedTuple):
    """The median `seconds` of `iterations` that only decoded, of at least `batch` requests."""

    seconds: float
    batch: int
    iterations: int


def full_batch(logs: Iterable[Path]) -> Decoding:
    """The time of a decode-only iteration of a full batch.

    Raises MeasurementInvalid when no iteration of the logs only decoded.
    """
    found = [step for log in logs for step in steps(log)]
    if not found:
        raise MeasurementInvalid("The engine never did nothing but decode, so no iteration time is known.")
    batch = sorted(step.batch for step in found)[int(FULL * (len(found) - 1))]
    periods = [step.period for step in found if step.batch >= batch]
    return Decoding(statistics.median(periods) / 1e9, batch, len(periods))


def steps(log: Path) -> Iterator[Step]:
    """Every iteration without a prompt's tokens that ran right after another one of its lane.

    Its period runs from the end of the one before to its own end, less the wait for transfers: one pass of the model
    with the policy, the bookkeeping and the hand-over around it, as a request in the batch sees it.
    """
    launched: dict[int, list[Any]] = {}
    members: dict[int, set[int]] = {}  # by lane
    ended: dict[int, int] = {}
    with log.open() as rows:
        next(rows, None)  # what was fed to
        for now, event, *rest in map(json.loads, rows):
            if event is None:
                launched.update((row[0], row) for row in rest[0][0])
            elif event[0] == "ran":
                _, lane, spans, joined, left, *_ = launched.pop(event[1])
                _, _, ends, _, over, times = event
                batch = members.setdefault(lane, set())
                batch |= {span[0] for span in joined}
                batch -= set(left)
                if not spans and batch and lane in ended:
                    yield Step(len(batch), ends[-1] - ended[lane] - times[0])
                batch -= {request for request, *_ in over}
                ended[lane] = ends[-1]
                if not batch and not launched:
                    del ended[lane]  # what follows may begin after a pause
            del now
