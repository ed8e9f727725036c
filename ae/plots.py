"""The picture of a figure: what was measured here on the left, what was published on the right, a row per panel.

Left, latencies are on a log scale, which shows every measured point; right, they are on the linear scale of the
papers' own plots, where points beyond the top are arrows at the edge. So numbers compare across a row (the load at
the SLO, the ratios), shapes do not. This is the only module that imports matplotlib.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter
from PIL import Image

from ae import layers
from ae.claims import MEASURED, unfinished
from ae.figure import EXECUTORS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from ae.figure import Color, Figure, Panel, Tier
    from ae.layers import Gain, Layer, Line
    from ae.paper import Published
    from ae.table import Row

# Okabe and Ito's palette, told apart with any colour vision; markers tell the series apart without colour.
PALETTE: dict[Color, str] = {
    "vermillion": "#D55E00",
    "blue": "#0072B2",
    "green": "#009E73",
    "orange": "#E69F00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "grey": "#7F7F7F",
}
STYLE: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "pdf.fonttype": 42,
    "svg.hashsalt": "ae",
}
SLO_LINE: dict[str, Any] = {"color": "#444444", "linewidth": 1, "linestyle": (0, (4, 2))}
UNITS = {1e-3: "ms", 1.0: "s", 0.01: "%"}
HEADROOM = 1.8  # top of a latency axis, in SLOs: near the paper's 0.5 for its 0.3
DPI = 110


@dataclass(frozen=True, slots=True)
class _Frame:
    """One pair of axes to be filled: its layers (several publications share axes), units and words."""

    layers: tuple[Layer, ...]
    unit: float
    x_label: str
    y_label: str
    slo_label: str
    title: str
    falling: bool
    log: bool = False
    ground: str = "white"
    empty: str = ""


def draw(figure: Figure, rows: Sequence[Row], published: Published, tier: Tier, stem: Path) -> list[Path]:
    """Draw `<stem>.png` and `<stem>.pdf`; identical rows give identical files.

    Panels without rows show only the paper's side. Without any measured row, only the paper is drawn.
    """
    grid = [_row(figure, panel, rows, published, tier) for panel in figure.panels if _has(panel, tier, rows)]
    columns = [i for i in (0, 1) if any(frames[i].layers for frames in grid)] or [0]
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(6.1 * len(columns), 0.9 + 2.75 * len(grid)), layout="constrained")
        FigureCanvasAgg(canvas)
        axes = canvas.subplots(len(grid), len(columns), squeeze=False)
        for line, frames in zip(axes, grid, strict=True):
            for ax, i in zip(line, columns, strict=True):
                _fill(ax, frames[i])
        canvas.suptitle(_title(figure, rows, tier), fontsize=9, x=0.01, ha="left", linespacing=1.5)
        return _save(canvas, stem)


def _save(canvas: Canvas, stem: Path) -> list[Path]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, pdf = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.pdf")
    canvas.savefig(_part(pdf), format="pdf", metadata={"CreationDate": None})
    drawn = BytesIO()
    canvas.savefig(drawn, format="png", dpi=DPI)
    # A palette of 128 colours is enough for a dozen lines and makes the file three times smaller.
    Image.open(drawn).convert("RGB").quantize(128).save(_part(png), format="PNG", optimize=True)
    for path in (png, pdf):
        _part(path).replace(path)
    return [png, pdf]


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _title(figure: Figure, rows: Sequence[Row], tier: Tier) -> str:
    head = f"$\\bf{{{figure.title.replace(' ', chr(92) + ' ').replace('%', chr(92) + '%')}}}$\n{figure.caption}"
    ours = [layer for panel in figure.panels if (layer := layers.measured(figure, panel, rows))]
    if not ours:
        return f"{head}\npublished points only; nothing measured here"
    few, many = min(layer.requests[0] for layer in ours), max(layer.requests[1] for layer in ours)
    n = max(layer.trials for layer in ours)
    how = "simulated" if tier == "sim" else "measured here"
    words = [f"Left: {how}, tier {tier} ({EXECUTORS[tier]}), {n} trial{'s' if n > 1 else ''}"]
    left_out = max(layer.left_out for layer in ours)
    words[0] += f" ({unfinished(left_out)} drawn but not judged)" if left_out else ""
    words += [f"{few} to {many} requests a point"] if many else []
    words += ["error bars: 95 % interval over trials"] if n > 2 else ["no interval below 3 trials"]
    words += ["hollow: invalid"] if any(line.hollow for layer in ours for line in layer.lines) else []
    several = any(len(panel.paper) > 1 for panel in figure.panels)
    right = f"Right, grey: published points, {figure.hardware}" + (
        "; dashed: the authors' own re-run" if several else ""
    )
    return f"{head}\n{', '.join(words)}\n{right}"


def _has(panel: Panel, tier: Tier, rows: Sequence[Row]) -> bool:
    """Whether the panel is part of the tier's figure; where nothing was run, all are."""
    return not rows or panel.on(tier)


