"""Shares of the latency, largest gains and upper bounds: from records and published seconds to verdict and picture."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

from ae import claimfile, layers, metrics, paper, plots, tiers
from ae.catalog import load
from ae.claims import Verdict, judge, judge_paper
from ae.figure import Claim, Figure, Panel, Part
from ae.options import options
from ae.table import Row
from systems.core.errors import UsageError
from systems.core.record import Record, Tokens

ABLATION, SCHEDULERS = load("fastserve/figure17"), load("fastserve/figure16")
KNOWN = paper.for_figure(ABLATION)
# 10 s: 6 executing, 1 swapping, 3 queueing.
ONE = Record(
    0, 1.0, 1.0, 2.0, 11.0, "ok", 8, 4, 4, (Tokens(2.0, 4, 3.0),), finish="length", executing=6.0, swapping=1.0
)


# -- metrics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "seconds"), [("executing", 6.0), ("swapping", 1.0), ("queueing", 3.0)])
def test_seconds_in_each_part(part: Part, seconds: float) -> None:
    assert metrics.seconds_in(ONE, part) == pytest.approx(seconds)
    assert metrics.seconds_in(replace(ONE, executing=None), part) is None
    assert Record.from_json(ONE.to_json()) == ONE


def test_a_share_is_of_all_time_not_a_mean_of_shares() -> None:
    short = replace(ONE, id=1, end=2.0, executing=1.0, swapping=0.0)  # 1 s, all of it executing
    failed = replace(ONE, id=2, status="failed", executing=None, swapping=None)
    shares = [
        metrics.metric("latency_share", [ONE, short, failed], part=p) for p in ("executing", "swapping", "queueing")
    ]
    assert shares == pytest.approx([7 / 11, 1 / 11, 3 / 11])


def test_where_nobody_counted_there_is_no_share() -> None:
    measured = replace(ONE, executing=None, swapping=None)
    assert math.isnan(metrics.latency_share([measured], "executing"))
    assert math.isnan(metrics.latency_share([ONE, measured], "executing"))
    assert math.isnan(metrics.latency_share([], "executing"))


# -- published seconds ---------------------------------------------------------------------------------------------


def test_published_seconds_become_shares() -> None:
    data = KNOWN.find("fig17_right_paper")
    assert data.metric == "latency_share"
    curves = {curve.series: curve for curve in data.curves}
    assert set(curves) == {"queueing", "swapping", "executing"}
    assert curves["swapping"].y[0] == pytest.approx(0.491 / (0.421 + 0.491 + 10.09))
    for place in range(len(data.curves[0].x)):
        assert sum(curve.y[place] for curve in data.curves) == pytest.approx(1.0)


def test_a_broken_breakdown_is_named(tmp_path: Path) -> None:
    for entry in ("x: [1], queuing: [1], swapping: [1]", "x: [1], queuing: [1], swapping: [1], execution: [1, 2]"):
        file = tmp_path / "paper.yaml"
        file.write_text(f"breakdowns: {{broken: {{source: NB, kind: exact, {entry}}}}}")
        with pytest.raises(UsageError, match="Breakdown 'broken'"):
            paper.load(file)


# -- claims --------------------------------------------------------------------------------------------------------


def claim_of(figure: Figure, name: str) -> Claim:
    return next(claim for claim in figure.claims if claim.id == name)


def one(figure: Figure, name: str, rows: list[Row]) -> Verdict:
    (verdict,) = judge(replace(figure, claims=(claim_of(figure, name),)), rows, "sim")
    return verdict


def swapping(*largest: float) -> list[Row]:
    return [
        Row("breakdown", "swapping", x, x, t, value)
        for t, worst in enumerate(largest)
        for x, value in ((0.5, worst), (1.0, worst / 2))
    ]


def test_a_bound_is_met_only_with_its_whole_interval() -> None:
    assert one(ABLATION, "C13", swapping(0.03, 0.031, 0.029)).outcome == "met"
    assert one(ABLATION, "C13", swapping(0.03, 0.06, 0.03)).outcome == "direction only"
    assert one(ABLATION, "C13", swapping(0.06, 0.07, 0.06)).outcome == "not met"
    few = one(ABLATION, "C13", swapping(0.03))
    assert (few.outcome, few.expected) == ("direction only", "published < 0.05")


def test_the_papers_points_keep_its_bound() -> None:
    (verdict,) = judge_paper(replace(ABLATION, claims=(claim_of(ABLATION, "C13"),)), KNOWN)
    assert verdict.outcome == "met"
    assert verdict.found is not None
    assert verdict.found.value == pytest.approx(0.0446, abs=1e-4)


def gains(*factors: dict[float, float]) -> list[Row]:
    """FCFS is so much slower than skip-join at each x, per trial."""
    return [
        Row("above", series, x, 1.0, t, 0.1 * (factor if series == "fcfs" else 1.0))
        for t, by in enumerate(factors)
        for x, factor in by.items()
        for series in ("fcfs", "fastserve")
    ]


def test_the_largest_gain_is_taken_per_trial_and_says_where() -> None:
    rows = gains({1: 2.0, 64: 9.0}, {1: 8.8, 64: 3.0}, {1: 1.0, 64: 8.9})
    verdict = one(SCHEDULERS, "C11-fcfs", rows)
    assert verdict.found is not None
    assert verdict.found.value == pytest.approx(8.9)
    assert verdict.outcome == "met"
    assert {(side.trial, side.at) for side in verdict.sides} == {(0, 64), (1, 1), (2, 64)}
    text = claimfile.text(SCHEDULERS, [verdict], "sim")
    assert "above, fcfs, trial 0: 0.90 at x = 64" in text


def test_a_gain_needs_both_at_the_same_x_and_no_invalid_point() -> None:
    rows = gains({1: 2.0, 64: 9.0}, {1: 2.0, 64: 9.0}, {1: 2.0, 64: 9.0})
    without = [r for r in rows if (r.series, r.x) != ("fastserve", 64)]
    finished = [replace(r, valid=False, why="late") if r.x == 64 else r for r in rows]
    for some in (without, finished):
        found = one(SCHEDULERS, "C11-fcfs", some).found
        assert found is not None
        assert found.value == pytest.approx(2.0)


def test_the_slower_one_gains_nothing() -> None:
    assert one(SCHEDULERS, "C11-fcfs", gains({1: 0.5}, {1: 0.6}, {1: 0.55})).outcome == "not met"


def test_a_number_is_about_one_series() -> None:
    claim = replace(claim_of(ABLATION, "C12-recompute"), statistic="absolute", value=2.0)
    rows = [
        Row("keeping", s, x, x, t, 0.3 * x / at, slo=0.3)
        for t in range(3)
        for s, at in (("proactive", 2.0), ("recompute", 1.0))
        for x in (0.5, 1.5, 3.0)
    ]
    (verdict,) = judge(replace(ABLATION, claims=(claim,)), rows, "sim")
    assert verdict.found is not None
    assert verdict.found.value == pytest.approx(2.0)


# -- pictures ------------------------------------------------------------------------------------------------------


def shares(figure: Figure, x: tuple[float, ...] = (0.5, 1.0, 2.0), trials: int = 3) -> list[Row]:
    values = {"executing": 0.6, "swapping": 0.1, "queueing": 0.3}
    rows = [Row("breakdown", s, at, at, t, v, requests=9) for s, v in values.items() for at in x for t in range(trials)]
    curves = [
        Row("keeping", s.name, at, at, t, 0.1 * at * (i + 1), requests=9, slo=0.3)
        for i, s in enumerate(figure.series)
        for at in x
        for t in range(trials)
    ]
    return rows + curves


def test_a_panel_of_shares_has_its_own_lines_and_no_headline() -> None:
    panel = ABLATION.panels[1]
    ours = layers.measured(ABLATION, panel, shares(ABLATION))
    assert ours is not None
    assert [line.series for line in ours.lines] == ["executing", "swapping", "queueing"]
    assert ours.gains == ()
    (theirs,) = layers.published(ABLATION, panel, KNOWN)
    assert [line.series for line in theirs.lines] == ["executing", "swapping", "queueing"]


@pytest.mark.parametrize("x", [(0.5, 1.0, 2.0), (1.0,), ()])
def test_shares_are_drawn_whatever_there_is(tmp_path: Path, x: tuple[float, ...]) -> None:
    png, _ = plots.draw(ABLATION, shares(ABLATION, x), KNOWN, "sim", tmp_path / "a")
    assert png.stat().st_size > 1000


def test_one_part_missing_at_an_x_leaves_that_x_out() -> None:
    rows = [r for r in shares(ABLATION) if (r.series, r.x) != ("swapping", 2.0)]
    (left, _) = plots._row(ABLATION, ABLATION.panels[1], rows, KNOWN, "sim")
    ax = Canvas().subplots()
    plots._fill(ax, left)
    assert [np.asarray(line.get_xdata()).tolist() for line in ax.lines] == [[0.5, 1.0]] * 3
    top = np.asarray(ax.lines[-1].get_ydata()).tolist()
    assert top == pytest.approx([100.0, 100.0])


def curves(panel: Panel) -> list[Row]:
    return [
        Row(panel.name, s.name, x, 1.0, t, 0.1 * (i + 1) * x**0.5, requests=9)
        for i, s in enumerate(SCHEDULERS.series)
        for x in (0.25, 4.0, 256.0)
        for t in range(3)
    ]


def test_ratios_are_on_a_logarithmic_axis_with_the_gains_above(tmp_path: Path) -> None:
    panel = SCHEDULERS.panels[0]
    (left, _) = plots._row(SCHEDULERS, panel, curves(panel), KNOWN, "sim")
    ax = Canvas().subplots()
    plots._fill(ax, left)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    low, high = ax.get_xlim()
    assert low < 0.25
    assert high > 256
    assert "gains up to" in ax.get_title(loc="left")
    legend = ax.get_legend()
    assert legend is not None
    assert not any("SLO" in text.get_text() or "invalid" in text.get_text() for text in legend.get_texts())
    assert plots.draw(SCHEDULERS, curves(panel), KNOWN, "sim", tmp_path / "a")[0].stat().st_size > 1000


# -- tiers ---------------------------------------------------------------------------------------------------------


def test_of_several_figures_those_of_the_tier_are_run() -> None:
    smoke = options("smoke")
    assert tiers.having([ABLATION, SCHEDULERS], smoke) == [ABLATION]
    assert tiers.having([SCHEDULERS], smoke) == [SCHEDULERS]
    with pytest.raises(UsageError, match="has no tier 'smoke'"):
        tiers.plan(SCHEDULERS, smoke)
