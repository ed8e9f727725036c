"""From the slots of a figure to its points, each with everything that decides its result.

A `Point` is a slot with its calibration: rate, schedule, engine, code. The
key of a point is the hash of that, and of nothing that only draws: panels that differ in their SLO alone have
the same points, and so have figures that share them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from ae import identity
from ae.identity import Setting
from ae.load.schedule import Load, Schedule, draw
from ae.validity import SAMPLES
from systems.core import variant
from systems.core.config import EngineConfig
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from ae.calibrate import Calibration
    from ae.codehash import ModuleHash
    from ae.figure import Panel, Workload
    from ae.slots import Slot

FIRST_SEED = 1
WARMUP = 0.5  # seconds of load before the measured window
WARMUP_LOAD = 0.5  # of capacity, at most: a measured window starts without a queue, as the papers' runs do
SPARE = 1.1  # requests sent / requests a percentile needs
ENOUGH = 2.0  # the same for a mean over a window: so many arrive on average, in a Poisson process perhaps half
REQUEST_TIMEOUT = 120.0  # seconds after which the client gives one request up
_RESOLVED_SCHEMA = 1


@dataclass(frozen=True)
class Point:
    """A slot that can be run. `engine` has this machine's paths; None for an external server at `url`."""

    slot: Slot
    rate: float
    iteration: float
    seed: int
    schedule: Schedule
    engine: EngineConfig | None
    url: str
    settings: tuple[Setting, ...]
    code: tuple[ModuleHash, ...]
    calibration: Calibration

    @cached_property
    def key(self) -> str:
        """Hex SHA-256 of the settings and the code."""
        return identity.key_of(self.settings, self.code)

    def to_json(self) -> str:
        """The contents of `resolved.json`."""
        value = {
            "schema": _RESOLVED_SCHEMA,
            "key": self.key,
            "slot": self.slot.readable,
            "load": self.slot.load,
            "settings": dict(self.settings),
            "code": dict(self.code),
        }
        return json.dumps(value, indent=1, sort_keys=True) + "\n"


def resolve(slot: Slot, calibration: Calibration, *, iteration: float = 0.0, models: str = "") -> Point:
    """The point of `slot`. `models` is an external server's answer to /v1/models, part of its key.

    `iteration` (seconds) is what the SLO counts in, where that is not the panel's own.

    Raises UsageError for an engine setting or a variant that does not exist.
    """
    rate = slot.load * calibration.capacity
    count = requests_of(slot, calibration)
    slot = slot._replace(seconds=seconds_of(slot, calibration))
    seed = FIRST_SEED + slot.trial
    schedule = _schedule(
        slot.panel.workload,
        Load(
            rate,
            seconds=None if count else slot.seconds,
            requests=count,
            warmup=WARMUP,
            warmup_rate=min(rate, WARMUP_LOAD * calibration.capacity),
            seed=seed,
            vocab=calibration.vocab,
            max_model_len=calibration.max_model_len,
        ),
    )
    engine = None if slot.external else engine_of(slot, calibration)
    parts = [
        *identity.software(),
        Setting("rate", rate),
        Setting("seconds", slot.seconds),
        Setting("arrival seed", seed),
        Setting("schedule", schedule.sha256),
        Setting("checkpoint", calibration.checkpoint_hash),
        Setting("request timeout", REQUEST_TIMEOUT),
    ]
    if engine is None:
        parts += [Setting("url", slot.series.variant), Setting("models", models)]
    else:
        parts += [Setting("profile", calibration.profile_hash), *identity.engine_settings(engine)]
    return Point(
        slot=slot,
        rate=rate,
        iteration=iteration or calibration.iteration,
        seed=seed,
        schedule=schedule,
        engine=engine,
        url=slot.series.variant if engine is None else "",
        settings=tuple(sorted(parts)),
        code=identity.code_of(_roots(engine)),
        calibration=calibration,
    )


def changes(old: Path, new: Point) -> list[str]:
    """What differs between a stored `resolved.json` and `new`, in words; modules first."""
    return identity.differences(old, new.code, new.settings)


def changes_without(old: Path, slot: Slot) -> list[str]:
    """What differs between a stored `resolved.json` and now, as far as that can be said without a calibration."""
    code = identity.code_of(identity.roots(None if slot.external else slot.series.variant))
    return identity.differences(old, code, identity.software())


def check_unchanged(point: Point) -> None:
    """Make sure that the code on disk is what `point` says. Raises UsageError when somebody has edited it since."""
    now = identity.code_now(_roots(point.engine))
    if edited := sorted({path for path, _ in {*now} ^ {*point.code}}):
        raise UsageError(f"{edited[0]} was edited while it was being measured.", "Run the same command again.")


def _roots(engine: EngineConfig | None) -> tuple[str, ...]:
    return identity.roots(engine.variant if engine else None)


def seconds_of(slot: Slot, calibration: Calibration) -> float:
    """Length of the measured window: the grid's, or what the slot's turns of the batch take to arrive."""
    if count := requests_of(slot, calibration):
        return round(count / calibration.capacity / slot.load, 3)
    if not slot.turns:
        return slot.seconds
    most = slot.turns * _batch(slot, calibration) / max(1.0, slot.load)
    enough = ENOUGH * SAMPLES[slot.statistic] / slot.load
    return round(max(most, enough) / calibration.capacity, 3)


def requests_of(slot: Slot, calibration: Calibration) -> int | None:
    """How many requests a percentile needs, at every load the same; None where the window is what counts."""
    if not slot.turns or slot.statistic in {"mean", "share"}:
        return None
    return max(round(slot.turns * _batch(slot, calibration)), round(SPARE * SAMPLES[slot.statistic]))


def _batch(slot: Slot, calibration: Calibration) -> int:
    return panel_engine(slot.panel, calibration.checkpoint, calibration.profile).max_batch


def engine_of(slot: Slot, calibration: Calibration) -> EngineConfig:
    """The engine of a slot: the panel's overrides, the series' on top."""
    base = panel_engine(slot.panel, calibration.checkpoint, calibration.profile)
    series = slot.series
    return overridden(base.but(variant=series.variant, settings=dict(series.settings)), series.engine, series.name)


def panel_engine(panel: Panel, checkpoint: str, profile: str) -> EngineConfig:
    """What all series of a panel have in common."""
    return overridden(EngineConfig(model=checkpoint, profile=profile), panel.engine, panel.name)


def overridden(config: EngineConfig, changes: dict[str, variant.Scalar], where: str) -> EngineConfig:
    """`config` with `changes`. Raises UsageError for a setting that no engine has."""
    known = {f.name for f in fields(EngineConfig)}
    if unknown := sorted(set(changes) - known):
        raise UsageError(f"{where} sets {', '.join(unknown)}, which no engine has.", "See systems/core/config.py.")
    return config.but(**changes)


@lru_cache(maxsize=512)
def _schedule(workload: Workload, load: Load) -> Schedule:
    """Draw once what all series of a panel are given."""
    return draw(workload, load)
