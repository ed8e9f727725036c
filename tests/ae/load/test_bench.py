from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ae.load import records
from ae.load.bench import Ask, bench, schedule_of
from ae.load.launch import null_server
from ae.load.selftest import ceiling, punctuality
from ae.metrics import SHARED, summarise
from systems.core.errors import ServerFailed, UsageError
from tests.core.http.under_test import serving

VLLM_NAMES = {
    "backend", "model_id", "num_prompts", "request_rate", "max_concurrency", "duration", "completed", "failed",
    "total_input_tokens", "total_output_tokens", "request_throughput", "output_throughput", "total_token_throughput",
} | {f"{s}_{m}_ms" for s in ("mean", "median", "std", "p99") for m in ("ttft", "tpot", "itl", "e2el")}  # fmt: skip


def test_open_loop_leaves_its_files_and_a_line_that_notebooks_read(tmp_path: Path) -> None:
    with null_server("--gap", "0.002") as url:
        done = bench(Ask(url + "/v1/", rate=100, requests=40, scale=16, warmup=0.1), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"schedule.jsonl", "requests.jsonl", "client.log", "summary.json"}
    row = json.loads((tmp_path / "summary.json").read_text())
    assert set(row) >= VLLM_NAMES
    assert row["completed"] == done.summary.ok == 40
    assert row["p99_ttft_ms"] is None
    assert row["mean_ttft_ms"] == pytest.approx(done.summary.sent_ttft.mean * 1e3 if done.summary.sent_ttft.mean else 0)
    assert row["ae"]["verdict"]["valid"] == done.verdict.valid
    assert row["ae"]["ask"]["scale"] == 16
    assert summarise(records.read(tmp_path / "requests.jsonl")) == done.summary
    text = str(done)
    assert "40 requests" in text
    assert "rank correlation" in text
    assert "measurement" in text


def test_closed_loop_of_equal_requests() -> None:
    with null_server() as url:
        done = bench(Ask(url, concurrency=4, requests=40, workload="fixed", prompt=16, output=8))
    assert (done.summary.ok, done.summary.output_tokens) == (40, 320)
    assert "closed loop" in str(done)
    assert "rate" not in {c.code for c in done.verdict.checks}


def test_a_measurement_with_failures_is_invalid_and_says_so() -> None:
    with null_server("--fault", "status", "--every", "4") as url:
        done = bench(Ask(url, concurrency=4, requests=40, workload="fixed", prompt=16, output=8))
    assert not done.verdict.valid
    assert done.summary.failed == 10
    assert "FAIL failures: 10 of 40 requests (mostly: HTTP 500: asked to fail)" in str(done)


def test_tokens_that_come_together_are_said_to() -> None:
    ask = Ask("", concurrency=4, requests=40, workload="fixed", prompt=16, output=8)
    with null_server("--gap", "0.001", "--per-event", "4") as url:
        assert "75% of the tokens came in one read" in str(bench(replace(ask, url=url)))
    with null_server("--gap", "0.001") as url:
        done = bench(replace(ask, url=url))
    assert ("in one read" in str(done)) == (done.summary.shared > SHARED)


def test_a_server_that_cannot_do_it_is_said_to_with_what_to_try() -> None:
    ask = Ask("", concurrency=4, requests=8, workload="fixed", prompt=4, output=2)
    with null_server("--fault", "error") as url, pytest.raises(ServerFailed) as failed:
        bench(replace(ask, url=url))
    assert "began to answer and then failed: asked to fail" in failed.value.what
    assert "--vocab" in failed.value.fix
    with serving() as server, pytest.raises(ServerFailed) as failed:
        bench(replace(ask, url=server.url, model="gpt"))
    assert "answered 404" in failed.value.what
    assert "--model" in failed.value.fix


@pytest.mark.parametrize(
    "ask",
    [
        Ask("http://x"),
        Ask("http://x", rate=1, concurrency=1, requests=5),
        Ask("http://x", concurrency=2, seconds=5),
        Ask("http://x", rate=1),
        Ask("http://x", rate=1, requests=5, workload="nothing"),
        Ask("http://x", rate=1, requests=5, workload="fixed", prompt=4000),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_sent(ask: Ask) -> None:
    with pytest.raises(UsageError):
        schedule_of(ask)


def test_a_last_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    with null_server() as url:
        bench(Ask(url, concurrency=1, requests=3, workload="fixed", prompt=4, output=2, warmup=0), tmp_path)
    path = tmp_path / "requests.jsonl"
    path.write_text(path.read_text()[:-20])
    assert len(records.read(path)) == 2


def test_selftest_measures_this_machine() -> None:
    (row,) = punctuality((100,), events=4, seconds=0.5)
    assert row.failed == 0
    assert row.requests > 20
    assert row.lateness.n == row.requests
    assert row.busiest > 20 * 4
    top = ceiling(concurrency=8, requests=40, events=16)
    assert top.per_second > 0
    assert top.per_read >= 1
