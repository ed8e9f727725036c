"""The worker of a simulated campaign: takes a point, runs it, files it. Ends with its parent."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from ae import manifest
from ae.figure import EXECUTORS
from ae.sim.one import simulate
from ae.store import PointStore
from systems.core.errors import AeError

if TYPE_CHECKING:
    from pathlib import Path

    from ae.sim.points import Point

_LOOK = 0.5  # s between looks at the parent


def begin() -> None:
    """Initialise a worker process: it exits when its parent is gone, by whatever means."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def file_point(point: Point, folder: Path, figure: str) -> str:
    """Simulate one point into the store at `folder`, marker last; "" or why it failed."""
    attempt = PointStore(folder).begin(point.slot.readable, point.key)
    started, begun = manifest.utc(), time.monotonic()
    attempt.write("resolved.json", point.to_json())
    try:
        outcome = simulate(point.job)
    except AeError as error:
        attempt.finish("FAILED", str(error))
        return str(error)
    attempt.write("requests.jsonl", "".join(record.to_json() + "\n" for record in outcome.records))
    attempt.write("manifest.json", _manifest(point, figure, started, begun, outcome.counters).to_json())
    attempt.finish("DONE", "valid")
    return ""


def _manifest(point: Point, figure: str, started: str, begun: float, counters: dict[str, int]) -> manifest.Manifest:
    commit, dirty = manifest.git()
    return manifest.Manifest(
        point=point.slot.readable,
        figure=figure,
        tier="sim",
        executor=EXECUTORS["sim"],
        started=started,
        ended=manifest.utc(),
        seconds=round(time.monotonic() - begun, 3),
        attempt=1,
        arrival_seed=point.job.seed,
        engine_seed=0,
        git_commit=commit,
        git_dirty=dirty,
        machine=manifest.this_machine(),
        packages=manifest.packages(),
        environment=manifest.environment(),
        applied={"counters": counters},
        mismatches=(),
    )
