"""The engine's end of the pipe. A thread reads, so that the front end can always write and never waits for us."""

from __future__ import annotations

import os
import pickle
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue

from systems.core.wire import FromEngine, Start, Stop, ToEngine

GRACE_S = 2.0


class EnginePipe:
    """Messages in and out over an inherited file descriptor.

    When the front end says `Stop` or is gone (EOF), the loop gets a `Stop`; if the process still lives
    `GRACE_S` later, say because it is loading a model, it exits at once. So no engine outlives its front end.
    """

    def __init__(self, fd: int) -> None:
        self._pipe = Connection(fd)
        self._queue: SimpleQueue[ToEngine | Start] = SimpleQueue()
        threading.Thread(target=self._read, name="pipe", daemon=True).start()

    def start(self) -> Start:
        """Wait for the first message, which says what to build. A front end that is gone at once ends the process."""
        first = self._queue.get()
        if not isinstance(first, Start):
            raise SystemExit(0)
        return first

    def inbox(self, wait: float | None) -> list[ToEngine]:
        """All queued messages; if there are none, the first to come within `wait` s (None: however long it takes)."""
        messages: list[ToEngine] = []
        try:
            if wait != 0.0 and self._queue.empty():
                messages.append(self._queue.get(timeout=wait))  # type: ignore[arg-type]
            while True:
                messages.append(self._queue.get_nowait())  # type: ignore[arg-type]
        except Empty:
            return messages

    def outbox(self, message: FromEngine) -> None:
        """Send one message; lost when the front end is gone, which `inbox` will say."""
        with suppress(OSError):
            self._pipe.send_bytes(pickle.dumps(message, protocol=5))

    def _read(self) -> None:
        message: ToEngine | Start
        while True:
            try:
                message = pickle.loads(self._pipe.recv_bytes())  # noqa: S301 - from our own parent
            except (EOFError, OSError):
                message = Stop()
            self._queue.put(message)
            if isinstance(message, Stop):
                break
        time.sleep(GRACE_S)
        os._exit(0)
