"""Runs what is missing of a figure and says why; the same command again goes on where it stopped.

Trials are outermost, one server serves all loads of its series, a failure is recorded, retried and does not
stop the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ae import calibrate, external, outputs, places, processes, slots
from ae.load.launch import Generator
from ae.pool import Pool
from ae.runner import Runner, run_folder
from ae.store import locked
from ae.tasks import Task, drawable, placed, tasks
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ae.calibrate import Calibration
    from ae.figure import Figure
    from ae.options import Options
    from ae.outputs import Shown
    from ae.report import Reporter


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one figure: points that ran, were done already, are left (budget); invalid rows drawn.

    `failed` has one line per point that could not be measured.
    """

    figure: Figure
    ran: int
    skipped: int
    left: int
    invalid: int
    failed: tuple[str, ...]
    shown: Shown


def plan(figure: Figure, options: Options) -> list[Task]:
    """List every point of the figure's grid, each once, with the reason to run it. Runs and writes nothing."""
    figure = _extended(figure, options)
    folder = _calibrations(figure, options)
    known = {panel.name: calibrate.find(panel, folder) for panel in figure.panels if panel.on(options.tier)}
    return tasks(figure, options, placed(figure, options.grid, known, external.asked(options.external), options.tier))


def run(figure: Figure, options: Options, reporter: Reporter, *, deadline: float | None = None) -> Result:
    """Measure what is missing of `figure`, then write its table, picture and claim files.

    What is drawn is every point there is, of all grids and of servers of earlier runs, not only what was asked for.
    `deadline` is a time of the monotonic clock after which no further point is begun. Raises AeError when
    nothing can be measured at all.
    """
    declared, figure = figure, _extended(figure, options)
    servers = external.asked(options.external)
    with locked(places.figure(figure.id, options.tier).parent):
        _end_left_over(run_folder(figure, options) / "pids", reporter)
        folder = run_folder(figure, options)
        with Pool(folder, reporter) as pool, Generator(folder) as generator:
            known = _calibrate(figure, options, calibrate.Means(pool, generator, reporter.say))
            every = tasks(figure, options, placed(figure, options.grid, known, servers, options.tier))
            todo = [task for task in every if task.why]
            _announce(figure, every, todo, reporter)
            every_server = external.remember(declared, options.tier, servers)
            drawn = external.extended(declared, every_server)
            pairs = drawable(drawn, known, every_server, options.tier)
            runner = Runner(drawn, options, reporter, deadline, pairs, pool, generator)
            if todo:
                runner.run(todo)
        shown = outputs.show(drawn, options.tier, outputs.rows_of(drawn, options.tier, pairs))
    left = len(todo) - runner.ran - len(runner.failed)
    invalid = sum(not row.valid for row in shown.rows)
    return Result(figure, runner.ran, len(every) - len(todo), left, invalid, tuple(runner.failed), shown)


def _extended(figure: Figure, options: Options) -> Figure:
    """Check that `figure` can be run so, and add the external series to it. Raises UsageError."""
    if options.tier not in figure.tiers:
        tiers = ", ".join(figure.tiers)
        raise UsageError(f"{figure.id} has no tier {options.tier!r}.", f"Its tiers: {tiers} (--tier).")
    names = [series.name for series in (*figure.series, *options.external)]
    if clash := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{figure.id} already has a series called {clash[0]!r}.", "Give yours another name.")
    return replace(figure, series=(*figure.series, *options.external))


def _calibrations(figure: Figure, options: Options) -> Path:
    return places.figure(figure.id, options.tier).parent / "calibration"


def _calibrate(figure: Figure, options: Options, means: calibrate.Means) -> dict[str, Calibration | None]:
    every = slots.slots(figure, options.grid, options.tier)
    names = {n for slot in every for n in (slot.panel.name, slot.panel.slo_of)}
    used = [panel for panel in figure.panels if panel.name in names]
    folder = _calibrations(figure, options)
    fresh = calibrate.calibrate(used, folder, means)
    here = [panel for panel in figure.panels if panel.on(options.tier)]
    return {panel.name: fresh.get(panel.name) or calibrate.find(panel, folder) for panel in here}


def _end_left_over(pids: Path, reporter: Reporter) -> None:
    """End what a killed run left: we hold the lock, so no living run owns it."""
    for started in processes.left_over(pids):
        reporter.say(f"ending a process that a killed run left: {started.what} (pid {started.pid})")
        processes.end(started, pids)


def _announce(figure: Figure, every: Sequence[Task], todo: Sequence[Task], reporter: Reporter) -> None:
    if not todo:
        reporter.say(f"{figure.id}: all {len(every)} points are done, nothing to run")
        return
    reporter.say(f"{figure.id}: {len(every)} points, {len(every) - len(todo)} done, {len(todo)} to run")
    for why in dict.fromkeys(task.why for task in todo):
        names = [task.slot.readable for task in todo if task.why == why]
        some = ", ".join(names[:2]) + (f", … ({len(names)} points)" if len(names) > 2 else "")
        reporter.say(f"  {why}: {some}")
