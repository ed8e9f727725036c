"""Where a curve crosses its SLO, and what several trials say together. Pure arithmetic on table rows.

A crossing is an interval: a curve that never crosses is known only to do so beyond its last x, and one that
starts above the SLO to have done so before its first. Nothing is ever extrapolated.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ae.figure import Grid
    from ae.table import Row

# Two-sided 95 % points of Student's t for 1 to 30 degrees of freedom.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """A number known to lie in [low, high]; `low == high` when it is known exactly. `blocked`: why it is not known."""

    low: float
    high: float
    blocked: str = ""

    @property
    def exact(self) -> bool:
        """Whether it is one number."""
        return self.low == self.high

    def over(self, other: Span) -> Span:
        """Return the quotient of two positive spans."""
        low = self.low / other.high if math.isfinite(other.high) else 0.0
        high = self.high / other.low if other.low > 0 else math.inf
        return Span(low, high, self.blocked or other.blocked)

    def __str__(self) -> str:
        if self.exact:
            return f"{self.low:.2f}"
        if math.isinf(self.high):
            return f"≥ {self.low:.2f}"
        return f"< {self.high:.2f}" if self.low <= 0 else f"{self.low:.2f} to {self.high:.2f}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `n` trials with its 95 % interval; below three trials the interval is just the values' range.

    `value` is None when some trial is known only as a bound; `low` is then that of the trials' lower bounds and
    `high` that of their upper ones, so that a bound is trusted no more than a number in its place.
    """

    value: float | None
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if self.value is None:
            return str(Span(self.low, self.high))
        return f"{self.value:.2f}" + (f" [{self.low:.2f}, {self.high:.2f}]" if self.n > 1 else "")


def half_width(values: Sequence[float]) -> float:
    """Return half of the 95 % t interval of the mean of at least two values."""
    n = len(values)
    mean = sum(values) / n
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    t = _T95[n - 2] if n - 2 < len(_T95) else 1.96
    return t * deviation / math.sqrt(n)


def combine(spans: Sequence[Span]) -> Estimate:
    """Return the mean over trials, one span each. Needs at least one."""
    lows, highs = [s.low for s in spans], [s.high for s in spans]
    low, high = _interval(lows)[0], _interval(highs)[1]
    if all(s.exact for s in spans):
        return Estimate(sum(lows) / len(lows), low, high, len(spans))
    return Estimate(None, max(0.0, low), high, len(spans))  # what may be a bound here is never negative


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % t interval of the mean, or the range below three values; unbounded above if a value is."""
    if len(values) < 3 or not all(map(math.isfinite, values)):
        return min(values), max(values)
    mean, half = sum(values) / len(values), half_width(values)
    return mean - half, mean + half


def usable(row: Row) -> bool:
    """Whether the point can be believed and is a number at all (no request finished: not a number)."""
    return row.valid and math.isfinite(row.value)


def crossing(rows: Sequence[Row], *, falling: bool = False) -> Span:
    """Find the x at which one curve first gets worse than its SLO, linear between the two points around it.

    Worse is larger, or smaller when `falling` (an attainment). Every row is judged by its own `slo`, which must be
    known. Invalid rows take no part; one that sits where the crossing would be (between the two points, or beyond
    the last) leaves the answer `blocked` by its reason.
    """
    sign = -1.0 if falling else 1.0
    points = sorted((r.x, sign * r.value / r.slo) for r in rows if usable(r) and r.slo > 0)
    if not points:
        return Span(0.0, math.inf, next((r.why for r in rows if r.why), "no valid point with a known SLO"))
    if points[0][1] > sign:
        return Span(0.0, points[0][0], _blocker(rows, 0.0, points[0][0]))
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if y1 > sign:
            x = x0 + (x1 - x0) * (sign - y0) / (y1 - y0)
            return Span(x, x, _blocker(rows, x0, x1))
    return Span(points[-1][0], math.inf, _blocker(rows, points[-1][0], math.inf))


def _blocker(rows: Sequence[Row], low: float, high: float) -> str:
    """Why an invalid row between `low` and `high` is invalid, if there is one."""
    return next((r.why or "invalid point" for r in rows if not usable(r) and low < r.x < high), "")


def low_load(rows: Sequence[Row], until: float) -> Span:
    """Average one curve's valid points with x up to `until`; blocked when there is none."""
    values = [r.value for r in rows if usable(r) and r.x <= until]
    if not values:
        return Span(0.0, math.inf, f"no valid point at x ≤ {until:.2f}")
    mean = sum(values) / len(values)
    return Span(mean, mean)


def trials(rows: Sequence[Row], panel: str, series: str) -> dict[int, list[Row]]:
    """Group the rows of one line by trial, each sorted by x."""
    found: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda r: (r.trial, r.x)):
        if row.panel == panel and row.series == series:
            found.setdefault(row.trial, []).append(row)
    return found


def finished(found: dict[int, list[Row]], grids: Iterable[Grid] = ()) -> dict[int, list[Row]]:
    """Leave out the trials of one line that lack loads which its other trials have.

    A load that only a grid of fewer trials holds (the quick one's, of one trial) is asked of those trials alone.
    """
    most: dict[float, int] = {}
    for grid in grids:
        most.update({x: max(grid.trials, most.get(x, 0)) for x in grid.loads})
    every = {row.x for rows in found.values() for row in rows}
    due = {t: {x for x in every if t < most.get(x, t + 1)} for t in found}
    return {t: rows for t, rows in found.items() if due[t] <= {row.x for row in rows}}