def _row(figure: Figure, panel: Panel, rows: Sequence[Row], published: Published, tier: Tier) -> tuple[_Frame, _Frame]:
    ours, theirs = layers.measured(figure, panel, rows), tuple(layers.published(figure, panel, published))
    falling = figure.metric == "slo_attainment"
    if tier == "sim":
        return _paper_scale(figure, panel, ours, theirs)
    x_label = figure.x_label + (f", 1 = {ours.capacity:.3g} requests/s" if ours else "")
    multiple = f"SLO: {panel.slo.normalized:g}x decode iteration"
    left = _Frame(
        layers=(ours,) if ours else (),
        unit=figure.y_unit,
        x_label=x_label,
        y_label=figure.y_label + ("" if falling else "\n(log scale)"),
        slo_label=_slo(ours, figure.y_unit, "target" if falling else multiple),
        title=f"{panel.title}: here" if ours else f"{panel.title}: nothing measured yet",
        falling=falling,
        log=not falling,
        empty=_missing(figure, panel),
    )
    right = _Frame(
        layers=theirs,
        unit=figure.paper_y_unit,
        x_label=figure.paper_x_label,
        y_label=figure.paper_y_label,
        slo_label=_slo(theirs[0] if theirs else None, figure.paper_y_unit, "target" if falling else "SLO"),
        title=f"{panel.title}: {' and '.join(t.source for t in theirs)}" if theirs else f"{panel.title}: not published",
        ground="#F4F4F4",
        falling=falling,
    )
    return left, right


def _paper_scale(figure: Figure, panel: Panel, ours: Layer | None, theirs: tuple[Layer, ...]) -> tuple[_Frame, _Frame]:
    """A simulation is at the paper's own scale: both sides have the same axes and units."""
    falling = figure.metric == "slo_attainment"
    assert panel.scene is not None
    where = f"{panel.scene.model}, {panel.scene.tp * panel.scene.pp}x {panel.scene.gpu}"
    right = _Frame(
        layers=theirs,
        unit=figure.paper_y_unit,
        x_label=figure.paper_x_label,
        y_label=figure.paper_y_label,
        slo_label=_slo(theirs[0] if theirs else None, figure.paper_y_unit, "target" if falling else "SLO"),
        title=f"{panel.title}: {' and '.join(t.source for t in theirs)}" if theirs else f"{panel.title}: not published",
        ground="#F4F4F4",
        falling=falling,
    )
    left = replace(
        right,
        layers=(ours,) if ours else (),
        slo_label=_slo(ours, figure.paper_y_unit, "target" if falling else "SLO"),
        title=f"{panel.title}: simulated, {where}" if ours else f"{panel.title}: nothing simulated yet",
        ground="white",
        empty=f"To simulate it: ae run {figure.id} --tier sim",
    )
    return left, right


def _missing(figure: Figure, panel: Panel) -> str:
    quick = figure.grids.get("quick")
    if quick and quick.panels and panel.name not in quick.panels:
        return f"Not part of the quick grid.\nTo measure it: ae run {figure.id} --full"
    return f"To measure it: ae run {figure.id}"


def _slo(layer: Layer | None, unit: float, words: str) -> str:
    if layer is None or not layer.slo:
        return f"{words.partition(':')[0]} not known"
    return f"{words}\n= {layer.slo / unit:.3g} {UNITS[unit]}"


def _fill(ax: Axes, frame: _Frame) -> None:
    headline = _headline(frame.layers)
    ax.set_title(frame.title + (f"\n{headline}" if headline else ""), loc="left", fontweight="bold")
    if not frame.layers:
        ax.set_axis_off()
        ax.text(0.0, 0.9, frame.empty, transform=ax.transAxes, color="#444444")
        return
    ax.set_facecolor(frame.ground)
    ax.set_xlabel(frame.x_label)
    ax.set_ylabel(frame.y_label)
    slo = frame.layers[0].slo / frame.unit
    top = 1.05 / frame.unit if frame.falling else HEADROOM * slo or _reach(frame)[1] / frame.unit
    if frame.log:
        low, high = _reach(frame)
        ax.set_yscale("log")
        top = 1.3 * max(high / frame.unit, slo)
        ax.set_ylim(0.75 * min(low / frame.unit, slo or math.inf), top)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.set_ylim(0, top)
    ax.set_xlim(0, _right(frame.layers))
    ax.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]))
    if slo:
        ax.axhline(slo, **SLO_LINE, zorder=1.5)
    for i, layer in enumerate(frame.layers):
        for j, line in enumerate(layer.lines):
            _line(ax, line, layer, frame.unit, top, faint=i > 0, nudge=j)
    _legend(ax, frame)


