"""What the axes of the smoke tier are multiples of, measured once per machine: capacity and iteration time.

Load 1.0 is the request rate at which plain first-come-first-served saturates with a panel's workload and batch
limit; SLOs are multiples of the time of one decode iteration at that batch. Both are measured over HTTP, as the
points are. The yardstick's own policy file is not part of the key: editing the policy must not change the unit
in which every other series is measured.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ae import launch, manifest, points, prepare
from ae.driver import Job, drive
from ae.load.arrivals import Arrivals
from ae.load.schedule import Load, Schedule, build, draw
from ae.load.workload import drawn, fixed
from ae.metrics import tpot
from ae.store import canonical, write_atomic
from systems.core.errors import MeasurementInvalid, ServerFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ae.figure import Panel, Workload
    from ae.launch import Server, Tell
    from systems.core.config import EngineConfig
    from systems.core.record import Record

YARDSTICK = "fastserve/fcfs"
METHOD = 2  # raise it when the way of measuring changes: everything is then calibrated anew
BURST_SECONDS = 2.5


@dataclass(frozen=True, slots=True)
class Calibration:
    """`capacity` in requests/s, `iteration` in seconds; `checkpoint` and `profile` are paths on this machine."""

    key: str
    capacity: float
    iteration: float
    vocab: int
    max_model_len: int
    checkpoint: str
    checkpoint_hash: str
    profile: str
    profile_hash: str
    measured_at: str


def find(panel: Panel, folder: Path) -> Calibration | None:
    """The stored calibration of `panel`, if it is still good; nothing is run."""
    checkpoint = prepare.checkpoint_path(panel.checkpoint)
    if not prepare.present(checkpoint):
        return None
    file = folder / f"{_key(panel, checkpoint)[:16]}.json"
    if not file.exists():
        return None
    found = replace(Calibration(**json.loads(file.read_text())), checkpoint=checkpoint)
    return None if found.profile and not Path(found.profile).exists() else found


def calibrate(panel: Panel, folder: Path, tell: Tell) -> Calibration:
    """The calibration of `panel`: read back, or measured and stored in `folder`. Raises AeError."""
    prepare.make_checkpoint(panel.checkpoint, folder)
    if known := find(panel, folder):
        return known
    tell(f"calibrating {panel.name} ({panel.checkpoint}, {panel.workload.name}): capacity and iteration time")
    checkpoint = prepare.checkpoint_path(panel.checkpoint)
    engine = points.panel_engine(panel, checkpoint, "").but(variant=YARDSTICK)
    engine = prepare.prepared(engine, folder, tell)
    measured = _measure(panel, engine, folder, tell)
    key = _key(panel, checkpoint)
    result = Calibration(
        key=key,
        capacity=measured.capacity,
        iteration=measured.iteration,
        vocab=measured.vocab,
        max_model_len=measured.max_model_len,
        checkpoint=checkpoint,
        checkpoint_hash=prepare.files_hash(checkpoint),
        profile=engine.profile,
        profile_hash=prepare.digest(Path(engine.profile).read_bytes()) if engine.profile else "",
        measured_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    write_atomic(folder / f"{key[:16]}.json", json.dumps(asdict(result), indent=1) + "\n")
    tell(f"  capacity {result.capacity:.1f} requests/s, decode iteration {result.iteration * 1e3:.2f} ms")
    return result


@dataclass(frozen=True, slots=True)
class _Measured:
    capacity: float
    iteration: float
    vocab: int
    max_model_len: int


def _measure(panel: Panel, engine: EngineConfig, folder: Path, tell: Tell) -> _Measured:
    server = launch.start(engine, folder / "run", f"calibrate-{panel.name}", tell)
    try:
        facts = json.loads(server.applied().text)["facts"]
        vocab, length = int(facts["vocab"]), int(facts["max_model_len"])
        with tempfile.TemporaryDirectory(dir=folder / "run") as scratch:
            bench = _Bench(server, Path(scratch), folder, vocab, length)
            iteration = bench.iteration(panel.workload, engine.max_batch)
            capacity = bench.capacity(panel.workload, engine.max_batch)
    finally:
        server.stop()
    return _Measured(capacity, iteration, vocab, length)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Closed-loop runs against one server."""

    server: Server
    scratch: Path
    folder: Path
    vocab: int
    length: int

    def iteration(self, workload: Workload, batch: int) -> float:
        """Median TPOT of `batch` equal requests that decode side by side: seconds per decode iteration."""
        prompt, _ = mean_lengths(workload, self.length)
        load = Load(1000.0, requests=4 * batch, seed=0, vocab=self.vocab, max_model_len=self.length)
        source = fixed(round(prompt), min(64, self.length // 2))
        records = self._closed(build(source, Arrivals("constant"), load), batch)
        waves = [records[k * batch : (k + 1) * batch] for k in range(1, 4)]  # the first one still warms caches up
        times = [[t for r in wave if (t := tpot(r)) is not None] for wave in waves]
        if not all(times):
            raise MeasurementInvalid("No request of the calibration came back.", f"See {self.server.log}.")
        # Other programs can only make a wave slower, so the fastest one is closest to the engine's own time.
        return min(statistics.median(wave) for wave in times)

    def capacity(self, workload: Workload, batch: int) -> float:
        """Requests/s at saturation: output tokens/s of a full batch / the workload's mean output length.

        Counting tokens instead of requests keeps the luck of the drawn lengths out of the unit of load.
        """
        few = 8 * batch
        _, seconds = _saturated(self._burst(workload, few, batch), 2 * batch)
        enough = min(20_000, max(few, int(few * BURST_SECONDS / seconds)))
        tokens, seconds = _saturated(self._burst(workload, enough, batch), 2 * batch)
        return tokens / seconds / mean_lengths(workload, self.length)[1]

    def _burst(self, workload: Workload, requests: int, batch: int) -> list[Record]:
        load = Load(1000.0, requests=requests, seed=0, vocab=self.vocab, max_model_len=self.length)
        return self._closed(draw(workload, load), 2 * batch)

    def _closed(self, schedule: Schedule, concurrency: int) -> list[Record]:
        file, out = self.scratch / "schedule.jsonl", self.scratch / "requests.jsonl"
        schedule.write(file)
        out.unlink(missing_ok=True)
        job = Job(
            url=self.server.url,
            schedule=file,
            out=out,
            log=self.scratch / "client.log",
            pids=self.server.pids,
            timeout=60.0,
            concurrency=concurrency,
            requests=len(schedule.requests),
        )
        records = drive(job, alive=lambda: self.server.alive, limit=120.0)
        if bad := [r for r in records if r.status != "ok"]:
            raise ServerFailed(f"{len(bad)} requests of the calibration failed: {bad[0].error}", str(self.server.log))
        return records


def mean_lengths(workload: Workload, limit: int) -> tuple[float, float]:
    """Mean prompt and output length of a workload, over a sample large enough that it does not vary."""
    sample = drawn(workload.name, scale=workload.scale)(20_000, limit, np.random.default_rng(0))
    return float(sample.prompt.mean()), float(sample.output.mean())


def _saturated(records: Sequence[Record], concurrency: int) -> tuple[float, float]:
    """Tokens and seconds from when the loop was first full to when its last request was sent."""
    sent = sorted(r.sent for r in records)
    begin, end = sent[min(concurrency, len(sent) - 1)], sent[-1]
    tokens = sum(run.number for r in records for run in r.tokens if begin <= run.first < end)
    return float(tokens), max(end - begin, 1e-9)


def _key(panel: Panel, checkpoint: str) -> str:
    engine = points.panel_engine(panel, "", "").but(variant=YARDSTICK)
    # The profiler too: series with estimates read the profile that is made along with the calibration.
    code = dict(points.code_of((*points.SERVER, "systems.core.profiler")))
    workload = asdict(panel.workload)
    parts = [
        engine.to_json(),
        workload,
        prepare.files_hash(checkpoint),
        code,
        prepare.machine(),
        points.lock_hash(),
        manifest.packages(),
        METHOD,
    ]
    return prepare.digest(canonical(parts).encode())
