"""The modeled clock: times that can be added up by hand, links as queues, cancellations, determinism."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.core.assemble import Memory, instance_of
from systems.core.events import Arrived, Event, Moved, Ran, Woke
from systems.core.instance import Instance
from systems.core.memory.blocks import PagedBlocks
from systems.core.plan import IDLE, Iteration, Place, Plan, Pool, Span, SpanKind, Transfer, TransferKind
from systems.core.policy import Policy
from systems.core.virtual.computed import Computed
from systems.core.virtual.fleet import serve as serve_one
from systems.core.virtual.links import Link
from systems.fastserve.variants import VARIANTS as FASTSERVE
from systems.vllm.variants import VARIANTS as VLLM
from tests.core.toy import AMPLE, MS, Clockwork, Taped, config_of, requests_of, serve

ALL = [v.id for v in (*FASTSERVE, *VLLM)]
TIGHT = Memory(device_pages=14, host_pages=40, page_tokens=4, page_bytes=1000)
A_PAGE_A_MS = {"pcie": Link(1000 * 1e9 / MS)}


# -- time ---------------------------------------------------------------------------------------------------


def test_a_request_alone_takes_its_prompt_and_a_decode_for_each_further_token() -> None:
    (record,) = serve("fastserve/fcfs", [(10, 5, 4)]).records
    assert (record.scheduled, record.first_byte, record.end) == (0.010, 0.015, 0.018)
    assert [token.first for token in record.tokens] == [0.015, 0.016, 0.017, 0.018]
    assert (record.status, record.finish, record.output) == ("ok", "length", 4)


def test_an_arrival_waits_for_the_end_of_the_iteration() -> None:
    served = serve("fastserve/fcfs", [(0, 4, 3), (1, 6, 1)])
    assert served.starts == [4, 10], "4 to 10: a decode of the first beside the prompt of the second"
    assert served.ends == [11, 10]


def test_records_come_in_order_of_ids_whatever_the_order_of_arrival() -> None:
    served = serve("fastserve/fcfs", [(9, 1, 1), (0, 1, 1)])
    assert [record.id for record in served.records] == [0, 1]
    assert served.ends == [10, 1]


class Asked:
    """A cost model that keeps what it was asked; every iteration takes 1 ms."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[tuple[int, int]], int, int]] = []

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], decode_batch: int, decode_context: int) -> int:
        self.asked.append((list(chunks), decode_batch, decode_context))
        return MS


def asked(
    variant: str,
    jobs: Sequence[tuple[float, int, int]],
    cancels: Sequence[tuple[int, int]] = (),
    max_tokens: int = 2048,
) -> list[tuple[list[tuple[int, int]], int, int]]:
    instance = instance_of(config_of(variant, max_tokens=max_tokens), Taped(), AMPLE, Clockwork())
    cost = Asked()
    serve_one(Computed(instance, cost), requests_of(jobs), cancels=cancels)
    return cost.asked


def test_the_cost_model_is_told_chunks_and_the_context_of_the_decodes() -> None:
    assert asked("vllm/chunked", [(0, 5, 3), (0.5, 9, 2)], max_tokens=8) == [
        ([(5, 0)], 0, 0),
        ([(7, 0)], 1, 5),
        ([(2, 7)], 1, 6),
        ([], 1, 9),
    ]


