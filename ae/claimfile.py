"""`<figure>.claim`: one file that a person reads from the top and a program as YAML.

The first lines, comments to YAML, are one summary and one line per claim. Fields keep their order, nothing in the
file depends on the time of day, and numbers are rounded to what was measured, so two files can be compared.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import yaml

from ae.store import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ae.claims import Side, Verdict
    from ae.figure import Figure, Tier

_ORDER = ("met", "direction only", "not met", "not testable here", "invalid measurement")


def summary(verdicts: Sequence[Verdict]) -> str:
    """Count the outcomes in words, best first: `2 met, 1 not met`."""
    count = Counter[str](v.outcome for v in verdicts)
    return ", ".join(f"{count[o]} {o}" for o in _ORDER if count[o]) or "no claims"


def text(figure: Figure, verdicts: Sequence[Verdict], tier: Tier | None) -> str:
    """Write the whole file. `tier` is None for the paper's own points."""
    where = f"tier {tier}" if tier else "on the paper's own points"
    head = [f"{figure.id}, {where}: {summary(verdicts)}", *(_line(v, tier) for v in verdicts)]
    body = {"figure": figure.id, "judged": where, "metric": figure.metric, "claims": [_entry(v) for v in verdicts]}
    dumped = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=110)
    return "".join(f"# {line}\n" for line in head) + "\n" + dumped


def write(path: Path, figure: Figure, verdicts: Sequence[Verdict], tier: Tier | None) -> None:
    """Write the file whole or not at all."""
    write_atomic(path, text(figure, verdicts, tier))


def _line(verdict: Verdict, tier: Tier | None) -> str:
    return verdict.line() if tier else f"{verdict.source:8} {verdict.line()}"


def _entry(v: Verdict) -> dict[str, Any]:
    claim, found = v.claim, v.found
    interval = [_number(found.low), _number(found.high)] if found and (found.n > 1 or found.value is None) else None
    entry = {
        "id": claim.id,
        "verdict": v.outcome,
        "source": v.source,
        "found": _number(found.value) if found and found.value is not None else None,
        "interval": interval,
        "trials": found.n if found else 0,
        "unfinished_trials_left_out": v.left_out or None,
        "expected": v.expected,
        "reason": v.reason,
        "remedy": v.remedy,
        "section": claim.section,
        "wording": claim.wording,
        "statistic": f"{claim.statistic} of {claim.quantity}: {' / '.join(dict.fromkeys((claim.a, claim.b)))}",
        "panel": claim.panel + (f", against {claim.other_panel}" if claim.other_panel else ""),
        "published": claim.value if claim.value_high is None else [claim.value, claim.value_high],
        "published_in": claim.source,
        "papers_own_points": claim.data,
        "tolerance": claim.tolerance,
        "tolerance_reason": claim.tolerance_reason,
        "note": claim.note,
        "behind_it": [_side(s) for s in v.sides],
    }
    return {key: value for key, value in entry.items() if value not in ("", None)}


def _side(side: Side) -> str:
    at = "" if side.at is None else f" at x = {side.at:g}"
    return f"{side.panel}, {side.series}, trial {side.trial}: {side.found}{at}"


def _number(value: float) -> float | str:
    """Round to 4 significant digits; infinity as a word, for readers that have none."""
    return float(f"{value:.4g}") if math.isfinite(value) else "unbounded"
