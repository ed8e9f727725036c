"""`python -m systems.core.serve --config FILE [--watch-parent]`: one engine behind OpenAI's HTTP, on loopback.

This process is the front end; the engine runs in a child. One JSON line on stdout says when requests can come:
{"ready": true, "port": N, "pid": P, "engine_pid": Q}. SIGTERM, SIGINT and, with --watch-parent, the end of
standard input end both processes. When the engine dies, so does the server, with the reason on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path

from aiohttp import web

from systems.core.config import EngineConfig
from systems.core.errors import AeError, ServerFailed, UsageError
from systems.core.http import text
from systems.core.http.app import make_app
from systems.core.http.link import ENGINE_MODULE, EngineLink

LINGER_S = 1.0  # how long a server whose engine died still answers, so that clients hear why
BACKLOG = 4096


def main() -> int:
    """Parse the command line and serve. The exit code is that of the error, 0 when told to stop."""
    parser = argparse.ArgumentParser(prog="python -m systems.core.serve", description="Serve one engine over HTTP.")
    parser.add_argument("--config", required=True, type=Path, help="engine configuration, JSON")
    parser.add_argument("--watch-parent", action="store_true", help="exit when standard input ends")
    parser.add_argument("--engine", default=ENGINE_MODULE, help=argparse.SUPPRESS)  # tests bring their own
    args = parser.parse_args()
    try:
        config = EngineConfig.from_json(_read(args.config))
        asyncio.run(serve(config, watch_parent=args.watch_parent, engine=args.engine))
    except AeError as error:
        sys.stderr.write(f"{error}\n")
        return getattr(error, "code", error.exit_code)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.", "Give --config a JSON file.") from error


class EngineDied(ServerFailed):
    """The engine is gone; `code` is what to exit with."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(f"The engine died: {reason}")
        self.code = code


async def serve(config: EngineConfig, *, watch_parent: bool = False, engine: str = ENGINE_MODULE) -> None:
    """Serve until told to stop. Raises EngineDied when the engine goes first, UsageError for a port in use."""
    told = asyncio.Event()
    _watch(told, parent=watch_parent)
    link = EngineLink(config, engine)
    link.start()
    runner: web.AppRunner | None = None
    try:
        app = make_app(config, link, text.load(config.model, dummy=config.dummy_weights))
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=LINGER_S)
        await runner.setup()
        port = await _listen(runner, config)
        await _run(link, told, port)
    finally:
        if runner is not None:
            await runner.cleanup()
        await link.stop()


async def _listen(runner: web.AppRunner, config: EngineConfig) -> int:
    """Bind, and give the port."""
    try:
        await web.TCPSite(runner, config.host, config.port, backlog=BACKLOG).start()
    except OSError as error:
        raise UsageError(f"Cannot listen on {config.host}:{config.port}: {error.strerror}.", "Use port 0.") from error
    port: int = runner.addresses[0][1]
    return port


async def _run(link: EngineLink, told: asyncio.Event, port: int) -> None:
    """Say when ready, then wait for the end of either side."""
    end = asyncio.create_task(told.wait())
    while not told.is_set():
        change = asyncio.create_task(link.changed.wait())
        await asyncio.wait((end, change), return_when=asyncio.FIRST_COMPLETED)
        change.cancel()
        link.changed.clear()
        if link.died is not None:
            await asyncio.wait((end,), timeout=LINGER_S)
            raise EngineDied(link.died.reason, link.died.exit_code)
        if link.facts is not None and not told.is_set():
            ready = {"ready": True, "port": port, "pid": os.getpid(), "engine_pid": link.facts.pid}
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()


def _watch(told: asyncio.Event, *, parent: bool) -> None:
    """Set `told` at a signal, or when standard input ends."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    if parent:
        # a thread, because a loop cannot wait for standard input when that is a file
        threading.Thread(target=_wait_for_end, args=(loop, told), name="watch-parent", daemon=True).start()


def _wait_for_end(loop: asyncio.AbstractEventLoop, told: asyncio.Event) -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass  # closed from the beginning: nobody is there either
    loop.call_soon_threadsafe(told.set)


if __name__ == "__main__":
    sys.exit(main())
