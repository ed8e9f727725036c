"""Which points of a figure have to run, and why, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ae import identity, outputs, places, points, slots
from ae.store import PointStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ae.calibrate import Calibration
    from ae.codehash import ModuleHash
    from ae.external import External
    from ae.figure import Figure, GridName, Tier
    from ae.identity import Setting
    from ae.options import Options
    from ae.points import Point
    from ae.slots import Slot

OVERHEAD = 1.0  # seconds a point takes beside its window, for estimates
SERVER_START = 4.0  # likewise, for a server
MEGABYTES = 0.4  # what a point of 100 requests leaves on disk: event log, records, schedule


@dataclass(frozen=True, slots=True)
class Task:
    """A point and what is known of it: `why` it has to run, empty when it is done.

    `point` is None as long as its calibration is missing: the rate is then unknown.
    """

    slot: Slot
    point: Point | None
    why: str


def placed(
    figure: Figure,
    grid: GridName,
    known: Mapping[str, Calibration | None],
    servers: Iterable[External] = (),
    tier: Tier = "smoke",
) -> list[outputs.Placed]:
    """Pair each slot of the grid with its point, None where the panel has no calibration. Raises UsageError.

    `servers` are those that series of `figure` mean.
    """
    models = {one.series.variant: one.models for one in servers}
    pairs: list[outputs.Placed] = []
    for slot in slots.slots(figure, grid, tier):
        calibration, unit = known.get(slot.panel.name), known.get(slot.panel.slo_of or slot.panel.name)
        text = models.get(slot.series.variant, "")
        if calibration is None or unit is None:
            pairs.append((slot, None))
        else:
            pairs.append((slot, points.resolve(slot, calibration, iteration=unit.iteration, models=text)))
    return pairs


def drawable(
    figure: Figure, known: Mapping[str, Calibration | None], servers: Iterable[External] = (), tier: Tier = "smoke"
) -> list[outputs.Placed]:
    """Pair the slots of all grids, `full` first: a quick run must not hide what a full one has measured."""
    servers = tuple(servers)
    return [pair for grid in sorted(figure.grids) for pair in placed(figure, grid, known, servers, tier)]


def tasks(figure: Figure, options: Options, pairs: Sequence[outputs.Placed]) -> list[Task]:
    """List each point once, with the reason to run it."""
    store = PointStore(places.figure(slots.home(figure), options.tier) / "points")
    found: dict[str, Task] = {}
    for slot, point in pairs:
        if point is None:
            found[slot.readable] = Task(slot, None, _uncalibrated(slot, store))
        else:
            found.setdefault(point.key, Task(slot, point, why(point, store, again=options.again)))
    return list(found.values())


def why(point: Point, store: PointStore, *, again: bool = False) -> str:
    """Say why `point` has to run; "" when it is done (`again`: an invalid measurement is not)."""
    words = reason(point, store)
    if words or not again:
        return words
    attempt = store.find(point.key).attempt
    assert attempt is not None
    valid = outputs.verdict_of(attempt, point.slot.statistic).valid
    return "" if valid else "its measurement was invalid"


class Named(Protocol):
    """What the store knows a point by: its place in the figure, measured or simulated."""

    @property
    def readable(self) -> str:
        """For folder names."""


class Keyed(Protocol):
    """A point as the store sees it."""

    @property
    def slot(self) -> Named:
        """Its place."""

    @property
    def key(self) -> str:
        """Hash of everything that decides its result."""

    @property
    def settings(self) -> tuple[Setting, ...]:
        """What is in the key, by name."""

    @property
    def code(self) -> tuple[ModuleHash, ...]:
        """The modules in the key."""


def reason(point: Keyed, store: PointStore) -> str:
    """Say why `point` has to run; "" when it is done."""
    found = store.find(point.key)
    if found.state == "done":
        return ""
    if found.state == "failed":
        return "it failed last time"
    if found.state == "interrupted":
        return "it was cut off last time"
    before = store.last_resolved(point.slot.readable, but=point.key)
    if before is None:
        return "not measured yet"
    return _some(identity.differences(before, point.code, point.settings)) or "its key changed"


def _uncalibrated(slot: Slot, store: PointStore) -> str:
    """Say why there is no calibration for `slot`, from what has changed since its last measurement."""
    before = store.last_resolved(slot.readable, but="any key")
    if before is None:
        return "not calibrated on this machine yet"
    return _some(points.changes_without(before, slot)) or "no calibration fits this machine, engine and profiler"


def _some(words: Sequence[str]) -> str:
    more = f" (and {len(words) - 3} more)" if len(words) > 3 else ""
    return ", ".join(words[:3]) + more


def seconds(todo: Iterable[Task]) -> float:
    """Estimate how long the tasks that have to run will take; by the grid's seconds where there is no calibration."""
    todo = [task for task in todo if task.why]
    servers = {(t.slot.trial, t.slot.panel.name, t.slot.series.name) for t in todo if not t.slot.external}
    windows = sum((t.point or t).slot.seconds + points.WARMUP + OVERHEAD for t in todo)
    return windows + SERVER_START * len(servers)


def megabytes(todo: Iterable[Task]) -> float:
    """Estimate the disk that the tasks that have to run will take."""
    return MEGABYTES * sum(bool(task.why) for task in todo)
