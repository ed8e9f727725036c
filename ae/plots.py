"""The picture of a figure: what was measured here on the left, what was published on the right, a row per panel.

Left, latencies are on a log scale, which shows every measured point; right, they are on the linear scale of the
papers' own plots, where points beyond the top are arrows at the edge. So numbers compare across a row (the load at
the SLO, the ratios), shapes do not. This is the only module that imports matplotlib.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator
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
COLUMN = 90  # characters of a title above one column
SHARE = "share of all requests' latency, %"


@dataclass(frozen=True, slots=True)
class _Frame:
    """One pair of axes to be filled: its layers (several publications share axes), units and words.

    `slo_label` is empty where nothing is judged. `log`, `log_x`: that axis is logarithmic. `stacked`: its lines are
    shares of one whole.
    """

    layers: tuple[Layer, ...]
    unit: float
    x_label: str
    y_label: str
    slo_label: str
    title: str
    falling: bool
    log: bool = False
    log_x: bool = False
    stacked: bool = False
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
        head, *rest = _title(figure, rows, tier).split("\n")
        title = "\n".join([head, *(fill(line, COLUMN * len(columns)) for line in rest)])
        canvas.suptitle(title, fontsize=9, x=0.01, ha="left", linespacing=1.5)
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
    beside = any(panel.paper for panel in figure.panels)
    side = "Left: " if beside else ""
    words = [f"{side}{how}, tier {tier} ({EXECUTORS[tier]}), {n} trial{'s' if n > 1 else ''}"]
    left_out = max(layer.left_out for layer in ours)
    words[0] += f" ({unfinished(left_out)} drawn but not judged)" if left_out else ""
    counts = f"{few}" if few == many else f"{few} to {many}"
    words += [f"{counts} requests a point"] if many else []
    words += ["error bars: 95 % interval over trials"] if n > 2 else ["no interval below 3 trials"]
    words += ["hollow: invalid"] if any(line.hollow for layer in ours for line in layer.lines) else []
    several = any(len(panel.paper) > 1 for panel in figure.panels)
    if not beside:
        return f"{head}\n{', '.join(words)}"
    right = f"Right, grey: published points, {figure.hardware}" + (
        "; dashed: the authors' own re-run" if several else ""
    )
    return f"{head}\n{', '.join(words)}\n{right}"


def _has(panel: Panel, tier: Tier, rows: Sequence[Row]) -> bool:
    """Whether the panel is part of the tier's figure; where nothing was run, all are."""
    return not rows or panel.on(tier)


def _row(figure: Figure, panel: Panel, rows: Sequence[Row], published: Published, tier: Tier) -> tuple[_Frame, _Frame]:
    ours, theirs = layers.measured(figure, panel, rows), tuple(layers.published(figure, panel, published))
    right = _paper_side(figure, panel, theirs)
    if tier == "sim":
        return _simulated(figure, panel, ours, right), right
    falling = right.falling
    multiple = f"SLO: {panel.slo.normalized:g}x decode iteration"
    left = _Frame(
        layers=(ours,) if ours else (),
        unit=figure.y_unit,
        x_label=figure.x_label + (f", 1 = {ours.capacity:.3g} requests/s" if ours else ""),
        y_label=figure.y_label + ("" if falling else "\n(log scale)"),
        slo_label=_slo(ours, figure.y_unit, "target" if falling else multiple),
        title=f"{panel.title}: here" if ours else f"{panel.title}: nothing measured yet",
        falling=falling,
        log=not falling,
        empty=_missing(figure, panel),
    )
    return left, right


def _paper_side(figure: Figure, panel: Panel, theirs: tuple[Layer, ...]) -> _Frame:
    """Published points have the paper's own axes and units."""
    falling, stacked = (figure.metric_of(panel) == name for name in ("slo_attainment", "latency_share"))
    words = "target" if falling else "SLO" if panel.slo.paper_normalized else ""
    return _Frame(
        layers=theirs,
        unit=0.01 if stacked else figure.paper_y_unit,
        x_label=figure.paper_x_label,
        y_label=SHARE if stacked else figure.paper_y_label,
        slo_label=_slo(theirs[0] if theirs else None, figure.paper_y_unit, words) if words else "",
        title=f"{panel.title}: {' and '.join(t.source for t in theirs)}" if theirs else f"{panel.title}: not published",
        ground="#F4F4F4",
        falling=falling,
        log=panel.log,
        log_x=panel.log,
        stacked=stacked,
    )


def _simulated(figure: Figure, panel: Panel, ours: Layer | None, right: _Frame) -> _Frame:
    """A simulation is at the paper's own scale: both sides have the same axes and units."""
    scene = panel.scene
    where = f", {scene.model}, {scene.tp * scene.pp}x {scene.gpu}" if scene else ""
    return replace(
        right,
        layers=(ours,) if ours else (),
        slo_label=right.slo_label and _slo(ours, figure.paper_y_unit, "target" if right.falling else "SLO"),
        title=f"{panel.title}: simulated{where}" if ours else f"{panel.title}: nothing simulated yet",
        ground="white",
        empty=f"To simulate it: ae run {figure.id} --tier sim",
    )


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
    if frame.stacked:
        _stack(ax, frame)
        return
    top = _scale(ax, frame)
    slo = frame.layers[0].slo / frame.unit
    if slo:
        ax.axhline(slo, **SLO_LINE, zorder=1.5)
    for i, layer in enumerate(frame.layers):
        for j, line in enumerate(layer.lines):
            _line(ax, line, layer, frame.unit, top, faint=i > 0, nudge=j)
    _legend(ax, frame)


