"""Runs the points of one figure that are missing: one server per series and trial, retries, progress."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ae import measure, outputs, places, slots, tasks
from ae.store import PointStore
from systems.core.errors import AeError, MeasurementInvalid, ServerFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ae.figure import Figure
    from ae.load.launch import Generator
    from ae.options import Options
    from ae.points import Point
    from ae.pool import Pool
    from ae.report import Reporter
    from ae.tasks import Task
    from ae.validity import Verdict

RETRIES = 2  # after failures
REPEATS = 3  # after something else on this machine disturbed the load generator
DISTURBED = frozenset({"rate", "lateness", "client_cpu", "neighbours"})


class Runner:
    """The state of one run of one figure. `ran` counts points, `failed` has one line per point given up."""

    def __init__(
        self,
        figure: Figure,
        options: Options,
        reporter: Reporter,
        deadline: float | None,
        placed: Sequence[outputs.Placed],
        pool: Pool,
        generator: Generator,
    ) -> None:
        self.ran = 0
        self.failed: list[str] = []
        self._figure = figure
        self._options = options
        self._reporter = reporter
        self._deadline = deadline
        self._placed = placed
        home = places.figure(slots.home(figure), options.tier)
        self._store = PointStore(home / "points")
        self._pool = pool
        self._generator = generator

    def run(self, todo: Sequence[Task]) -> None:
        """Run every task in order; the pool's servers and the generator are the caller's to stop."""
        left = list(todo)
        self._generator.begin()  # its imports are done when the first servers are
        self._reporter.begin(len(left), tasks.seconds(left))
        try:
            while left:
                self._pool.prepare([task.point.engine for task in left if task.point])
                point = left.pop(0).point
                if point is None:
                    continue
                if self._deadline is not None and time.monotonic() > self._deadline:
                    self._reporter.say("the time budget is used up; the same command goes on from here")
                    return
                words = self._point(point)
                self._reporter.advance(f"{point.slot.readable}: {words}", tasks.seconds(left))
        finally:
            self._reporter.end()

    def _point(self, point: Point) -> str:
        """Measure until it succeeds or is given up; how that went, in words."""
        troubles: list[str] = []
        disturbed = 0
        while len(troubles) - disturbed <= RETRIES:
            verdict = self._attempt(point, troubles)
            if verdict is None:
                continue
            if verdict.valid or disturbed == REPEATS or not _disturbed(verdict):
                self.ran += 1
                again = f" (attempt {len(troubles) + 1})" if troubles else ""
                return ("ok" if verdict.valid else f"INVALID: {verdict.why}") + again
            disturbed += 1
            troubles.append(f"disturbed: {verdict.why}")
        self.failed.append(f"{point.slot.readable}: {troubles[-1]}")
        return f"FAILED after {len(troubles)} attempts: {troubles[-1]}"

    def _attempt(self, point: Point, troubles: list[str]) -> Verdict | None:
        """One attempt; None when it failed, with the reason added to `troubles`."""
        attempt = self._store.begin(point.slot.readable, point.key)
        home = slots.home(self._figure)
        place = measure.Place(self._options.tier, home, self._generator, tuple(troubles))
        try:
            server = self._pool.server(point.engine, self._draw_partial) if point.engine else None
            return measure.measure(point, server, attempt, place)
        except (ServerFailed, MeasurementInvalid) as error:
            self._pool.drop(point.engine)
            measure.give_up(attempt, str(error))
            troubles.append(error.what.splitlines()[0])
            self._reporter.say(f"  {point.slot.readable}: {troubles[-1]} (attempt {attempt.number})")
            return None

    def _draw_partial(self) -> None:
        if not self.ran:
            return
        tier = self._options.tier
        try:
            outputs.show(self._figure, tier, outputs.rows_of(self._figure, tier, self._placed))
        except AeError as error:
            self._reporter.say(f"  the partial figure could not be drawn: {error}")


def run_folder(figure: Figure, options: Options) -> Path:
    """Where logs, configurations and pid files of running processes are."""
    return places.figure(figure.id, options.tier).parent / "calibration" / "run"


def _disturbed(verdict: Verdict) -> bool:
    """Whether the measurement is invalid for reasons that may be gone a moment later."""
    return {check.code for check in verdict.checks if not check.ok} <= DISTURBED
