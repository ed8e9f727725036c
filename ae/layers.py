"""What a picture shows, worked out before anything is drawn: one layer per panel and source, as plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ae import paper
from ae.claims import MEASURED, gains, sides_of
from ae.curves import Estimate, Span, combine, crossing, finished, half_width, trials, usable
from ae.table import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ae.figure import Claim, Color, Figure, Marker, Panel, Quantity, Series
    from ae.paper import Published

# A server of the user's own (`--series`) is drawn with what the figure's series leave free.
_SPARE: tuple[tuple[Color, Marker], ...] = (("purple", "P"), ("grey", "X"), ("sky", "v"), ("green", "D"))


@dataclass(frozen=True, slots=True)
class Dot:
    """One place of a line: mean over trials, and how far its interval reaches up and down (0: no interval)."""

    x: float
    y: float
    half: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """One series of one source. `hollow` are measurements that cannot be believed, `carries` is x at the SLO."""

    series: str
    label: str
    color: Color
    marker: Marker
    dots: tuple[Dot, ...]
    hollow: tuple[Dot, ...]
    carries: Estimate | None


@dataclass(frozen=True, slots=True)
class Gain:
    """The headline of a layer: how much more `a` carries than `b`, or how much lower its latency is at the best x."""

    a: str
    b: str
    found: Estimate
    quantity: Quantity = "throughput_at_slo"


@dataclass(frozen=True, slots=True)
class Layer:
    """All lines of one panel from one source. `slo` is in the metric's unit, `capacity` in requests/s (ours only).

    `left_out` counts the trials with an unfinished curve: its dots are drawn, but nothing is carried or gained from it.
    """

    source: str
    lines: tuple[Line, ...]
    slo: float
    gains: tuple[Gain, ...] = ()
    capacity: float = 0.0
    trials: int = 0
    requests: tuple[int, int] = (0, 0)
    left_out: int = 0


def measured(figure: Figure, panel: Panel, rows: Sequence[Row]) -> Layer | None:
    """Summarise our points of one panel; None when there are none."""
    ours = [r for r in rows if r.source == MEASURED and r.panel == panel.name]
    if not ours:
        return None
    known = [r for r in ours if r.slo > 0]
    counts = [r.requests for r in ours]
    return Layer(
        source=MEASURED,
        lines=_lines(figure, panel, ours, _styles(figure.series_of(panel), ours, None)),
        slo=sum(r.slo for r in known) / len(known) if known else 0.0,
        gains=_gains(figure, panel, ours),
        capacity=max((r.rate / r.x for r in ours if r.x > 0), default=0.0),
        trials=len({r.trial for r in ours}),
        requests=(min(counts), max(counts)),
        left_out=_left_out(figure, ours),
    )


def published(figure: Figure, panel: Panel, known: Published) -> list[Layer]:
    """Summarise each publication of one panel whose metric is the figure's; others have another axis."""
    layers = []
    for label, data in known.of(panel):
        if data.metric != figure.metric_of(panel):
            continue
        slo = paper.threshold(figure, panel, data)
        points = paper.rows(panel, label, data, slo)
        lines = list(_lines(figure, panel, points, _styles(figure.series_of(panel), points, known)))
        drawn = {line.series: i for i, line in enumerate(lines)}
        for series, x in data.at_slo:
            at = Estimate(x, x, x, 1)
            if series in drawn:
                lines[drawn[series]] = replace(lines[drawn[series]], carries=at)
            else:
                row = Row(panel.name, series, x, x, 0, slo, source=label, slo=slo)
                line = _lines(figure, panel, [row], _styles(figure.series_of(panel), [row], known))[0]
                lines.append(replace(line, carries=at))
        layers.append(Layer(label, tuple(lines), slo, _paper_gains(figure, panel, lines)))
    return layers


def _lines(figure: Figure, panel: Panel, rows: Sequence[Row], styles: Sequence[Line]) -> tuple[Line, ...]:
    found = []
    for style in styles:
        by_trial = trials(rows, panel.name, style.series)
        if not by_trial:
            continue
        every = [r for t in by_trial.values() for r in t]
        whole = finished(by_trial, figure.grids.values()).values()
        spans = [crossing(t, falling=figure.metric_of(panel) == "slo_attainment") for t in whole]
        carries = None if not spans or any(s.blocked for s in spans) else combine(spans)
        hollow = tuple(Dot(r.x, r.value) for r in every if not usable(r) and math.isfinite(r.value))
        found.append(replace(style, dots=_dots(every), hollow=hollow, carries=carries))
    return tuple(found)


def _left_out(figure: Figure, rows: Sequence[Row]) -> int:
    lines = [trials(rows, p, s) for p, s in {(r.panel, r.series) for r in rows}]
    return len({t for by in lines for t in by.keys() - finished(by, figure.grids.values()).keys()})


def _dots(rows: Sequence[Row]) -> tuple[Dot, ...]:
    at: dict[float, list[float]] = {}
    for row in sorted(rows, key=lambda r: r.x):
        if usable(row):
            at.setdefault(row.x, []).append(row.value)
    return tuple(Dot(x, sum(v) / len(v), half_width(v) if len(v) > 2 else 0.0) for x, v in at.items())


def _styles(declared: Sequence[Series], rows: Sequence[Row], known: Published | None) -> list[Line]:
    """Give every series of `rows` its look: the declared ones', then spare ones for those that are not declared."""
    own = {s.name: Line(s.name, s.label, s.color, s.marker, (), (), None) for s in declared}
    extra = sorted({r.series for r in rows} - set(own))
    if known is not None:
        own |= {s: replace(line, label=known.label(s)) for s, line in own.items()}
        return [*own.values(), *(Line(s, known.label(s), "grey", "X", (), (), None) for s in extra)]
    looks = (_SPARE[i % len(_SPARE)] for i in range(len(extra)))
    return [*own.values(), *(Line(s, s, *look, (), (), None) for s, look in zip(extra, looks, strict=True))]


def _pairs(figure: Figure, panel: Panel) -> list[Claim]:
    """Return, moved to this panel, one claim per pair of its own series whose throughput (or largest gain) is claimed.

    Every panel shows the same pairs, so that panels can be read against each other.
    """
    own = {s.name for s in figure.series_of(panel)}
    pairs: dict[tuple[str, str], Claim] = {}
    for claim in figure.claims:
        if claim.quantity in ("throughput_at_slo", "largest_gain") and {claim.a, claim.b} <= own:
            plain = replace(claim, panel=panel.name, other_panel="", statistic="ratio")
            pairs.setdefault((claim.a, claim.b), plain)
    return list(pairs.values())


def _gains(figure: Figure, panel: Panel, rows: Sequence[Row]) -> tuple[Gain, ...]:
    found = []
    for claim in _pairs(figure, panel):
        sides = sides_of(figure, claim, rows)
        spans = gains(claim, sides)
        if spans and not any(s.found.blocked for s in sides):
            found.append(Gain(claim.a, claim.b, combine(spans), claim.quantity))
    return tuple(found)


def _paper_gains(figure: Figure, panel: Panel, lines: Sequence[Line]) -> tuple[Gain, ...]:
    at = {line.series: Span(line.carries.low, line.carries.high) for line in lines if line.carries}
    return tuple(
        Gain(c.a, c.b, combine([at[c.a].over(at[c.b])])) for c in _pairs(figure, panel) if c.a in at and c.b in at
    )
