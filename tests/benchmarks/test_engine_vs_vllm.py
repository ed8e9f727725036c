from __future__ import annotations

import importlib.metadata
import socket
import sys
from pathlib import Path

import pytest

from benchmarks import servers, vllm_env
from benchmarks.engine_vs_vllm import CLIENTS, SERVERS, Run, by_ae, medians, report
from benchmarks.engine_vs_vllm import Setting as Shared
from systems.core.errors import PrerequisiteError, ServerFailed


def _runs(speed: dict[str, float]) -> list[Run]:
    return [
        Run(server, client, trial, speed[server] * factor, 1.0, 1.0)
        for server in SERVERS
        for client in CLIENTS
        for trial, factor in enumerate((1.0, 0.5, 1.1), start=1)
    ]


def test_medians_are_per_server_and_client() -> None:
    found = medians(_runs({"ours": 400.0, "ours-modules": 300.0, "vllm": 200.0}))
    assert found["ours", "ae bench"] == 400.0
    assert found["vllm", "vllm bench serve"] == 200.0
    assert len(found) == 6


def test_the_report_judges_ratios_to_vllm_with_the_same_client() -> None:
    lines = report(_runs({"ours": 260.0, "ours-modules": 199.0, "vllm": 200.0}))
    ours, modules = (next(line for line in lines if line.startswith((name, client))) for name, client in
                     (("ours  ", "ae bench"), ("ours-modules  ae bench", "ae bench")))  # fmt: skip
    assert "1.30" in ours
    assert "NOT MET" in ours
    assert "NOT MET" in modules
    by_vllm = next(line for line in lines if line.startswith("ours  ") and "vllm bench serve" in line)
    assert "1.2 met" in by_vllm
    assert "clients on vllm: +0.0% (within 5%)" in lines


def test_a_server_runs_while_used_and_is_gone_afterwards(tmp_path: Path) -> None:
    port = servers.free_port()
    command = [sys.executable, "-m", "ae.load.null_server", "--port", str(port)]
    with servers.running(command, port, tmp_path / "log") as url:
        throughput, ttft, tpot = by_ae(_setting(tmp_path), url, seed=1)
        assert throughput > 0
        assert ttft > 0
        assert tpot >= 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_server_that_dies_is_reported_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit(3)"]
    with (
        pytest.raises(ServerFailed, match="exited with code 3") as failed,
        servers.running(command, servers.free_port(), tmp_path / "log"),
    ):
        pass
    assert str(tmp_path / "log") in str(failed.value)


def test_the_alias_makes_the_package_known_as_vllm(tmp_path: Path) -> None:
    vllm_env._name_it_vllm(tmp_path, "0.32.0")
    found = next(iter(importlib.metadata.distributions(name="vllm", path=[str(tmp_path)])))
    assert found.version == "0.32.0+cpu"


def test_without_a_compiler_the_package_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match=r"apt install g\+\+"):
        vllm_env.ensure(tmp_path / "env")


def _setting(folder: Path) -> Shared:
    return Shared(vllm_env.VllmEnv(folder, "0"), folder, folder, requests=64)
