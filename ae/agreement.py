"""Fidelity (b): every finished point of tier smoke against its own simulation, with the time of this machine's profile.

A `Spot` is one place of a figure over all its trials. Invalid measurements, and points of external servers (which have
no event log), are left out and counted.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ae import curves, metrics, outputs, places, slots
from ae.load.records import read
from ae.sim import host, served, work
from ae.store import Attempt
from ae.table import Row
from ae.validity import Verdict
from systems.core.errors import PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from ae.curves import Estimate, Span
    from ae.figure import Figure, Metric
    from ae.sim.host import Sample
    from ae.sim.served import Host
    from ae.slots import Slot
    from systems.core.record import Record

BUCKETS = (("load <= 0.7", 0.0, 0.7), ("to 0.9", 0.7, 0.9), ("above", 0.9, math.inf))
FEW = 16  # points that are not worth a pool of processes
_T = TypeVar("_T")
_R = TypeVar("_R")


class Point(NamedTuple):
    """One finished point: its place, its folder, what the figure reads off it, and its SLO in seconds (or a share)."""

    figure: str
    panel: str
    series: str
    load: float
    trial: int
    folder: Path
    metric: Metric
    targets: metrics.Targets
    slo: float


class Seen(NamedTuple):
    """Mean normalized latency (s/token), output tokens/s, and the figure's own metric."""

    latency: float
    throughput: float
    value: float


class Pair(NamedTuple):
    """One point, measured and simulated with what serving adds according to `host`."""

    point: Point
    host: Host
    measured: Seen
    simulated: Seen


