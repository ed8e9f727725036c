"""One door to all tiers: the command line asks for a figure, the tier says whether it is measured or simulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ae import campaign, tasks

if TYPE_CHECKING:
    from ae.campaign import Result
    from ae.figure import Figure
    from ae.options import Options
    from ae.report import Reporter


@dataclass(frozen=True, slots=True)
class Planned:
    """One point of a plan: `x` is the figure's axis; `why` it has to run, empty when it is done."""

    readable: str
    panel: str
    series: str
    x: float
    trial: int
    key: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Every point of a figure's grid, and what the missing ones will cost."""

    points: tuple[Planned, ...]
    seconds: float
    megabytes: float


def having(figures: list[Figure], options: Options) -> list[Figure]:
    """Leave out, of several figures, those that do not exist at this tier; what is asked for alone says so itself."""
    return [figure for figure in figures if options.tier in figure.tiers] or figures


def plan(figure: Figure, options: Options) -> Plan:
    """What a run would do. Runs and writes nothing. Raises UsageError."""
    if options.tier == "sim":
        from ae.sim import campaign as simulated  # noqa: PLC0415 - measuring needs none of it

        every = simulated.plan(figure, options)
        todo = sum(bool(why) for _, why in every)
        listed = [
            Planned(p.slot.readable, p.slot.panel.name, p.slot.series.name, p.slot.at.x, p.slot.trial, p.key, why)
            for p, why in every
        ]
        return Plan(tuple(listed), simulated.seconds(todo), simulated.MEGABYTES * todo)
    found = campaign.plan(figure, options)
    listed = [
        Planned(
            t.slot.readable, t.slot.panel.name, t.slot.series.name, t.slot.load, t.slot.trial,
            t.point.key if t.point else None, t.why,
        )
        for t in found
    ]  # fmt: skip
    return Plan(tuple(listed), tasks.seconds(found), tasks.megabytes(found))


def run(figure: Figure, options: Options, reporter: Reporter, *, deadline: float | None = None) -> Result:
    """Run what is missing, draw, check. Raises AeError when nothing can be run at all."""
    if options.tier == "sim":
        from ae.sim import campaign as simulated  # noqa: PLC0415 - measuring needs none of it

        return simulated.run(figure, options, reporter, deadline=deadline)
    return campaign.run(figure, options, reporter, deadline=deadline)
