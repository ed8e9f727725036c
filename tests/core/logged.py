"""Event logs made on the modeled clock: short of memory, over a slow link, with clients that go away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from systems.core.assemble import Memory, instance_of, log_header, policy_of
from systems.core.compute import CostModel
from systems.core.config import EngineConfig
from systems.core.event_log import EventLog
from systems.core.profile import Profile, ProfileCost, ProfileEstimator
from systems.core.synthetic import SyntheticCompute
from systems.core.variant import find
from systems.core.virtual.computed import Computed
from systems.core.virtual.fleet import serve
from systems.core.virtual.links import Link
from systems.core.virtual.simulated import Simulated
from tests.core.toy import MS, requests_of

MEMORY = Memory(device_pages=14, host_pages=20, page_tokens=4, page_bytes=1000)
# Jobs that crowd each other out, and behind a pause one that is alone for long: it leaps.
JOBS = [*((n * 1.7 % 20, 3 + (n * 5) % 17, 2 + (n * 11) % 23) for n in range(25)), (400.0, 5, 40)]
CANCELS = [(7 * MS, 3), (15 * MS, 8)]
LINKS = {"pcie": Link(1000 * 1e9 / (MS // 3))}
Row = list[Any]
Job = tuple[float, int, int]


class Asked:
    """A cost model that keeps what it was asked."""

    def __init__(self, cost: CostModel) -> None:
        self.asked: list[tuple[tuple[tuple[int, int], ...], int, int]] = []
        self._cost = cost

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], decode_batch: int, decode_context: int) -> int:
        self.asked.append((tuple(chunks), decode_batch, decode_context))
        return self._cost.iteration_ns(chunks, decode_batch, decode_context)


def simulated(variant: str, path: Path, jobs: Sequence[Job] = JOBS, *, leaps: bool = True) -> Asked:
    """Log an engine that counts tokens; the cost model it asked."""
    config, profile = EngineConfig("synthetic", variant, max_batch=4, max_tokens=32), Profile.synthetic()
    entry, cost = find(variant), Asked(ProfileCost(profile))
    engine = Simulated(
        lambda: policy_of(entry, config, MEMORY, ProfileEstimator(profile)),
        cost,
        max_model_len=config.max_model_len,
        oracle=entry.oracle,
        leaps=leaps,
    )
    engine.log = EventLog(path, log_header(config, MEMORY, profile.to_dict()))
    serve(engine, requests_of(jobs), LINKS, CANCELS if jobs is JOBS else [])
    engine.log.close()
    return cost


def served(variant: str, path: Path) -> None:
    """Log the instance that serves real requests, with made-up tokens."""
    config, profile = EngineConfig("synthetic", variant, max_batch=4, max_tokens=32), Profile.synthetic()
    instance = instance_of(config, SyntheticCompute(), MEMORY, ProfileEstimator(profile))
    instance.start_log(EventLog(path, log_header(config, MEMORY, profile.to_dict())))
    serve(Computed(instance, ProfileCost(profile)), requests_of(JOBS), LINKS, CANCELS)
    instance.start_log(None)


def rows_of(path: Path) -> list[Row]:
    """The rows behind the header."""
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


def ran(path: Path) -> list[Row]:
    """The events of iterations that ended."""
    return [row[1] for row in rows_of(path) if row[1] and row[1][0] == "ran"]
