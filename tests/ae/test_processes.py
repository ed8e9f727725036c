"""Children: none outlives its parent, none is lost, and no stranger is signalled."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from ae import launch, processes
from ae.load import records
from ae.load.arrivals import Arrivals
from ae.load.facts import Settings
from ae.load.launch import Generator, null_server
from ae.load.schedule import Load, build
from ae.load.workload import fixed
from ae.pool import Pool, room
from ae.report import Silent
from systems.core.config import EngineConfig
from systems.core.errors import MeasurementInvalid, PrerequisiteError, ServerFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    ),
]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_stop_ends_a_group_that_ignores_the_request(tmp_path: Path) -> None:
    log, pids = tmp_path / "log", tmp_path / "pids"
    process = processes.spawn(STUBBORN, log, pids, "stubborn", ROOT)
    until(lambda: log.read_text().strip())
    grandchild = int(log.read_text())
    processes.stop(process, pids, grace=0.1)
    assert process.returncode == -signal.SIGKILL
    until(lambda: gone(grandchild))
    assert list(pids.iterdir()) == []


def test_left_over_processes_are_found_by_number_and_start_time(tmp_path: Path) -> None:
    process = processes.spawn(SLEEP, tmp_path / "log", tmp_path, "server x", ROOT)
    (tmp_path / str(os.getpid())).write_text("1 a process of another time with this very number\n")
    (tmp_path / "notes").write_text("not ours")
    try:
        (found,) = processes.left_over(tmp_path)
        assert (found.pid, found.what) == (process.pid, "server x")
        processes.end(found, tmp_path)
        process.wait(10)
    finally:
        processes.stop(process, tmp_path)
    assert processes.left_over(tmp_path) == []


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    parent = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-m', 'ae.child', 'sleeper'], stdin=subprocess.PIPE)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert not gone(child)
        process.kill()
        until(lambda: gone(child))


def test_a_server_that_cannot_start_says_why_in_its_own_words(tmp_path: Path) -> None:
    config = EngineConfig(model="synthetic", variant="fastserve/nothing")
    with pytest.raises(ServerFailed, match="fastserve has no variant 'nothing'") as error:
        launch.start(config, tmp_path, "broken", lambda _text: None)
    assert str(tmp_path / "broken.log") in error.value.fix
    assert processes.left_over(tmp_path / "pids") == []


def test_a_pool_keeps_the_servers_that_come_next_and_stops_the_others(tmp_path: Path) -> None:
    configs = [EngineConfig(model="synthetic", variant="fastserve/fcfs", max_batch=size) for size in (3, 4, 5)]
    with Pool(tmp_path, Silent()) as pool:
        pool.prepare(configs[:2])
        first, second = (pool.server(config, lambda: None) for config in configs[:2])
        assert (first.config.max_batch, second.config.max_batch) == (3, 4)
        assert len(processes.left_over(tmp_path / "pids")) == 2
        pool.prepare(configs[1:])
        assert (first.alive, second.alive) == (False, True)
        assert pool.server(configs[1], lambda: None) is second
        third = pool.server(configs[2], lambda: None)
    assert (second.alive, third.alive) == (False, False)
    assert processes.left_over(tmp_path / "pids") == []


@pytest.mark.parametrize(("gigabytes", "servers"), [(1, 2), (4, 3), (6, 5), (8, 6), (500, 6)])
def test_servers_take_at_most_half_of_the_memory(gigabytes: int, servers: int) -> None:
    assert room(gigabytes * 10**9) == servers


def test_a_server_reads_back_what_it_applies_and_stops(tmp_path: Path) -> None:
    config = EngineConfig(model="synthetic", variant="fastserve/fcfs", device_pages=64, max_batch=3)
    server = launch.start(config, tmp_path, "good", lambda _text: None)
    try:
        applied = server.applied()
        assert applied.mismatches == ()
        assert "vllm:num_requests_running" in server.metrics()
        server.reset(tmp_path / "events.jsonl")
        server.reset(None)
        assert (tmp_path / "events.jsonl").exists()
        server.config = config.but(max_batch=4, device_pages=65)
        assert server.applied().mismatches == (
            "max_batch: asked for 4, applied 3",
            "device_pages: asked for 65, applied 64",
        )
    finally:
        server.stop()
    assert not server.alive
    with pytest.raises(ServerFailed, match="does not answer"):
        server.metrics()


class Page(http.server.BaseHTTPRequestHandler):
    """Answers `/object` with a JSON object, `/list` with a JSON list, `/page` with HTML, all else with 404."""

    BODIES: ClassVar = {"/object": b'{"data": []}', "/list": b"[]", "/page": b"<html>"}

    def do_GET(self) -> None:
        body = self.BODIES.get(self.path)
        self.send_response(200 if body else 404)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


def test_a_named_server_that_is_no_server_of_models_is_a_missing_prerequisite() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            assert launch.get(f"{url}/object") == '{"data": []}'
            for path, why in (("list", "no JSON object"), ("page", "no JSON object"), ("none", "answered 404")):
                with pytest.raises(PrerequisiteError, match=why):
                    launch.get(f"{url}/{path}")
        finally:
            server.shutdown()


def job(tmp_path: Path, schedule: str, url: str = "http://127.0.0.1:9") -> Settings:
    file = tmp_path / "schedule.jsonl"
    file.write_text(schedule)
    return Settings(url, file, tmp_path / "requests.jsonl", timeout=5.0)


def test_a_job_that_cannot_be_run_is_answered_and_the_load_generator_lives_on(tmp_path: Path) -> None:
    with Generator(tmp_path) as generator:
        first = generator.begin()
        with pytest.raises(UsageError, match="is not a request schedule"):
            generator.run(job(tmp_path, "nonsense\n"), limit=30)
        assert generator.begin() is first
    assert first.returncode is not None
    assert list((tmp_path / "pids").iterdir()) == []


def test_a_dead_server_ends_the_load_generator_at_once(tmp_path: Path) -> None:
    with Generator(tmp_path) as generator:
        process = generator.begin()
        with pytest.raises(ServerFailed, match="died while it was measured"):
            generator.run(job(tmp_path, ""), alive=lambda: False, limit=30)
        assert process.returncode is not None
    assert processes.left_over(tmp_path / "pids") == []


def test_a_load_generator_that_never_ends_is_given_up(tmp_path: Path) -> None:
    with Generator(tmp_path) as generator:
        process = generator.begin()
        with pytest.raises(MeasurementInvalid, match="did not end in time"):
            generator.run(job(tmp_path, ""), limit=-1)
        assert process.returncode is not None
    assert processes.left_over(tmp_path / "pids") == []


def test_a_load_generator_that_dies_is_quoted_and_the_next_job_gets_another(tmp_path: Path) -> None:
    build(fixed(4, 3), Arrivals("constant"), Load(200.0, requests=5, warmup=0.0)).write(tmp_path / "good.jsonl")
    good = (tmp_path / "good.jsonl").read_text()
    with null_server() as url, Generator(tmp_path) as generator:
        first = generator.begin()

        def killed() -> bool:
            first.kill()
            return True

        with pytest.raises(MeasurementInvalid, match=f"ended with status {-signal.SIGKILL}"):
            generator.run(job(tmp_path, good, url), alive=killed, limit=30)
        for _ in range(2):
            generator.run(job(tmp_path, good, url), limit=30)
            found = records.read(tmp_path / "requests.jsonl")
            assert [(r.id, r.status, r.output) for r in found] == [(i, "ok", 3) for i in range(5)]
        assert generator.begin() is not first
