"""`ae plot` and `ae check`: from what is in results/, or from what was published, to pictures and verdicts."""

from dataclasses import asdict
from itertools import repeat
from typing import TYPE_CHECKING, Annotated

import typer

from ae.cli import out
from ae.cli.listing import Figures, Json, TierOption
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from ae.claims import Verdict
    from ae.figure import Figure, Tier
    from ae.render import Source

NOT_MET, INVALID = 3, 5
From = Annotated[str, typer.Option("--from", metavar="SOURCE", help="results, reference (committed runs) or paper.")]
SOURCES: "tuple[Source, ...]" = ("results", "reference", "paper")


def plot(figures: Figures, tier: TierOption = "smoke", source: From = "results") -> None:
    """Draw from what is in results/ (or the committed reference runs, or the paper's points). Runs nothing.

    Each source keeps its own files: reference beside its table, paper as FIGURE_paper.png.
    """
    from ae import catalog, options, render

    level, kind = options.tier(tier), _source(source)
    for figure in map(_with_servers, catalog.select(figures), repeat(level)):
        rows = render.load_rows(figure, level, kind)
        for path in render.plot_figure(figure, rows, render.folder(figure, level, kind), level):
            out.emit(str(path))


def check(figures: Figures, tier: TierOption = "smoke", source: From = "results", json: Json = False) -> None:
    """Judge every claim. Exit code 3 when one is not met, 5 when one rests on an invalid measurement."""
    from ae import catalog, options, render

    level, kind = options.tier(tier), _source(source)
    verdicts: list[tuple[str, Verdict]] = []
    for figure in catalog.select(figures):
        folder = render.folder(figure, level, kind)
        if kind == "paper":
            found = render.check_paper(figure, folder)
        else:
            found = render.check_measured(figure, render.load_rows(figure, level, kind), folder, level)
        verdicts += [(figure.id, verdict) for verdict in found.verdicts]
    if json:
        out.emit_json("claims", [_entry(name, verdict) for name, verdict in verdicts])
    else:
        for name, verdict in verdicts:
            out.emit(f"{name}: {verdict.line()}")
    outcomes = {verdict.outcome for _, verdict in verdicts}
    raise typer.Exit(NOT_MET if "not met" in outcomes else INVALID if "invalid measurement" in outcomes else 0)


def _with_servers(figure: "Figure", tier: "Tier") -> "Figure":
    """Add the servers of the user's own that the figure has points of."""
    from ae import external

    return external.extended(figure, external.remembered(figure, tier))


def _source(name: str) -> "Source":
    for known in SOURCES:
        if name == known:
            return known
    raise UsageError(f"There is no source {name!r}.", f"Sources: {', '.join(SOURCES)} (--from).")


def _entry(figure: str, verdict: "Verdict") -> dict[str, object]:
    found = asdict(verdict.found) if verdict.found else None
    return {
        "figure": figure,
        "claim": verdict.claim.id,
        "verdict": verdict.outcome,
        "source": verdict.source,
        "found": found,
        "expected": verdict.expected,
        "reason": verdict.reason,
        "remedy": verdict.remedy,
    }
