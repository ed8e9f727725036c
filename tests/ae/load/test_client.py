"""The load generator as a process against the null server as a process: exact counts, every kind of failure."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ae import places
from ae.load import records as recorded
from ae.load.arrivals import Arrivals
from ae.load.facts import OPTIONS, Outcome, Settings
from ae.load.launch import null_server, run_once
from ae.load.schedule import Load, Schedule, build
from ae.load.workload import drawn, fixed
from systems.core.errors import ServerFailed, UsageError
from systems.core.record import Record


def schedule(folder: Path, *, n: int = 20, rate: float = 200, output: int = 6, warmup: float = 0.05) -> Settings:
    """A schedule in `folder`, and settings without a server."""
    load = Load(rate=rate, requests=n, warmup=warmup, seed=2)
    build(fixed(9, output), Arrivals(), load).write(folder / "schedule.jsonl")
    return Settings("", folder / "schedule.jsonl", folder / "requests.jsonl", timeout=30)


def run(url: str, settings: Settings, **changes: object) -> tuple[Outcome, list[Record]]:
    settings = replace(settings, url=url, **changes)  # type: ignore[arg-type]
    outcome = run_once(settings, settings.out.with_name("client.log"))
    return outcome, recorded.read(settings.out)


def test_open_loop_records_every_request_exactly(tmp_path: Path) -> None:
    load = Load(rate=150, requests=60, warmup=0.2, seed=4)
    plan = build(drawn("sharegpt", scale=16), Arrivals(), load)
    plan.write(tmp_path / "schedule.jsonl")
    settings = Settings("", tmp_path / "schedule.jsonl", tmp_path / "requests.jsonl", timeout=30)
    with null_server("--gap", "0.001") as url:
        outcome, records = run(url, settings)
    planned = {p.id: p for p in plan.requests}
    assert {r.id for r in records} == set(planned)
    assert len(records) == len(planned)
    for r in records:
        p = planned[r.id]
        assert (r.status, r.error, r.finish) == ("ok", "", "length")
        assert (r.prompt, r.want, r.output) == (len(p.prompt), p.output, p.output)
        assert sum(run.number for run in r.tokens) == p.output
        assert (r.scheduled, r.warmup) == (p.at, p.warmup)
        assert r.first_byte is not None
        assert r.scheduled <= r.sent <= r.first_byte <= r.tokens[0].first <= r.tokens[-1].first <= r.end
    facts = outcome.facts
    assert (facts.mode, facts.model, facts.options) == ("open", "null", OPTIONS)
    assert facts.schedule_sha256 == Schedule.read(settings.schedule).sha256
    assert (facts.guessed_wrong, facts.prompt_wrong) == (0, 0)
    row = json.loads(outcome.line)
    assert (row["num_prompts"], row["completed"], row["failed"]) == (60, 60, 0)
    assert row["total_output_tokens"] == sum(p.output for p in plan.measured)
    assert row["total_input_tokens"] == sum(len(p.prompt) for p in plan.measured)


def test_closed_loop_keeps_to_its_concurrency_and_count(tmp_path: Path) -> None:
    with null_server("--gap", "0.002") as url:
        outcome, records = run(url, schedule(tmp_path, n=30), concurrency=4, requests=24)
    assert outcome.facts.mode == "closed"
    kept = [r for r in records if not r.warmup]
    assert [r.id for r in sorted(kept, key=lambda r: r.id)] == list(range(24))
    assert all(r.scheduled == r.sent for r in kept)
    changes = sorted([(r.sent, 1) for r in kept] + [(r.end, -1) for r in kept])
    live = [sum(step for _, step in changes[: i + 1]) for i in range(len(changes))]
    assert max(live) == 4


def test_several_tokens_per_event_are_attributed_by_cumulative_usage(tmp_path: Path) -> None:
    with null_server("--gap", "0.005", "--per-event", "4") as url:
        outcome, records = run(url, schedule(tmp_path, output=10))
    assert all(sum(run.number for run in r.tokens) == r.output == 10 for r in records)
    assert all(run.number > 1 for r in records for run in r.tokens[:1])
    assert outcome.facts.guessed_wrong == 0


def test_several_tokens_per_event_without_cumulative_usage_are_found_out(tmp_path: Path) -> None:
    with null_server("--gap", "0.01", "--per-event", "4", "--refuse", "continuous_usage_stats") as url:
        outcome, records = run(url, schedule(tmp_path, output=10))
    assert outcome.facts.options == ("include_usage", "ignore_eos")
    assert all(r.output == 10 for r in records)
    # An answer that came whole in one read has its tokens at the right time anyway.
    apart = sum(len(r.tokens) > 1 for r in records)
    assert outcome.facts.guessed_wrong == apart > 0


@pytest.mark.parametrize("refused", [("ignore_eos",), ("stream_options",), ("stream_options", "ignore_eos")])
def test_a_foreign_server_gets_only_the_fields_it_takes(tmp_path: Path, refused: tuple[str, ...]) -> None:
    with null_server("--refuse", *refused) as url:
        outcome, records = run(url, schedule(tmp_path, n=5))
    stream = () if "stream_options" in refused else ("continuous_usage_stats", "include_usage")
    eos = () if "ignore_eos" in refused else ("ignore_eos",)
    assert outcome.facts.options == stream + eos
    assert all(r.status == "ok" and r.output == r.want for r in records)


@pytest.mark.parametrize(
    ("fault", "error", "output"),
    [
        ("status", "HTTP 500: asked to fail", 0),
        ("close", "ClientPayloadError", 3),
        ("cut", "ended before its [DONE]", 3),
        ("reset", "ServerDisconnectedError", 0),
        ("error", "asked to fail", 3),
        ("hang", "no end within 0.5 s", 3),
    ],
)
def test_a_failed_request_is_a_record_with_its_reason(tmp_path: Path, fault: str, error: str, output: int) -> None:
    with null_server("--fault", fault, "--every", "5", "--gap", "0.001") as url:
        outcome, records = run(url, schedule(tmp_path, warmup=0), timeout=0.5 if fault == "hang" else 30)
    failed = [r for r in records if r.status == "failed"]
    # The probe is a request too, so of the 20 measured ones every 5th counting from the 4th fails.
    assert sorted(r.id for r in records) == list(range(20))
    assert len(failed) == 4
    assert all(error in r.error for r in failed), failed[0].error
    assert all(r.output == output for r in failed)
    row = json.loads(outcome.line)
    assert (row["completed"], row["failed"], row["num_prompts"]) == (16, 4, 20)


def test_a_token_too_few_is_not_hidden(tmp_path: Path) -> None:
    with null_server("--fault", "short") as url:
        _, records = run(url, schedule(tmp_path, n=5))
    assert all((r.status, r.output, r.want) == ("ok", 5, 6) for r in records)


def test_no_server_is_an_error_with_the_address(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(ServerFailed, match=f"127.0.0.1:{port}"):
            run(f"http://127.0.0.1:{port}", schedule(tmp_path, n=2))


def test_a_schedule_without_requests_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    settings = Settings("http://127.0.0.1:1", tmp_path / "empty.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(UsageError, match="no measured request"):
        run_once(settings)


@pytest.mark.parametrize("how", ["signal", "parent"])
def test_an_interrupted_client_ends_at_once_and_records_what_was_on_its_way(tmp_path: Path, how: str) -> None:
    settings = schedule(tmp_path, n=400, rate=20, warmup=0)
    with null_server("--fault", "hang") as url:
        # Every request hangs, the probe too: it must be left out.
        child = subprocess.Popen(
            [sys.executable, "-m", "ae.load.client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(places.REPOSITORY)},
        )
        assert child.stdin is not None
        assert child.stderr is not None
        child.stdin.write(replace(settings, url=url, probe=False).to_line().encode() + b"\n")
        child.stdin.flush()
        while not _connected(url, child):
            time.sleep(0.05)
        if how == "signal":
            child.send_signal(signal.SIGINT)
            code = child.wait(20)
            child.stdin.close()
        else:
            child.stdin.close()
            code = child.wait(20)
        said = child.stderr.read().decode()
        child.stderr.close()
    assert code == 130
    assert "Traceback" not in said
    records = recorded.read(settings.out)
    assert 0 < len(records) < 400
    assert {r.status for r in records} == {"cancelled"}


def _connected(url: str, child: subprocess.Popen[bytes]) -> bool:
    """Whether the client holds a connection to the server on which a request hangs."""
    assert child.poll() is None
    port = f":{int(url.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(port) and row[3] == "01" for row in rows) >= 3


def test_null_server_ends_with_its_parent() -> None:
    with null_server() as url:
        port = int(url.rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
