"""The processes this harness started: group by group, written down so that none is lost, ended for certain.

Every child leads its own session, so Ctrl-C reaches only the harness, which then stops the children in order.
A pid file carries the start time of its process: a number that the kernel has given to somebody else since is
never signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GRACE = 5.0
_ours: set[subprocess.Popen[bytes]] = set()  # started and not stopped yet


@dataclass(frozen=True, slots=True)
class Started:
    """A process by number and start time (clock ticks since boot), and what it was for."""

    pid: int
    ticks: int
    what: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return _start_ticks(self.pid) == self.ticks


def spawn(
    command: Sequence[str],
    log: Path,
    pids: Path,
    what: str,
    cwd: Path,
    *,
    answers: bool = False,
    variables: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own with a pipe to us as stdin; both outputs are appended to `log`.

    With `answers`, stdout is a pipe to us as well. `variables` go on top of our environment.
    """
    pids.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(cwd), "PYTHONUNBUFFERED": "1", **(variables or {})}
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if answers else out,
            stderr=out,
            start_new_session=True,
            cwd=cwd,
            env=environment,
        )
    _ours.add(process)
    (pids / str(process.pid)).write_text(f"{_start_ticks(process.pid)} {what}\n")
    return process


def sessions() -> set[int]:
    """The session ids of our living children: each leads its own."""
    return {process.pid for process in _ours}


def stop(process: subprocess.Popen[bytes], pids: Path, *, grace: float = _GRACE) -> None:
    """Ask (SIGTERM and the end of stdin), wait `grace` seconds, then kill the whole group and reap it."""
    ask_to_end(process)
    if process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    # The leader may be gone and its children not: the group is killed either way.
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()
    _ours.discard(process)
    (pids / str(process.pid)).unlink(missing_ok=True)


def ask_to_end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM and the end of stdin, without waiting; asking twice is asking once."""
    if process.stdin and not process.stdin.closed:
        process.stdin.close()
        if process.poll() is None:
            _signal_group(process.pid, signal.SIGTERM)


def left_over(pids: Path) -> list[Started]:
    """Processes of our pid files that still run; files of processes that are gone are removed."""
    running = []
    for file in pids.glob("*") if pids.is_dir() else ():
        started = _read(file)
        if started and started.alive:
            running.append(started)
        elif started and not _group_members(started.pid):
            file.unlink(missing_ok=True)
    return running


def end(started: Started, pids: Path) -> None:
    """Kill a left-over process and its group."""
    if started.alive:
        _signal_group(started.pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE
        while started.alive and time.monotonic() < deadline:
            time.sleep(0.05)
        _signal_group(started.pid, signal.SIGKILL)
    (pids / str(started.pid)).unlink(missing_ok=True)


def tail(log: Path, lines: int = 12) -> str:
    """The last `lines` lines of a log, for an error message."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


def size(log: Path) -> int:
    """Bytes in a log; 0 when there is none."""
    return log.stat().st_size if log.exists() else 0


def since(log: Path, offset: int) -> str:
    """What was added to a log after its first `offset` bytes; empty when there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def _read(file: Path) -> Started | None:
    ticks, _, what = file.read_text().strip().partition(" ")
    if not (file.name.isdigit() and ticks.isdigit()):
        return None
    return Started(int(file.name), int(ticks), what)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left in it
        os.killpg(group, number)


def _group_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _start_ticks(pid: int) -> int:
    """Field 22 of /proc/PID/stat; -1 when there is no such process or only its zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    after_name = text.rpartition(")")[2].split()
    return -1 if after_name[0] == "Z" else int(after_name[19])


def kill_all(code: int) -> None:
    """Kill every group we started and still hold, and exit at once with `code`."""
    for process in list(_ours):
        _signal_group(process.pid, signal.SIGKILL)
    os._exit(code)
