"""Servers of a benchmark: started, waited for, and gone afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

from systems.core.errors import ServerFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.vllm_env import VllmEnv

START_LIMIT_S = 300.0  # vLLM compiles for about a minute on two cores
VLLM_SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB: without it vLLM wants 92 % of the machine's memory to be free
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


def ours(config: Path) -> list[str]:
    """The command of our server for an engine configuration."""
    return [sys.executable, "-m", "systems.core.serve", "--config", str(config)]


def vllm(env: VllmEnv, model: Path, name: str, port: int) -> list[str]:
    """The command of vLLM's server, with its defaults."""
    program = str(env.bin / "vllm")
    return [program, "serve", str(model), "--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[str]:
    """The URL of a server that answers; its whole process group is ended on exit. Raises ServerFailed."""
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env=os.environ | VLLM_SETTINGS
        )
    try:
        _wait(process, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        _end(process)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    limit = time.monotonic() + START_LIMIT_S
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise ServerFailed(f"A server exited with code {process.returncode} before it was ready.", f"See {log}.")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
            return
        time.sleep(0.5)
    raise ServerFailed(f"A server was not ready after {START_LIMIT_S:.0f} s.", f"See {log}.")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
