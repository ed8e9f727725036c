"""Transfers of an engine on a real clock: bytes copied beside compute, each over when the declared link delivered it.

There is no copy thread: a CPU copies within microseconds, and a second Python thread would make every step wait for
the interpreter's lock (measured on two busy cores: a decode of 0.9 ms became 1.3 ms). A GPU copies on its own stream.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from systems.core.compute import Compute
from systems.core.plan import Transfer

POLL = 0.00005  # s between looks at a copy that is late


class Copier:
    """Starts transfers at once and hands them back, in order, once they are copied and the link's time is up.

    `clock` gives ns. `bytes_per_s` is the link's declared bandwidth, shared by both directions; 0 paces nothing.
    """

    def __init__(self, compute: Compute, clock: Callable[[], int], bytes_per_s: float = 0.0) -> None:
        self._compute = compute
        self._clock = clock
        self._rate = bytes_per_s
        self._link_free = 0
        self._queue: deque[tuple[int, Transfer, bool]] = deque()  # (ns at which the link is through, what, whether ok)

    @property
    def pending(self) -> int:
        """Transfers that have been started and not handed back."""
        return len(self._queue)

    def start(self, transfer: Transfer) -> None:
        """Copy, or start copying; the link takes the transfers one after the other."""
        begin = max(self._clock(), self._link_free)
        self._link_free = begin + (round(transfer.bytes * 1e9 / self._rate) if self._rate else 0)
        try:
            self._compute.copy(transfer)
            ok = True
        except (RuntimeError, MemoryError, ValueError):
            ok = False
        self._queue.append((self._link_free, transfer, ok))

    def done(self) -> list[tuple[Transfer, bool]]:
        """The transfers that have ended since the last call, with whether they succeeded."""
        over: list[tuple[Transfer, bool]] = []
        while self._queue and self._queue[0][0] <= self._clock():
            _, transfer, ok = self._queue[0]
            if ok and not self._compute.copied(transfer.id):
                break
            self._queue.popleft()
            over.append((transfer, ok))
        return over

    def left(self) -> float:
        """Seconds until it is worth asking `done` again."""
        return max(POLL, (self._queue[0][0] - self._clock()) / 1e9) if self._queue else 0.0

    def wait(self) -> None:
        """Sleep until it is worth asking `done` again."""
        if self._queue:
            time.sleep(self.left())
