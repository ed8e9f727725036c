"""How long a point lasts, and that overload does not start before the measured window."""

from dataclasses import replace
from pathlib import Path

import pytest

from ae import manifest, points, slots, tasks, validity
from ae.calibrate import Calibration
from ae.catalog import load
from ae.figure import Figure, Grid, GridName


@pytest.fixture(scope="module")
def figure() -> Figure:
    demo = load("fastserve/figure14")
    return replace(demo, grids={"quick": Grid((1.0, 2.0), 1, seconds=9.0, turns=10.0)})


def calibration(capacity: float) -> Calibration:
    return Calibration("", capacity, 0.001, 512, 512, "", "", "", "", "")


@pytest.mark.parametrize("capacity", [50.0, 400.0])
def test_a_point_has_the_same_number_of_requests_on_any_machine(figure: Figure, capacity: float) -> None:
    slot = slots.slots(figure, "quick")[0]
    assert slot.panel.engine["max_batch"] == 4
    point = points.resolve(slot, calibration(capacity))
    assert point.slot.seconds == pytest.approx(10 * 4 / capacity)
    assert point.slot.readable == slot.readable
    asked = [r for r in point.schedule.requests if not r.warmup]
    assert 20 <= len(asked) <= 60  # 40 on average, Poisson


def test_a_low_load_waits_for_enough_requests(figure: Figure) -> None:
    slot = slots.slots(figure, "quick")[0]._replace(load=0.1)
    least = validity.SAMPLES["mean"]
    assert points.resolve(slot, calibration(50.0)).slot.seconds == pytest.approx(2 * least / 0.1 / 50.0)


def test_without_turns_the_seconds_count(figure: Figure) -> None:
    slot = slots.slots(figure, "quick")[0]._replace(turns=0.0)
    assert points.resolve(slot, calibration(10.0)).slot.seconds == 9.0


def test_warm_up_leaves_no_queue(figure: Figure) -> None:
    slot = next(slot for slot in slots.slots(figure, "quick") if slot.load == 2.0)
    point = points.resolve(slot, calibration(400.0))
    early = [r for r in point.schedule.requests if r.warmup]
    assert 0 < len(early) < 0.75 * 400 * points.WARMUP  # 0.5 of capacity on average, although the load is 2


@pytest.mark.parametrize("grid", ["quick", "full"])
def test_a_p95_has_enough_requests_at_every_load(grid: GridName) -> None:
    for slot in slots.slots(load("fastserve/figure12"), grid):
        point = points.resolve(slot, calibration(60.0))
        asked = [r for r in point.schedule.requests if not r.warmup]
        assert len(asked) == 220 > validity.SAMPLES[point.slot.statistic]
        assert point.slot.seconds == pytest.approx(220 / 60 / slot.load, abs=1e-3)
        assert point.slot.statistic == "p95"


def test_an_installed_package_is_part_of_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, figure: Figure
) -> None:
    slot = slots.slots(figure, "quick")[0]
    old = points.resolve(slot, calibration(50.0))
    assert {"package torch", "package numpy", "package aiohttp"} <= {name for name, _ in old.settings}
    before = tmp_path / "resolved.json"
    before.write_text(old.to_json())
    installed = {**manifest.packages(), "torch": "9.9"}
    monkeypatch.setattr("ae.manifest.packages", lambda: installed)
    new = points.resolve(slot, calibration(50.0))
    assert new.key != old.key
    assert [word.split(" ")[:2] for word in points.changes(before, new)] == [["package", "torch"]]
    assert points.changes_without(before, slot) == points.changes(before, new)


def test_an_estimate_counts_the_seconds_a_point_really_takes(figure: Figure) -> None:
    slot = slots.slots(figure, "quick")[0]
    point = points.resolve(slot, calibration(4.0))  # 40 requests at 4 per second
    rest = tasks.seconds([tasks.Task(slot, None, "new")]) - slot.seconds
    assert tasks.seconds([tasks.Task(slot, point, "new")]) == pytest.approx(rest + 10.0)