@dataclass(frozen=True, slots=True)
class Spot:
    """One place of a figure over its trials: latency and throughput, simulated / measured.

    `inside`: the mean simulated latency is within the 95 % interval of the measured trials (None below 3 of them).
    """

    figure: str
    panel: str
    series: str
    load: float
    latency: Estimate
    throughput: Estimate
    inside: bool | None


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a panel: latency by bucket of load (None: no point there), throughput, and where it crosses the SLO."""

    figure: str
    panel: str
    series: str
    latency: tuple[Estimate | None, ...]
    throughput: Estimate
    measured_knee: Estimate
    simulated_knee: Estimate
    knee: Estimate


@dataclass(frozen=True, slots=True)
class Agreement:
    """All that was compared, and on what `machine` it was measured; `left_out` finished points could not be compared."""

    pairs: tuple[Pair, ...]
    left_out: int
    machine: str


def agreement(figures: Sequence[Figure], tell: Callable[[str], None]) -> Agreement:
    """Simulate every finished smoke point of `figures`; `tell` hears how many. Raises PrerequisiteError when there is none."""
    found = [pair for figure in figures if not figure.shares for pair in _finished(figure)]
    points = [point for point, usable in found if usable]
    if not points:
        names = " ".join(figure.id for figure in figures)
        raise PrerequisiteError("There is no valid smoke point to compare with.", f"Measure some: ae run {names}.")
    tell(f"simulating {len(points)} points")
    pairs = tuple(_each(_pair, list(zip(points, _hosts(points), strict=True))))
    machine = _manifest(points[0].folder)["machine"]
    return Agreement(pairs, len(found) - len(points), f"{machine['cpu']}, {machine['cores']} cores")


def _hosts(points: Sequence[Point]) -> list[Host]:
    """What serving added to each point, by the warm-ups of its panel and trial: they ran within minutes of each other.

    The machine's speed drifts more from one trial to the next than the constants of one trial are uncertain.
    """
    samples: dict[tuple[str, str, int], list[Sample]] = {}
    for point, sample in zip(points, _each(host.sample, [point.folder for point in points]), strict=True):
        samples.setdefault(_session(point), []).append(sample)
    found = {session: host.host_of(group) for session, group in samples.items()}
    return [found[_session(point)] for point in points]


def _session(point: Point) -> tuple[str, str, int]:
    return point.figure, point.panel, point.trial


def _each(do: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """What `do` gives for each, in order; on all cores where that pays."""
    if len(items) <= FEW:
        return [do(item) for item in items]
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(os.cpu_count(), context, work.begin) as pool:
        return list(pool.map(do, items, chunksize=4))


def _finished(figure: Figure) -> Iterator[tuple[Point, bool]]:
    """The newest finished attempt at each place of the figure, whatever code it ran, and whether it can be compared."""
    folder = places.figure(figure.id, "smoke") / "points"
    taken: set[tuple[str, str, float, int]] = set()
    for grid in sorted(figure.grids):
        for slot in slots.slots(figure, grid):
            place = (slot.panel.name, slot.series.name, slot.load, slot.trial)
            done = [file.parent for file in folder.glob(f"{slot.readable}-????????/attempt-*/DONE")]
            if done and place not in taken:
                taken.add(place)
                attempt = max(done, key=lambda path: (path.stat().st_mtime, Attempt(path).number))
                yield _point(figure, slot, attempt), _usable(attempt)


def _usable(attempt: Path) -> bool:
    verdict = Verdict.from_json((attempt / "verdict.json").read_text())
    return verdict.valid and (attempt / served.LOG).exists()


def _point(figure: Figure, slot: Slot, attempt: Path) -> Point:
    unit = _manifest(attempt)["calibration"]["slo_iteration"]
    targets, metric = outputs.targets(slot.panel, unit), figure.metric_of(slot.panel)
    slo = slot.panel.slo.share if metric == "slo_attainment" else targets.normalized or 0.0
    place = figure.id, slot.panel.name, slot.series.name, slot.load, slot.trial
    return Point(*place, attempt, metric, targets, slo)


def _manifest(attempt: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((attempt / "manifest.json").read_text())
    return found


def _pair(given: tuple[Point, Host]) -> Pair:
    point, constants = given
    measured, simulated = read(point.folder / "requests.jsonl"), served.simulate(point.folder, constants)
    return Pair(point, constants, _seen(measured, point), _seen(simulated, point))


def _seen(records: list[Record], point: Point) -> Seen:
    return Seen(
        metrics.metric("normalized_latency_mean", records),
        metrics.summarise(records).output_throughput,
        metrics.metric(point.metric, records, point.targets),
    )


def spots(pairs: Iterable[Pair]) -> list[Spot]:
    """One per place, in the order of the points."""
    return [_spot(group) for group in _groups(pairs, lambda p: (*_series(p), p.point.load))]


def lines(pairs: Iterable[Pair]) -> list[Line]:
    """One per panel and series, in the order of the points."""
    return [_line(group) for group in _groups(pairs, _series)]


def _series(pair: Pair) -> tuple[str, str, str]:
    return pair.point.figure, pair.point.panel, pair.point.series


def _groups(pairs: Iterable[Pair], key: Callable[[Pair], tuple[object, ...]]) -> list[list[Pair]]:
    found: dict[tuple[object, ...], list[Pair]] = {}
    for pair in pairs:
        found.setdefault(key(pair), []).append(pair)
    return list(found.values())


def _spot(group: list[Pair]) -> Spot:
    trials = curves.combine([curves.Span(p.measured.latency, p.measured.latency) for p in group])
    mean = sum(p.simulated.latency for p in group) / len(group)
    return Spot(
        *_series(group[0]),
        group[0].point.load,
        _ratio(group, _latency),
        _ratio(group, _throughput),
        trials.low <= mean <= trials.high if trials.n > 2 else None,
    )


def _latency(pair: Pair) -> float:
    return pair.simulated.latency / pair.measured.latency


def _throughput(pair: Pair) -> float:
    return pair.simulated.throughput / pair.measured.throughput


def _ratio(group: Iterable[Pair], ratio: Callable[[Pair], float]) -> Estimate:
    """Simulated / measured: of each trial the geometric mean over its loads, then the mean over trials."""
    by_trial: dict[int, list[float]] = {}
    for pair in group:
        by_trial.setdefault(pair.point.trial, []).append(math.log(ratio(pair)))
    values = [math.exp(sum(logs) / len(logs)) for logs in by_trial.values()]
    return curves.combine([curves.Span(value, value) for value in values])


def _line(group: list[Pair]) -> Line:
    parts = [[p for p in group if low < p.point.load <= high] for _, low, high in BUCKETS]
    knees = _knees(group)
    return Line(
        *_series(group[0]),
        tuple(_ratio(part, _latency) if part else None for part in parts),
        _ratio(group, _throughput),
        curves.combine([theirs for theirs, _ in knees]),
        curves.combine([ours for _, ours in knees]),
        curves.combine([ours.over(theirs) for theirs, ours in knees]),
    )


def _knees(group: list[Pair]) -> list[tuple[Span, Span]]:
    """Where the curves of each trial cross the SLO, measured and simulated over the same loads.

    Trials in which either is known only as a bound take no part, unless all are.
    """
    by_trial: dict[int, list[Pair]] = {}
    for pair in group:
        by_trial.setdefault(pair.point.trial, []).append(pair)
    found = [
        (_crossing([(p.point, p.measured) for p in trial]), _crossing([(p.point, p.simulated) for p in trial]))
        for trial in by_trial.values()
    ]
    return [pair for pair in found if pair[0].exact and pair[1].exact] or found


def _crossing(seen: list[tuple[Point, Seen]]) -> Span:
    rows = [Row(p.panel, p.series, p.load, 0.0, p.trial, one.value, slo=p.slo) for p, one in seen]
    return curves.crossing(rows, falling=seen[0][0].metric == "slo_attainment")
