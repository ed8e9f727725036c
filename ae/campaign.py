"""Runs what is missing of a figure and says why; the same command again goes on where it stopped.

Trials are outermost, one server serves all loads of its series, a failure is recorded, retried and does not
stop the rest.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ae import calibrate, launch, measure, outputs, places, points
from ae.store import PointStore, locked
from systems.core.errors import AeError, MeasurementInvalid, ServerFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ae.calibrate import Calibration
    from ae.figure import Figure
    from ae.options import Options
    from ae.outputs import Shown
    from ae.points import Point, Slot
    from ae.report import Reporter

RETRIES = 2
_OVERHEAD = 1.0  # seconds per point beside its window, until this run has measured its own
_SERVER_START = 4.0  # likewise


@dataclass(frozen=True, slots=True)
class Task:
    """A point and what is known of it: `why` it has to run, empty when it is done.

    `point` is None as long as its calibration is missing: the rate is then unknown.
    """

    slot: Slot
    point: Point | None
    why: str


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one figure. `failed` has one line per point that could not be measured."""

    figure: Figure
    ran: int
    skipped: int
    left: int
    invalid: int
    failed: tuple[str, ...]
    shown: Shown


def plan(figure: Figure, options: Options) -> list[Task]:
    """Every point of the figure's grid, each once, with the reason to run it. Runs nothing, writes nothing."""
    figure = _with_external(_checked(figure, options), options)
    folder = places.figure(figure.id, options.tier).parent / "calibration"
    known = {panel.name: calibrate.find(panel, folder) for panel in figure.panels}
    return _tasks(figure, options, _placed(figure, options, known))


def run(figure: Figure, options: Options, reporter: Reporter, *, deadline: float | None = None) -> Result:
    """Measure what is missing of `figure`, then write its table, picture and claim files.

    `deadline` is a time of the monotonic clock after which no further point is begun. Raises AeError when
    nothing can be measured at all.
    """
    figure = _with_external(_checked(figure, options), options)
    system = places.figure(figure.id, options.tier).parent
    with locked(system):
        known = _calibrate(figure, options, system / "calibration", reporter)
        placed = _placed(figure, options, known)
        tasks = _tasks(figure, options, placed)
        todo = [task for task in tasks if task.why]
        _announce(figure, tasks, todo, reporter)
        campaign = _Campaign(figure, options, reporter, deadline, placed)
        if todo:
            campaign.run(todo)
        shown = outputs.show(figure, options.tier, placed)
    left = len(todo) - campaign.ran - len(campaign.failed)
    invalid = sum(not row.valid for row in shown.rows)
    return Result(figure, campaign.ran, len(tasks) - len(todo), left, invalid, tuple(campaign.failed), shown)


def seconds(tasks: Iterable[Task]) -> float:
    """An estimate of how long the tasks that have to run will take."""
    todo = [t for t in tasks if t.why]
    servers = {(t.slot.trial, t.slot.panel.name, t.slot.series.name) for t in todo if not t.slot.external}
    windows = sum(t.slot.seconds + points.WARMUP + _OVERHEAD for t in todo)
    return windows + _SERVER_START * len(servers)


def _checked(figure: Figure, options: Options) -> Figure:
    if options.tier not in figure.tiers:
        raise UsageError(
            f"{figure.id} has no tier {options.tier!r}.", f"Its tiers: {', '.join(figure.tiers)} (--tier)."
        )
    return figure


def _with_external(figure: Figure, options: Options) -> Figure:
    taken = {series.name for series in figure.series}
    if clash := [s.name for s in options.external if s.name in taken]:
        raise UsageError(f"{figure.id} already has a series called {clash[0]!r}.", "Give yours another name.")
    return replace(figure, series=(*figure.series, *options.external))


def _calibrate(figure: Figure, options: Options, folder: Path, reporter: Reporter) -> dict[str, Calibration | None]:
    used = {slot.panel.name: slot.panel for slot in points.slots(figure, options.grid)}
    return {name: calibrate.calibrate(panel, folder, reporter.say) for name, panel in used.items()}


def _tasks(figure: Figure, options: Options, placed: Sequence[outputs.Placed]) -> list[Task]:
    store = PointStore(places.figure(points.home(figure), options.tier) / "points")
    tasks: dict[str, Task] = {}
    for slot, point in placed:
        if point is None:
            tasks[slot.readable] = Task(slot, None, "not calibrated on this machine yet")
        else:
            tasks.setdefault(point.key, Task(slot, point, _why(point, store, options)))
    return list(tasks.values())


def _placed(figure: Figure, options: Options, known: dict[str, Calibration | None]) -> list[outputs.Placed]:
    """Each slot of the grid with its point."""
    models = {s.variant: launch.get(f"{s.variant}/v1/models") for s in options.external}
    placed: list[outputs.Placed] = []
    for slot in points.slots(figure, options.grid):
        calibration = known.get(slot.panel.name)
        text = models.get(slot.series.variant, "")
        placed.append((slot, points.resolve(slot, calibration, models=text) if calibration else None))
    return placed


