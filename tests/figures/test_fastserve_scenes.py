"""FastServe's panels at the paper's scale: what they say must exist, fit, and be what the paper measured."""

from dataclasses import replace

import pytest

from ae import metrics, paper
from ae.catalog import load
from ae.figure import At, Figure, Panel, Scene, Series
from ae.sim import points
from ae.sim.one import simulate
from ae.sim.points import Point, Slot
from systems.core.cost.named import Hardware, machine

NAMES = [f"fastserve/figure{n}" for n in (11, 12, 13, 14, 15, 18)]
FIGURES = {name: load(name) for name in NAMES}
SCENES = [
    pytest.param(figure, panel, panel.scene, id=f"{figure.name}-{panel.name}")
    for figure in FIGURES.values()
    for panel in figure.panels
    if panel.scene
]
GIB = 2**30
# GiB of host memory a GPU, as the artifact's scripts have them (Figure 14: 56 to 64, which is whose is assumed).
HOST = {
    "figure11": {"sharegpt": 56, "alpaca": 48},
    "figure12": {"sharegpt": 56},
    "figure13": {"5x": 56, "10x": 56, "20x": 56},
    "figure14": {"bs4": 56, "bs16": 60, "bs32": 64},
    "figure15": {"sharegpt": 40, "alpaca": 40},
    "figure18": {"sharegpt": 56, "alpaca": 48},
}
# In the plots and not in the scripts.
ONLY_DRAWN = {"fig14_bs128_paper": {3.25}, "fig15b_llama3_8b_alpaca_paper": {26.0}}


def point(panel: Panel, series: Series, at: At, trial: int = 0) -> Point:
    return points.resolve(Slot(panel, series, at, trial))


def mean(found: Point) -> float:
    return metrics.metric("normalized_latency_mean", simulate(found.job).records)


def test_every_panel_has_a_scene() -> None:
    assert len(SCENES) == sum(len(figure.panels) for figure in FIGURES.values()) == 19
    assert all("sim" in figure.tiers for figure in FIGURES.values())


@pytest.mark.parametrize(("figure", "panel", "scene"), SCENES)
def test_names_exist_and_the_model_fits(figure: Figure, panel: Panel, scene: Scene) -> None:
    for series in figure.series:
        job = point(panel, series, scene.at[0]).job
        assert job.hardware.engine == series.costs
        assert machine(job.hardware).capacity.tokens >= job.engine.max_model_len
        assert job.engine.max_queue >= max(at.requests for at in scene.at)


@pytest.mark.parametrize(("figure", "panel", "scene"), SCENES)
def test_quick_is_a_part_of_the_rates(figure: Figure, panel: Panel, scene: Scene) -> None:
    assert [at.x for at in scene.at] == sorted({at.x for at in scene.at})
    assert all(at.rate == at.x and at.requests >= 20 for at in scene.at)
    assert 2 <= sum(at.quick for at in scene.at) <= 4
    assert scene.trials == 5


@pytest.mark.parametrize(("figure", "panel", "scene"), SCENES)
def test_every_published_rate_is_simulated(figure: Figure, panel: Panel, scene: Scene) -> None:
    ours, simulated = {s.name for s in figure.series}, {at.x for at in scene.at}
    for _, data in paper.for_figure(figure).of(panel):
        drawn = {x for curve in data.curves if curve.series in ours for x in curve.x}
        assert drawn - simulated == ONLY_DRAWN.get(data.name, set())


@pytest.mark.parametrize(("figure", "panel", "scene"), SCENES)
def test_host_pools_are_the_gib_of_the_scripts_on_every_gpu(figure: Figure, panel: Panel, scene: Scene) -> None:
    gpus = scene.tp * scene.pp
    page = machine(Hardware(scene.model, scene.gpu, scene.tp, scene.pp)).page_bytes / gpus
    wanted = HOST[figure.name][panel.name.partition("-")[0]] * GIB
    assert scene.engine["host_pages"] == wanted // page


def test_panels_of_several_gpus_are_simulated_only_and_their_claims_say_so() -> None:
    for figure in FIGURES.values():
        alone = {p.name for p in figure.panels if p.scene and p.scene.tp * p.scene.pp > 1}
        assert alone == {p.name for p in figure.panels if not p.on("smoke")}
        for claim in figure.claims:
            if claim.panel in alone:
                assert set(claim.tiers) <= {"sim", "paper"}


def test_figure_13_has_the_very_points_of_figure_11() -> None:
    eleven, thirteen = FIGURES["fastserve/figure11"], FIGURES["fastserve/figure13"]
    own = eleven.panels[0]
    for panel in thirteen.panels:
        assert panel.scene is not None
        assert own.scene is not None
        for series in thirteen.series:
            keys = [point(p, series, p.scene.at[5], 2).key for p in (panel, own) if p.scene]
            assert keys[0] == keys[1]


def test_chunks_are_the_papers_and_a_quarter_of_the_longest_prompt() -> None:
    figure = FIGURES["fastserve/figure18"]
    for panel in figure.panels:
        assert panel.scene is not None
        found = {s.name: point(panel, s, panel.scene.at[0]).job.engine.max_tokens for s in figure.series}
        assert found == {"vllm": 2048, "vllm_cp": 2048, "vllm_cp_small": 256, "fastserve": 2048}


def test_with_several_gpus_preemption_pays_beyond_the_capacity_and_costs_nothing_below() -> None:
    figure = FIGURES["fastserve/figure11"]
    panel = next(p for p in figure.panels if p.name == "sharegpt-66b")
    series = {s.name: s for s in figure.series}
    low, high = At(0.2, 0.2, 50), At(3.0, 3.0, 100)
    assert mean(point(panel, series["fastserve"], low)) == pytest.approx(mean(point(panel, series["fcfs"], low)), 0.1)
    assert mean(point(panel, series["fastserve"], high)) < 0.7 * mean(point(panel, series["fcfs"], high))


def test_a_panel_without_a_scene_has_no_simulated_points() -> None:
    figure = FIGURES["fastserve/figure11"]
    panels = tuple(replace(p, scene=p.scene if p.name == "alpaca" else None) for p in figure.panels)
    one = replace(figure, panels=panels)
    assert {slot.panel.name for slot in points.slots(one, "quick")} == {"alpaca"}
