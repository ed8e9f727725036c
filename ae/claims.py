"""What the points say about each claim: met, direction only, not met, not testable here, invalid measurement.

A claim is judged per trial and then over trials, never on averaged curves. The same rules judge the paper's own
points, which come without trials and are taken as exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ae import paper
from ae.curves import Estimate, Span, combine, crossing, finished, low_load, trials, usable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ae.figure import Claim, Figure, Tier
    from ae.paper import PaperSet, Published
    from ae.table import Row

Outcome = Literal["met", "direction only", "not met", "not testable here", "invalid measurement"]
MIN_TRIALS = 3  # below this an interval says nothing, so neither does "met"
MEASURED = "measured"
_BOUND = "a curve does not cross the SLO within the loads that were run"


@dataclass(frozen=True, slots=True)
class Side:
    """What one series gave in one trial, behind a verdict: x at the SLO, or a value, and `at` which x if at one."""

    panel: str
    series: str
    trial: int
    found: Span
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One claim on one source. `found` is the statistic (a ratio), `expected` what it is held against.

    `left_out` counts the trials that an unfinished curve keeps out of it.
    """

    claim: Claim
    outcome: Outcome
    source: str
    found: Estimate | None
    expected: str
    reason: str
    remedy: str = ""
    sides: tuple[Side, ...] = ()
    left_out: int = 0

    def line(self) -> str:
        """Say it in one line of a terminal."""
        found = "" if self.found is None else f"found {self.found}, "
        without = f"; {unfinished(self.left_out)} left out" if self.left_out else ""
        return f"{self.outcome:19} {self.claim.id}: {found}{self.expected}; {self.reason}{without}"


def unfinished(n: int) -> str:
    """Say how many trials are unfinished: `1 unfinished trial`."""
    return f"{n} unfinished trial{'s' if n > 1 else ''}"


def judge(figure: Figure, rows: Sequence[Row], tier: Tier) -> list[Verdict]:
    """Judge every claim of `figure` on measured rows; rows of other sources are ignored."""
    ours = [r for r in rows if r.source == MEASURED]
    return [_judge_one(figure, claim, ours, tier) for claim in figure.claims]


def judge_paper(figure: Figure, published: Published) -> list[Verdict]:
    """Judge every claim on each data set published for its panel. Raises UsageError for an unknown set."""
    verdicts = []
    for claim in figure.claims:
        panel = next(p for p in figure.panels if p.name == claim.panel)
        for label, data in published.of(panel):
            sides = _paper_sides(figure, claim, label, published)
            verdicts.append(_verdict(claim, label, sides, confirmed=True) if sides else _absent(claim, label, data))
        if not panel.paper:
            reason = "nothing was published for this panel"
            verdicts.append(Verdict(claim, "not testable here", "paper", None, expected(claim, "paper"), reason))
    return verdicts


def gains(claim: Claim, sides: Sequence[Side]) -> list[Span]:
    """Return the claim's statistic of each trial that has all its sides: a / b, over the other panel's if it shrinks.

    It is b / a for the largest gain, and `a` alone where the claim is about one number.
    """
    found = []
    for trial in sorted({s.trial for s in sides}):
        of = {(s.panel, s.series): s.found for s in sides if s.trial == trial}
        panels = [claim.panel, *([claim.other_panel] if claim.statistic == "shrinks" else [])]
        if any((p, s) not in of for p in panels for s in (claim.a, claim.b)):
            continue
        each = [_compared(claim, of[p, claim.a], of[p, claim.b]) for p in panels]
        found.append(each[0] if len(each) == 1 else each[0].over(each[1]))
    return found


def sides_of(figure: Figure, claim: Claim, rows: Sequence[Row]) -> list[Side]:
    """Return what `rows` give for both series of `claim`, on its panel (and the other one's), by finished trial."""
    falling = figure.metric == "slo_attainment"
    lines = {key: finished(by, figure.grids.values()) for key, by in _lines(claim, rows).items()}
    at = {(p, s, t): crossing(r, falling=falling) for (p, s), by in lines.items() for t, r in by.items()}
    if claim.quantity in ("largest", "largest_gain"):
        return _largest(claim, lines)
    if claim.quantity == "throughput_at_slo":
        return [Side(p, s, t, span) for (p, s, t), span in at.items()]
    halves = {(p, t): span.low / 2 for (p, s, t), span in at.items() if s == claim.b}
    return [
        Side(p, s, t, low_load(r, halves[p, t]))
        for (p, s), by in lines.items()
        for t, r in by.items()
        if (p, t) in halves and any(row.x <= halves[p, t] for row in r)
    ]