def _why(point: Point, store: PointStore, options: Options) -> str:
    found = store.find(point.key)
    if found.state == "done":
        assert found.attempt is not None
        invalid = not outputs.verdict_of(found.attempt).valid
        return "its measurement was invalid" if invalid and options.again else ""
    if found.state == "failed":
        return "it failed last time"
    if found.state == "interrupted":
        return "it was cut off last time"
    before = store.last_resolved(point.slot.readable, but=point.key)
    if before is None:
        return "not measured yet"
    changed = points.changes(before, point)
    more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
    return ", ".join(changed[:3]) + more if changed else "its key changed"


def _announce(figure: Figure, tasks: Sequence[Task], todo: Sequence[Task], reporter: Reporter) -> None:
    if not todo:
        reporter.say(f"{figure.id}: all {len(tasks)} points are done, nothing to run")
        return
    reporter.say(f"{figure.id}: {len(tasks)} points, {len(tasks) - len(todo)} done, {len(todo)} to run")
    for why in dict.fromkeys(task.why for task in todo):
        names = [task.slot.readable for task in todo if task.why == why]
        some = ", ".join(names[:2]) + (f", … ({len(names)} points)" if len(names) > 2 else "")
        reporter.say(f"  {why}: {some}")


class _Campaign:
    """The state of one run of one figure."""

    def __init__(
        self,
        figure: Figure,
        options: Options,
        reporter: Reporter,
        deadline: float | None,
        placed: Sequence[outputs.Placed],
    ) -> None:
        self.ran = 0
        self.failed: list[str] = []
        self._figure = figure
        self._options = options
        self._reporter = reporter
        self._deadline = deadline
        self._folder = places.figure(points.home(figure), options.tier)
        self._run_folder = self._folder.parent / "calibration" / "run"
        self._store = PointStore(self._folder / "points")
        self._server: launch.Server | None = None
        self._placed = placed
        self._todo: list[Task] = []

    def run(self, todo: list[Task]) -> None:
        """Run every task, group by group."""
        self._todo = list(todo)
        self._reporter.begin(len(todo), seconds(todo))
        try:
            for group in _groups(todo):
                if self._over():
                    self._reporter.say("the time budget is used up; the same command goes on from here")
                    break
                self._group(group)
        finally:
            self._stop()
            self._reporter.end()

    def _group(self, group: Sequence[Point]) -> None:
        """The points of one server."""
        for point in group:
            if self._over():
                return
            retries: list[str] = []
            while not self._once(point, retries):
                if len(retries) > RETRIES:
                    self.failed.append(f"{point.slot.readable}: {retries[-1]}")
                    break
            self._todo = [t for t in self._todo if t.point is not point]
            self._reporter.advance(self._words(point, retries), seconds(self._todo))
        self._stop()

    def _once(self, point: Point, retries: list[str]) -> bool:
        """One attempt; False when it failed (the reason is then added to `retries`)."""
        attempt = self._store.begin(point.slot.readable, point.key)
        place = measure.Place(self._options.tier, points.home(self._figure), self._run_folder / "pids", tuple(retries))
        try:
            measure.measure(point, self._ensure(point), attempt, place)
        except (ServerFailed, MeasurementInvalid) as error:
            self._stop()
            measure.give_up(attempt, str(error))
            retries.append(error.what.splitlines()[0])
            self._reporter.say(f"  {point.slot.readable}: {retries[-1]} (attempt {attempt.number})")
            return False
        self.ran += 1
        return True

    def _ensure(self, point: Point) -> launch.Server | None:
        """The server of `point`: the running one, or a fresh one. What it takes to load is used to draw."""
        if point.engine is None:
            return None
        if self._server is None or not self._server.alive or self._server.config != point.engine:
            self._stop()
            name = f"{point.slot.panel.name}_{point.slot.series.name}"
            self._server = launch.begin(point.engine, self._run_folder, name)
            self._draw_partial()
            self._server.await_ready(self._reporter.say)
        return self._server

    def _draw_partial(self) -> None:
        if not self.ran:
            return
        try:
            outputs.show(self._figure, self._options.tier, self._placed)
        except AeError as error:
            self._reporter.say(f"  the partial figure could not be drawn: {error}")

    def _stop(self) -> None:
        if self._server:
            self._server.stop()
            self._server = None

    def _over(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _words(self, point: Point, retries: Sequence[str]) -> str:
        found = self._store.find(point.key)
        again = f" after {len(retries)} failed attempts" if retries else ""
        if found.attempt is None or found.state != "done":
            return f"{point.slot.readable}: FAILED{again}"
        verdict = outputs.verdict_of(found.attempt)
        return f"{point.slot.readable}: {'ok' if verdict.valid else 'INVALID: ' + verdict.why}{again}"


def _groups(todo: Sequence[Task]) -> list[list[Point]]:
    """Points of the same trial and server together, in order of first appearance."""
    groups: dict[tuple[int, str], list[Point]] = {}
    for task in todo:
        if task.point:
            where = task.point.engine.to_json() if task.point.engine else task.point.url
            groups.setdefault((task.slot.trial, where), []).append(task.point)
    return list(groups.values())
