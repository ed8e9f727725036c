"""The engine servers of a run: those needed next are loaded together, and kept while they will be used again.

Loading is what a short run would mostly wait for, and it takes one core each; a loaded server without requests
takes none. No server loads while another is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ae import launch
from systems.core.errors import ServerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ae.report import Reporter
    from systems.core.config import EngineConfig

KEEP = 4  # servers alive at once: about 0.6 GB each with torch


class Pool:
    """Servers by their configuration. `folder` takes their logs and pid files."""

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self._folder = folder
        self._reporter = reporter
        self._servers: dict[str, launch.Server] = {}
        self._next: dict[str, EngineConfig] = {}
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def prepare(self, upcoming: Sequence[EngineConfig | None]) -> None:
        """Take note of the engines needed from now on, in order; servers that are not among the next go."""
        wanted = {engine.to_json(): engine for engine in upcoming if engine}
        self._next = dict(list(wanted.items())[:KEEP])
        for key in set(self._servers) - set(self._next):
            self._servers.pop(key).stop()

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
        while self._servers:
            self._servers.popitem()[1].stop()

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
