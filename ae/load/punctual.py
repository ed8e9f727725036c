"""An event loop whose timers are not kept waiting by a burst of reads.

An engine puts out one token of every live request at the same moment. asyncio handles all sockets that are ready
before it looks at its timers: with 400 live streams every timer due meanwhile was 8 to 13 ms late.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque

# About 0.4 ms of reading between two looks at the timers.
BATCH = 8


class InBatches(selectors.DefaultSelector):
    """Reports at most `BATCH` ready sockets at a time and keeps the others for the next call."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[tuple[selectors.SelectorKey, int]] = deque()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Take the next sockets, asking the system only when none is left over from its last answer."""
        waiting = self._waiting
        if not waiting:
            waiting.extend(super().select(timeout))
        taken = [waiting.popleft() for _ in range(min(BATCH, len(waiting)))]
        # A socket may have been closed meanwhile and its number given to another.
        known = self.get_map()
        return [(key, mask) for key, mask in taken if known.get(key.fd) is key]


def loop() -> asyncio.AbstractEventLoop:
    """Make the event loop; a `loop_factory` for `asyncio.Runner`."""
    return asyncio.SelectorEventLoop(InBatches())
