"""A simulated point once more, with the event log that was not kept the first time."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ae.figure import Workload
from ae.load.records import read
from ae.sim.one import simulate
from ae.sim.points import Job
from systems.core.config import EngineConfig
from systems.core.cost.recorded import hardware_from
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

RESOLVED = "resolved.json"
_FIX = "Bring it up to date: ae run FIGURE --tier sim."


@contextmanager
def event_log(found: Path) -> Iterator[Path]:
    """`found`, or for the `resolved.json` of a simulated point the log of simulating it again, for the time of the block.

    Raises UsageError when the point comes out otherwise than it did: a replay would then explain something else.
    """
    if found.name != RESOLVED:
        yield found
        return
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "events.jsonl"
        outcome = simulate(job_of(found), log)
        if outcome.records != read(found.with_name("requests.jsonl")):
            raise UsageError(f"{found.parent}, simulated again, comes out otherwise: the code has changed since.", _FIX)
        yield log


def job_of(resolved: Path) -> Job:
    """The job of a simulated point's `resolved.json`. Raises UsageError when there is none that this version can run."""
    try:
        return job_from(json.loads(resolved.read_text())["job"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{resolved} is not of a simulated point of this version: {error!r}.", _FIX) from error


def job_from(row: dict[str, Any]) -> Job:
    """The job that `asdict` made `row` of. Raises KeyError, TypeError or UsageError."""
    workload, lengths = row["workload"], row["workload"]["lengths"]
    return Job(
        hardware=hardware_from(row["hardware"]),
        engine=EngineConfig(**row["engine"]),
        workload=Workload(**{**workload, "lengths": tuple(lengths) if lengths else None}),
        rate=row["rate"],
        requests=row["requests"],
        seed=row["seed"],
    )
