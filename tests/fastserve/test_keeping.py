"""What becomes of the KV of preempted jobs: dropped, swapped while the engine waits, or swapped ahead of time."""

from __future__ import annotations

from typing import cast

import pytest

from systems.core.assemble import Memory
from systems.core.memory.blocks import Where
from systems.core.plan import SpanKind
from systems.core.virtual.links import Link
from systems.fastserve.preemptive import Preemptive
from systems.fastserve.proactive import Proactive
from tests.core.toy import MS, Clockwork, Hand, serve

SHORT = Clockwork(token=MS // 100)


def proactive_of(hand: Hand) -> Proactive:
    return cast("Proactive", cast("Preemptive", hand.policy).keeping)


# -- recompute -----------------------------------------------------------------------------------------------


def test_recompute_drops_the_last_in_order_and_redoes_prompt_and_output() -> None:
    hand = Hand("fastserve/fixed-priority", keep="recompute", memory=Memory(4, 0, 4))
    hand.arrive(9)  # 3 pages
    hand.plan()
    hand.turn(MS)
    hand.turn(MS)
    hand.arrive(8)  # 2 pages: one is free
    assert hand.turn(MS) == [1]
    assert hand.blocks.where(0) is Where.NOWHERE
    assert hand.turn(MS, 1) == [0]
    assert hand.iteration
    (span,) = hand.iteration.spans
    assert (span.kind, span.start, span.count) == (SpanKind.RECOMPUTE, 0, 9 + 3)


def test_recompute_drops_nobody_when_that_would_not_be_enough() -> None:
    hand = Hand("fastserve/skip-join-recompute", max_batch=2, memory=Memory(6, 0, 4), clockwork=SHORT)
    hand.arrive(16)  # 4 pages
    hand.plan()
    hand.arrive(12)  # 3 pages, behind it in Q1
    assert hand.turn(0) == [0]
    assert hand.blocks.where(0) is Where.DEVICE


# -- reactive ------------------------------------------------------------------------------------------------


def reactive() -> Hand:
    """0 (3 of 4 pages) was computed and is preempted by 1, which needs 2."""
    hand = Hand("fastserve/fixed-priority", memory=Memory(4, 4, 4))
    hand.arrive(9)
    hand.plan()
    hand.arrive(8)
    hand.ran(MS)
    return hand


def test_reactive_swapping_holds_the_engine_until_the_room_is_there() -> None:
    hand = reactive()
    plan = hand.plan()
    assert plan.launch == ()
    assert [(move.request, move.source.pool) for move in plan.move] == [(0, "device")]
    assert hand.plan().launch == (), "still moving"
    hand.land(0)
    hand.plan()
    assert hand.batch() == [1]


def test_reactive_swapping_brings_a_job_back_on_the_critical_path_too() -> None:
    hand = reactive()
    hand.plan()
    hand.land(0)
    hand.plan()
    hand.ran(MS, 1)
    plan = hand.plan()
    assert plan.launch == ()
    assert [(move.request, move.source.pool) for move in plan.move] == [(0, "host")]
    hand.land(0)
    hand.plan()
    assert hand.batch() == [0]


def test_a_full_host_pool_costs_the_last_job_its_work_but_no_error() -> None:
    hand = Hand("fastserve/fixed-priority", memory=Memory(4, 2, 4))
    hand.arrive(9)
    hand.plan()
    hand.arrive(8)
    hand.ran(MS)
    hand.plan()
    assert hand.batch() == [1], "0 was dropped, so nothing is waited for"
    assert hand.blocks.where(0) is Where.NOWHERE


def test_a_job_that_was_granted_memory_and_never_ran_has_nothing_to_move() -> None:
    hand = Hand("fastserve/skip-join", memory=Memory(4, 4, 4))
    hand.arrive(8)
    hand.blocks.extend(0, 8)
    policy = cast("Preemptive", hand.policy)
    assert policy.keeping.swap_out(policy.jobs[0]) == ()
    assert (hand.blocks.device_free, hand.blocks.host_free) == (4, 4)


# -- proactive -----------------------------------------------------------------------------------------------


def three_residents(device: int = 24, host: int = 60) -> Hand:
    """Jobs of 13, 7 and 3 pages (one token each) were computed in turn: Q5, Q4, Q3. Batch 1, and 2 is next."""
    hand = Hand("fastserve/skip-join", memory=Memory(device, host, 1), alpha_s=100.0)
    proactive_of(hand).window = -1  # no history, so no reserve
    hand.arrive(13)
    hand.plan()
    hand.arrive(7)
    hand.turn(13 * MS)
    hand.arrive(3)
    hand.turn(7 * MS)
    hand.ran(3 * MS)
    assert [hand.blocks.held(request) for request in range(3)] == [13, 7, 3]
    policy = cast("Preemptive", hand.policy)
    enst = [policy.next_scheduled(policy.jobs[request], hand.now) for request in range(3)]
    assert enst == [(4 + 8 + 8) * MS, 4 * MS, 0]
    return hand


def to_host(hand: Hand, *requests: int) -> None:
    for request in requests:
        transfer = hand.blocks.swap_out(request)
        assert transfer
        hand.blocks.settle(transfer)


def test_the_largest_enst_is_swapped_out_while_others_run() -> None:
    hand = three_residents()
    hand.arrive(2)  # Q2; one page is free
    plan = hand.plan()
    assert [move.request for move in plan.move] == [0]
    assert hand.batch() == [2], "no waiting: 2 runs beside the copy"
    assert hand.turn(MS // 2) == [], "2 took the free page and needs one more; no other is free before the copy is over"
    hand.land(0)
    hand.plan()
    assert hand.batch() == [3]


def test_no_more_jobs_are_swapped_out_than_are_needed() -> None:
    hand = three_residents(device=36)
    hand.arrive(2)
    assert hand.plan().move == ()
    assert hand.batch() == [3]


def test_the_smallest_enst_is_swapped_in_first() -> None:
    hand = three_residents()
    to_host(hand, 0, 1)
    assert [move.request for move in hand.plan().move] == [1, 0]


def test_only_jobs_that_fit_are_swapped_in() -> None:
    hand = three_residents()
    to_host(hand, 0, 1)
    hand.blocks.extend(999, 8)  # somebody else's: 12 pages are left beside 2, which grows to 4
    assert [move.request for move in hand.plan().move] == [1]


def test_a_full_host_pool_drops_the_largest_enst_for_a_job_that_waits() -> None:
    hand = three_residents(host=5)
    hand.arrive(2)
    assert hand.plan().move == ()
    assert hand.blocks.where(0) is Where.NOWHERE
    assert hand.turn(0) == [3]


def test_the_reserve_is_what_the_prompts_of_the_last_300_ms_asked_for() -> None:
    hand = Hand("fastserve/skip-join", memory=Memory(100, 0, 4))
    hand.arrive(9)  # 3 pages
    hand.now = 100 * MS
    hand.arrive(5)  # 2 pages
    times = [100 * MS, 300 * MS, 300 * MS + 1, 400 * MS, 400 * MS + 1]
    assert [proactive_of(hand).reserve(now) for now in times] == [5, 5, 2, 2, 0]


def test_the_reserve_is_at_most_a_quarter_of_the_pool() -> None:
    hand = Hand("fastserve/skip-join", memory=Memory(100, 0, 4))
    hand.arrive(80, 80, 80)
    assert proactive_of(hand).reserve(0) == 25


def test_a_burst_makes_room_for_the_next_one() -> None:
    hand = three_residents()
    proactive_of(hand).window = Proactive.window
    hand.arrive(16)  # last in order, so nobody makes room for it; but 6 pages (a quarter) are to be idle, and 1 is
    assert [move.request for move in hand.plan().move] == [0]
    assert hand.batch() == [2]


def test_the_reserve_costs_nobody_their_work() -> None:
    hand = three_residents(host=5)
    proactive_of(hand).window = Proactive.window
    hand.arrive(16)
    assert hand.plan().move == ()
    assert [hand.blocks.where(request) for request in range(3)] == [Where.DEVICE] * 3


def test_nobody_is_swapped_in_at_the_cost_of_the_reserve() -> None:
    hand = three_residents()
    to_host(hand, 0)
    proactive_of(hand).window = Proactive.window
    hand.arrive(16)  # reserve 6; 13 pages beside 1 and 2, which grows to 4: 0 would leave none
    assert hand.plan().move == ()


# -- the same work, whatever way ------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["proactive", "reactive", "recompute"])
def test_each_way_of_keeping_does_what_it_says(keep: str) -> None:
    jobs = [(n * 2.0, 3 + (n * 5) % 17, 2 + (n * 11) % 23) for n in range(25)]
    served = serve(
        "fastserve/skip-join",
        jobs,
        memory=Memory(20, 200, 4, page_bytes=1000),
        clockwork=SHORT,
        links={"pcie": Link(1000 * 1e9 / (MS // 4))},  # a page in a quarter of a ms
        keep=keep,
    )
    again = [s for i in served.tape.iterations for s in i.spans if s.kind is SpanKind.RECOMPUTE]
    moved = served.instance.counters.swapped_out_bytes
    assert (bool(again), bool(moved)) == ((True, False) if keep == "recompute" else (False, True))
    assert moved == served.instance.counters.swapped_in_bytes, "what went out came back"
