"""Figures 16 and 17: what they declare exists and fits, and their units are what they say."""

from __future__ import annotations

import pytest

from ae import metrics, slots
from ae.catalog import load
from ae.figure import Figure
from ae.sim import points
from ae.sim.one import requests_of, simulate
from ae.sim.points import Slot
from systems.core import variant
from systems.core.cost.named import machine
from systems.core.policy import Limits

SCHEDULERS, KEEPING = load("fastserve/figure16"), load("fastserve/figure17")
BOTH = [pytest.param(SCHEDULERS, id="figure16"), pytest.param(KEEPING, id="figure17")]


@pytest.mark.parametrize("figure", BOTH)
def test_names_are_unique_and_known(figure: Figure) -> None:
    names = [panel.name for panel in figure.panels]
    assert len(set(names)) == len(names)
    for panel in figure.panels:
        series = [s.name for s in figure.series_of(panel)]
        assert len(set(series)) == len(series)
        assert all((s.part is None) == (figure.metric_of(panel) != "latency_share") for s in figure.series_of(panel))
    for claim in figure.claims:
        panel = next(p for p in figure.panels if p.name == claim.panel)
        assert {claim.a, claim.b} <= {s.name for s in figure.series_of(panel)}
        assert claim.tolerance_reason
        assert claim.tiers == ("smoke", "sim", "gpu", "paper") or claim.untested


@pytest.mark.parametrize("figure", BOTH)
def test_policies_take_the_settings_and_the_model_fits(figure: Figure) -> None:
    for panel in figure.panels:
        assert panel.scene is not None
        assert 2 <= sum(at.quick for at in panel.scene.at) <= 4
        assert panel.scene.trials >= 3
        for series in figure.series_of(panel):
            assert variant.check(variant.find(series.variant), Limits(), series.settings)
            job = points.resolve(Slot(panel, series, panel.scene.at[0], 0)).job
            assert machine(job.hardware).capacity.tokens >= job.engine.max_model_len


def test_ratios_and_sums_are_what_figure_16_says() -> None:
    for panel in SCHEDULERS.panels:
        assert panel.scene is not None
        for at in panel.scene.at:
            assert at.workload is not None
            assert at.workload.lengths is not None
            prompt, answer = at.workload.lengths
            assert at.x == prompt / answer
            assert 510 <= prompt + answer <= 528
        assert [at.x for at in panel.scene.at] == [2.0**k for k in range(-2, 9)]


@pytest.mark.parametrize("place", [0, 5, 10])
def test_the_unit_of_load_is_what_fcfs_completes(place: int) -> None:
    panel, series = SCHEDULERS.panels[0], SCHEDULERS.series[0]
    assert (series.name, panel.scene is not None) == ("fcfs", True)
    assert panel.scene is not None
    at = panel.scene.at[place]
    flood = Slot(panel, series, type(at)(at.x, 1e6, 1000, workload=at.workload), 0)
    records = simulate(points.resolve(flood).job).records
    found = len(records) / max(record.end for record in records)
    assert found == pytest.approx(at.rate / 1.1, rel=0.1)


def test_the_drawn_ratio_is_the_one_on_the_axis() -> None:
    panel = SCHEDULERS.panels[0]
    assert panel.scene is not None
    for at in panel.scene.at[::5]:
        requests = requests_of(points.resolve(Slot(panel, SCHEDULERS.series[0], at, 0)).job)
        prompts, answers = (sum(len(r.prompt) for r in requests), sum(r.sampling.max_tokens for r in requests))
        assert prompts / answers == pytest.approx(at.x, rel=0.25)  # 400 draws of lengths whose CV is 1


def test_the_breakdown_reads_the_points_of_the_curve_above() -> None:
    above, below = KEEPING.panels
    assert above.scene is not None
    assert below.scene is not None
    own = next(s for s in KEEPING.series if s.name == "proactive")
    keys = {points.resolve(Slot(above, own, at, 1)).key for at in above.scene.at}
    for series in KEEPING.series_of(below):
        assert {points.resolve(Slot(below, series, at, 1)).key for at in below.scene.at} <= keys


def test_only_the_curves_are_measured() -> None:
    assert {slot.panel.name for slot in slots.slots(KEEPING, "full", "smoke")} == {"keeping"}
    assert slots.slots(SCHEDULERS, "full", "smoke") == []


def test_parts_add_up_and_a_recomputing_engine_never_swaps() -> None:
    panel = KEEPING.panels[0]
    assert panel.scene is not None
    at = next(at for at in panel.scene.at if at.x == 2)
    swapped = {}
    for series in KEEPING.series:
        records = simulate(points.resolve(Slot(panel, series, at, 0)).job).records
        shares = {part: metrics.latency_share(records, part) for part in ("executing", "swapping", "queueing")}
        assert sum(shares.values()) == pytest.approx(1.0)
        assert min(shares.values()) >= 0
        swapped[series.name] = shares["swapping"]
    assert swapped["recompute"] == 0
    assert swapped["reactive"] > swapped["proactive"] > 0
