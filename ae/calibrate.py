"""What the axes of the smoke tier are multiples of, measured once per machine: capacity and iteration time.

Load 1.0 is the request rate at which plain first-come-first-served saturates with a panel's workload and batch
limit; it is measured over HTTP, as the points are. SLOs are multiples of one decode iteration of that full batch, as
the engine's own event log of those bursts has it: seen from the client, other requests' prompts and its own reading
would be part of it. The yardstick's own policy file is not part of the key: editing the policy must not change the
unit in which every other series is measured.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ae import identity, manifest, points, prepare
from ae.saturate import Bench
from ae.store import canonical, write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ae.figure import Panel
    from ae.launch import Tell
    from ae.load.launch import Generator
    from ae.pool import Pool
    from systems.core.config import EngineConfig

YARDSTICK = "fastserve/fcfs"
METHOD = 3  # raise it when the way of measuring changes: everything is then calibrated anew


@dataclass(frozen=True, slots=True)
class Calibration:
    """`capacity` in requests/s, `iteration` in seconds; `checkpoint` and `profile` are paths on this machine.

    `bursts` (requests/s) are all that were measured; `capacity_from` and `iteration_from` say how the numbers follow.
    """

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
    bursts: tuple[float, ...] = ()
    capacity_from: str = ""
    iteration_from: str = ""


@dataclass(frozen=True, slots=True)
class Means:
    """What calibrating takes: servers, a load generator, and where to tell about it."""

    pool: Pool
    generator: Generator
    tell: Tell


def find(panel: Panel, folder: Path) -> Calibration | None:
    """The stored calibration of `panel`, if it is still good; nothing is run."""
    checkpoint = prepare.checkpoint_path(panel.checkpoint)
    if not prepare.present(checkpoint):
        return None
    file = _file(panel, checkpoint, folder)
    if not file.exists():
        return None
    row = json.loads(file.read_text())
    found = Calibration(**{**row, "bursts": tuple(row["bursts"]), "checkpoint": checkpoint})
    return None if found.profile and not Path(found.profile).exists() else found


def calibrate(panels: Sequence[Panel], folder: Path, means: Means) -> dict[str, Calibration | None]:
    """The calibration of each panel by its name: read back, or measured and stored in `folder`. Raises AeError."""
    for name in dict.fromkeys(panel.checkpoint for panel in panels):
        prepare.make_checkpoint(name, folder)
    missing = [panel for panel in panels if find(panel, folder) is None]
    # Panels that differ in their SLO alone have one calibration.
    missing = list({_key(p, prepare.checkpoint_path(p.checkpoint)): p for p in reversed(missing)}.values())[::-1]
    if missing:
        means.generator.begin()
        engines = [_yardstick(panel, folder, means.tell) for panel in missing]
        means.pool.prepare(engines)
        for panel, engine in zip(missing, engines, strict=True):
            _measure(panel, engine, folder, means)
    return {panel.name: find(panel, folder) for panel in panels}


def _yardstick(panel: Panel, folder: Path, tell: Tell) -> EngineConfig:
    engine = points.panel_engine(panel, prepare.checkpoint_path(panel.checkpoint), "").but(variant=YARDSTICK)
    return prepare.prepared(engine, folder, tell)


def _measure(panel: Panel, engine: EngineConfig, folder: Path, means: Means) -> None:
    server = means.pool.server(engine, lambda: None)
    means.tell(f"calibrating {panel.name} ({panel.checkpoint}, {panel.workload.name}): capacity and iteration time")
    facts = json.loads(server.applied().text)["facts"]
    vocab, length = int(facts["vocab"]), int(facts["max_model_len"])
    with tempfile.TemporaryDirectory(dir=folder / "run") as scratch:
        bench = Bench(server, means.generator, Path(scratch), vocab, length)
        found = bench.saturate(panel.workload, engine.max_batch)
    seconds, batch, count = found.decoding
    result = Calibration(
        key=_key(panel, engine.model),
        capacity=found.capacity,
        iteration=seconds,
        vocab=vocab,
        max_model_len=length,
        checkpoint=engine.model,
        checkpoint_hash=prepare.files_hash(engine.model),
        profile=engine.profile,
        profile_hash=prepare.digest(Path(engine.profile).read_bytes()) if engine.profile else "",
        measured_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        bursts=found.bursts,
        capacity_from=found.how,
        iteration_from=f"event logs of the bursts: median of {count} decode-only iterations of {batch} requests",
    )
    write_atomic(_file(panel, engine.model, folder), json.dumps(asdict(result), indent=1) + "\n")
    means.tell(f"  capacity {result.capacity:.1f} requests/s, decode iteration {result.iteration * 1e3:.2f} ms")


def _file(panel: Panel, checkpoint: str, folder: Path) -> Path:
    return folder / f"{_key(panel, checkpoint)[:16]}.json"


def _key(panel: Panel, checkpoint: str) -> str:
    engine = points.panel_engine(panel, "", "").but(variant=YARDSTICK)
    # The profiler too: series with estimates read the profile that is made along with the calibration.
    code = dict(identity.code_of((*identity.SERVER, "systems.core.profiler")))
    workload = asdict(panel.workload)
    parts = [
        engine.to_json(),
        workload,
        prepare.files_hash(checkpoint),
        code,
        prepare.machine(),
        identity.lock_hash(),
        manifest.packages(),
        METHOD,
    ]
    return prepare.digest(canonical(parts).encode())
