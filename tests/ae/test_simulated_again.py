"""`ae replay` of a simulated point: simulated again with a log, and only if it comes out as recorded."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from ae.cli.main import execute
from ae.figure import At, Panel, Series, Slo, Workload
from ae.sim.again import event_log, job_from, job_of
from ae.sim.one import simulate
from ae.sim.points import SYNTHETIC, Job, Point, Slot
from ae.sim.work import file_point
from systems.core.config import EngineConfig
from systems.core.cost.fitted import Overhead
from systems.core.cost.named import Hardware
from systems.core.errors import UsageError
from systems.core.replay import replay

ENGINE = EngineConfig(SYNTHETIC, "fastserve/skip-join", max_batch=8, device_pages=140, host_pages=700)
JOB = Job(Hardware("opt-13b", "a100-40g"), ENGINE, Workload("sharegpt", scale=1.0), rate=6.0, requests=40, seed=1)


def named(job: Job) -> Point:
    panel = Panel("panel", "Panel", job.workload, Slo(10.0, 0.3))
    slot = Slot(panel, Series("line", "Line", job.engine.variant), At(6.0, 6.0, job.requests), 0)
    return Point(slot, job, (), ())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with one simulated point."""
    folder = tmp_path_factory.mktemp("results")
    assert file_point(named(JOB), folder / "sim/demo/figure1/points", "demo/figure1") == ""
    return folder


def resolved_in(results: Path) -> Path:
    return next(results.glob("sim/*/*/points/*/attempt-1/resolved.json"))


def test_a_job_is_read_back(results: Path) -> None:
    assert job_of(resolved_in(results)) == JOB
    hardware = Hardware("opt-13b", "a100-40g", tp=2, overhead=Overhead("front end", 5, "fitted", "one point"))
    job = Job(hardware, ENGINE, Workload("fixed", lengths=(3, 4)), rate=1.0, requests=2, seed=3)
    assert job_from(json.loads(json.dumps(asdict(job)))) == job


def test_it_replays_by_name_with_equal_decisions(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AE_RESULTS", str(results))
    file = tmp_path / "t.json"
    assert execute(["replay", "panel_line", "--explain", "--timeline", str(file)]) == 0
    text = capsys.readouterr().out
    assert "run iteration 0" in text
    assert "decisions, none different" in text
    events = json.loads(file.read_text())["traceEvents"]
    assert sum(event["name"].endswith(" arrives") for event in events) == JOB.requests


def test_a_point_that_comes_out_otherwise_is_not_explained(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(results, tmp_path / "copy")
    file = resolved_in(tmp_path / "copy").with_name("requests.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    lines[3] = lines[3].replace('"output":', '"output":1')
    file.write_text("".join(lines))
    assert execute(["replay", str(tmp_path / "copy")]) == 2
    err = capsys.readouterr().err
    assert "comes out otherwise" in err
    assert "ae run FIGURE --tier sim" in err


def test_a_job_of_another_version_is_refused(results: Path, tmp_path: Path) -> None:
    row = json.loads(resolved_in(results).read_text())
    for broken in ({}, {**row["job"], "hardware": {**row["job"]["hardware"], "watts": 3}}):
        (tmp_path / "resolved.json").write_text(json.dumps({**row, "job": broken}))
        with pytest.raises(UsageError, match="version"), event_log(tmp_path / "resolved.json"):
            pass


def test_the_policy_predicts_by_the_hardware_of_the_header(tmp_path: Path) -> None:
    """Under another model's estimates it would decide otherwise."""
    log = tmp_path / "events.jsonl"
    simulate(JOB, log)
    assert all(decision.equal for decision in replay(log))
    header, *rows = log.read_text().splitlines(keepends=True)
    log.write_text(header.replace('"model":"opt-13b"', '"model":"qwen2.5-0.5b"') + "".join(rows))
    assert not all(decision.equal for decision in replay(log))
