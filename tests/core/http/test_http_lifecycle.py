"""The two processes of a server: how they start, how they end, and that neither outlives the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.core.http.scripted_engine import DIE, HANG, VANISH
from tests.core.http.under_test import ROOT, SCRIPTED, Server, alive, eventually, ready, serving, start, stop


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def _gone(server: Server) -> bool:
    return eventually(lambda: not alive(server.engine_pid) and not alive(server.process.pid))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_both_cleanly(server: Server, number: signal.Signals) -> None:
    os.kill(server.process.pid, number)
    assert server.wait() == (0, "")
    assert _gone(server)


def test_a_signal_ends_a_server_with_live_requests(server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.complete, prompt=[HANG])
        assert eventually(lambda: server.metric("ae:num_requests_live") == 1)
        server.process.terminate()
        assert server.wait() == (0, "")
        assert isinstance(waiting.exception(), OSError), "the client sees its connection end"
    assert _gone(server)


def test_a_signal_to_the_whole_group_is_clean_too(server: Server) -> None:
    """A Ctrl-C reaches both processes; only the front end acts on it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(server.engine_pid, number)
    assert server.complete(prompt=[1], max_tokens=3)[0] == 200, "the engine works on"
    os.kill(server.process.pid, signal.SIGINT)
    assert server.wait() == (0, "")
    assert _gone(server)


def test_the_front_end_loads_no_model_library() -> None:
    heavy = "{'torch', 'transformers', 'numba', 'numpy'}"
    script = f"import sys, systems.core.serve; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_end_of_standard_input_ends_both(server: Server) -> None:
    assert server.process.stdin is not None
    server.process.stdin.close()
    server.process.stdin = None
    assert server.wait() == (0, "")
    assert _gone(server)


def test_killed_front_end_takes_the_engine_along(server: Server) -> None:
    server.process.kill()
    assert _gone(server)


def test_killed_grandparent_takes_both_along(tmp_path: Path) -> None:
    """What a harness killed with -9 leaves behind: its pipe to us ends."""
    (tmp_path / "engine.json").write_text('{"model": "synthetic"}')
    script = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'systems.core.serve', '--config', sys.argv[1], '--watch-parent',"
        f" '--engine', '{SCRIPTED}'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "print(p.stdout.readline().decode(), end='', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "engine.json")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as harness:
        assert harness.stdout is not None
        said = json.loads(harness.stdout.readline())
        harness.kill()
    assert eventually(lambda: not alive(said["pid"]) and not alive(said["engine_pid"]))


def test_killed_while_loading_leaves_nothing(tmp_path: Path) -> None:
    server = start(tmp_path, variant="never-loads")
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    assert eventually(lambda: children.read_text().strip() != "")
    server.engine_pid = int(children.read_text())
    server.process.kill()
    server.process.communicate()
    assert _gone(server)


def test_told_to_stop_while_loading(tmp_path: Path) -> None:
    server = start(tmp_path, variant="never-loads")
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    assert eventually(lambda: children.read_text().strip() != "")
    server.engine_pid = int(children.read_text())
    server.process.terminate()
    server.process.communicate()
    assert _gone(server)


@pytest.mark.parametrize(
    ("prompt", "code", "reason"),
    [(DIE, 4, "told to die"), (VANISH, 1, "it exited with code 3"), (HANG, 1, "killed by SIGKILL")],
)
def test_the_engine_dies(server: Server, prompt: int, code: int, reason: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(server.complete, prompt=[HANG])
        assert eventually(lambda: server.metric("ae:num_requests_live") == 1)
        last = pool.submit(server.complete, prompt=[prompt])
        if prompt == HANG:
            assert eventually(lambda: server.metric("ae:num_requests_live") == 2)
            os.kill(server.engine_pid, signal.SIGKILL)
        for status, answer in (waiting.result(), last.result()):
            assert status == 500
            assert reason in answer["error"]["message"]
        status, text = server.get("/health")
        assert (status, json.loads(text)["status"]) == (503, "dead")
        status, answer = server.complete(prompt=[1])
        assert status == 500
        assert reason in answer["error"]["message"]
    exit_code, err = server.wait()
    assert exit_code == code
    assert f"The engine died: {reason}" in err
    assert _gone(server)


def test_an_engine_that_cannot_load(tmp_path: Path) -> None:
    server = start(tmp_path, variant="cannot-load")
    try:
        assert server.wait() == (4, "The engine died: told not to load\n")
    finally:
        stop(server)


def test_wrong_configuration_is_one_line(tmp_path: Path) -> None:
    server = start(tmp_path, threds=1)
    code, err = server.wait()
    assert (code, err.count("\n")) == (2, 1)
    assert "threds" in err


def test_a_port_in_use(server: Server, tmp_path: Path) -> None:
    second = start(tmp_path, port=server.port)
    code, err = second.wait()
    assert code == 2
    assert f"127.0.0.1:{server.port}" in err


def test_a_fixed_port(server: Server, tmp_path: Path) -> None:
    port = server.port
    stop(server)
    second = ready(start(tmp_path, port=port))
    try:
        assert second.port == port
        assert second.get("/health")[0] == 200
    finally:
        stop(second)
