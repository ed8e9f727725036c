"""Where simulated requests spend their time: by hand, and against interval arithmetic on everything that ran."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.core.assemble import Memory, policy_of
from systems.core.plan import Iteration, Plan, Pool, Transfer
from systems.core.record import Record
from systems.core.variant import Scalar, find
from systems.core.virtual.fleet import serve
from systems.core.virtual.links import Link
from systems.core.virtual.simulated import Simulated
from tests.core.test_simulated import ALL, LINKS, scenario
from tests.core.toy import AMPLE, MS, Clockwork, Job, config_of, requests_of

Interval = tuple[int, int]


@dataclass
class _Iteration:
    began: int
    ready: int
    members: set[int]
    end: int = 1 << 62


@dataclass
class Tape:
    """Every iteration with its members, every transfer with its landing."""

    iterations: list[_Iteration] = field(default_factory=list)
    running: dict[int, _Iteration] = field(default_factory=dict)
    transfers: list[tuple[Transfer, int]] = field(default_factory=list)
    landed: dict[int, int] = field(default_factory=dict)


class Watched(Simulated):
    """Keeps a tape; the books are not looked at."""

    tape: Tape

    def plan(self, now: int) -> Plan:
        plan = super().plan(now)
        self.tape.transfers += [(move, now) for move in plan.move]
        return plan

    def moved(self, transfer: Transfer, now: int) -> None:
        super().moved(transfer, now)
        self.tape.landed[transfer.id] = now

    def begin(self, iteration: Iteration, now: int, ready: int, horizon: int) -> int:
        end = super().begin(iteration, now, ready, horizon)
        members = {span.request for span in iteration.spans} | self._lanes[iteration.lane].joined.keys()
        self.tape.running[iteration.lane] = _Iteration(now, ready, members)
        self.tape.iterations.append(self.tape.running[iteration.lane])
        return end

    def end(self, lane: int, now: int) -> None:
        self.tape.running.pop(lane).end = now
        super().end(lane, now)


def watched(
    variant: str,
    memory: Memory,
    clockwork: Clockwork,
    batch: int = 4,
    *,
    leaps: bool = True,
    policy: dict[str, Scalar] | None = None,
) -> Watched:
    entry, config = find(variant), config_of(variant, batch, settings=policy)
    engine = Watched(
        lambda: policy_of(entry, config, memory, clockwork),
        clockwork,
        max_model_len=config.max_model_len,
        oracle=entry.oracle,
        leaps=leaps,
    )
    engine.tape = Tape()
    return engine


def clipped(intervals: list[Interval], within: Interval) -> list[Interval]:
    low, high = within
    return [(max(a, low), min(b, high)) for a, b in intervals if max(a, low) < min(b, high)]


def measure(intervals: list[Interval], without: list[Interval] = []) -> int:  # noqa: B006 - never changed
    """Length of the union of `intervals`, less what `without` covers."""
    edges = sorted({edge for pair in (*intervals, *without) for edge in pair})
    total = 0
    for a, b in itertools.pairwise(edges):
        inside = any(x <= a and b <= y for x, y in intervals)
        total += (b - a) * (inside and not any(x <= a and b <= y for x, y in without))
    return total


def expected(tape: Tape, record: Record) -> tuple[int, int]:
    """Executing and swapping of one request, straight from the definition in ledger.py."""
    life = round(record.scheduled * 1e9), round(record.end * 1e9)
    mine = [one for one in tape.iterations if record.id in one.members]
    executing = [(one.ready, one.end) for one in mine]
    swapping = [(one.began, one.ready) for one in mine]
    arrivals = [life[0]]  # and landings of its own copies in
    for transfer, began in tape.transfers:
        if transfer.request == record.id and transfer.target.pool is Pool.DEVICE:
            landed = tape.landed.get(transfer.id, 1 << 62)
            joined = min((one.began for one in mine if one.began >= began), default=1 << 62)
            swapping.append((began, min(landed, joined)))
            arrivals.append(min(landed, joined))
    moving = [(began, tape.landed.get(transfer.id, 1 << 62)) for transfer, began in tape.transfers]
    for one in mine:
        place = tape.iterations.index(one)
        last = max((other.end for other in tape.iterations[:place]), default=0)
        free = max([last, *(at for at in arrivals if at <= one.began)])
        swapping += clipped(moving, (free, one.began))
    return measure(clipped(executing, life)), measure(clipped(swapping, life), clipped(executing, life))


@pytest.mark.parametrize("variant", ALL)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_the_books_agree_with_interval_arithmetic(variant: str, seed: int) -> None:
    jobs, cancels, memory = scenario(seed)
    engine = watched(variant, memory, Clockwork(token=MS // 8))
    for record in serve(engine, requests_of(jobs), LINKS, cancels):
        if record.status == "failed":
            continue
        assert record.executing is not None
        assert record.swapping is not None
        found = round(record.executing * 1e9), round(record.swapping * 1e9)
        assert found == expected(engine.tape, record), record


def parts(
    variant: str, jobs: list[Job], memory: Memory = AMPLE, batch: int = 1, **policy: Scalar
) -> list[tuple[float, float, float]]:
    """(executing, swapping, queueing) of every job, in ms; a copy of one page takes 4 ms."""
    link = Link(memory.page_bytes * 1e9 / (4 * MS))
    engine = watched(variant, memory, Clockwork(), batch, policy=policy)
    found = []
    for r in serve(engine, requests_of(jobs), {"pcie": link}):
        executing, swapping = (1e3 * (part or 0.0) for part in (r.executing, r.swapping))
        found.append(
            (round(executing, 6), round(swapping, 6), round(1e3 * (r.end - r.scheduled) - executing - swapping, 6))
        )
    return found


def test_alone_a_request_only_executes() -> None:
    assert parts("fastserve/fcfs", [(0, 5, 4)]) == [(8.0, 0.0, 0.0)]  # 5 ms of prompt, 3 decodes


def test_behind_another_it_queues() -> None:
    assert parts("fastserve/fcfs", [(0, 5, 4), (1, 3, 2)]) == [(8.0, 0.0, 0.0), (4.0, 0.0, 7.0)]


def test_an_engine_that_waits_for_a_copy_makes_its_next_batch_swap() -> None:
    """Two pages of 4 tokens. 0 has filled both; the shorter 1 wants one, so 0 leaves for 8 ms and later comes back."""
    memory = Memory(device_pages=2, host_pages=4, page_tokens=4, page_bytes=4096)
    (first, second) = parts("fastserve/fixed-priority", [(0, 5, 3), (1, 2, 2)], memory, keep="reactive")
    assert second == (3.0, 8.0, 4.0)  # the prompt of 0 is not cut: 4 ms; then the copy out of 0, which it waits for
    assert first == (7.0, 8.0, 11.0)  # 5 + 2 ms of its own; the copy in; queueing: the copy out and all of 1
