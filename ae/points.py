"""From a figure to its points: (panel, series, load, trial), each with everything that decides its result.

A `Slot` is a place in the figure; a `Point` is a slot with its calibration: rate, schedule, engine, code. The
key of a point is the hash of that, and of nothing that only draws: panels that differ in their SLO alone have
the same points, and so have figures that share them.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ae import manifest, places
from ae.codehash import ModuleHash, closure
from ae.load.schedule import Load, Schedule, draw
from ae.store import canonical
from ae.validity import SAMPLES
from systems.core import variant
from systems.core.config import EngineConfig
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ae.calibrate import Calibration
    from ae.figure import Figure, Grid, GridName, Panel, Series, Workload

# Modules started by name in processes of their own: no import leads to them, so they are roots.
SERVER = ("systems.core.serve", "systems.core.engine_process")
CLIENT = ("ae.load.client",)
# The client imports these, but what they decide is elsewhere: in the schedule's hash, or computed anew from records.
_NOT_MEASURING = frozenset({"ae/metrics.py", "ae/load/workload.py", "ae/load/arrivals.py"})
FIRST_SEED = 1
WARMUP = 0.5  # seconds of load before the measured window
WARMUP_LOAD = 0.5  # of capacity, at most: a measured window starts without a queue, as the papers' runs do
SPARE = 1.1  # requests sent / requests a percentile needs
REQUEST_TIMEOUT = 120.0  # seconds after which the client gives one request up
_RESOLVED_SCHEMA = 1


class Slot(NamedTuple):
    """One place in a figure. `load` is a multiple of the calibrated capacity, `seconds` the measured window.

    With `turns` (see Grid), `seconds` is an estimate until the slot is resolved. `statistic` ("mean", "p95") is what
    the figure reads off the point: it says how many requests make a measurement.
    """

    panel: Panel
    series: Series
    load: float
    trial: int
    seconds: float
    turns: float = 0.0
    statistic: str = "mean"

    @property
    def readable(self) -> str:
        """For folder names; two slots of a figure never have the same."""
        length = f"{self.turns:g}turns" if self.turns else f"{self.seconds:g}s"
        name = f"{self.panel.name}_{self.series.name}_x{self.load:g}_{length}_t{self.trial}"
        return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)

    @property
    def external(self) -> bool:
        """Whether the series is a server of the user's own, named by its URL."""
        return self.series.variant.startswith(("http://", "https://"))


class Setting(NamedTuple):
    """A named part of what decides a result; the name is what a reason to rerun says."""

    name: str
    value: str | float | bool | None


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

    @cached_property
    def key(self) -> str:
        """Hex SHA-256 of the settings and the code."""
        value = {"settings": dict(self.settings), "code": dict(self.code)}
        return hashlib.sha256(canonical(value).encode()).hexdigest()

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


def slots(figure: Figure, grid: GridName) -> list[Slot]:
    """Every slot of a grid, trials outermost and series innermost: drift of the machine meets all series alike."""
    if grid not in figure.grids:
        raise UsageError(f"{figure.id} has no grid {grid!r}.", f"Grids: {', '.join(figure.grids)}.")
    chosen, read_off = figure.grids[grid], statistic(figure)
    return [
        Slot(panel, series, load, trial, chosen.seconds, chosen.turns and (panel.turns or chosen.turns), read_off)
        for trial in range(chosen.trials)
        for panel in _panels(figure, chosen)
        for load in chosen.loads
        for series in figure.series
    ]


def statistic(figure: Figure) -> str:
    """What the figure reads off a point, as `validity.judge` names it."""
    if figure.metric == "slo_attainment":
        return "share"
    return "p95" if figure.metric.endswith("p95") else "mean"


def home(figure: Figure) -> str:
    """The id of the figure in whose folder the points lie."""
    return figure.shares or figure.id


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
        *_software(),
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
        parts += [Setting("profile", calibration.profile_hash), *_engine_settings(engine)]
    return Point(
        slot=slot,
        rate=rate,
        iteration=iteration or calibration.iteration,
        seed=seed,
        schedule=schedule,
        engine=engine,
        url=slot.series.variant if engine is None else "",
        settings=tuple(sorted(parts)),
        code=code_of(_roots(engine)),
    )


