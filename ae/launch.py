"""One engine server as the harness sees it: started, waited for, read back, reset between points, stopped."""

from __future__ import annotations

import http.client
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ae import places, processes
from ae.store import write_atomic
from systems.core.errors import PrerequisiteError, ServerFailed

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from systems.core.config import EngineConfig

READY_TIMEOUT = 180.0
# What the server picks for itself or what changes from point to point; all else must come back as asked.
_FREE = frozenset({"port", "event_log", "device_pages", "host_pages"})
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Applied:
    """What `/ae/config` read back: its JSON text, and the asked settings that did not come into effect."""

    text: str
    mismatches: tuple[str, ...]


@dataclass(slots=True)
class Server:
    """A running engine server. `log` collects what it prints from its start on."""

    config: EngineConfig
    process: subprocess.Popen[bytes]
    log: Path
    pids: Path
    port: int = 0

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def await_ready(self, tell: Tell) -> None:
        """Wait until the server answers; it is stopped when it does not.

        Raises ServerFailed with the last lines of its log when it ends or stays silent.
        """
        try:
            self.port = _await_ready(self, tell)
        except BaseException:
            self.stop()
            raise

    def applied(self) -> Applied:
        """The configuration in effect, compared with the one asked for."""
        text = _get(f"{self.url}/ae/config")
        return Applied(text, tuple(_mismatches(asdict(self.config), json.loads(text))))

    def metrics(self) -> str:
        """The text of `/metrics`."""
        return _get(f"{self.url}/metrics")

    def reset(self, event_log: Path | None) -> None:
        """Start the event log of the next point (None: only close the last one).

        Raises ServerFailed when requests stay live for 30 s.
        """
        deadline = time.monotonic() + 30
        while True:
            try:
                post(f"{self.url}/ae/reset", {"event_log": str(event_log or "")})
            except ServerFailed as error:
                if "409" not in error.what or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def ask_to_end(self) -> None:
        """Ask it to end, without waiting; `stop` still has to follow."""
        processes.ask_to_end(self.process)

    def stop(self) -> None:
        """End the server and every process of its group."""
        processes.stop(self.process, self.pids)


def start(config: EngineConfig, folder: Path, name: str, tell: Tell) -> Server:
    """Start a server and wait until it answers. Raises ServerFailed."""
    server = begin(config, folder, name)
    server.await_ready(tell)
    return server


def begin(config: EngineConfig, folder: Path, name: str) -> Server:
    """Start a server process for `config`; its files are `folder`/`name`.*. It does not answer yet."""
    file = write_atomic(folder / f"{name}.config.json", config.to_json())
    log = folder / f"{name}.log"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "systems.core.serve", "--config", str(file), "--watch-parent"]
    pids = folder / "pids"
    process = processes.spawn(command, log, pids, f"server {config.variant}", places.REPOSITORY)
    return Server(config, process, log, pids)


def _await_ready(server: Server, tell: Tell) -> int:
    begun = time.monotonic()
    told = 0.0
    while (port := _ready_port(server.log)) is None:
        waited = time.monotonic() - begun
        if not server.alive or waited > READY_TIMEOUT:
            state = "ended" if not server.alive else f"was not ready after {READY_TIMEOUT:.0f} s"
            raise ServerFailed(
                f"The server of {server.config.variant} {state}. Its last words:\n{processes.tail(server.log)}\n",
                f"The whole log: {server.log}",
            )
        if waited - told >= 10:
            told = waited
            tell(f"still waiting for {server.config.variant} to load ({waited:.0f} s)")
        time.sleep(0.02)
    return port


def _ready_port(log: Path) -> int | None:
    if not log.exists():
        return None
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{") and '"ready"' in line and line.endswith("}"):
            return int(json.loads(line)["port"])
    return None


def _mismatches(asked: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
    found = answer.get("config", answer)
    wrong = [k for k in asked if k not in _FREE and found.get(k, asked[k]) != asked[k]]
    # 0 pages means "as many as fit": only a number that was asked for can be missed.
    wrong += [k for k in ("device_pages", "host_pages") if asked[k] and found.get(k, asked[k]) != asked[k]]
    return [f"{k}: asked for {asked[k]!r}, applied {found[k]!r}" for k in wrong]


def get(url: str) -> str:
    """The body of a GET, a JSON object, from a server that the user named.

    Raises PrerequisiteError when there is none or when it answers something else: it is not ours to start.
    """
    fix = "Start that server, or correct its URL (http://host:port)."
    try:
        text = _get(url)
    except ServerFailed as error:
        raise PrerequisiteError(error.what, fix) from error
    if not _is_object(text):
        raise PrerequisiteError(f"{url} answers something that is no JSON object: no OpenAI-compatible server.", fix)
    return text


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _get(url: str, timeout: float = 10.0) -> str:
    return _send(urllib.request.Request(url), timeout)  # noqa: S310 (a URL of ours, or the user's own)


def post(url: str, body: Mapping[str, str], timeout: float = 10.0) -> str:
    """The body of a POST of JSON. Raises ServerFailed that names the HTTP status."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 (as above)
    return _send(request, timeout)


def _send(request: urllib.request.Request, timeout: float) -> str:
    try:
        with _opener().open(request, timeout=timeout) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        reason = error.read().decode(errors="replace")[:300]
        raise ServerFailed(f"{request.full_url} answered {error.code}: {reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ServerFailed(f"{request.full_url} does not answer ({error}).", "Is the server running?") from error


def _opener() -> urllib.request.OpenerDirector:
    # Servers measured here are on this machine or named by the user: a proxy of the environment is in the way.
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
