"""The part of `docs/fidelity.md` that `ae validate --smoke --write` writes: (b), simulations against real runs."""

from __future__ import annotations

import statistics
from dataclasses import astuple
from typing import TYPE_CHECKING

from ae.agreement import BUCKETS, lines, spots
from ae.fidelity_page import percent, put, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ae.agreement import Agreement, Line, Pair, Spot
    from ae.curves import Estimate

BEGIN, END = "<!-- part b: written by `ae validate --smoke --write` -->", "<!-- end of part b -->"
HEAD = ("figure", "panel", "series", *(name for name, *_ in BUCKETS), "throughput", "knee", "simulated", "ratio")
CLOSE, KNEE = 0.10, 0.05  # what is asked of latency and throughput up to 0.7, and of the knee


def rows(found: Sequence[Line]) -> list[tuple[str, ...]]:
    """The table's cells under `HEAD`: simulated / measured with the 95 % interval over trials; knees as loads."""
    return [
        (
            *(line.figure, line.panel, line.series),
            *("-" if part is None else str(part) for part in line.latency),
            str(line.throughput),
            *(str(line.measured_knee), str(line.simulated_knee)),
            "-" if line.knee.value is None else str(line.knee),
        )
        for line in found
    ]


def sentences(found: Agreement) -> list[str]:
    """What was compared, the constants, and how much of it is as close as it should be."""
    every = spots(found.pairs)
    low, middle, high = ([s for s in every if above < s.load <= to] for _, above, to in BUCKETS)
    knees = [line.knee.value for line in lines(found.pairs) if line.knee.value is not None]
    out = [
        f"{len(found.pairs)} points, {len(every)} places; {found.left_out} more could not be compared.",
        _constants(found.pairs),
    ]
    if low:
        out.append(f"Load <= 0.7, latency: {_within([s.latency for s in low], CLOSE)}")
        out.append(f"Load <= 0.7, throughput: {_within([s.throughput for s in low], CLOSE)}")
    if known := [s for s in middle if s.inside is not None]:
        inside = sum(bool(s.inside) for s in known)
        out.append(f"Load to 0.9: {inside} of {len(known)} inside the 95 % interval of the real trials, {_off(middle)}")
    if high:
        out.append(f"Load above 0.9: {_off(high)}")
    if knees:
        near = sum(abs(value - 1) <= KNEE for value in knees)
        middle_knee = statistics.median(abs(value - 1) for value in knees)
        out.append(f"Knees: {near} of {len(knees)} within {KNEE:.0%}, median error {percent(middle_knee)}.")
    return out


def _constants(pairs: Sequence[Pair]) -> str:
    """What serving adds: the median and the range over panels and trials."""
    hosts = {(p.point.figure, p.point.panel, p.point.trial): p.host for p in pairs}.values()
    turn, prompts, wake, request = (
        sorted(ns / 1e6 for ns in column) for column in zip(*map(astuple, hosts), strict=True)
    )
    return (
        f"Serving adds, in ms, {_range(turn)} to every pass, {_range(prompts)} more to one with prompts, {_range(wake)} "
        f"more to the first after a pause, and {_range(request)} to every request outside the engine: means over the "
        "warm-ups of a panel's trial, whose requests are in no metric (in brackets: over panels and trials)."
    )


def _range(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3f} [{values[0]:.3f}, {values[-1]:.3f}]"


def part_b(found: Agreement) -> str:
    """Markdown between the markers."""
    said = [f"* {line}" for line in (f"Measured on {found.machine}.", *sentences(found))]
    legend = [
        "Mean normalized latency and output tokens/s as simulated / measured: over the loads of a trial the geometric",
        "mean, over trials the mean with its 95 % interval. The knee is the load at which a curve crosses its SLO.",
    ]
    return "\n".join([BEGIN, "", *said, "", *legend, "", *table(HEAD, rows(lines(found.pairs))), "", END])


def replaced(text: str, part: str) -> str:
    """The page `text` with part (b) as `part`. Raises UsageError when the page has lost its markers."""
    return put(text, (BEGIN, END), part)


def _within(ratios: Sequence[Estimate], limit: float) -> str:
    errors = [abs(ratio.value - 1) for ratio in ratios if ratio.value is not None]
    near = sum(error <= limit for error in errors)
    return f"{near} of {len(errors)} within {limit:.0%}, median error {percent(statistics.median(errors))}."


def _off(found: Sequence[Spot]) -> str:
    errors = [abs(s.latency.value - 1) for s in found if s.latency.value is not None]
    return f"median error of latency {percent(statistics.median(errors))}."
