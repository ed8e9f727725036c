"""Several engines in modeled time: dispatch, messages, engines that come and go, time that never goes back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.core.assemble import Memory
from systems.core.events import Arrived, Ended, Event, Ran, Said, StopReason
from systems.core.memory.blocks import PagedBlocks
from systems.core.plan import IDLE, Iteration, Message, Plan, Span, SpanKind
from systems.core.record import Record
from systems.core.virtual.dispatch import LeastLoaded, RoundRobin
from systems.core.virtual.engine import Run, merged
from systems.core.virtual.fleet import Fleet
from systems.core.virtual.simulated import Simulated
from tests.core.test_simulated import ALL, LINKS, scenario, simulated
from tests.core.toy import AMPLE, MS, Clockwork, requests_of


def fleet(variant: str, count: int, memory: Memory = AMPLE) -> tuple[Fleet, list[Simulated]]:
    engines = [simulated(variant, memory, Clockwork()) for _ in range(count)]
    return Fleet({str(n): engine for n, engine in enumerate(engines)}, LINKS, LeastLoaded()), engines


def test_round_robin_and_least_loaded() -> None:
    turn = RoundRobin()
    assert [turn([5, 0, 0]) for _ in range(4)] == [0, 1, 2, 0]
    assert LeastLoaded()([2, 1, 1]) == 1


def test_least_loaded_spreads_requests_that_come_together() -> None:
    both, engines = fleet("fastserve/fcfs", 2)
    records = both.run(requests_of([(0, 4, 5)] * 4))
    assert [engine.counters.generated_tokens for engine in engines] == [10, 10]
    assert {record.end for record in records} == {0.008 + 0.004}, "two prompts of 4 in one pass, then four decodes"


def test_an_engine_that_is_retired_finishes_what_it_has_and_one_added_is_used() -> None:
    both, (first, _) = fleet("fastserve/fcfs", 2)
    both.retire("1")
    late = simulated("fastserve/fcfs", AMPLE, Clockwork())
    both.add("late", late)
    records = both.run(requests_of([(0, 4, 5), (0, 4, 5), (1, 4, 5), (1, 4, 5)]))
    assert all(record.status == "ok" for record in records)
    assert (first.counters.generated_tokens, late.counters.generated_tokens) == (10, 10)


# -- messages ---------------------------------------------------------------------------------------------------


class Hands:
    """Computes the first request's prompt, then hands it to `target`, which decodes its second and last token."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.heard: list[tuple[int, Event]] = []
        self._next = IDLE

    def on(self, event: Event, now: int) -> None:
        self.heard.append((now, event))
        decode = Span(0, 4, 1, SpanKind.DECODE, ((0, 1),))
        if isinstance(event, Arrived):
            self._next = Plan(launch=(Iteration(0, spans=(Span(0, 0, 4, SpanKind.CHUNK, ((0,),)),)),))
        elif isinstance(event, Ran) and self.target:
            self._next = Plan(say=(Message(self.target, "yours", carries=(0,)),))
        elif isinstance(event, Said):
            self._next = Plan(launch=(Iteration(0, joined=(decode,)),))
        elif isinstance(event, Ran):
            assert event.outcome.ended == (Ended(0, StopReason.LENGTH, 0),)
            self._next = Plan(finished=(0,))

    def plan(self, now: int) -> Plan:
        plan, self._next = self._next, IDLE
        return plan

    def describe(self, request: int) -> str:
        return ""


def test_a_message_takes_its_time_and_carries_a_request_with_what_its_client_has_seen() -> None:
    policies = {"a": Hands("b"), "b": Hands("")}
    engines = {
        name: Simulated(lambda policy=policy: (policy, PagedBlocks(9, 9)), Clockwork(), max_model_len=30)  # type: ignore[misc]
        for name, policy in policies.items()
    }
    (record,) = Fleet(engines, message_ns=7 * MS).run(requests_of([(0, 4, 2)]))
    assert (record.first_byte, record.end, record.output) == (0.004, 0.004 + 0.007 + 0.001, 2)
    assert [type(event) for _, event in policies["a"].heard] == [Arrived, Ran]
    (when, said), _ = policies["b"].heard
    assert (when, said) == (11 * MS, Said("a", "yours"))
    assert engines["a"].load == engines["b"].load == 0


