"""Measures one point on a running server and leaves everything about it in an attempt folder."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from ae import manifest, points, processes, validity
from ae.load import records as recorded
from ae.load.facts import Facts, Settings, from_line
from ae.neighbours import Meter
from ae.points import REQUEST_TIMEOUT, Point
from systems.core.errors import MeasurementInvalid, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from ae.launch import Applied, Server
    from ae.load.facts import Outcome
    from ae.load.launch import Generator
    from ae.store import Attempt
    from systems.core.record import Record

NEIGHBOURS = 0.1  # cores; more than that moves a latency by more than the trials differ
_GRACE = 60.0  # seconds on top of a point's own time before its load generator counts as stuck


@dataclass(frozen=True, slots=True)
class Place:
    """Where a point belongs: tier, figure; who measures it; and the retries that led here."""

    tier: str
    figure: str
    generator: Generator
    retries: tuple[str, ...] = ()


def measure(point: Point, server: Server | None, attempt: Attempt, place: Place) -> validity.Verdict:
    """Run the point's schedule and write its folder, marker last. `server` is None for an external one.

    Raises AeError when there is nothing to keep; the attempt then has no marker yet (see `give_up`).
    """
    started, begun = manifest.utc(), time.monotonic()
    offset = processes.size(server.log) if server else 0
    attempt.write("resolved.json", point.to_json())
    point.schedule.write(attempt.path / "schedule.jsonl")
    applied = server.applied() if server else None
    try:
        if server:
            server.reset(attempt.path / "events.jsonl")
            attempt.write("metrics_before.prom", server.metrics())
        place.generator.begin()  # before the meter, which counts the children that are there as ours
        meter = Meter(processes.sessions())
        outcome = _drive(point, server, attempt, place.generator)
        others = meter.others() if server else None  # an external server's work would count as somebody else's
        if server:
            attempt.write("metrics_after.prom", server.metrics())
            server.reset(None)  # closes the event log
    finally:
        if server:
            attempt.write("server.log", processes.since(server.log, offset))
    attempt.adopt(attempt.temporary("requests.jsonl"), "requests.jsonl")
    points.check_unchanged(point)
    attempt.write("client.json", outcome.line + "\n")
    records = recorded.read(attempt.path / "requests.jsonl")
    mismatches = applied.mismatches if applied else ()
    verdict = judge(records, outcome.facts, mismatches, others, point.slot.statistic)
    attempt.write("verdict.json", verdict.to_json() + "\n")
    attempt.write("manifest.json", _manifest(point, place, attempt, applied, started, begun, others).to_json())
    attempt.finish("DONE", "valid" if verdict.valid else "invalid: " + verdict.why)
    return verdict


def give_up(attempt: Attempt, reason: str) -> None:
    """Mark an attempt as failed, with its reason."""
    attempt.finish("FAILED", reason)


def judge(
    records: list[Record], facts: Facts, mismatches: tuple[str, ...], others: float | None, statistic: str
) -> validity.Verdict:
    """The load generator's checks, whether the server did what it was told, and whether the machine was ours."""
    checks = [_figures_own(check) for check in validity.judge(records, facts, statistic=statistic).checks]
    return validity.Verdict((*checks, applied_check(mismatches), *neighbours_check(others)))


def _figures_own(check: validity.Check) -> validity.Check:
    """Point at what decides a figure's number of requests; `ae bench` has options for it, `ae run` has none."""
    if check.ok or check.code != "samples":
        return check
    return replace(check, remedy="Raise `turns` (or `seconds`) of the grid in the figure's file.")


def neighbours_check(others: float | None) -> list[validity.Check]:
    """The check on other programs' use of the CPU (in cores); none where it is not known."""
    if others is None:
        return []
    quiet = others <= NEIGHBOURS
    remedy = "" if quiet else "Stop other programs and run again: ae run FIGURE --again."
    found = f"other programs kept {others:.2f} cores busy"
    return [validity.Check("neighbours", quiet, found, f"<= {NEIGHBOURS:g} cores", remedy)]


def applied_check(mismatches: tuple[str, ...]) -> validity.Check:
    """The check on the configuration that the server reads back."""
    remedy = "" if not mismatches else "The server ignores a setting: fix the engine or take the setting out."
    found = "; ".join(mismatches) or "all settings in effect"
    return validity.Check("applied_config", not mismatches, found, "what was asked for", remedy)


def read_facts(folder: Path) -> Facts:
    """What the load generator said about itself in a finished attempt."""
    return from_line((folder / "client.json").read_text().strip()).facts


def _drive(point: Point, server: Server | None, attempt: Attempt, generator: Generator) -> Outcome:
    """Let the load generator run the point's schedule into the attempt."""
    settings = Settings(
        url=server.url if server else point.url,
        schedule=attempt.path / "schedule.jsonl",
        out=attempt.temporary("requests.jsonl"),
        timeout=REQUEST_TIMEOUT,
    )
    log = attempt.path / "client.log"
    try:
        return generator.run(settings, alive=lambda: server is None or server.alive, limit=_limit(point), log=log)
    except UsageError as error:  # not the user's: a schedule of ours that cannot be run is this point's failure
        raise MeasurementInvalid(error.what, error.fix) from error


def _limit(point: Point) -> float:
    return point.slot.seconds + REQUEST_TIMEOUT + _GRACE


def _manifest(
    point: Point,
    place: Place,
    attempt: Attempt,
    applied: Applied | None,
    started: str,
    begun: float,
    others: float | None,
) -> manifest.Manifest:
    commit, dirty = manifest.git()
    compute = "external" if point.engine is None else "synthetic" if point.engine.model == "synthetic" else "torch"
    return manifest.Manifest(
        point=point.slot.readable,
        figure=place.figure,
        tier=place.tier,
        executor="external" if point.engine is None else f"{compute}+wall",
        started=started,
        ended=manifest.utc(),
        seconds=round(time.monotonic() - begun, 3),
        attempt=attempt.number,
        arrival_seed=point.seed,
        engine_seed=point.engine.seed if point.engine else 0,
        git_commit=commit,
        git_dirty=dirty,
        machine=manifest.this_machine(),
        packages=manifest.packages(),
        environment=manifest.environment(),
        applied=json.loads(applied.text) if applied else {},
        mismatches=applied.mismatches if applied else (),
        retries=place.retries,
        neighbours=others,
        calibration={**asdict(point.calibration), "slo_iteration": point.iteration},
    )
