"""From finished points to what a reader sees: the table, the picture, the claim files.

Every row is computed anew from the raw records, so a changed definition of a metric needs no new measurement.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ae import catalog, claims, identity, measure, metrics, places, render, slots, validity
from ae.load.records import read
from ae.points import Point
from ae.slots import Slot
from ae.store import Attempt, PointStore, canonical, write_atomic
from ae.table import Row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ae.claims import Verdict
    from ae.figure import Figure, Panel, Tier
    from systems.core.record import Record

Placed = tuple[Slot, Point | None]
_DRAWN = ".drawn"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a run leaves for a reader; `redrawn` is false when the files already said all of it."""

    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    picture: Path
    redrawn: bool


def show(figure: Figure, tier: Tier, found: Sequence[Row]) -> Shown:
    """Write table, picture and claim files of the points that are there, unless nothing about them has changed."""
    folder = places.figure(figure.id, tier)
    rows = tuple(found)
    picture = folder / f"{figure.name}.png"
    drawn, stamp = folder / _DRAWN, _stamp(figure, rows)
    if picture.exists() and drawn.exists() and drawn.read_text() == stamp:
        return Shown(rows, tuple(claims.judge(figure, rows, tier)), picture, redrawn=False)
    render.plot_figure(figure, rows, folder, tier)
    verdicts = tuple(render.check_figure(figure, rows, folder, tier))
    write_atomic(drawn, stamp)
    return Shown(rows, verdicts, picture, redrawn=True)


def rows_of(figure: Figure, tier: Tier, placed: Sequence[Placed]) -> list[Row]:
    """One row per slot whose point is done, in the order of the slots; of slots at one place in the figure, the first."""
    store = PointStore(places.figure(slots.home(figure), tier) / "points")
    rows: dict[tuple[str, str, float, int], Row] = {}
    for slot, point in placed:
        place = (slot.panel.name, slot.series.name, slot.load, slot.trial)
        found = store.find(point.key) if point and place not in rows else None
        if point and found and found.state == "done" and found.attempt:
            rows[place] = _row(figure, slot, point, found.attempt)
    return list(rows.values())


def verdict_of(attempt: Attempt, statistic: str) -> validity.Verdict:
    """Judge a finished attempt anew, for a figure that reads `statistic` off it."""
    return _judged(attempt, read(attempt.path / "requests.jsonl"), statistic)


def _judged(attempt: Attempt, records: list[Record], statistic: str) -> validity.Verdict:
    known = json.loads((attempt.path / "manifest.json").read_text())
    mismatches = tuple(known["mismatches"])
    return measure.judge(records, measure.read_facts(attempt.path), mismatches, known.get("neighbours"), statistic)


def targets(panel: Panel, iteration: float) -> metrics.Targets:
    """A panel's SLO in seconds, from its multiples of the decode iteration (seconds)."""
    first = panel.slo.ttft
    return metrics.Targets(panel.slo.normalized * iteration, None if first is None else first * iteration)


def _row(figure: Figure, slot: Slot, point: Point, attempt: Attempt) -> Row:
    records = read(attempt.path / "requests.jsonl")
    slo = targets(slot.panel, point.iteration)
    kept = metrics.measured(records)
    verdict = _judged(attempt, records, slot.statistic)
    return Row(
        panel=slot.panel.name,
        series=slot.series.name,
        x=slot.load,
        rate=point.rate,
        trial=slot.trial,
        value=metrics.metric(figure.metric_of(slot.panel), records, slo, part=slot.series.part),
        requests=len(kept),
        failed=sum(r.status != "ok" for r in kept),
        valid=verdict.valid,
        why=verdict.why,
        slo=slot.panel.slo.share if figure.metric_of(slot.panel) == "slo_attainment" else slo.normalized or 0.0,
    )


def _stamp(figure: Figure, rows: Sequence[Row]) -> str:
    """Changes when the rows, the figure file, the published points or the drawing code do."""
    file = catalog.file_of(figure)
    declared = [f.read_text() for f in (file, file.with_name("paper.yaml")) if f.exists()]
    value = [repr(rows), declared, dict(identity.code_of(("ae.render",)))]
    return hashlib.sha256(canonical(value).encode()).hexdigest()