def _compared(claim: Claim, a: Span, b: Span) -> Span:
    if claim.statistic in ("absolute", "below"):
        return a
    return b.over(a) if claim.quantity == "largest_gain" else a.over(b)


def _largest(claim: Claim, lines: dict[tuple[str, str], dict[int, list[Row]]]) -> list[Side]:
    """Return, per trial, the values of both series at the x where b / a, or `a` itself, is largest."""
    ours, theirs = lines[claim.panel, claim.a], lines[claim.panel, claim.b]
    found: list[Side] = []
    for trial in sorted(ours.keys() & theirs.keys()):
        other = {row.x: row for row in theirs[trial] if usable(row)}
        pairs = [(row, other[row.x]) for row in ours[trial] if usable(row) and row.x in other]
        if pairs:
            a, b = max(pairs, key=lambda pair: pair[0].value if claim.quantity == "largest" else _gain(pair))
            sides = {claim.a: a, claim.b: b}  # one, where a number is claimed
            found += [Side(claim.panel, s, trial, Span(row.value, row.value), row.x) for s, row in sides.items()]
    return found


def _gain(pair: tuple[Row, Row]) -> float:
    return pair[1].value / pair[0].value if pair[0].value > 0 else 0.0


def _lines(claim: Claim, rows: Sequence[Row]) -> dict[tuple[str, str], dict[int, list[Row]]]:
    panels = [claim.panel, *([claim.other_panel] if claim.other_panel else [])]
    return {(p, s): trials(rows, p, s) for p in panels for s in (claim.a, claim.b)}


def _left_out(figure: Figure, claim: Claim, rows: Sequence[Row]) -> int:
    lines = _lines(claim, rows).values()
    return len({t for by in lines for t in by.keys() - finished(by, figure.grids.values()).keys()})


def _paper_sides(figure: Figure, claim: Claim, label: str, published: Published) -> list[Side]:
    sides: list[Side] = []
    for panel in figure.panels:
        if panel.name not in (claim.panel, claim.other_panel) or label not in panel.paper:
            continue
        data = published.find(panel.paper[label])
        points = paper.rows(panel, label, data, paper.threshold(figure, panel, data))
        sides += [s for s in sides_of(figure, claim, points) if s.panel == panel.name]
        if claim.quantity == "throughput_at_slo":
            read = [(s, data.crossing_of(s)) for s in (claim.a, claim.b)]
            direct = [Side(panel.name, s, 0, Span(x, x)) for s, x in read if x is not None]
            known = {(d.panel, d.series) for d in direct}
            sides = [s for s in sides if (s.panel, s.series) not in known] + direct
    return sides if gains(claim, sides) else []


def _absent(claim: Claim, label: str, data: PaperSet) -> Verdict:
    reason = f"{data.name} has no {claim.a} beside {claim.b}"
    return Verdict(claim, "not testable here", label, None, expected(claim, label), reason)


def _judge_one(figure: Figure, claim: Claim, rows: Sequence[Row], tier: Tier) -> Verdict:
    why, remedy = _untestable(figure, claim, rows, tier)
    if why:
        return Verdict(claim, "not testable here", MEASURED, None, expected(claim, MEASURED), why, remedy)
    sides = sides_of(figure, claim, rows)
    verdict = _verdict(claim, MEASURED, sides, confirmed=len(gains(claim, sides)) >= MIN_TRIALS, figure=figure)
    return replace(verdict, left_out=_left_out(figure, claim, rows))


def _untestable(figure: Figure, claim: Claim, rows: Sequence[Row], tier: Tier) -> tuple[str, str]:
    """Return why the claim cannot be judged here, and what would help; ("", "") when it can."""
    if tier not in claim.tiers:
        return claim.untested or f"not claimed at tier {tier}", ""
    if claim.statistic == "absolute" and tier == "smoke":
        return "absolute speed is never claimed for scaled-down models", ""
    have = {(r.panel, r.series) for r in rows}
    drawn = {s.name for s in figure.series} | {r.series for r in rows}
    for panel in (claim.panel, *([claim.other_panel] if claim.other_panel else [])):
        for series in (claim.a, claim.b):
            if series not in drawn:
                return claim.untested or f"{series} is not run by this harness", ""
            if (panel, series) not in have:
                quick = figure.grids.get("quick")
                full = " --full" if quick and quick.panels and panel not in quick.panels else ""
                return f"no points of {series} on panel {panel}", f"ae run {figure.id}{full}"
    return "", ""


