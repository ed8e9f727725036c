"""The engine servers of a run: those needed next are loaded together, and kept while they will be used again.

Loading is what a short run would mostly wait for, and it takes one core each; a loaded server without requests
takes none. No server loads while another is measured.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Self

from ae import launch
from systems.core.errors import ServerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ae.report import Reporter
    from systems.core.config import EngineConfig

MOST = 6  # servers alive at once: two panels of three series, so a quick run loads all it needs in one go
SERVER_BYTES = 0.6e9  # of one server with torch


class Pool:
    """Servers by their configuration. `folder` takes their logs and pid files."""

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self._folder = folder
        self._reporter = reporter
        self._servers: dict[str, launch.Server] = {}
        self._next: dict[str, EngineConfig] = {}
        self._started = 0
        self._keep = room(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def prepare(self, upcoming: Sequence[EngineConfig | None]) -> None:
        """Take note of the engines needed from now on, in order; servers that are not among the next go."""
        wanted = {engine.to_json(): engine for engine in upcoming if engine}
        self._next = dict(list(wanted.items())[: self._keep])
        _stop([self._servers.pop(key) for key in set(self._servers) - set(self._next)])

    def server(self, engine: EngineConfig, meanwhile: Callable[[], None]) -> launch.Server:
        """The server of `engine`. If it must be loaded, so are the next ones, and `meanwhile` is called.

        Raises ServerFailed when this one does not get ready; another that fails is tried again when it is needed.
        """
        key = engine.to_json()
        if key not in self._servers or not self._servers[key].alive:
            self.drop(engine)
            loading = [name for name in {key: engine, **self._next} if name not in self._servers]
            for name in loading:
                self._begin(name, self._next.get(name, engine))
            meanwhile()
            for name in loading:
                self._await(name, needed=name == key)
        return self._servers[key]

    def drop(self, engine: EngineConfig | None) -> None:
        """Stop the server of `engine`, if there is one."""
        if engine and (server := self._servers.pop(engine.to_json(), None)):
            server.stop()

    def stop(self) -> None:
        """Stop all servers."""
        servers, self._servers = list(self._servers.values()), {}
        _stop(servers)

    def _begin(self, key: str, engine: EngineConfig) -> None:
        self._started += 1
        name = f"server-{self._started}-{engine.variant.replace('/', '-')}"
        self._servers[key] = launch.begin(engine, self._folder, name)

    def _await(self, key: str, *, needed: bool) -> None:
        try:
            self._servers[key].await_ready(self._reporter.say)
        except ServerFailed:
            del self._servers[key]
            if needed:
                raise


def room(memory: int) -> int:
    """How many servers may live at once on a machine with `memory` bytes: they may take half of it."""
    return min(MOST, max(2, int(memory / 2 / SERVER_BYTES)))


def _stop(servers: Sequence[launch.Server]) -> None:
    """Ask all of them to end before the first is waited for; each is stopped, whatever happens to another."""
    for server in servers:
        server.ask_to_end()
    with contextlib.ExitStack() as each:
        for server in servers:
            each.callback(server.stop)
