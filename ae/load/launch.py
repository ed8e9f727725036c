"""Starting the load generator and the null server as processes of their own, and never leaving one behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ae.load import facts
from systems.core.errors import AeError, MeasurementInvalid, ServerFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ae.load.facts import Settings

ROOT = Path(__file__).parents[2]
# The client's exit codes that say whose fault it was; see systems.core.errors.
_ERRORS: dict[int, type[AeError]] = {1: ServerFailed, 2: UsageError}
GRACE = 10.0  # seconds a child has to note that its parent is done with it


def run_client(settings: Settings, log: Path | None = None) -> facts.Outcome:
    """Run the load generator to its end; its facts. Raises ServerFailed, UsageError or MeasurementInvalid.

    Its messages are appended to `log`. If this process dies or is interrupted, the client ends too.
    """
    given = {"url": settings.url, "schedule": settings.schedule, "out": settings.out, "timeout": settings.timeout}
    given |= {"model": settings.model} if settings.model else {}
    given |= {"concurrency": settings.concurrency, "requests": settings.requests}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    words += [] if settings.probe else ["--no-probe"]
    with tempfile.TemporaryFile("w+") as messages, _child("ae.load.client", words, messages) as child:
        assert child.stdout is not None
        out = child.stdout.read()  # not communicate(): it would close the pipe that says we are alive
        child.wait()
        messages.seek(0)
        said = messages.read()
    if log is not None:
        with log.open("a") as file:
            file.write(said)
    if child.returncode:
        error = _ERRORS.get(child.returncode, MeasurementInvalid)
        last = said.strip().rpartition("\n")[2]
        raise error(f"The load generator stopped with exit code {child.returncode}: {last or 'no message'}")
    return facts.from_line(out.strip().rpartition("\n")[2])


@contextmanager
def null_server(*options: str) -> Iterator[str]:
    """Run a null server with command-line `options`; its URL. Raises ServerFailed."""
    with _child("ae.load.null_server", list(options)) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            raise ServerFailed("The null server did not start.", "Run python -m ae.load.null_server by hand.")
        yield f"http://127.0.0.1:{json.loads(line)['port']}"


@contextmanager
def _child(module: str, words: list[str], messages: IO[str] | None = None) -> Iterator[subprocess.Popen[str]]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    # The client computes next to nothing in numpy; a pool of BLAS threads would only take memory and cores.
    env = os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-m", module, *words, "--watch-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=messages,
        env=env,
        text=True,
    )
    try:
        yield child
    finally:
        _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    """Close the pipe the child watches, and kill it if it does not end."""
    try:
        _close(child.stdin)
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    finally:
        _close(child.stdout)


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None and not pipe.closed:
        pipe.close()