def _verdict(
    claim: Claim, source: str, sides: Sequence[Side], *, confirmed: bool, figure: Figure | None = None
) -> Verdict:
    spans = gains(claim, sides)
    more = f"ae run {figure.id} --full" if figure else ""
    want = expected(claim, source)
    if blocked := next((s.found.blocked for s in sides if s.found.blocked), ""):
        again = f"ae run {figure.id}" if figure else ""
        return Verdict(claim, "invalid measurement", source, None, want, blocked, again, tuple(sides))
    if not spans:
        reason = "no trial has the points that this needs"
        return Verdict(claim, "not testable here", source, None, want, reason, more, tuple(sides))
    found = combine(spans)
    outcome, reason = _decide(claim, found, source, confirmed=confirmed)
    return Verdict(claim, outcome, source, found, want, reason, "" if confirmed else more, tuple(sides))


def _decide(claim: Claim, found: Estimate, source: str, *, confirmed: bool) -> tuple[Outcome, str]:
    """Apply the rules of the claim's statistic to an estimate that exists, and say when it rests on few trials."""
    rule = {"equal": _within_only, "absolute": _within_only, "below": _below}.get(claim.statistic, _larger)
    outcome, reason = rule(claim, found, source)
    if confirmed:
        return outcome, reason
    few = f"{found.n} trial{'s' if found.n > 1 else ''}, {MIN_TRIALS} are needed to say more"
    return ("direction only", few) if outcome == "met" else (outcome, f"{reason}; {few}")


def _larger(claim: Claim, found: Estimate, source: str) -> tuple[Outcome, str]:
    if found.high <= 1.0:
        return "not met", "the other way round"
    if found.low <= 1.0:
        if found.value is None:
            return "not testable here", f"{_BOUND}, and 1 is not excluded"
        return "not met", "the interval includes 1: no difference can be told from noise"
    if found.value is None:
        return "direction only", f"only a bound: {_BOUND}"
    if claim.statistic in ("order", "shrinks"):
        return "met", "larger than 1"
    off = _distance(claim, found.value, source)
    return ("met", f"within {claim.tolerance:.0%}") if off == 0 else ("direction only", f"{off:+.0%} off")


def _within_only(claim: Claim, found: Estimate, source: str) -> tuple[Outcome, str]:
    """Judge a claim without direction: the value must lie within the tolerance, and so must its whole interval."""
    if found.value is None:
        return "not testable here", "known only as a bound"
    if off := _distance(claim, found.value, source):
        return "not met", f"{off:+.0%} off"
    if _distance(claim, found.low, source) or _distance(claim, found.high, source):
        return "direction only", f"the value is within {claim.tolerance:.0%}, its interval is not"
    return "met", f"within {claim.tolerance:.0%}"


def _below(claim: Claim, found: Estimate, source: str) -> tuple[Outcome, str]:
    """Judge a claim of an upper bound: value and interval must lie below it."""
    limit = bounds(claim, source)[1] * (1 + claim.tolerance)
    if found.value is None:
        return "not testable here", "known only as a bound"
    if found.value > limit:
        return "not met", f"above {limit:g}"
    return ("met", f"at most {limit:g}") if found.high <= limit else ("direction only", "its interval reaches above")


def _distance(claim: Claim, value: float, source: str) -> float:
    """Return how far `value` is from what is expected, relative to it; 0 when within the tolerance."""
    low, high = bounds(claim, source)
    if low * (1 - claim.tolerance) <= value <= high * (1 + claim.tolerance):
        return 0.0
    return value / high - 1 if value > high else value / low - 1


def bounds(claim: Claim, source: str) -> tuple[float, float]:
    """Return the range a value is held against, before its tolerance: the text's, or the data's where data wins."""
    if claim.data is not None and source == MEASURED:
        return claim.data, claim.data
    return claim.value, claim.value if claim.value_high is None else claim.value_high


def expected(claim: Claim, source: str) -> str:
    """Say what the statistic is held against."""
    low, high = bounds(claim, source)
    if claim.statistic in ("order", "shrinks"):
        return "expected > 1" + ("" if math.isclose(low, 1.0) else f" (published {low:g})")
    if claim.statistic == "below":
        return f"published < {high:g}"
    number = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return f"published {number} ± {claim.tolerance:.0%}"