def seconds_of(slot: Slot, calibration: Calibration) -> float:
    """Length of the measured window: the grid's, or what the slot's turns of the batch take to arrive."""
    if count := requests_of(slot, calibration):
        return round(count / calibration.capacity / slot.load, 3)
    if not slot.turns:
        return slot.seconds
    return round(slot.turns * _batch(slot, calibration) / calibration.capacity / max(1.0, slot.load), 3)


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


def changes(old: Path, new: Point) -> list[str]:
    """What differs between a stored `resolved.json` and `new`, in words; modules first."""
    return _differences(old, new.code, new.settings)


def changes_without(old: Path, slot: Slot) -> list[str]:
    """What differs between a stored `resolved.json` and now, as far as that can be said without a calibration."""
    roots = CLIENT if slot.external else (*SERVER, *CLIENT, policy_module(slot.series.variant))
    return _differences(old, code_of(roots), _software())


def _differences(old: Path, code: Sequence[ModuleHash], settings: Sequence[Setting]) -> list[str]:
    row = json.loads(old.read_text())
    had, has = row["code"], dict(code)
    words = [f"{path} changed" for path in has if path in had and had[path] != has[path]]
    words += [f"{path} is new" for path in has if path not in had]
    words += [f"{path} is gone" for path in had if path not in has]
    for name, value in settings:
        before = row["settings"].get(name)
        if before != value:
            words.append(f"{name} {_short(before)} -> {_short(value)}")
    return words


def policy_module(name: str) -> str:
    """The module of a variant's policy."""
    return variant.find(name).policy.partition(":")[0]


@lru_cache(maxsize=64)
def code_of(modules: tuple[str, ...]) -> tuple[ModuleHash, ...]:
    """Hash the closure of `modules` in this repository, once per process (see `check_unchanged`)."""
    return _code_now(modules)


def check_unchanged(point: Point) -> None:
    """Make sure that the code on disk is what `point` says. Raises UsageError when somebody has edited it since."""
    now = _code_now(_roots(point.engine))
    if edited := sorted({path for path, _ in {*now} ^ {*point.code}}):
        raise UsageError(f"{edited[0]} was edited while it was being measured.", "Run the same command again.")


def _roots(engine: EngineConfig | None) -> tuple[str, ...]:
    return CLIENT if engine is None else (*SERVER, *CLIENT, policy_module(engine.variant))


def _code_now(modules: tuple[str, ...]) -> tuple[ModuleHash, ...]:
    return tuple(m for m in closure(modules, places.REPOSITORY) if m.path not in _NOT_MEASURING)


def _software() -> list[Setting]:
    """Interpreter and packages as they are installed, and what was pinned."""
    installed = [Setting(f"package {name}", version) for name, version in manifest.packages().items()]
    return [Setting("python", platform.python_version()), Setting("lock file", lock_hash()), *installed]


def lock_hash() -> str:
    """Hash of the pinned versions; empty when there is no such file."""
    file = places.lock_file()
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.exists() else ""


def _panels(figure: Figure, grid: Grid) -> Iterable[Panel]:
    return [panel for panel in figure.panels if not grid.panels or panel.name in grid.panels]


@lru_cache(maxsize=512)
def _schedule(workload: Workload, load: Load) -> Schedule:
    """Draw once what all series of a panel are given."""
    return draw(workload, load)


# Paths, ports and addresses say where something is on this machine, not what is measured.
_PLACES = frozenset({"model", "profile", "event_log", "host", "port", "settings", "variant"})


def _engine_settings(engine: EngineConfig) -> list[Setting]:
    """Engine fields, the variant's table entry as data, and its settings with the series' on top."""
    entry = variant.find(engine.variant)
    values = asdict(engine)
    out = [Setting(name, value) for name, value in values.items() if name not in _PLACES]
    out += [Setting("policy", entry.policy), Setting("oracle", entry.oracle)]
    out += [Setting(f"policy.{k}", v) for k, v in {**entry.settings, **engine.settings}.items()]
    return out


def _short(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 12 else text[:8] + "…"