def _scale(ax: Axes, frame: _Frame) -> float:
    """Set both axes; return the top of the vertical one."""
    slo = frame.layers[0].slo / frame.unit
    low, high = (value / frame.unit for value in _reach(frame))
    if frame.log:
        ax.set_yscale("log")
        top = 1.3 * max(high, slo)
        ax.set_ylim(0.75 * min(low, slo or math.inf), top)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        top = 1.05 / frame.unit if frame.falling else HEADROOM * slo or high
        ax.set_ylim(0, top)
    if frame.log_x:
        drawn = [dot for layer in frame.layers for line in layer.lines for dot in (*line.dots, *line.hollow)]
        places = sorted({dot.x for dot in drawn}) or [1.0]
        ax.set_xscale("log")
        ax.set_xlim(places[0] / 1.2, places[-1] * 1.2)
        ax.xaxis.set_major_locator(FixedLocator(places))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter("{x:g}")
    else:
        ax.set_xlim(0, _right(frame.layers))
        ax.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]))
    return top


def _stack(ax: Axes, frame: _Frame) -> None:
    """Draw the shares on top of each other, the first line at the bottom, each with its smallest and largest value."""
    lines = frame.layers[0].lines
    x = sorted(set.intersection(*({d.x for d in line.dots} for line in lines)))
    below = [0.0] * len(x)
    handles = []
    for line in lines:
        at = {d.x: d.y / frame.unit for d in line.dots}
        above = [base + at[place] for base, place in zip(below, x, strict=True)]
        ax.fill_between(x, below, above, color=PALETTE[line.color], alpha=0.85, linewidth=0)
        ax.plot(x, above, color="white", linewidth=0.8, marker=line.marker, markersize=3)
        shares = [at[place] for place in x] or [math.nan]
        label = f"{line.label}\n{min(shares):.1f} to {max(shares):.1f} %"
        handles.append(Patch(color=PALETTE[line.color], alpha=0.85, label=label))
        below = above
    ax.set_ylim(0, 100)
    if len(x) > 1:
        ax.set_xlim(x[0], x[-1])
    ax.legend(handles=handles[::-1], loc="upper left", bbox_to_anchor=(1.01, 1.04), labelspacing=0.5)


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
    judged = bool(frame.slo_label)
    handles, labels = ([Line2D([], [], **SLO_LINE)], [frame.slo_label]) if judged else ([], [])
    lines = {line.series: line for layer in reversed(frame.layers) for line in layer.lines}
    for series, line in lines.items():
        at = [(i, one) for i, layer in enumerate(frame.layers) for one in layer.lines if one.series == series]
        carried = [_carried(one) + (" (re-run)" if i else "") for i, one in at]
        handles.append(Line2D([], [], color=PALETTE[line.color], marker=line.marker, markersize=5))
        labels.append(f"{line.label}\n{', '.join(carried)}" if judged else line.label)
    title = ("load at the target" if frame.falling else "load at the SLO") if judged else None
    box = ax.legend(handles, labels, title=title, loc="upper left", bbox_to_anchor=(1.01, 1.04), labelspacing=0.5)
    box.get_title().set_color("#444444")


def _carried(line: Line) -> str:
    return "invalid" if line.carries is None else str(line.carries)


def _headline(found: Sequence[Layer]) -> str:
    """Say how much more the first claim's system carries than the others: `A carries 1.60x [1.40, 1.80] B, 1.80x C`.

    Where the claims are about the largest gain: `A gains up to 8.90x over B, 1.87x over C`.
    """
    if not found or not found[0].gains:
        return ""
    names = {line.series: line.label for layer in found for line in layer.lines}
    first = found[0].gains[0]
    verb, over = ("carries", "") if first.quantity == "throughput_at_slo" else ("gains up to", "over ")
    words = [
        f"{_times(g)} {over}{names[g.b]}" for g in found[0].gains if (g.a, g.quantity) == (first.a, first.quantity)
    ]
    # Two intervals, or three numbers, on one line would reach into the right column.
    between = ",\n" if len(words) > 2 or any("[" in word for word in words) else ", "
    return f"{names[first.a]} {verb} {between.join(words)}"


def _times(gain: Gain) -> str:
    """Write a ratio with its interval, which several trials have; a bound as what is certain."""
    found = gain.found
    if found.value is not None:
        return f"{found.value:.2f}x" + (f" [{found.low:.2f}, {found.high:.2f}]" if found.n > 1 else "")
    return f"≥ {found.low:.2f}x" if found.low > 0 else "?x"
