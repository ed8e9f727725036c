"""Every rule in which the published code differs from the paper, beside what the paper's policy does."""

from __future__ import annotations

from typing import cast

import pytest

from systems.core.assemble import Memory
from systems.fastserve.artifact import Artifact
from tests.core.toy import MS, Clockwork, Hand

SHORT = Clockwork(token=MS // 100)  # every prompt fits the first quantum
HOST = Memory(device_pages=64, host_pages=20, page_tokens=4)


def policy_of(hand: Hand) -> Artifact:
    return cast("Artifact", hand.policy)


def level(hand: Hand, request: int) -> int:
    return policy_of(hand).standing[request].level + 1


def order(hand: Hand) -> list[int]:
    return list(policy_of(hand).order)


@pytest.mark.parametrize(("prompt", "queue"), [(1, 1), (10, 1), (11, 2), (20, 2), (21, 3), (80, 4), (81, 5)])
def test_the_first_quantum_is_10_ms_whatever_an_iteration_takes(prompt: int, queue: int) -> None:
    hand = Hand("fastserve/artifact")
    hand.arrive(prompt)
    assert level(hand, 0) == queue


def test_the_first_quantum_can_be_scaled_with_the_machine() -> None:
    hand = Hand("fastserve/artifact", base_steps=0.5)
    assert policy_of(hand).quantum(0) == MS // 2


def test_a_demoted_job_goes_to_the_head_of_the_next_queue() -> None:
    hand = Hand("fastserve/artifact")
    hand.arrive(1, 11)  # Q1, Q2
    hand.plan()
    assert hand.turn(10 * MS) == [0], "it sank to Q2, and runs before the job that was there first"
    assert (level(hand, 0), level(hand, 1)) == (2, 2)


def test_jobs_demoted_together_end_up_reversed() -> None:
    hand = Hand("fastserve/artifact", max_batch=3, clockwork=SHORT)
    hand.arrive(2, 2, 2)
    hand.plan()
    hand.turn(10 * MS)
    assert order(hand) == [2, 1, 0]


def test_a_job_sinks_one_queue_even_if_its_next_iteration_does_not_fit_there() -> None:
    slow = Clockwork(token=MS, step=90 * MS, least=10 * MS)
    artifact = Hand("fastserve/artifact", clockwork=slow)
    paper = Hand("fastserve/skip-join", clockwork=slow)
    for hand in (artifact, paper):
        hand.arrive(10)
        hand.plan()
        hand.turn(1000 * MS)
    assert level(artifact, 0) == 2
    assert paper.policy.describe(0).startswith("Q5"), "160 ms is the first quantum that covers 90"


def test_starvation_is_looked_for_at_the_1000th_iteration_and_turns_the_order_round() -> None:
    hand = Hand("fastserve/artifact")
    hand.arrive(1, 30, 30, 50, 90)
    hand.plan()
    for _ in range(999):
        assert hand.turn(1) == [0]
    assert order(hand) == [0, 1, 2, 3, 4]
    assert hand.turn(1) == [4], "jobs that never ran qualify however short their wait: 1 us here"
    assert order(hand) == [4, 3, 2, 1, 0]
    assert [level(hand, request) for request in (1, 2, 3, 4)] == [1, 1, 1, 1]


def test_a_job_that_has_run_is_promoted_only_after_3_s() -> None:
    hand = Hand("fastserve/artifact", max_batch=1, check_every=2, clockwork=SHORT)
    hand.arrive(2)
    hand.plan()
    hand.ran(40 * MS)  # sinks to Q2
    hand.arrive(2)
    hand.plan()
    assert hand.batch() == [1], "0 waits from now on"
    began = hand.now
    hand.turn(1)
    hand.turn(3000 * MS - 2)
    assert hand.now == began + 3000 * MS - 1
    # 1 sank to the head of Q2: 0 stays behind it, one ns short of its 3 s at this check
    assert hand.batch() == [1]
    assert level(hand, 0) == 2
    hand.turn(1)
    assert hand.turn(0) == [0], "the next check finds it"
    assert level(hand, 0) == 1


def test_a_job_with_a_prompt_of_one_token_has_run_once_it_has_run() -> None:
    hand = Hand("fastserve/artifact", check_every=2)
    hand.arrive(1)
    hand.plan()
    hand.ran(40 * MS)
    hand.arrive(2)
    hand.plan()
    assert hand.batch() == [1]
    hand.turn(1)
    assert level(hand, 0) == 2, "it waited 1 ns, and it is no new job"


def test_a_prompt_over_the_token_budget_blocks_the_jobs_behind_it() -> None:
    def first_batch(variant: str) -> list[int]:
        hand = Hand(variant, max_batch=4, max_tokens=10, clockwork=SHORT)
        hand.arrive(8, 5, 2)
        hand.plan()
        return hand.batch()

    assert first_batch("fastserve/artifact") == [0]
    assert first_batch("fastserve/skip-join") == [0, 2]


def test_a_first_prompt_is_never_too_long_for_the_budget() -> None:
    hand = Hand("fastserve/artifact", max_tokens=10)
    hand.arrive(11)
    hand.plan()
    assert hand.batch() == [0]


def fill_host(hand: Hand, pages: int) -> None:
    """Pages of somebody else's on the host."""
    hand.blocks.extend(999, pages * 4)
    transfer = hand.blocks.swap_out(999)
    assert transfer
    hand.blocks.settle(transfer)
    del hand.blocks.on_host[999]  # the policy must not take it for a job of its own


@pytest.mark.parametrize(("taken", "batch"), [(18, [0, 1]), (19, [0])])
def test_no_prompt_starts_beside_others_while_less_than_a_tenth_of_the_host_is_free(
    taken: int, batch: list[int]
) -> None:
    hand = Hand("fastserve/artifact", max_batch=2, memory=HOST, clockwork=SHORT)
    fill_host(hand, taken)
    hand.arrive(2)
    hand.plan()
    assert hand.batch() == [0], "alone it may start, or nothing would ever run"
    hand.arrive(2)
    assert sorted(hand.turn(1)) == batch


def test_a_host_pool_of_no_pages_guards_nothing() -> None:
    hand = Hand("fastserve/artifact", max_batch=2, memory=Memory(64, 0, 4), clockwork=SHORT)
    hand.arrive(2, 2)
    hand.plan()
    assert hand.batch() == [0, 1]


def test_the_reserve_is_the_batch_limit_in_pages() -> None:
    hand = Hand("fastserve/artifact", max_batch=16)
    assert policy_of(hand).keeping.reserve(0) == 16  # type: ignore[attr-defined]
    small = Hand("fastserve/artifact", max_batch=16, memory=HOST)
    assert policy_of(small).keeping.reserve(0) == 16  # type: ignore[attr-defined]
    smaller = Hand("fastserve/artifact", max_batch=16, memory=Memory(20, 0, 4))
    assert policy_of(smaller).keeping.reserve(0) == 5, "never more than a quarter of the pool"  # type: ignore[attr-defined]


def test_the_place_in_the_order_stands_in_for_enst() -> None:
    hand = Hand("fastserve/artifact")
    hand.arrive(90, 30, 1)
    policy = policy_of(hand)
    assert order(hand) == [2, 1, 0]
    assert {policy.next_scheduled(job, 0) for job in policy.jobs.values()} == {0}, "equal, so that the places decide"
