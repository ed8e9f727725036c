"""Served points against their simulation, on points whose truth is known: served on the modeled clock."""

from __future__ import annotations

import json
import shutil
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from ae import agreement, agreement_page, catalog, slots
from ae.agreement import Pair, Point, Seen
from ae.cli.main import execute
from ae.figure import Figure
from ae.load.schedule import Load, Schedule, draw
from ae.metrics import Targets
from ae.sim.served import Host, Serving
from ae.slots import Slot
from systems.core.assemble import Memory, instance_of, log_header
from systems.core.config import EngineConfig
from systems.core.event_log import EventLog
from systems.core.instance import Instance
from systems.core.plan import Iteration
from systems.core.profile import Profile, ProfileCost, ProfileEstimator
from systems.core.record import Record
from systems.core.request import Request, Sampling
from systems.core.synthetic import SyntheticCompute
from systems.core.virtual.computed import Computed
from systems.core.virtual.fleet import serve
from systems.core.virtual.links import Link

ROOT = Path(__file__).parents[2]
HOST = Host(turn=150_000, prompts=300_000, wake=500_000, request=2_000_000)  # what serving adds here
MEMORY = Memory(device_pages=60, host_pages=300, page_tokens=16, page_bytes=4096)
PROFILE = Profile.synthetic()


class Waking(Computed):
    """The engine that makes tokens, slower after a pause."""

    def __init__(self, instance: Instance, cost: Serving) -> None:
        super().__init__(instance, cost)
        self.serving = cost
        self.over = -1

    def begin(self, iteration: Iteration, now: int, ready: int, horizon: int) -> int:
        self.serving.cold = now > self.over
        return super().begin(iteration, now, ready, horizon)

    def end(self, lane: int, now: int) -> None:
        self.over = now
        super().end(lane, now)


def serve_point(slot: Slot, attempt: Path) -> None:
    """Leave what a measured point leaves: passes and clients take HOST more than the profile says."""
    load = Load(40 * slot.load, requests=30, warmup=0.5, seed=slot.trial, max_model_len=500)
    schedule = draw(slot.panel.workload, load)
    config = EngineConfig("synthetic", slot.series.variant, max_batch=8, link_bytes_per_s=1e9)
    instance = instance_of(config, SyntheticCompute(), MEMORY, ProfileEstimator(PROFILE))
    attempt.mkdir(parents=True)
    instance.start_log(EventLog(attempt / "events.jsonl", log_header(config, MEMORY, PROFILE.to_dict())))
    engine = Waking(instance, Serving(ProfileCost(PROFILE), HOST))
    first = schedule.requests[0].at
    requests = [
        Request(i, one.prompt, Sampling(max_tokens=one.output, ignore_eos=True), round((one.at - first) * 1e9))
        for i, one in enumerate(schedule.requests)
    ]
    records = serve(engine, requests, {"pcie": Link(1e9)})
    instance.start_log(None)
    schedule.write(attempt / "schedule.jsonl")
    (attempt / "requests.jsonl").write_text("".join(r.to_json() + "\n" for r in _seen(records, schedule)))
    manifest = {"calibration": {"slo_iteration": 0.002}, "machine": {"cpu": "made up", "cores": 2}}
    (attempt / "manifest.json").write_text(json.dumps(manifest))
    (attempt / "verdict.json").write_text('{"valid": true, "checks": []}')
    (attempt / "DONE").write_text("valid\n")


def _seen(records: list[Record], schedule: Schedule) -> list[Record]:
    first = schedule.requests[0].at
    return [
        replace(r, id=one.id, warmup=one.warmup, scheduled=one.at, sent=one.at, end=r.end + first + HOST.request / 1e9)
        for r, one in zip(records, schedule.requests, strict=True)
    ]


@pytest.fixture(scope="module")
def figure() -> Figure:
    return catalog.load("demo/figure1", ROOT / "tests/data/figures")


