"""From a figure to its simulated points, and everything that decides what each gives.

A point's key is the hash of that, as for measured points; there is no machine in it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ae import identity
from ae.figure import At, Panel, Series, Workload
from ae.identity import Setting
from ae.load.workload import DATA
from ae.points import FIRST_SEED, overridden
from ae.store import canonical
from systems.core import variant
from systems.core.config import EngineConfig
from systems.core.cost import tables
from systems.core.cost.named import Hardware
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from ae.codehash import ModuleHash
    from ae.figure import Figure, GridName

SYNTHETIC = "synthetic"
_SCHEMA = 1
LIMITS = ("max_batch", "max_tokens", "max_model_len", "max_queue", "page_tokens", "device_pages", "host_pages")


class Slot(NamedTuple):
    """One place in a figure at tier sim."""

    panel: Panel
    series: Series
    at: At
    trial: int

    @property
    def readable(self) -> str:
        """For folder names; two slots of a figure never have the same."""
        name = f"{self.panel.name}_{self.series.name}_x{self.at.x:g}_n{self.at.requests}_t{self.trial}"
        return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)


@dataclass(frozen=True, slots=True)
class Job:
    """All that one simulation needs, as values that can be sent to another process.

    `rate` is in requests/s; device or host pages of 0 in `engine` mean what fits (`ae.sim.one.memory_of`).
    """

    hardware: Hardware
    engine: EngineConfig
    workload: Workload
    rate: float
    requests: int
    seed: int


@dataclass(frozen=True)
class Point:
    """A slot that can be run."""

    slot: Slot
    job: Job
    settings: tuple[Setting, ...]
    code: tuple[ModuleHash, ...]

    @cached_property
    def key(self) -> str:
        """Hex SHA-256 of the settings and the code."""
        return identity.key_of(self.settings, self.code)

    def to_json(self) -> str:
        """The contents of `resolved.json`."""
        value = {
            "schema": _SCHEMA,
            "key": self.key,
            "slot": self.slot.readable,
            "load": self.slot.at.x,
            "settings": dict(self.settings),
            "code": dict(self.code),
            "job": asdict(self.job),
        }
        return json.dumps(value, indent=1, sort_keys=True) + "\n"


def slots(figure: Figure, grid: GridName) -> list[Slot]:
    """Every slot of a grid, trials outermost. Raises UsageError when no panel has a scene."""
    scenes = [(panel, panel.scene) for panel in figure.panels if panel.scene]
    if not scenes:
        raise UsageError(f"{figure.id} has no tier sim.", f"Its tiers: {', '.join(figure.tiers)} (--tier).")
    return [
        Slot(panel, series, at, trial)
        for trial in range(max(scene.trials if grid == "full" else 1 for _, scene in scenes))
        for panel, scene in scenes
        if trial < scene.trials
        for at in scene.at
        if at.quick or grid == "full"
        for series in figure.series_of(panel)
    ]


def resolve(slot: Slot) -> Point:
    """The point of `slot`. Raises UsageError for a model, GPU, setting or variant that does not exist or fit."""
    job = _job(slot)
    entry = variant.find(slot.series.variant)
    limits = {name: getattr(job.engine, name) for name in LIMITS}
    values: dict[str, Any] = {
        **{f"hardware.{k}": v for k, v in asdict(job.hardware).items() if not isinstance(v, dict)},
        "overhead": canonical(asdict(job.hardware.overhead)) if job.hardware.overhead else "",
        **{f"engine.{k}": v for k, v in limits.items()},
        **{f"workload.{k}": str(v) for k, v in asdict(job.workload).items()},
        **{f"policy.{k}": v for k, v in {**entry.settings, **job.engine.settings}.items()},
        "policy": entry.policy,
        "oracle": entry.oracle,
        "rate": job.rate,
        "requests": job.requests,
        "arrival seed": job.seed,
        "tables": tables_hash(),
    }
    settings = (*identity.software(), *(Setting(name, value) for name, value in values.items()))
    roots = ("ae.sim.one", identity.policy_module(slot.series.variant))
    return Point(slot, job, tuple(sorted(settings)), identity.code_of(roots))


def _job(slot: Slot) -> Job:
    scene, series = slot.panel.scene, slot.series
    assert scene is not None
    base = EngineConfig(model=SYNTHETIC, variant=series.variant, settings=dict(series.settings))
    engine = overridden(base, {**scene.engine, **scene.series.get(series.name, series.engine)}, slot.readable)
    hardware = Hardware(scene.model, scene.gpu, scene.tp, scene.pp, engine=series.costs, page_tokens=engine.page_tokens)
    at = slot.at
    return Job(hardware, engine, at.workload or scene.workload, at.rate, at.requests, FIRST_SEED + slot.trial)


@lru_cache(maxsize=1)
def tables_hash() -> str:
    """Hash of the tables that a simulation reads: models, GPUs, constants, fits, workloads."""
    return hashlib.sha256(tables.digest().encode() + DATA.read_bytes()).hexdigest()[:16]