def _reach(frame: _Frame) -> tuple[float, float]:
    """Smallest and largest value drawn, hollow ones included."""
    values = [d.y for layer in frame.layers for line in layer.lines for d in (*line.dots, *line.hollow) if d.y > 0]
    return min(values, default=1.0), max(values, default=1.0)


def _right(found: Sequence[Layer]) -> float:
    """Return where the x axis ends: after all that we measured; of published points, past every crossing by a third."""
    lines = [line for layer in found for line in layer.lines]
    last = max((dot.x for line in lines for dot in (*line.dots, *line.hollow)), default=1.0)
    carried = [line.carries.low for line in lines if line.carries and line.carries.low > 0]
    if any(layer.source == MEASURED for layer in found):
        return 1.03 * last
    return min(last, 1.35 * max(carried, default=last)) * 1.03


def _line(ax: Axes, line: Line, layer: Layer, unit: float, top: float, *, faint: bool, nudge: int) -> None:
    color = PALETTE[line.color]
    x, y = [d.x for d in line.dots], [d.y / unit for d in line.dots]
    dash = (0, (3, 1.5)) if faint else "-"
    ax.plot(x, y, color=color, linestyle=dash, linewidth=1.2 if faint else 1.8, alpha=0.75 if faint else 1.0,
            marker=line.marker, markersize=3 if faint else 5)  # fmt: skip
    bars = [d for d in line.dots if d.half]
    if bars:
        # A latency or a share is never negative, whatever the interval of a few noisy trials says.
        reach = [[min(d.half, d.y) / unit for d in bars], [d.half / unit for d in bars]]
        ax.errorbar([d.x for d in bars], [d.y / unit for d in bars], yerr=reach, fmt="none", ecolor=color,
                    elinewidth=1, capsize=2.5, alpha=0.7)  # fmt: skip
    ax.plot([d.x for d in line.hollow], [min(d.y / unit, 0.98 * top) for d in line.hollow], linestyle="none",
            marker=line.marker, markersize=6, markerfacecolor="white", markeredgecolor=color)  # fmt: skip
    over = [d.x for d in line.dots if d.y / unit > top]
    if not faint:
        ax.plot(over, [top * (0.985 - 0.035 * nudge)] * len(over), linestyle="none", marker=r"$\uparrow$",
                markersize=7, color=color)  # fmt: skip
    if line.carries and line.carries.value is not None:
        at = line.carries.value
        ax.plot([at], [layer.slo / unit], marker="|" if faint else "o", markersize=9, markerfacecolor="none",
                markeredgecolor=color, markeredgewidth=1.4, linestyle="none", zorder=4)  # fmt: skip
        if not faint:
            ax.plot([at, at], [ax.get_ylim()[0], layer.slo / unit], color=color, linewidth=0.9, linestyle=":", zorder=1)


def _legend(ax: Axes, frame: _Frame) -> None:
    """Put beside the axes what the dashed line is and what each series carries there."""
    handles, labels = [Line2D([], [], **SLO_LINE)], [frame.slo_label]
    lines = {line.series: line for layer in reversed(frame.layers) for line in layer.lines}
    for series, line in lines.items():
        at = [(i, one) for i, layer in enumerate(frame.layers) for one in layer.lines if one.series == series]
        carried = [_carried(one) + (" (re-run)" if i else "") for i, one in at]
        handles.append(Line2D([], [], color=PALETTE[line.color], marker=line.marker, markersize=5))
        labels.append(f"{line.label}\n{', '.join(carried)}")
    title = "load at the target" if frame.falling else "load at the SLO"
    box = ax.legend(handles, labels, title=title, loc="upper left", bbox_to_anchor=(1.01, 1.04), labelspacing=0.5)
    box.get_title().set_color("#444444")


def _carried(line: Line) -> str:
    return "invalid" if line.carries is None else str(line.carries)


def _headline(found: Sequence[Layer]) -> str:
    """Say how much more the first claim's system carries than the others: `A carries 1.60x [1.40, 1.80] B, 1.80x C`."""
    if not found or not found[0].gains:
        return ""
    names = {line.series: line.label for layer in found for line in layer.lines}
    first = found[0].gains[0].a
    words = [f"{_times(g)} {names[g.b]}" for g in found[0].gains if g.a == first]
    # Two intervals on one line would reach into the right column.
    between = ",\n" if any("[" in word for word in words) else ", "
    return f"{names[first]} carries {between.join(words)}"


def _times(gain: Gain) -> str:
    """Write a ratio with its interval, which several trials have; a bound as what is certain."""
    found = gain.found
    if found.value is not None:
        return f"{found.value:.2f}x" + (f" [{found.low:.2f}, {found.high:.2f}]" if found.n > 1 else "")
    return f"≥ {found.low:.2f}x" if found.low > 0 else "?x"
