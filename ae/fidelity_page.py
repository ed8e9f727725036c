"""The part of `docs/fidelity.md` that `ae validate --write` writes: (a), the cost model against published latencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ae import fidelity
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

BEGIN, END = "<!-- part a: written by `ae validate --write` -->", "<!-- end of part a -->"
HEAD = ("source", "role", "n", "median", "p95", "bias", "worst point")


def rows(found: Sequence[fidelity.Summary]) -> list[tuple[str, ...]]:
    """The table's cells under `HEAD`; errors in percent, bias positive when we are too slow."""
    return [
        (s.source, s.role, str(s.n), percent(s.median), percent(s.p95), f"{100 * s.bias:+.1f} %", worst(s))
        for s in found
    ]


def percent(share: float) -> str:
    """One decimal, rounded as people do."""
    return f"{100 * share:.1f} %"


def worst(summary: fidelity.Summary) -> str:
    """The point that is furthest off, with both times."""
    point = summary.worst
    return f"{point.what}: {point.predicted:.1f} ms for {point.published:.1f} ({100 * point.error:+.1f} %)"


def part_a() -> str:
    """Markdown between the markers."""
    found = fidelity.points()
    groups = fidelity.summaries(found)
    n, middle, tail = fidelity.unseen(found)
    printed = [p for p in found if "distserve" not in p.source]
    m, printed_middle, printed_tail = fidelity.unseen(printed)
    return "\n".join(
        [
            BEGIN,
            "",
            f"Over the {n} unseen points: median error **{percent(middle)}**, 95th percentile {percent(tail)}.",
            "Most of them are samples of DistServe's linear fits;",
            f"over the {m} others: {percent(printed_middle)} and {percent(printed_tail)}.",
            "",
            *table(HEAD, rows(groups)),
            "",
            "What each source is, and where it is published:",
            "",
            *(f"* `{s.source}`: {s.what}. {s.reference}." for s in groups),
            "",
            "KV memory by our formula against what is stated (stated numbers win in simulations):",
            "",
            *table(("hardware", "stated tokens", "formula", "error", "source"), _memory()),
            "",
            END,
        ]
    )


def replaced(text: str) -> str:
    """The page `text` with part (a) as it is now. Raises UsageError when the page has lost its markers."""
    return put(text, (BEGIN, END), part_a())


def put(text: str, marks: tuple[str, str], part: str) -> str:
    """The page `text` with `part`, marks included, where it has these marks. Raises UsageError when it has lost them."""
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        name = marks[0].strip("<!- ").partition(":")[0]
        raise UsageError(f"The page has no place for {name}.", f"Put {marks[0]} and {marks[1]} into it.")
    return before + part + after


def write(page: Path, change: Callable[[str], str] = replaced) -> bool:
    """Bring `page` up to date by `change`; whether it changed. Raises UsageError."""
    try:
        old = page.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"Cannot read {page}: {error.strerror}.", "Run it in a checkout of the repository.") from error
    new = change(old)
    if new != old:
        page.write_text(new, encoding="utf-8")
    return new != old


def _memory() -> list[tuple[str, ...]]:
    return [
        (c.what, f"{c.stated:,}", f"{c.formula:,}", f"{100 * c.error:+.1f} %", c.source) for c in fidelity.capacities()
    ]


def table(head: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, line by line."""
    lines = [head, ["---"] * len(head), *cells]
    return [f"| {' | '.join(line)} |" for line in lines]
