"""A served point simulated: its schedule, engine settings and memory, with the time its measured profile predicts.

Everything is in the point's own folder. The policy, its memory and its estimator are what served the real requests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from ae.load.schedule import Planned, Schedule
from systems.core.assemble import Memory, policy_of
from systems.core.config import EngineConfig
from systems.core.errors import UsageError
from systems.core.profile import Profile, ProfileCost, ProfileEstimator
from systems.core.request import Request, Sampling
from systems.core.variant import find
from systems.core.virtual.fleet import serve
from systems.core.virtual.links import Link
from systems.core.virtual.simulated import Simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from systems.core.compute import CostModel
    from systems.core.memory.blocks import PagedBlocks
    from systems.core.plan import Iteration
    from systems.core.policy import Policy
    from systems.core.record import Record

LOG = "events.jsonl"


@dataclass(frozen=True, slots=True)
class Host:
    """What serving adds to the profiled passes, in ns; all 0: nothing but the profile.

    `turn` is for every pass: policy, bookkeeping, hand-over, and what other processes take from the engine's core.
    `prompts` is for a pass with prompts in it, on top of that; `wake` for the first pass after the engine was idle.
    `request` is once for a request: load generator, HTTP, tokeniser and pipe, there and back.
    """

    turn: int = 0
    prompts: int = 0
    wake: int = 0
    request: int = 0


class Serving:
    """A `CostModel`: passes as profiled, and what serving adds to them. `cold`: the next one finds the engine idle."""

    def __init__(self, cost: CostModel, host: Host) -> None:
        self.cold = False
        self._cost = cost
        self._host = host

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], decode_batch: int, decode_context: int) -> int:
        """Ns for `chunks` (tokens, context before them) and `decode_batch` decodes over `decode_context` tokens in all."""
        host, cold, self.cold = self._host, self.cold, False
        more = host.turn + (host.prompts if chunks else 0) + (host.wake if cold else 0)
        return self._cost.iteration_ns(chunks, decode_batch, decode_context) + more


class _Engine(Simulated):
    """Knows when it was idle: an iteration then begins later than the last one ended."""

    def __init__(self, make: Callable[[], tuple[Policy, PagedBlocks]], cost: Serving, config: EngineConfig) -> None:
        super().__init__(
            make,
            cost,
            max_model_len=config.max_model_len,
            max_queue=config.max_queue,
            oracle=find(config.variant).oracle,
        )
        self._serving = cost
        self._over = -1

    def begin(self, iteration: Iteration, now: int, ready: int, horizon: int) -> int:
        """Start an iteration; when it ends."""
        self._serving.cold = now > self._over
        return super().begin(iteration, now, ready, horizon)

    def end(self, lane: int, now: int) -> None:
        """The iteration of `lane` is over."""
        self._over = now
        super().end(lane, now)


class Served(NamedTuple):
    """What a point was served by."""

    config: EngineConfig
    memory: Memory
    profile: Profile


def served_by(folder: Path) -> Served:
    """Engine and profile of a point, from the header of its event log. Raises UsageError."""
    try:
        with (folder / LOG).open() as lines:
            header = json.loads(lines.readline())
        config, memory, profile = EngineConfig(**header["config"]), Memory(**header["memory"]), header["profile"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder} has no event log that this version reads: {error!r}.", "Measure it again."
        ) from error
    return Served(config, memory, Profile.from_dict(profile))


def simulate(folder: Path, host: Host) -> list[Record]:
    """The records of the point in `folder`, as a simulation gives them, warm-up included. Raises UsageError."""
    config, memory, profile = served_by(folder)
    planned = Schedule.read(folder / "schedule.jsonl").requests
    entry = find(config.variant)
    engine = _Engine(
        lambda: policy_of(entry, config, memory, ProfileEstimator(profile)),
        Serving(ProfileCost(profile), host),
        config,
    )
    first = min((one.at for one in planned), default=0.0)
    requests = [_request(i, one, first, host) for i, one in enumerate(planned)]
    records = serve(engine, requests, {"pcie": Link(config.link_bytes_per_s)})
    return [_on_schedule(record, planned[record.id], first) for record in records]


def _request(place: int, one: Planned, first: float, host: Host) -> Request:
    """Ids follow the order of arrival, as in a server; what a client and the front end take, they take beforehand."""
    arrival = round((one.at - first) * 1e9) + host.request
    return Request(place, range(len(one.prompt)), Sampling(max_tokens=one.output, ignore_eos=True), arrival=arrival)


def _on_schedule(record: Record, one: Planned, first: float) -> Record:
    """The record in the schedule's own time, under its own id."""
    return replace(
        record,
        id=one.id,
        warmup=one.warmup,
        slo=one.slo,
        scheduled=one.at,
        sent=one.at,
        first_byte=None if record.first_byte is None else record.first_byte + first,
        end=record.end + first,
        tokens=tuple(run._replace(first=run.first + first) for run in record.tokens),
    )
