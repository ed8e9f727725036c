"""The result store: one folder per point and attempt, never overwritten, believed only with its marker.

    results/<tier>/<system>/<figure>/points/<readable>-<key8>/attempt-N/   ... files ...   DONE | FAILED

Files are written under a temporary name and renamed; the marker comes last, after everything before it is on
disk. Whatever has no marker was cut off (kill -9, power) and is never read: it stays as an attempt without
marker, and the next attempt gets the next number.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Marker = Literal["DONE", "FAILED"]
State = Literal["done", "failed", "interrupted", "missing"]
_TEMPORARY = ".part"
_ATTEMPT = re.compile(r"attempt-(\d+)$")


@dataclass(frozen=True, slots=True)
class Attempt:
    """The folder of one attempt at one point."""

    path: Path

    @property
    def number(self) -> int:
        """Attempts count from 1."""
        match = _ATTEMPT.search(self.path.name)
        return int(match[1]) if match else 0

    @property
    def marker(self) -> Marker | None:
        """How the attempt ended; None while it runs or when it was cut off."""
        for name in ("DONE", "FAILED"):
            if (self.path / name).exists():
                return "DONE" if name == "DONE" else "FAILED"
        return None

    def write(self, name: str, text: str) -> Path:
        """Write file `name` so that it is there whole or not at all."""
        return write_atomic(self.path / name, text)

    def adopt(self, source: Path, name: str) -> Path:
        """Move a file that another process has finished writing into this attempt."""
        target = self.path / name
        source.replace(target)
        return target

    def temporary(self, name: str) -> Path:
        """A path for another process to write to; `adopt` it when that process has ended well."""
        return self.path / (name + _TEMPORARY)

    def finish(self, marker: Marker, text: str = "") -> None:
        """Make everything durable, then say how it ended. Nothing may be written afterwards."""
        for file in self.path.iterdir():
            _sync(file)
        _sync(self.path)
        write_atomic(self.path / marker, text + "\n")
        _sync(self.path)


@dataclass(frozen=True, slots=True)
class Found:
    """What the store has under one key: the state, the attempt that decides it, and how many there are."""

    state: State
    attempt: Attempt | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class PointStore:
    """The points of one figure: `folder` is results/<tier>/<system>/<figure>/points."""

    folder: Path

    def find(self, key: str) -> Found:
        """The state of the point with `key`. DONE wins over later failures."""
        attempts = [a for folder in self.folder.glob(f"*-{key[:8]}") for a in _attempts(folder)]
        for marker, state in (("DONE", "done"), ("FAILED", "failed")):
            for attempt in reversed(attempts):
                if attempt.marker == marker:
                    return Found("done" if state == "done" else "failed", attempt, len(attempts))
        return Found("interrupted", attempts[-1], len(attempts)) if attempts else Found("missing")

    def begin(self, readable: str, key: str) -> Attempt:
        """A fresh, empty attempt folder with the next free number."""
        folder = next(self.folder.glob(f"*-{key[:8]}"), self.folder / f"{readable}-{key[:8]}")
        folder.mkdir(parents=True, exist_ok=True)
        number = max((a.number for a in _attempts(folder)), default=0) + 1
        attempt = Attempt(folder / f"attempt-{number}")
        attempt.path.mkdir()
        return attempt

    def last_resolved(self, readable: str, *, but: str) -> Path | None:
        """The newest `resolved.json` of this place in the figure under any key other than `but`."""
        files = [
            file
            for folder in self.folder.glob(f"{readable}-????????")
            if not folder.name.endswith(but[:8])
            for file in folder.glob("attempt-*/resolved.json")
            if Attempt(file.parent).marker
        ]
        return max(files, key=lambda f: f.stat().st_mtime, default=None)


def _attempts(folder: Path) -> list[Attempt]:
    found = [Attempt(path) for path in folder.iterdir() if _ATTEMPT.search(path.name)]
    return sorted(found, key=lambda a: a.number)


def write_atomic(path: Path, text: str) -> Path:
    """Write `text` to a temporary file beside `path`, sync it, rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return path


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process. Raises UsageError that names the other holder.

    The kernel drops the lock of a dead process, so a lock file left by kill -9 is simply taken over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UsageError(
                f"Another `ae run` (pid {holder}) is measuring into {folder}.",
                "Wait for it to end, or stop it with Ctrl-C in its terminal.",
            ) from None
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