# -- properties -------------------------------------------------------------------------------------------------


class Watched(Simulated):
    """Checks that time never goes back, that a lane runs one iteration at a time, and that work is conserved."""

    last = 0
    running: set[int] = frozenset()  # type: ignore[assignment]

    def plan(self, now: int) -> Plan:
        assert now >= self.last, "time went back"
        self.last = now
        return super().plan(now)

    def begin(self, iteration: Iteration, now: int, ready: int, horizon: int) -> int:
        assert iteration.lane not in self.running
        self.running = {*self.running, iteration.lane}
        end = super().begin(iteration, now, ready, horizon)
        assert end >= ready >= now
        return end

    def end(self, lane: int, now: int) -> None:
        assert lane in self.running
        self.running = self.running - {lane}
        super().end(lane, now)


@pytest.mark.parametrize("variant", ALL)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1 << 30), count=st.integers(1, 3))
def test_no_request_is_lost_and_every_token_is_computed_once(variant: str, seed: int, count: int) -> None:
    jobs, cancels, memory = scenario(seed)
    engines = [simulated(variant, memory, Clockwork(), kind=Watched) for _ in range(count)]
    named = {str(n): engine for n, engine in enumerate(engines)}
    records = Fleet(named, LINKS, LeastLoaded()).run(requests_of(sorted(jobs)), cancels)
    assert len(records) == len(jobs)
    for record in records:
        assert record.status == "cancelled" or record.output == record.want
    tokens = sum(engine.counters.generated_tokens for engine in engines)
    put_out = sum(record.output for record in records)
    assert put_out <= tokens, "a token that a client saw was computed"
    assert cancels or put_out == tokens, "and no other was"
    assert all(engine.blocks.device_free == memory.device_pages for engine in engines)


def rate(records: Sequence[Record]) -> float:
    return sum(record.output for record in records) / max(record.end for record in records)


@pytest.mark.parametrize("variant", ["fastserve/skip-join", "fastserve/fcfs", "vllm/alternating", "vllm/chunked"])
def test_more_engines_do_not_lower_the_throughput_averaged_over_seeds(variant: str) -> None:
    jobs = {seed: sorted(scenario(seed)[0]) for seed in range(40)}
    mean: list[float] = []
    for count in (1, 2, 3, 4):
        found = [rate(fleet(variant, count, Memory(40, 80, 4, 1000))[0].run(requests_of(j))) for j in jobs.values()]
        mean.append(sum(found) / len(found))
    assert all(more >= 0.98 * fewer for fewer, more in itertools.pairwise(mean)), mean


def test_many_runs_become_few_and_keep_ends_counts_and_the_longest_gaps() -> None:
    runs = [Run(10 * n + (1000 if n > 30 else 0), 10 * n + 3 + (1000 if n > 30 else 0), 4) for n in range(60)]
    few = merged(runs, 4)
    assert len(few) == 4
    assert (few[0].first, few[-1].last, sum(r.number for r in few)) == (0, 1593, 240)
    assert any(later.first - earlier.last > 1000 for earlier, later in itertools.pairwise(few))
    assert merged(runs[:3], 4) == runs[:3]


def test_a_request_cancelled_in_a_leap_has_the_tokens_that_came_before() -> None:
    engine = simulated("fastserve/fcfs", AMPLE, Clockwork())
    (record,) = Fleet({"": engine}).run(requests_of([(0, 4, 30)]), cancels=[(round(9.5 * MS), 0)])
    assert (record.status, record.output, record.end) == ("cancelled", 6, 0.0095)
    assert [run.number for run in record.tokens] == [1, 5]
