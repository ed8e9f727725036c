"""The published points: `paper.yaml` beside the figure files, read into values.

A data set keeps its own source, metric and threshold, so that two publications of one curve are never mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import yaml

from ae import places
from ae.table import Row
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from ae.figure import Figure, Metric, Panel


@dataclass(frozen=True, slots=True)
class Curve:
    """One published line: `x` in jobs/s, `y` in seconds or as a share, both as long as each other."""

    series: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PaperSet:
    """The curves of one plot from one source.

    `at_slo` are crossings (series, jobs/s) read off directly where the curve cannot give them. `slo` replaces the
    panel's threshold when it is not None.
    """

    name: str
    metric: Metric
    source: str
    kind: str
    curves: tuple[Curve, ...]
    at_slo: tuple[tuple[str, float], ...] = ()
    slo: float | None = None
    note: str = ""

    def crossing_of(self, series: str) -> float | None:
        """Return the crossing read off directly for `series`, in jobs/s, if there is one."""
        return dict(self.at_slo).get(series)


@dataclass(frozen=True, slots=True)
class Published:
    """Every published data set of one system, and what its series are called in a legend."""

    sets: tuple[PaperSet, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    def find(self, name: str) -> PaperSet:
        """Return the data set called `name`. Raises UsageError."""
        for one in self.sets:
            if one.name == name:
                return one
        raise UsageError(f"There is no published data set {name!r}.", f"Sets: {', '.join(s.name for s in self.sets)}.")

    def label(self, series: str) -> str:
        """Return the legend's text of a series that only the paper has."""
        return dict(self.labels).get(series, series)

    def of(self, panel: Panel) -> list[tuple[str, PaperSet]]:
        """(source label, data set) of each publication of `panel`, in the order declared. Raises UsageError."""
        return [(label, self.find(name)) for label, name in panel.paper.items()]


def for_figure(figure: Figure, root: Path | None = None) -> Published:
    """Load `paper.yaml` of the figure's system, under `root` or the figures folder; nothing if it has none."""
    path = (root or places.figures()) / figure.system / "paper.yaml"
    return load(path) if path.is_file() else Published()


def load(path: Path) -> Published:
    """Read one `paper.yaml`. Raises UsageError, naming the data set, when one is malformed."""
    tree = cast("dict[str, Any]", yaml.safe_load(path.read_text()))
    sets = tuple(_set(name, entry, path) for name, entry in tree.get("sets", {}).items())
    shares = tuple(_shares(name, entry, path) for name, entry in tree.get("breakdowns", {}).items())
    return Published((*sets, *shares), tuple(tree.get("labels", {}).items()))


def _set(name: str, entry: dict[str, Any], path: Path) -> PaperSet:
    unit = 0.01 if entry.get("unit") == "percent" else 1.0
    try:
        curves = tuple(_curve(series, c["x"], c["y"], unit) for series, c in entry.get("series", {}).items())
        return PaperSet(
            name=name,
            metric=entry["metric"],
            source=entry["source"],
            kind=entry["kind"],
            curves=curves,
            at_slo=tuple((s, float(x)) for s, x in entry.get("at_slo", {}).items()),
            slo=entry.get("slo"),
            note=entry.get("note", "") or entry.get("superseded", ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"Data set {name!r} of {path} is malformed: {error}.", "Correct the file.") from error


_PARTS = {"queueing": "queuing", "swapping": "swapping", "executing": "execution"}  # our word: the paper's


def _shares(name: str, entry: dict[str, Any], path: Path) -> PaperSet:
    """Turn seconds in each part of the latency into shares of it, a curve per part."""
    try:
        total = [sum(parts) for parts in zip(*(entry[word] for word in _PARTS.values()), strict=True)]
        curves = tuple(
            _curve(part, entry["x"], [s / t for s, t in zip(entry[word], total, strict=True)], 1.0)
            for part, word in _PARTS.items()
        )
        return PaperSet(name, "latency_share", entry["source"], entry["kind"], curves)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UsageError(f"Breakdown {name!r} of {path} is malformed: {error}.", "Correct the file.") from error


def _curve(series: str, x: list[float], y: list[float], unit: float) -> Curve:
    if len(x) != len(y) or sorted(x) != x:
        raise ValueError(f"{series} needs as many y as x, and x ascending")
    return Curve(series, tuple(float(v) for v in x), tuple(v * unit for v in y))


def rows(panel: Panel, label: str, published: PaperSet, slo: float) -> list[Row]:
    """Turn the data set into table rows, one per published point; `source` is `label`, x and rate are jobs/s."""
    return [
        Row(panel.name, curve.series, x, x, 0, y, source=label, slo=slo)
        for curve in published.curves
        for x, y in zip(curve.x, curve.y, strict=True)
    ]


def threshold(figure: Figure, panel: Panel, published: PaperSet) -> float:
    """Return what the paper's points are judged against: seconds, or the share that must be met."""
    if published.slo is not None:
        return published.slo
    return panel.slo.share if figure.metric_of(panel) == "slo_attainment" else panel.slo.paper_normalized
