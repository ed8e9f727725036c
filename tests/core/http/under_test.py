"""Starts real servers for tests: the front end and an engine in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from openai import OpenAI

ROOT = Path(__file__).resolve().parents[3]
SCRIPTED = "tests.core.http.scripted_engine"
ENGINE = "systems.core.engine_process"
PATIENCE_S = 30.0


@dataclass
class Server:
    process: subprocess.Popen[str]
    port: int = 0
    engine_pid: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> tuple[int, str]:
        return self._send(urllib.request.Request(self.url + path))

    def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, text = self._send(urllib.request.Request(self.url + path, data, headers or {}))
        return status, json.loads(text)

    def complete(self, **fields: object) -> tuple[int, Any]:
        return self.post("/v1/completions", fields)

    def metric(self, name: str, label: str = "") -> float:
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(x.split()[-1]) for x in lines if x.startswith(name + "{") and label in x)

    def client(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S)

    def wait(self) -> tuple[int, str]:
        """Wait for the end; exit code and what stderr said."""
        self.process.wait(timeout=PATIENCE_S)  # before communicate, which would close the server's standard input
        _, err = self.process.communicate()
        return self.process.returncode, err

    def _send(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


def start(folder: Path, engine: str = SCRIPTED, **config: object) -> Server:
    """Start a server; its `port` is 0 until `ready`."""
    file = folder / "engine.json"
    file.write_text(json.dumps({"model": "synthetic", "max_model_len": 256, **config}))
    command = [sys.executable, "-m", "systems.core.serve", "--config", str(file), "--watch-parent", "--engine", engine]
    pipe = subprocess.PIPE
    return Server(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True))


def ready(server: Server) -> Server:
    assert server.process.stdout is not None
    line = server.process.stdout.readline()
    assert line, f"the server ended: {server.wait()}"
    said = json.loads(line)
    assert said["ready"] is True
    assert said["pid"] == server.process.pid
    server.port, server.engine_pid = said["port"], said["engine_pid"]
    return server


def stop(server: Server) -> None:
    if server.process.poll() is None:
        server.process.kill()
    server.process.communicate(timeout=PATIENCE_S)


@contextmanager
def serving(engine: str = SCRIPTED, **config: object) -> Iterator[Server]:
    """A server that is ready, and gone afterwards."""
    with TemporaryDirectory() as folder:
        server = start(Path(folder), engine, **config)
        try:
            yield ready(server)
        finally:
            stop(server)


def alive(pid: int) -> bool:
    """Whether a process runs (one that nobody waited for yet does not)."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def eventually(true: Callable[[], bool]) -> bool:
    """Whether `true` comes true before patience ends."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
