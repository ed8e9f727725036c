"""`ae run`: measure what is missing, then draw and check."""

import math
import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ae.cli import out
from ae.cli.listing import Figures, Full, SeriesOption, TierOption
from systems.core.errors import AeError, UsageError

if TYPE_CHECKING:
    from types import FrameType

    from ae.campaign import Result

INVALID, FAILED, INTERRUPTED = 5, 1, 130
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def run(
    figures: Figures,
    tier: TierOption = "smoke",
    full: Full = False,
    budget: Annotated[str, typer.Option(help="Begin no point after this time: 90s, 30m, 2h.")] = "",
    series: SeriesOption = None,
    again: Annotated[bool, typer.Option("--again", help="Measure invalid points again.")] = False,
) -> None:
    """Measure what is missing, then write table, picture and claim files. Run it again to go on.

    Exit code 5 when a drawn measurement is invalid or the budget left points for the next run.
    """
    from ae import catalog, tiers
    from ae.cli.progress import reporter
    from ae.options import options

    how = options(tier, full=full, series=series or (), again=again)
    deadline = time.monotonic() + _seconds(budget) if budget else None
    asked = catalog.select(figures)
    chosen = tiers.having(asked, how)
    for figure in asked:
        if figure not in chosen:
            out.emit(f"{figure.id} is left out: it has no tier {tier}, only {', '.join(figure.tiers)}")
    _two_stage_interrupt()
    results, errors, begun = [], [], True
    for figure in chosen:
        if deadline is not None and time.monotonic() > deadline:
            begun = False
            out.emit(f"the time budget is used up before {figure.id}")
            continue
        try:
            results.append(tiers.run(figure, how, reporter(), deadline=deadline))
        except AeError as error:
            if len(chosen) == 1:
                raise
            errors.append(error)
            out.complain(error)
            continue
        _show(results[-1])
    raise typer.Exit(errors[0].exit_code if errors else _exit_code(results) or (0 if begun else INVALID))


def _show(result: "Result") -> None:
    shown = result.shown
    out.emit()
    for failed in result.failed:
        out.emit(f"FAILED {failed}")
    for row in shown.rows:
        if not row.valid:
            out.emit(f"INVALID {row.panel} {row.series} x{row.x:g} trial {row.trial}: {row.why}")
    if result.left:
        out.emit(f"{result.left} points are left; the same command goes on from here")
    for verdict in shown.verdicts:
        out.emit(verdict.line())
    out.emit(f"picture: {shown.picture}")


def _exit_code(results: "list[Result]") -> int:
    if any(result.failed for result in results):
        return FAILED
    return INVALID if any(result.invalid or result.left for result in results) else 0


def _seconds(text: str) -> float:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        found = float(number) * _UNITS[unit]
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise UsageError(f"{text!r} is not a time.", "Write --budget 90s, 30m or 2h.")
    return found


def _two_stage_interrupt() -> None:
    """Make the first Ctrl-C (or SIGTERM) end the run in order, and the second end it at once."""
    from ae import processes

    def second(_number: int, _frame: "FrameType | None") -> None:
        processes.kill_all(INTERRUPTED)

    def first(_number: int, _frame: "FrameType | None") -> None:
        signal.signal(signal.SIGINT, second)
        signal.signal(signal.SIGTERM, second)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, first)
    signal.signal(signal.SIGTERM, first)
