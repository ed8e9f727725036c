"""`ae validate`: how far the simulation is from what has been published."""

from dataclasses import asdict
from typing import Annotated

import typer

from ae.cli import out
from ae.cli.listing import Json


def validate(
    points: Annotated[bool, typer.Option("--points", help="Every point, not only the table per source.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Bring docs/fidelity.md up to date.")] = False,
    json: Json = False,
) -> None:
    """Compare the cost model of the sim tier with every published latency. Constants fitted to a point do not count."""
    from ae import fidelity, fidelity_page, places

    found = fidelity.points()
    groups = fidelity.summaries(found)
    n, median, p95 = fidelity.unseen(found)
    if json:
        total = {"n": n, "median": median, "p95": p95}
        sources = [{**asdict(s), "worst": s.worst.what} for s in groups]
        rows = [{**asdict(p), "error": p.error} for p in found]
        out.emit_json("fidelity", {"unseen": total, "sources": sources, "points": rows})
    else:
        if points:
            out.table(
                ("source", "published ms", "predicted ms", "error", "point"),
                [
                    (p.source, f"{p.published:.1f}", f"{p.predicted:.1f}", f"{100 * p.error:+.1f} %", p.what)
                    for p in found
                ],
            )
        out.table(fidelity_page.HEAD, fidelity_page.rows(groups))
        out.emit(f"unseen: {n} points, median error {fidelity_page.percent(median)}, p95 {fidelity_page.percent(p95)}")
    if write:
        page = places.REPOSITORY / "docs" / "fidelity.md"
        changed = fidelity_page.write(page)
        if not json:
            out.emit(f"{page}: {'written' if changed else 'is up to date'}")
