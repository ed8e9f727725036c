"""`ae list` and `ae plan`: what there is, and what a run would do."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ae.cli import out

if TYPE_CHECKING:
    from ae.figure import Figure
    from ae.tiers import Planned

Figures = Annotated[list[str], typer.Argument(metavar="FIGURE...", help="figure14, system/figure14, system or all.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
TierOption = Annotated[str, typer.Option("--tier", help="smoke, sim, gpu or paper.")]
Full = Annotated[bool, typer.Option("--full", help="The paper's loads and at least 3 trials, not the quick grid.")]
SeriesOption = Annotated[
    list[str] | None,
    typer.Option("--series", metavar="NAME=URL", help="One more series: any OpenAI-compatible server."),
]


@dataclass(frozen=True, slots=True)
class Entry:
    """One figure of the listing. `state` has one line per tier with results."""

    id: str
    title: str
    tiers: tuple[str, ...]
    minutes: dict[str, float | None]
    hardware: str
    state: str


def list_figures(json: Json = False) -> None:
    """Show every figure: title, tiers, minutes, hardware, state of its results."""
    from ae import catalog

    entries = [_entry(catalog.load(name)) for name in catalog.identifiers()]
    if json:
        out.emit_json("figures", [asdict(entry) for entry in entries])
        return
    rows = [(e.id, ",".join(e.tiers), _minutes(e), e.state, e.title) for e in entries]
    out.table(("figure", "tiers", "minutes (quick/full)", "results", "title"), rows)


def plan(
    figures: Figures,
    tier: TierOption = "smoke",
    full: Full = False,
    series: SeriesOption = None,
    json: Json = False,
) -> None:
    """Show the points, why each would run, and how long that takes. Runs nothing."""
    from ae import catalog, tiers
    from ae.options import options

    chosen = options(tier, full=full, series=series or ())
    plans = [(figure, tiers.plan(figure, chosen)) for figure in tiers.having(catalog.select(figures), chosen)]
    if json:
        out.emit_json("points", [_point(figure, one) for figure, found in plans for one in found.points])
        return
    for figure, found in plans:
        every, todo = found.points, [one for one in found.points if one.why]
        cost = f"about {out.duration(found.seconds)} and {found.megabytes:.0f} MB"
        out.emit(f"{figure.id}: {len(every)} points, {len(every) - len(todo)} done, {len(todo)} to run, {cost}")
        if todo:
            out.table(("  point", "why"), [("  " + one.readable, one.why) for one in todo])


def _point(figure: "Figure", one: "Planned") -> dict[str, object]:
    return {
        "figure": figure.id,
        "point": one.readable,
        "panel": one.panel,
        "series": one.series,
        "load": one.x,
        "trial": one.trial,
        "key": one.key,
        "run": bool(one.why),
        "why": one.why,
    }


def _entry(figure: "Figure") -> Entry:
    minutes = {str(grid): value for grid, value in figure.minutes.items()}
    state = "; ".join(filter(None, (_state(figure, tier) for tier in figure.tiers))) or "none"
    return Entry(figure.id, figure.title, figure.tiers, minutes, figure.hardware, state)


def _state(figure: "Figure", tier: str) -> str:
    """Read the markers alone: whether points are still good is for `plan` to say."""
    from ae import places, slots

    done = sum(1 for _ in places.figure(slots.home(figure), tier).glob("points/*/attempt-*/DONE"))
    if not done:
        return ""
    drawn = (places.figure(figure.id, tier) / f"{figure.name}.png").exists()
    return f"{tier}: {done} points{', drawn' if drawn else ''}"


def _minutes(entry: Entry) -> str:
    values = [entry.minutes.get(grid) for grid in ("quick", "full")]
    return " / ".join("?" if value is None else f"{value:g}" for value in values)
