"""`ae doctor` and `ae clean`: what is here, and what may go."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from ae.cli import out
from ae.cli.listing import Json
from systems.core.errors import UsageError

LACKING = 4
Optional = Annotated[
    list[str] | None, typer.Argument(metavar="[FIGURE...]", help="figure14, system/figure14, system or all.")
]


def doctor(figures: Optional = None, json: Json = False) -> None:
    """Show what is here, what is missing and how to get it. Changes nothing; exit code 4 when a run is impossible."""
    from ae import catalog
    from ae import doctor as examination

    checks = examination.examine()
    for figure in catalog.select(figures or ()):
        checks += examination.needs(figure)
    if json:
        out.emit_json("checks", [asdict(check) for check in checks])
    else:
        out.table(
            ("", "check", "found", "wanted"), [(_mark(c.ok, c.required), c.name, c.found, c.wanted) for c in checks]
        )
        for check in checks:
            if not check.ok:
                out.emit(f"fix {check.name}: {check.fix}")
    raise typer.Exit(LACKING if any(c.required and not c.ok for c in checks) else 0)


def clean(
    figures: Optional = None,
    tier: Annotated[str, typer.Option("--tier", help="Only this tier.")] = "",
    calibration: Annotated[bool, typer.Option("--calibration", help="Capacity and profiles too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop servers that a crashed run left, and remove the results of the figures named. Asks first."""
    from ae import catalog, options
    from ae import clean as cleaning

    chosen = [figure.id for figure in catalog.select(figures or ())]
    tiers = [options.tier(tier)] if tier else list(options.TIERS)
    found = cleaning.folders(chosen, tiers, calibration=calibration)
    left = cleaning.orphans()
    for orphan in left:
        out.emit(f"process {orphan.started.pid}: {orphan.started.what}")
    for folder in found:
        out.emit(f"folder {folder} ({cleaning.size(folder) / 1e6:.1f} MB)")
    if not (found or left):
        out.emit("nothing to clean" if chosen else "no process left over; name figures to remove their results")
        return
    _confirm(yes=yes)
    for orphan in left:
        cleaning.end(orphan)
    for folder in found:
        cleaning.remove(folder)
    out.emit(f"stopped {len(left)} processes, removed {len(found)} folders")


def _confirm(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask on.", "Add --yes.")
    if not typer.confirm("Remove all this?"):
        raise typer.Exit(0)


def _mark(ok: bool, required: bool) -> str:
    return "ok" if ok else "MISSING" if required else "-"
