"""Which panels have measured points at a tier."""

from dataclasses import replace

import pytest

from ae import slots, tasks
from ae.catalog import load
from ae.figure import Figure, Panel, Tier


@pytest.fixture
def figure() -> Figure:
    """Three panels: everywhere, at tier sim only, and on one GPU only."""
    demo = load("fastserve/figure13")
    everywhere, simulated, gpu = demo.panels
    return replace(demo, panels=(everywhere, replace(simulated, tiers=()), replace(gpu, tiers=("gpu",))))


def names(figure: Figure, tier: Tier) -> set[str]:
    return {slot.panel.name for slot in slots.slots(figure, "quick", tier)}


def test_panels_of_other_tiers_have_no_slots(figure: Figure) -> None:
    assert names(figure, "smoke") == {"5x"}
    assert names(figure, "gpu") == {"5x", "20x"}


def test_nor_have_they_points_to_run(figure: Figure) -> None:
    found = tasks.placed(figure, "quick", {})
    assert {slot.panel.name for slot, _ in found} == {"5x"}
    assert {slot.panel.name for slot, _ in tasks.drawable(figure, {}, tier="gpu")} == {"5x", "20x"}


def test_a_grid_limits_the_panels_further(figure: Figure) -> None:
    quick = replace(figure.grids["quick"], panels=("10x", "20x"))
    limited = replace(figure, grids={**figure.grids, "quick": quick})
    assert names(limited, "smoke") == set()
    assert names(limited, "gpu") == {"20x"}


def test_a_panel_is_simulated_exactly_when_it_has_a_scene(figure: Figure) -> None:
    def on(panel: Panel) -> tuple[bool, bool]:
        return panel.on("sim"), replace(panel, scene=None).on("sim")

    assert {on(panel) for panel in figure.panels} == {(True, False)}
