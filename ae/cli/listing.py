"""`ae list` and `ae plan`: what there is, and what a run would do."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ae.cli import out

if TYPE_CHECKING:
    from ae.figure import Figure
    from ae.tasks import Task

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
    from ae import campaign, catalog
    from ae.options import options
    from ae.tasks import megabytes, seconds

    chosen = options(tier, full=full, series=series or ())
    plans = [(figure, campaign.plan(figure, chosen)) for figure in catalog.select(figures)]
    if json:
        out.emit_json("points", [_point(figure, task) for figure, tasks in plans for task in tasks])
        return
    for figure, tasks in plans:
        todo = [task for task in tasks if task.why]
        cost = f"about {out.duration(seconds(tasks))} and {megabytes(tasks):.0f} MB"
        out.emit(f"{figure.id}: {len(tasks)} points, {len(tasks) - len(todo)} done, {len(todo)} to run, {cost}")
        if todo:
            out.table(("  point", "why"), [("  " + task.slot.readable, task.why) for task in todo])


def _point(figure: "Figure", task: "Task") -> dict[str, object]:
    return {
        "figure": figure.id,
        "point": task.slot.readable,
        "panel": task.slot.panel.name,
        "series": task.slot.series.name,
        "load": task.slot.load,
        "trial": task.slot.trial,
        "key": task.point.key if task.point else None,
        "run": bool(task.why),
        "why": task.why,
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
