"""The places of a figure: (panel, series, load, trial), before anything is known of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ae.figure import Figure, Grid, GridName, Panel, Series, Tier


class Slot(NamedTuple):
    """One place in a figure. `load` is a multiple of the calibrated capacity, `seconds` the measured window.

    With `turns` (see Grid), `seconds` is an estimate until the slot is resolved. `statistic` ("mean", "p95") is what
    the figure reads off the point: it says how many requests make a measurement.
    """

    panel: Panel
    series: Series
    load: float
    trial: int
    seconds: float
    turns: float = 0.0
    statistic: str = "mean"

    @property
    def readable(self) -> str:
        """For folder names; two slots of a figure never have the same."""
        length = f"{self.turns:g}turns" if self.turns else f"{self.seconds:g}s"
        name = f"{self.panel.name}_{self.series.name}_x{self.load:g}_{length}_t{self.trial}"
        return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)

    @property
    def external(self) -> bool:
        """Whether the series is a server of the user's own, named by its URL."""
        return self.series.variant.startswith(("http://", "https://"))


def slots(figure: Figure, grid: GridName, tier: Tier = "smoke") -> list[Slot]:
    """Every slot of a grid at a measured tier, trials outermost: drift of the machine meets all series alike."""
    if grid not in figure.grids:
        raise UsageError(f"{figure.id} has no grid {grid!r}.", f"Grids: {', '.join(figure.grids)}.")
    chosen, read_off = figure.grids[grid], statistic(figure)
    return [
        Slot(panel, series, load, trial, chosen.seconds, chosen.turns and (panel.turns or chosen.turns), read_off)
        for trial in range(chosen.trials)
        for panel in _panels(figure, chosen, tier)
        for load in chosen.loads
        for series in figure.series_of(panel)
    ]


def statistic(figure: Figure) -> str:
    """What the figure reads off a point, as `validity.judge` names it."""
    if figure.metric == "slo_attainment":
        return "share"
    return "p95" if figure.metric.endswith("p95") else "mean"


def home(figure: Figure) -> str:
    """The id of the figure in whose folder the points lie."""
    return figure.shares or figure.id


def _panels(figure: Figure, grid: Grid, tier: Tier) -> Iterable[Panel]:
    return [panel for panel in figure.panels if panel.on(tier) and (not grid.panels or panel.name in grid.panels)]