@pytest.fixture(scope="module")
def measured(figure: Figure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of all the figure's points."""
    results = tmp_path_factory.mktemp("results")
    for slot in slots.slots(figure, "full"):
        serve_point(slot, results / "smoke/demo/figure1/points" / f"{slot.readable}-01234567" / "attempt-1")
    return results


@pytest.fixture
def results(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change."""
    shutil.copytree(measured, tmp_path / "results")
    monkeypatch.setenv("AE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("AE_FIGURES", str(ROOT / "tests/data/figures"))
    return tmp_path / "results"


def test_the_simulation_of_a_modeled_run_is_that_run(results: Path, figure: Figure) -> None:
    found = agreement.agreement([figure], print)
    for one in found.pairs:
        assert astuple(one.host) == pytest.approx(astuple(HOST), abs=10)
    assert (len(found.pairs), found.left_out, found.machine) == (12, 0, "made up, 2 cores")
    assert [p.simulated.latency for p in found.pairs] == pytest.approx([p.measured.latency for p in found.pairs])
    assert [p.simulated.throughput for p in found.pairs] == pytest.approx([p.measured.throughput for p in found.pairs])
    assert all(spot.inside for spot in agreement.spots(found.pairs))


def test_a_point_that_was_slower_than_its_profile_shows(results: Path, figure: Figure) -> None:
    for file in results.glob("**/only_fcfs*/attempt-1/requests.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        slow = [row if row["warmup"] else {**row, "end": 2 * row["end"] - row["scheduled"]} for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in slow))
    by_series = {line.series: line for line in agreement.lines(agreement.agreement([figure], print).pairs)}
    low, *rest = by_series["fcfs"].latency
    assert low is not None
    assert low.value == pytest.approx(0.5)
    assert rest == [None, None], "the figure has loads up to 0.4 only"
    other = by_series["skip-join"].latency[0]
    assert other is not None
    assert other.value == pytest.approx(1.0)
    inside = {(spot.series, spot.inside) for spot in agreement.spots(agreement.agreement([figure], print).pairs)}
    assert ("skip-join", True) in inside
    assert ("fcfs", False) in inside


def test_invalid_and_unfinished_points_are_left_out(results: Path, figure: Figure) -> None:
    one, two, *_ = sorted(results.glob("**/attempt-1"))
    (one / "verdict.json").write_text(
        '{"valid": false, "checks": [{"code": "c", "ok": false, "found": "", "wanted": ""}]}'
    )
    (two / "DONE").unlink()
    found = agreement.agreement([figure], print)
    assert (len(found.pairs), found.left_out) == (10, 1)


def pair(load: float, measured: float, simulated: float, trial: int = 0) -> Pair:
    point = Point("demo/figure1", "p", "s", load, trial, Path(), "normalized_latency_mean", Targets(), 10.0)
    return Pair(point, HOST, Seen(measured, 1.0, measured), Seen(simulated, 1.0, simulated))


def test_knees_are_compared_where_both_cross() -> None:
    crossing = [pair(0.5, 5, 5), pair(1.0, 10, 5), pair(1.5, 20, 15)]
    (line,) = agreement.lines([*crossing, pair(0.5, 5, 5, 1), pair(1.0, 12, 6, 1)])
    assert line.measured_knee.value == pytest.approx(1.0)
    assert line.simulated_knee.value == pytest.approx(1.25)
    assert line.knee.value == pytest.approx(1.25)
    assert line.knee.n == 1, "the second trial's simulation never crosses"
    assert [None if e is None else e.n for e in line.latency] == [2, None, 2]
    (open_end,) = agreement.lines([pair(0.5, 5, 5)])
    assert open_end.knee.value is None
    assert agreement_page.rows([open_end])[0][-3:] == ("≥ 0.50", "≥ 0.50", "-")


def test_the_command_prints_and_the_page_says_it(
    results: Path, figure: Figure, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["validate", "--smoke", "figure1", "--points"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("simulating 12 points\n")
    assert "Load <= 0.7, latency: 4 of 4 within 10%, median error 0.0 %." in text
    assert "0.150 [0.150, 0.150] to every pass, 0.300 [0.300, 0.300] more to one with prompts" in text
    assert execute(["validate", "--smoke", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)["agreement"]
    assert [row["turn"] for row in value["serving_ns"]] == 3 * [HOST.turn]
    assert len(value["places"]) == 4
    part = agreement_page.part_b(agreement.agreement([figure], print))
    page = (ROOT / "docs" / "fidelity.md").read_text()
    new = agreement_page.replaced(page, part)
    assert "Measured on made up, 2 cores." in new
    assert agreement_page.replaced(new, part) == new
    assert new.partition(agreement_page.BEGIN)[0] == page.partition(agreement_page.BEGIN)[0]


def test_nothing_to_compare_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AE_RESULTS", str(tmp_path))
    monkeypatch.setenv("AE_FIGURES", str(ROOT / "tests/data/figures"))
    assert execute(["validate", "--smoke"]) == 4
    assert "ae run demo/figure1" in capsys.readouterr().err
    assert execute(["validate", "figure1"]) == 2
    assert "Add --smoke" in capsys.readouterr().err
