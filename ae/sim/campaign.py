"""Runs what is missing of a figure at tier sim, on all cores, and says why."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import TYPE_CHECKING

from ae import metrics, outputs, places
from ae.campaign import Result
from ae.load.records import read
from ae.sim import points as simulated
from ae.sim import work
from ae.slots import home
from ae.store import PointStore, locked
from ae.table import Row
from ae.tasks import reason
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ae.figure import Figure
    from ae.options import Options
    from ae.report import Reporter
    from ae.sim.points import Point, Slot
    from ae.store import Attempt

SECONDS = 0.4  # of a point on one core, for estimates
MEGABYTES = 0.1  # likewise, on disk


def plan(figure: Figure, options: Options) -> list[tuple[Point, str]]:
    """List every point of the figure's grid, each once, with the reason to run it; "" when it is done."""
    if options.external:
        raise UsageError("A server cannot be part of a simulation.", "Leave out --series, or use tier smoke.")
    store = PointStore(_points(figure))
    found: dict[str, tuple[Point, str]] = {}
    for slot in simulated.slots(figure, options.grid):
        point = simulated.resolve(slot)
        if point.key not in found:
            found[point.key] = point, reason(point, store)
    return list(found.values())


def seconds(todo: int) -> float:
    """Estimate how long so many points take on all cores."""
    return SECONDS * todo / (os.cpu_count() or 1)


def run(figure: Figure, options: Options, reporter: Reporter, *, deadline: float | None = None) -> Result:
    """Simulate what is missing of `figure`, then write its table, picture and claim files.

    `deadline` is a time of the monotonic clock after which no further point is begun. Raises AeError when nothing can
    be simulated at all.
    """
    with locked(places.figure(figure.id, "sim").parent):
        every = plan(figure, options)
        todo = [point for point, why in every if why]
        _announce(figure, every, reporter)
        failed, ran = _run(todo, figure, reporter, deadline) if todo else ([], 0)
        shown = outputs.show(figure, "sim", rows_of(figure))
    left = len(todo) - ran - len(failed)
    invalid = sum(not row.valid for row in shown.rows)
    return Result(figure, ran, len(every) - len(todo), left, invalid, tuple(failed), shown)


def rows_of(figure: Figure) -> list[Row]:
    """One row per slot whose point is done, of all grids."""
    store = PointStore(_points(figure))
    rows: dict[tuple[str, str, float, int], Row] = {}
    for grid in sorted(figure.grids):
        for slot in simulated.slots(figure, grid):
            place = (slot.panel.name, slot.series.name, slot.at.x, slot.trial)
            found = None if place in rows else store.find(simulated.resolve(slot).key)
            if found and found.state == "done" and found.attempt:
                rows[place] = _row(figure, slot, found.attempt)
    return list(rows.values())


def _row(figure: Figure, slot: Slot, attempt: Attempt) -> Row:
    records = read(attempt.path / "requests.jsonl")
    slo, metric = slot.panel.slo, figure.metric_of(slot.panel)
    targets = metrics.Targets(slo.paper_normalized, slo.paper_ttft)
    return Row(
        panel=slot.panel.name,
        series=slot.series.name,
        x=slot.at.x,
        rate=slot.at.rate,
        trial=slot.trial,
        value=metrics.metric(metric, records, targets, part=slot.series.part),
        requests=len(records),
        failed=sum(record.status != "ok" for record in records),
        slo=slo.share if metric == "slo_attainment" else slo.paper_normalized,
    )


def _run(todo: Sequence[Point], figure: Figure, reporter: Reporter, deadline: float | None) -> tuple[list[str], int]:
    """Simulate on all cores; lines about points that failed, and how many succeeded."""
    workers = min(len(todo), os.cpu_count() or 1)
    failed: list[str] = []
    ran = 0
    reporter.begin(len(todo), seconds(len(todo)))
    began = time.monotonic()
    left = list(reversed(todo))
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=work.begin)
    running: dict[Future[str], Point] = {}
    try:
        while left or running:
            while left and len(running) < 2 * workers and (deadline is None or time.monotonic() < deadline):
                point = left.pop()
                running[pool.submit(work.file_point, point, _points(figure), home(figure))] = point
            if not running:
                reporter.say("the time budget is used up; the same command goes on from here")
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                point, why = running.pop(future), future.result()
                ran += not why
                failed += [f"{point.slot.readable}: {why}"] if why else []
                rest = len(left) + len(running)
                reporter.advance(
                    f"{point.slot.readable}: {why or 'ok'}",
                    (time.monotonic() - began) / max(1, len(todo) - rest) * rest,
                )
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        reporter.end()
    return failed, ran


def _points(figure: Figure) -> Path:
    return places.figure(home(figure), "sim") / "points"


def _announce(figure: Figure, every: Sequence[tuple[Point, str]], reporter: Reporter) -> None:
    todo = [(point, why) for point, why in every if why]
    if not todo:
        reporter.say(f"{figure.id}: all {len(every)} points are done, nothing to run")
        return
    reporter.say(f"{figure.id}: {len(every)} points, {len(every) - len(todo)} done, {len(todo)} to run")
    for why in dict.fromkeys(why for _, why in todo):
        names = [point.slot.readable for point, reason in todo if reason == why]
        some = ", ".join(names[:2]) + (f", … ({len(names)} points)" if len(names) > 2 else "")
        reporter.say(f"  {why}: {some}")
