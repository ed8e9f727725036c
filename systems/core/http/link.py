"""The front end's end of the pipe: starts the engine process, submits to it, and notices when it dies."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from time import monotonic

from systems.core.config import EngineConfig
from systems.core.errors import RequestRejected
from systems.core.http.live import Item, Live, Mailbox
from systems.core.http.metrics import Metrics
from systems.core.request import Request
from systems.core.wire import (
    NO_TOKEN,
    Abort,
    Died,
    Emitted,
    EngineFacts,
    FromEngine,
    Ready,
    Rejected,
    Reset,
    ResetDone,
    Start,
    Stats,
    Stop,
    Submit,
    ToEngine,
)

ENGINE_MODULE = "systems.core.engine_process"
FAILED = "error"  # what the end of a request begins with when its computation failed; the reason follows
_STOP_S = 5.0
_KEEP_MEMORY = {  # glibc: a pass's tensors come from memory it had before, not from fresh pages (a prefill costs 0.96)
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
_OURS = (signal.SIGINT, signal.SIGTERM)


class EngineLink:
    """One engine process, seen from the event loop.

    `facts` is None until the engine is ready; `died` is None until it is gone without having been told to go.
    `changed` is set at either.
    """

    def __init__(self, config: EngineConfig, module: str = ENGINE_MODULE) -> None:
        self.config = config
        self.metrics = Metrics()
        self.facts: EngineFacts | None = None
        self.died: Died | None = None
        self.changed = asyncio.Event()
        self._module = module
        self._live: dict[int, Live] = {}
        self._next = 0
        self._reset: asyncio.Future[ResetDone] | None = None

    # -- the process -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the engine process and listen to it. Needs a running event loop."""
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            command = [sys.executable, "-m", self._module, str(fd)]
            # Signals sent to the whole group must not end the engine: we decide when it goes. It inherits our mask.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
            try:
                self._process = subprocess.Popen(
                    command, pass_fds=[fd], stdin=subprocess.DEVNULL, env=self._environment()
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._pipe = Connection(ours.detach())
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pipe.fileno(), self._readable)
        self._send(Start(self.config))

    def _environment(self) -> dict[str, str]:
        """Settings of threads and memory must be there before the libraries that read them are loaded."""
        threads = {"OMP_NUM_THREADS": str(self.config.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        return {**threads, **_KEEP_MEMORY, **os.environ}

    async def stop(self) -> None:
        """Ask the engine to go, and see that it does."""
        self._send(Stop())
        self._loop.remove_reader(self._pipe.fileno())
        try:
            await asyncio.to_thread(self._process.wait, _STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        self._pipe.close()

    # -- requests ----------------------------------------------------------------------------------------

    @property
    def live(self) -> int:
        """Requests submitted and not over."""
        return len(self._live)

    def next_id(self) -> int:
        """An id no other request of this server has."""
        self._next += 1
        return self._next

    def submit(self, request: Request, mailbox: Mailbox, choice: int, began: float) -> None:
        """Send a request to the engine; its output goes to `mailbox`. Raises RequestRejected when it is dead."""
        if self.died is not None:
            raise RequestRejected(f"The engine died: {self.died.reason}")
        self._live[request.id] = Live(mailbox, choice, began)
        self.metrics.prompt_tokens += len(request.prompt)
        self._send(Submit(request))

    def abort(self, request: int) -> None:
        """Drop a request nobody waits for; nothing happens when it is over already."""
        if self._live.pop(request, None):
            self.metrics.finished["abort"] += 1
            self._send(Abort(request))

    def stopped(self, request: int) -> None:
        """End a request whose text reached a stop string, which the engine cannot see."""
        if live := self._live.pop(request, None):
            self._over(live, "stop", monotonic())
            self._send(Abort(request))

    async def reset(self, event_log: str) -> ResetDone:
        """Begin a fresh event log and clear all counters, here and there."""
        if self._live:
            return ResetDone(ok=False, reason=f"{len(self._live)} requests are live.")
        if self._reset is not None:
            return ResetDone(ok=False, reason="Another reset is under way.")
        self._reset = self._loop.create_future()
        try:
            self._send(Reset(event_log))
            done = await self._reset
        finally:
            self._reset = None
        if done.ok:
            self.metrics = Metrics()
        return done

    # -- the pipe ----------------------------------------------------------------------------------------

    def _send(self, message: ToEngine | Start) -> None:
        with suppress(OSError):  # the engine is gone; reading the pipe says so and why
            self._pipe.send_bytes(pickle.dumps(message, protocol=5))

    def _readable(self) -> None:
        """Take one message; the loop calls again while there are more."""
        try:
            message: FromEngine = pickle.loads(self._pipe.recv_bytes())  # noqa: S301 - from our own child
        except (EOFError, OSError):
            self._loop.remove_reader(self._pipe.fileno())
            self._gone(Died(self._how_it_ended()))
            return
        if isinstance(message, Emitted):
            self._emitted(message)
        else:
            self._other(message)

    def _other(self, message: FromEngine) -> None:
        if isinstance(message, Stats):
            self.metrics.engine = message
        elif isinstance(message, Rejected):
            self._rejected(message)
        elif isinstance(message, Ready):
            self.facts = message.facts
            self.changed.set()
        elif isinstance(message, ResetDone) and self._reset is not None and not self._reset.done():
            self._reset.set_result(message)
        elif isinstance(message, Died):
            self._gone(message)

    def _emitted(self, message: Emitted) -> None:
        now = monotonic()
        lives, metrics = self._live, self.metrics
        for request, token, finish in message.batch:
            live = lives.get(request)
            if live is None:
                continue  # aborted a moment ago
            if token != NO_TOKEN:
                metrics.generated_tokens += 1
                if live.last is None:
                    metrics.ttft.see(now - live.began)
                else:
                    metrics.itl.see(now - live.last)
                live.last = now
            if finish is None:
                live.mailbox.put(Item(live.choice, token, None))
            elif finish.startswith(FAILED):
                self._rejected(Rejected(request, 503 if "out of memory" in finish else 500, "server_error", finish))
            else:
                del lives[request]
                self._over(live, finish, now)
                live.mailbox.put(Item(live.choice, token, finish))

    def _rejected(self, message: Rejected) -> None:
        if live := self._live.pop(message.id, None):
            self._over(live, "error", monotonic())
            live.mailbox.fail(message.status, message.reason)

    def _over(self, live: Live, reason: str, now: float) -> None:
        self.metrics.finished[reason] = self.metrics.finished.get(reason, 0) + 1
        self.metrics.e2e.see(now - live.began)

    # -- its end -----------------------------------------------------------------------------------------

    def _gone(self, died: Died) -> None:
        """Fail everything that waits. The first reason is the true one."""
        if self.died is not None:
            return
        self.died = died
        for request, live in list(self._live.items()):
            del self._live[request]
            self._over(live, "error", monotonic())
            live.mailbox.fail(500, f"The engine died: {died.reason}")
        if self._reset is not None and not self._reset.done():
            self._reset.set_result(ResetDone(ok=False, reason=f"The engine died: {died.reason}"))
        self.changed.set()

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return "it closed its pipe without a word."
        if code < 0:
            return f"killed by {signal.Signals(-code).name}."
        return f"it exited with code {code} without a word."
