"""Starting the load generator and the null server as processes of their own, and never leaving one behind."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ae import places, processes
from ae.load import facts
from systems.core.errors import AeError, MeasurementInvalid, ServerFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ae.load.facts import Outcome, Settings

# The load generator computes next to nothing in numpy; a pool of BLAS threads would only take memory and cores.
_VARIABLES = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# Whose fault it was; see systems.core.errors.
_ERRORS: dict[int, type[AeError]] = {1: ServerFailed, 2: UsageError}
_LOOK = 0.02  # seconds between two looks at the server and the time
_GRACE = 1.0  # seconds that an interrupted job has to write its records


class Generator:
    """The load generator: one process for many jobs, each with a state of its own.

    It starts when it is first needed, and anew after anything but a regular answer. Its messages and its pid file
    are in `folder`.
    """

    def __init__(self, folder: Path) -> None:
        self._log = folder / "load-generator.log"
        self._pids = folder / "pids"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def begin(self) -> subprocess.Popen[bytes]:
        """Start the process if it does not run, so that its imports are done when the first job comes."""
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._log.unlink(missing_ok=True)
            command = [sys.executable, "-m", "ae.load.client"]
            self._process = processes.spawn(
                command,
                self._log,
                self._pids,
                "load generator",
                places.REPOSITORY,
                answers=True,
                variables=_VARIABLES,
            )
        return self._process

    def run(
        self,
        settings: Settings,
        *,
        alive: Callable[[], bool] = lambda: True,
        limit: float = math.inf,
        log: Path | None = None,
    ) -> Outcome:
        """Run one job to its end; its facts. `alive` says whether the server still runs; messages go to `log`.

        Raises ServerFailed when the server has died or answers wrongly, UsageError for settings that cannot be run,
        MeasurementInvalid when the load generator fails or takes longer than `limit` seconds.
        """
        process = self.begin()
        offset = processes.size(self._log)
        try:
            line = _exchange(process, settings, alive, time.monotonic() + limit, self._log)
        except BaseException:
            self.stop()  # what it is in the middle of is nobody's any more
            raise
        finally:
            if log is not None:
                log.write_text(processes.since(self._log, offset))
        return _outcome(line, alive)

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            processes.stop(self._process, self._pids, grace=_GRACE)
            self._process = None


def run_once(settings: Settings, log: Path | None = None, *, limit: float = math.inf) -> Outcome:
    """Run one job in a load generator of its own. Raises as `Generator.run` does."""
    with tempfile.TemporaryDirectory(prefix="ae-generator-") as folder, Generator(Path(folder)) as generator:
        return generator.run(settings, limit=limit, log=log)


def _exchange(
    process: subprocess.Popen[bytes], settings: Settings, alive: Callable[[], bool], deadline: float, log: Path
) -> str:
    """Hand over a job; the line that answers it."""
    assert process.stdin is not None
    assert process.stdout is not None
    out, answer = process.stdout.fileno(), b""
    with contextlib.suppress(BrokenPipeError):  # it is gone; its output then ends at once
        process.stdin.write(settings.to_line().encode() + b"\n")
        process.stdin.flush()
    while not answer.endswith(b"\n"):
        if not alive():
            raise _died()
        if time.monotonic() > deadline:
            raise MeasurementInvalid(
                "The load generator did not end in time: requests never came back.", "See the server's log."
            )
        if not select.select([out], [], [], _LOOK)[0]:
            continue
        if not (more := os.read(out, 1 << 16)):
            said = processes.tail(log)
            raise MeasurementInvalid(f"The load generator ended with status {process.wait()}:\n{said}\n")
        answer += more
    return answer.decode()


def _died() -> ServerFailed:
    return ServerFailed("The server died while it was measured.", "Its log says why.")


def _outcome(line: str, alive: Callable[[], bool]) -> Outcome:
    row = json.loads(line)
    error = row.get("error")
    if error or row["failed"]:
        time.sleep(_LOOK)  # a client hears of a server's death before the kernel tells its parent
        if not alive():
            raise _died()
    if error is None:
        return facts.from_line(line.strip())
    kind = _ERRORS.get(error["exit_code"], MeasurementInvalid)
    raise kind(error["what"], error["fix"])


@contextlib.contextmanager
def null_server(*options: str) -> Iterator[str]:
    """Run a null server with command-line `options`; its URL. Raises ServerFailed."""
    command = [sys.executable, "-m", "ae.load.null_server", *options, "--watch-parent"]
    with tempfile.TemporaryDirectory(prefix="ae-null-") as folder:
        log, pids = Path(folder) / "log", Path(folder) / "pids"
        server = processes.spawn(
            command, log, pids, "null server", places.REPOSITORY, answers=True, variables=_VARIABLES
        )
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                raise ServerFailed("The null server did not start.", "Run python -m ae.load.null_server by hand.")
            yield f"http://127.0.0.1:{json.loads(line)['port']}"
        finally:
            processes.stop(server, pids)
