"""How much of this machine's CPU other programs took while something was measured.

The schedulers are compared on a machine that may not be ours alone; a point that shared it says so. Read from /proc,
so Linux only; elsewhere nothing is known and nothing is claimed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_TICKS = os.sysconf("SC_CLK_TCK")
_BUSY = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal of the first line of /proc/stat


class Meter:
    """Starts when it is made. `sessions` are the session ids of our children (each leads its own)."""

    def __init__(self, sessions: Collection[int]) -> None:
        self._sessions = frozenset(sessions)
        self._began = time.monotonic()
        self._busy = _busy()
        self._ours = self._own()

    def others(self) -> float | None:
        """Cores that programs not ours kept busy since the start, on average; None where it cannot be known."""
        busy, elapsed = _busy(), time.monotonic() - self._began
        if busy is None or self._busy is None or elapsed <= 0:
            return None
        return max(0.0, (busy - self._busy - (self._own() - self._ours)) / elapsed)

    def _own(self) -> float:
        """CPU seconds of this process, of its children that have ended, and of our sessions' living processes."""
        mine = os.times()
        ended = mine.user + mine.system + mine.children_user + mine.children_system
        return ended + sum(_cpu(folder, self._sessions) for folder in Path("/proc").glob("[0-9]*"))


def _busy() -> float | None:
    """CPU seconds that all cores have worked since boot."""
    try:
        first = Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    except OSError:
        return None
    return sum(int(first[i]) for i in _BUSY) / _TICKS


def _cpu(folder: Path, sessions: frozenset[int]) -> float:
    """CPU seconds of one process if it belongs to `sessions`, ended children of its own included."""
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(f) for f in fields[11:15]) / _TICKS if int(fields[3]) in sessions else 0.0
