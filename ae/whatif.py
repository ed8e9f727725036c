"""A what-if outside any figure: some systems on one model, GPU and workload, over a range of rates.

The question becomes a `Figure` in memory, so it is simulated, kept, resumed and drawn as figures are. All systems get
the same engine's iteration times, the same limits and the same memory: what differs is the policy alone.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ae import places, reasons
from ae.cells import Cell, Trial, cell
from ae.load.records import read
from ae.options import Options
from ae.question import figure_of, stage
from ae.sim import campaign
from ae.sim.points import resolve, slots
from ae.slots import home
from ae.store import Attempt, PointStore, write_atomic
from systems.core.instance import Counters

if TYPE_CHECKING:
    from pathlib import Path

    from ae.campaign import Result
    from ae.curves import Estimate
    from ae.figure import Figure
    from ae.question import Question
    from ae.reasons import Given
    from ae.report import Reporter

ENDS = (".png", ".pdf", ".csv", ".json", ".txt")


@dataclass(frozen=True, slots=True)
class Answer:
    """`cells` by rate, then system; `words` are the reasons.

    `at_slo` is the rate at which each system crosses the SLO (None: nothing ended well), `constants` what times and
    memory rest on, with their sources.
    """

    question: Question
    title: str
    given: Given
    cells: tuple[Cell, ...]
    at_slo: tuple[tuple[str, Estimate | None], ...]
    words: tuple[str, ...]
    constants: tuple[str, ...]
    result: Result

    @property
    def picture(self) -> Path:
        """The PNG; everything else lies beside it under the same name."""
        return self.result.shown.picture


def answer(question: Question, reporter: Reporter) -> Answer:
    """Simulate what is missing, on all cores, then draw and explain. Raises UsageError for what cannot be asked."""
    staged = stage(question)
    figure = figure_of(staged)
    result = campaign.run(figure, Options("sim", "full"), reporter)
    rows, cells = result.shown.rows, tuple(_cells(figure, staged.given.slo))
    found = Answer(
        question=question,
        title=figure.caption,
        given=staged.given,
        cells=cells,
        at_slo=tuple((one.name, reasons.at_slo(rows, one.name)) for one in staged.series),
        words=tuple(reasons.words(staged.given, cells, rows)),
        constants=staged.machine.described,
        result=result,
    )
    write_atomic(found.picture.with_suffix(".json"), json.dumps(value(found), indent=1) + "\n")
    write_atomic(found.picture.with_suffix(".txt"), "\n".join((found.title, *found.words, *found.constants)) + "\n")
    return found


def value(found: Answer) -> dict[str, Any]:
    """Everything, ready for JSON; null is a number that nobody knows (nothing ended well) or that has no bound."""
    return {
        "question": asdict(found.question),
        "given": asdict(found.given),
        "constants": list(found.constants),
        "cells": [_plain(asdict(one)) | _plain(one.numbers._asdict()) for one in found.cells],
        "rate_at_slo": {name: _plain(asdict(at)) if at else None for name, at in found.at_slo},
        "reasons": list(found.words),
        "failed": list(found.result.failed),
        "picture": str(found.picture),
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Without what is nested, and null for what JSON has no number for."""
    flat = {name: given for name, given in row.items() if not isinstance(given, tuple)}
    return {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in flat.items()}


def keep(found: Answer, folder: Path) -> list[Path]:
    """Copy picture, tables and reasons into `folder`, as try.png, try.pdf, try.csv, try.json and try.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [(found.picture.with_suffix(end), folder / f"try{end}") for end in ENDS]
    return [shutil.copyfile(source, target) for source, target in files if source.exists()]


def _cells(figure: Figure, slo: float) -> list[Cell]:
    """One per rate and series, of the points that are done."""
    store = PointStore(places.figure(home(figure), "sim") / "points")
    found: dict[tuple[str, float], list[Trial]] = {}
    for slot in slots(figure, "full"):
        known = store.find(resolve(slot).key)
        if known.state == "done" and known.attempt:
            found.setdefault((slot.series.name, slot.at.rate), []).append(_trial(known.attempt))
    return [cell(series, rate, slo, every) for (series, rate), every in found.items()]


def _trial(attempt: Attempt) -> Trial:
    counters = json.loads((attempt.path / "manifest.json").read_text())["applied"]["counters"]
    return Trial(read(attempt.path / "requests.jsonl"), Counters(**counters))
