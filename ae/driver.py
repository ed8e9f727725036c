"""Runs the load generator as a child process and reads its records and its own facts back."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ae import places, processes
from systems.core.errors import MeasurementInvalid, ServerFailed
from systems.core.record import Record

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

TYPICAL_START = 1.0  # seconds the client needs to import and connect; only used for the time limit


@dataclass(frozen=True, slots=True)
class Job:
    """What the load generator is to do. `concurrency` above 0 closes the loop: times of the schedule are ignored."""

    url: str
    schedule: Path
    out: Path
    log: Path
    pids: Path
    timeout: float
    concurrency: int = 0
    requests: int = 0
    model: str = ""


def drive(job: Job, *, alive: Callable[[], bool], limit: float) -> list[Record]:
    """Run the load generator to its end; its records, in order of id.

    `alive` says whether the server still runs. Raises ServerFailed when it does not, MeasurementInvalid when the
    load generator itself fails or takes longer than `limit` seconds.
    """
    process = processes.spawn(_command(job), job.log, job.pids, "load generator", places.REPOSITORY)
    try:
        _wait(process, job, alive, time.monotonic() + limit)
    finally:
        processes.stop(process, job.pids, grace=0.5)
    if process.returncode != 0:
        raise MeasurementInvalid(
            f"The load generator ended with status {process.returncode}:\n{processes.tail(job.log)}\n",
            f"The whole log: {job.log}",
        )
    return read_records(job.out)


def read_records(file: Path) -> list[Record]:
    """The records of a `requests.jsonl`, in order of id."""
    records = [Record.from_json(line) for line in file.read_text().splitlines()]
    return sorted(records, key=lambda r: r.id)


def _wait(process: subprocess.Popen[bytes], job: Job, alive: Callable[[], bool], deadline: float) -> None:
    while process.poll() is None:
        if not alive():
            raise ServerFailed("The server died while it was measured.", f"Load generator's log: {job.log}")
        if time.monotonic() > deadline:
            raise MeasurementInvalid(
                "The load generator did not end in time: requests never came back.", f"Its log: {job.log}"
            )
        time.sleep(0.02)


def _command(job: Job) -> list[str]:
    command = [sys.executable, "-m", "ae.load.client", "--watch-parent", "--url", job.url]
    command += ["--schedule", str(job.schedule), "--out", str(job.out), "--timeout", f"{job.timeout:g}"]
    if job.concurrency:
        command += ["--concurrency", str(job.concurrency), "--requests", str(job.requests)]
    if job.model:
        command += ["--model", job.model]
    return command
