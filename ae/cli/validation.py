"""`ae validate`: how far the simulation is from what has been published, and from what was measured here."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ae.cli import out
from ae.cli.listing import Json
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def validate(
    figures: Annotated[
        list[str] | None, typer.Argument(metavar="[FIGURE...]", help="With --smoke: of these figures (default: all).")
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Simulate every finished smoke point and compare it with its measurement.")
    ] = False,
    points: Annotated[bool, typer.Option("--points", help="Every point, not only the table.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Bring docs/fidelity.md up to date.")] = False,
    json: Json = False,
) -> None:
    """Compare the sim tier with every published latency, or with the smoke points that were measured here (--smoke).

    Constants fitted to a point do not count.
    """
    if smoke:
        _measured(figures or ["all"], points=points, write=write, json=json)
    elif figures:
        raise UsageError("Published latencies belong to no figure.", "Add --smoke, or leave the figures out.")
    else:
        _published(points=points, write=write, json=json)


def _published(*, points: bool, write: bool, json: bool) -> None:
    from ae import fidelity, fidelity_page

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
        _write(fidelity_page.replaced, quiet=json)


def _measured(names: list[str], *, points: bool, write: bool, json: bool) -> None:
    from ae import agreement, agreement_page, catalog

    found = agreement.agreement(catalog.select(names), (lambda _: None) if json else out.emit)
    if json:
        places = [asdict(spot) for spot in agreement.spots(found.pairs)]
        series = [asdict(line) for line in agreement.lines(found.pairs)]
        hosts = {(p.point.figure, p.point.panel, p.point.trial): p.host for p in found.pairs}
        serving = [{"figure": f, "panel": p, "trial": t, **asdict(host)} for (f, p, t), host in hosts.items()]
        value = {"serving_ns": serving, "left_out": found.left_out, "places": places, "series": series}
        out.emit_json("agreement", _finite(value))
    else:
        if points:
            out.table(
                ("figure", "panel", "series", "load", "latency", "throughput"),
                [
                    (s.figure, s.panel, s.series, f"{s.load:g}", str(s.latency), str(s.throughput))
                    for s in agreement.spots(found.pairs)
                ],
            )
        out.table(agreement_page.HEAD, agreement_page.rows(agreement.lines(found.pairs)))
        for line in agreement_page.sentences(found):
            out.emit(line)
    if write:
        part = agreement_page.part_b(found)
        _write(lambda text: agreement_page.replaced(text, part), quiet=json)


def _finite(value: object) -> object:
    """JSON has no infinity: a knee beyond the last load has no upper bound."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(change: "Callable[[str], str]", *, quiet: bool) -> None:
    from ae import fidelity_page, places

    page = places.REPOSITORY / "docs" / "fidelity.md"
    changed = fidelity_page.write(page, change)
    if not quiet:
        out.emit(f"{page}: {'written' if changed else 'is up to date'}")