def test_a_cancelled_member_of_a_lane_that_did_not_run_is_not_paid_for() -> None:
    # 0 and 1 decode; while the prompt of 2 has the engine to itself, 0 goes away
    costs = asked("vllm/alternating", [(0, 4, 9), (0, 4, 9), (1.5, 4, 2)], cancels=[(5 * MS // 2, 0)])
    assert costs[:4] == [([(4, 0), (4, 0)], 0, 0), ([], 2, 8), ([(4, 0)], 0, 0), ([], 2, 5 + 4)]


def test_a_member_cancelled_in_its_iteration_is_paid_for_to_its_end() -> None:
    costs = asked("fastserve/fcfs", [(0, 4, 9), (0, 4, 3)], cancels=[(3 * MS // 2, 0)])
    assert costs == [([(4, 0), (4, 0)], 0, 0), ([], 2, 8), ([], 1, 5)]


# -- plans a policy may make ------------------------------------------------------------------------------------


class Scripted:
    """A policy that answers the plans it was given, each at the first event of a type, and keeps all events."""

    def __init__(self, answers: dict[type[Event], Plan]) -> None:
        self.answers = answers
        self.events: list[tuple[int, Event]] = []
        self._next = IDLE

    def on(self, event: Event, now: int) -> None:
        self.events.append((now, event))
        self._next = self.answers.pop(type(event), IDLE)

    def plan(self, now: int) -> Plan:
        plan, self._next = self._next, IDLE
        return plan

    def describe(self, request: int) -> str:
        return ""


def transfer(number: int, pages: int, link: str = "pcie") -> Transfer:
    ends = (Place(Pool.DEVICE), Place(Pool.HOST))
    return Transfer(number, TransferKind.KV, 0, *ends, tuple(range(pages)), tuple(range(pages)), pages * 1000, link)


def scripted(answers: dict[type[Event], Plan], links: dict[str, Link]) -> list[tuple[int, str]]:
    """When (ms) which event came, for one request of 3 prompt tokens and one output token that arrives at 0."""
    policy = Scripted(answers)
    make: Callable[[], tuple[Policy, PagedBlocks]] = lambda: (policy, PagedBlocks(9, 9))  # noqa: E731 - for the type
    instance = Instance(make, Taped(), max_model_len=100)
    serve_one(Computed(instance, Clockwork()), requests_of([(0, 3, 1)]), links)
    return [(at // MS, type(event).__name__) for at, event in policy.events]


SPAN = Span(0, 0, 3, SpanKind.CHUNK, ((0,),))
DONE = Plan(finished=(0,))


def test_transfers_queue_on_their_link_and_run_beside_other_links_and_iterations() -> None:
    plan = Plan(
        launch=(Iteration(0, spans=(SPAN,)),),
        move=(transfer(0, 2), transfer(1, 4), transfer(2, 5, "nvlink"), transfer(3, 1)),
    )
    links = {**A_PAGE_A_MS, "nvlink": Link(1000 * 1e9 / MS, latency=10 * MS)}
    assert scripted({Arrived: plan, Ran: DONE}, links) == [
        (0, "Arrived"),
        (2, "Moved"),
        (3, "Ran"),
        (6, "Moved"),
        (7, "Moved"),
        (15, "Moved"),
    ]


def test_an_iteration_waits_for_the_transfers_it_names_and_no_others() -> None:
    plan = Plan(launch=(Iteration(0, spans=(SPAN,), after=(0,)),), move=(transfer(0, 2), transfer(1, 9)))
    policy_times = scripted({Arrived: plan, Ran: DONE}, A_PAGE_A_MS)
    assert policy_times == [(0, "Arrived"), (2, "Moved"), (2 + 3, "Ran"), (11, "Moved")]


def test_a_link_without_a_bandwidth_takes_no_time() -> None:
    plan = Plan(launch=(Iteration(0, spans=(SPAN,)),), move=(transfer(0, 2),))
    assert scripted({Arrived: plan, Ran: DONE}, {}) == [(0, "Arrived"), (0, "Moved"), (3, "Ran")]


def test_a_policy_is_woken_when_it_asked_for_it() -> None:
    answers = {Arrived: Plan(wake_at=8 * MS), Woke: Plan(launch=(Iteration(0, spans=(SPAN,)),)), Ran: DONE}
    assert scripted(answers, {}) == [(0, "Arrived"), (8, "Woke"), (11, "Ran")]


def test_a_policy_that_forgets_a_request_is_found_out() -> None:
    with pytest.raises(AssertionError, match="left requests waiting"):
        scripted({}, {})


def test_moved_comes_before_the_next_plan_can_use_the_pages() -> None:
    policy = Scripted(
        {Arrived: Plan(move=(transfer(0, 2),)), Moved: Plan(launch=(Iteration(0, spans=(SPAN,)),)), Ran: DONE}
    )
    instance = Instance(lambda: (policy, PagedBlocks(9, 9)), tape := Taped(), max_model_len=100)
    serve_one(Computed(instance, Clockwork()), requests_of([(0, 3, 1)]), A_PAGE_A_MS)
    assert [t.id for t in tape.carried] == [0]
    assert instance.counters.swapped_out_bytes == 2000


# -- clients ----------------------------------------------------------------------------------------------------


def test_a_request_that_cannot_be_served_fails_alone() -> None:
    instance = instance_of(config_of("fastserve/fcfs"), Taped(), TIGHT, Clockwork())
    long, fine = serve_one(Computed(instance, Clockwork()), requests_of([(0, 50, 7), (0, 50, 6)]))
    assert (long.status, long.output, long.first_byte) == ("failed", 0, None)
    assert "57" in long.error
    assert (fine.status, fine.output) == ("ok", 6)


@pytest.mark.parametrize("variant", ALL)
def test_cancelled_requests_end_where_they_are_and_leave_nothing(variant: str) -> None:
    jobs = [(n * 1.3, 3 + (n * 5) % 17, 2 + (n * 11) % 23) for n in range(24)]
    cancels = [(round(at * MS) + (n % 5) * 4 * MS + MS // 2, n) for n, (at, _, _) in enumerate(jobs) if n % 2]
    served = serve(variant, jobs, memory=TIGHT, links=A_PAGE_A_MS, cancels=cancels, clockwork=Clockwork(token=MS // 8))
    status = [record.status for record in served.records]
    assert set(status[::2]) == {"ok"}
    assert status[1::2].count("cancelled") >= 6
    for at, request in cancels:
        if status[request] == "cancelled":
            assert served.records[request].end == at / 1e9
            assert all(token.first * 1e9 <= at for token in served.records[request].tokens)
    assert served.instance.usage() == (0.0, 0.0)
    served.instance.blocks.check()


# -- determinism ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ALL)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    jobs=st.lists(
        st.tuples(st.integers(0, 30).map(float), st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=16
    )
)
def test_the_same_schedule_gives_the_same_records(variant: str, jobs: list[tuple[float, int, int]]) -> None:
    first, second = (serve(variant, jobs, memory=TIGHT, max_tokens=24, links=A_PAGE_A_MS) for _ in range(2))
    assert [r.to_json() for r in first.records] == [r.to_json() for r in second.records]
    assert first.tape.batches == second.tape.batches
