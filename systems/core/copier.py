"""The copy thread of a CPU engine: transfers one after the other, paced to the link's declared bandwidth."""

from __future__ import annotations

import threading
import time
from collections import deque
from queue import SimpleQueue

from systems.core.compute import Compute
from systems.core.plan import Transfer


class Copier:
    """Carries out transfers in the background; `done` hands back those that are over."""

    def __init__(self, compute: Compute, bytes_per_s: float = 0.0) -> None:
        self._compute = compute
        self._rate = bytes_per_s
        self._queue: SimpleQueue[Transfer | None] = SimpleQueue()
        self._done: deque[tuple[Transfer, bool]] = deque()
        self._arrived = threading.Event()
        self.pending = 0
        self._thread = threading.Thread(target=self._work, name="copier", daemon=True)
        self._thread.start()

    def start(self, transfer: Transfer) -> None:
        """Queue one transfer."""
        self.pending += 1
        self._queue.put(transfer)

    def done(self) -> list[tuple[Transfer, bool]]:
        """The transfers that have ended since the last call, with whether they succeeded."""
        self._arrived.clear()
        over: list[tuple[Transfer, bool]] = []
        while self._done:
            over.append(self._done.popleft())
        self.pending -= len(over)
        return over

    def wait(self, seconds: float) -> None:
        """Until a transfer has ended, or `seconds` have passed."""
        if not self._done:
            self._arrived.wait(seconds)

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (transfer := self._queue.get()) is not None:
            began = time.perf_counter()
            try:
                self._compute.copy(transfer)
                ok = True
            except (RuntimeError, MemoryError, ValueError):
                ok = False
            if self._rate:
                left = began + transfer.bytes / self._rate - time.perf_counter()
                if left > 0:
                    time.sleep(left)
            self._done.append((transfer, ok))
            self._arrived.set()
