"""Skip-join MLFQ by worked examples. The machine: 1 ms a prompt token, 1 ms a decode; q1 = 1 ms, so 1, 2, 4, 8 ms."""

from __future__ import annotations

from typing import cast

import pytest

from systems.core.errors import UsageError
from systems.fastserve.skip_join import SkipJoin
from tests.core.toy import MS, Clockwork, Hand, serve


def policy_of(hand: Hand) -> SkipJoin:
    return cast("SkipJoin", hand.policy)


def level(hand: Hand, request: int) -> int:
    """The number of the queue as the paper counts them, from 1."""
    return policy_of(hand).standing[request].level + 1


# -- joining ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "queue"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (8, 4), (9, 5), (16, 5), (17, 6), (1000, 11)]
)
def test_a_job_joins_the_first_queue_whose_quantum_covers_its_first_iteration(prompt: int, queue: int) -> None:
    hand = Hand("fastserve/skip-join")
    hand.arrive(prompt)
    assert level(hand, 0) == queue
    assert policy_of(hand).quantum(queue - 1) >= prompt * MS > (policy_of(hand).quantum(queue - 2) if queue > 1 else 0)


def test_naive_mlfq_puts_every_job_in_the_first_queue() -> None:
    hand = Hand("fastserve/naive-mlfq")
    hand.arrive(1, 9, 1000)
    assert [level(hand, request) for request in range(3)] == [1, 1, 1]


# -- sinking ---------------------------------------------------------------------------------------------


def test_a_job_sinks_when_its_quantum_is_consumed_and_not_before() -> None:
    hand = Hand("fastserve/skip-join")
    hand.arrive(3)  # Q3: 4 ms
    hand.plan()
    hand.turn(3 * MS)
    assert level(hand, 0) == 3
    hand.turn(MS - 1)
    assert level(hand, 0) == 3
    hand.turn(1)
    assert level(hand, 0) == 4
    assert "Q4, used 0.00 of 8.00 ms" in hand.policy.describe(0)


@pytest.mark.parametrize("overshoot", [0, 1, 3 * MS, 100 * MS])
def test_a_decode_fits_the_next_queue_so_an_overshoot_costs_one_queue_and_leaves_no_debt(overshoot: int) -> None:
    hand = Hand("fastserve/naive-mlfq")
    hand.arrive(1)
    hand.plan()
    hand.turn(MS + overshoot)
    assert level(hand, 0) == 2
    hand.turn(2 * MS - 1)
    assert level(hand, 0) == 2
    hand.turn(1)
    assert level(hand, 0) == 3


def test_a_job_sinks_to_a_queue_that_covers_its_next_iteration() -> None:
    hand = Hand("fastserve/skip-join", clockwork=Clockwork(step=3 * MS))
    hand.arrive(1)
    hand.plan()
    hand.turn(MS)
    assert level(hand, 0) == 3, "q2 is 2 ms, a decode takes 3"


def test_every_job_of_a_batch_is_charged_the_whole_iteration() -> None:
    hand = Hand("fastserve/skip-join", max_batch=2)
    hand.arrive(2, 4)
    hand.plan()
    assert hand.batch() == [0, 1]
    hand.turn(4 * MS)
    assert (level(hand, 0), level(hand, 1)) == (3, 4)


def test_a_demoted_job_goes_to_the_tail_of_its_new_queue() -> None:
    hand = Hand("fastserve/skip-join")
    hand.arrive(1, 2)
    hand.plan()
    assert hand.batch() == [0]
    assert hand.turn(MS) == [1], "both are in Q2 now, and 1 was there first"
    assert (level(hand, 0), level(hand, 1)) == (2, 2)


# -- preemption ------------------------------------------------------------------------------------------


def test_a_preempted_job_keeps_its_place_and_what_it_used() -> None:
    hand = Hand("fastserve/skip-join")
    hand.arrive(3, 4)  # both Q3
    hand.plan()
    assert hand.batch() == [0]
    hand.arrive(1)
    assert hand.turn(3 * MS) == [2], "preemption happens between iterations"
    assert "Q3, used 3.00 of 4.00 ms" in hand.policy.describe(0)
    assert hand.turn(50 * MS, 2) == [0], "before the other job of its queue"
    assert "Q3, used 3.00 of 4.00 ms" in hand.policy.describe(0), "waiting uses nothing"
    assert hand.turn(MS) == [1], "the fourth ms sent it to Q4"
    assert level(hand, 0) == 4


def test_the_batch_is_the_first_ready_jobs_in_order_of_queues() -> None:
    hand = Hand("fastserve/skip-join", max_batch=2)
    hand.arrive(8, 4, 1, 2)
    hand.plan()
    assert sorted(hand.batch()) == [2, 3]
    assert hand.turn(2 * MS, 2, 3) == [1, 0]


def test_a_job_whose_kv_is_on_its_way_is_passed_over() -> None:
    hand = Hand("fastserve/skip-join", max_batch=1)
    hand.arrive(1, 2)
    hand.plan()
    hand.ran(MS // 2)
    transfer = hand.blocks.swap_out(0)
    policy_of(hand).put_aside(policy_of(hand).jobs[0], hand.now)
    hand.moves = {0: transfer} if transfer else {}
    policy_of(hand).keeping.moving += 1
    hand.plan()
    assert hand.batch() == [1], "0 is in Q1, but leaving"


# -- starvation ------------------------------------------------------------------------------------------


def test_a_waiting_job_is_promoted_exactly_at_alpha() -> None:
    hand = Hand("fastserve/skip-join", alpha_s=0.02)
    hand.arrive(1, 8)
    hand.plan()
    assert hand.turn(20 * MS - 1) == [0], "one ns short of alpha"
    assert level(hand, 1) == 4
    assert hand.turn(1) == [1]
    assert level(hand, 1) == 1


def test_the_wait_of_a_preempted_job_begins_when_it_is_preempted() -> None:
    hand = Hand("fastserve/skip-join", alpha_s=0.02)
    hand.arrive(8)  # Q4
    hand.plan()
    hand.turn(5 * MS)  # computed at 5 ms; 3 ms of its quantum are left
    hand.arrive(1)
    assert hand.turn(MS) == [1], "preempted at 6 ms"
    assert hand.turn(20 * MS - 1) == [1], "at 26 ms less one ns; 1 is in Q2"
    assert level(hand, 0) == 4
    assert hand.turn(1) == [0]
    assert level(hand, 0) == 1


def test_promotion_gives_a_fresh_quantum_at_the_tail_of_q1() -> None:
    hand = Hand("fastserve/skip-join", alpha_s=0.02)
    hand.arrive(1, 8)
    hand.plan()
    hand.ran(20 * MS)
    hand.arrive(1)
    hand.plan()
    assert hand.batch() == [2], "2 was in Q1 before the promotion"
    assert hand.turn(MS // 2, 2) == [1]
    assert "Q1, used 0.00 of 1.00 ms" in hand.policy.describe(1)


def test_alpha_can_be_given_in_decode_iterations() -> None:
    hand = Hand("fastserve/skip-join", clockwork=Clockwork(step=7 * MS), alpha_steps=10.0)
    assert policy_of(hand).alpha == 70 * MS


# -- estimated next scheduled time, section 4.2 -----------------------------------------------------------


def test_enst_is_the_work_of_higher_jobs_until_they_sink_to_this_level() -> None:
    hand = Hand("fastserve/skip-join", max_batch=2)
    hand.arrive(1, 2, 4, 4, 8)  # Q1, Q2, Q3, Q3, Q4
    policy = policy_of(hand)
    enst = [policy.next_scheduled(policy.jobs[request], 0) for request in range(5)]
    # in ms, over B = 2: nothing; q1; (q1 + q2) + q2, twice; (q1 + q2 + q3) + (q2 + q3) + q3 + q3
    assert enst == [0, MS // 2, 5 * MS // 2, 5 * MS // 2, 21 * MS // 2]


def test_enst_is_the_time_to_promotion_when_that_is_sooner() -> None:
    hand = Hand("fastserve/skip-join", max_batch=2, alpha_s=0.02)
    hand.arrive(1, 2, 4, 4, 8)
    policy = policy_of(hand)
    job = policy.jobs[4]
    assert policy.next_scheduled(job, 9 * MS) == 21 * MS // 2, "promotion is 11 ms away"
    assert policy.next_scheduled(job, 17 * MS) == 3 * MS
    assert policy.next_scheduled(job, 25 * MS) == 0


def test_enst_follows_jobs_that_sink_or_end() -> None:
    hand = Hand("fastserve/skip-join")
    hand.arrive(1, 8)
    policy = policy_of(hand)
    assert policy.next_scheduled(policy.jobs[1], 0) == (1 + 2 + 4) * MS
    hand.plan()
    hand.turn(MS)  # 0 sinks to Q2
    assert policy.next_scheduled(policy.jobs[1], hand.now) == (2 + 4) * MS
    hand.turn(MS, 0)
    assert policy.next_scheduled(policy.jobs[1], hand.now) == 0


def test_quanta_grow_by_the_ratio() -> None:
    hand = Hand("fastserve/skip-join", ratio=3)
    hand.arrive(1, 4)
    assert [policy_of(hand).quantum(n) for n in range(3)] == [MS, 3 * MS, 9 * MS]
    assert policy_of(hand).next_scheduled(policy_of(hand).jobs[1], 0) == (1 + 3) * MS


def test_a_ratio_whose_quanta_never_cover_a_long_prompt_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        Hand("fastserve/skip-join", ratio=1)


# -- head of line, as in Figure 7 --------------------------------------------------------------------------

THREE: list[tuple[float, int, int]] = [(0, 4, 3), (0, 1, 2), (0, 2, 1)]
"""Together at 0, batch 1. A: 4 ms of prompt and 2 decodes. B: 1 ms and 1 decode. C: 2 ms and no decode."""


@pytest.mark.parametrize(
    ("variant", "ends"),
    [
        ("fcfs", [6, 8, 10]),  # A B C
        # A's prompt takes Q1's quantum four times over; B 4-5, C 5-7 (done), then in Q2: A 7-9 (done), B 9-10
        ("naive-mlfq", [9, 10, 7]),
        # A joins Q3, B Q1, C Q2: B 0-1 and sinks behind C; C 1-3 (done); B 3-4 (done); A 4-10
        ("skip-join", [10, 4, 3]),
        ("srpt-oracle", [10, 2, 4]),  # B 0-2, C 2-4, A 4-10
    ],
)
def test_three_jobs_that_arrive_together(variant: str, ends: list[float]) -> None:
    assert serve(f"fastserve/{variant}", THREE, max_batch=1).ends == ends


def test_mean_latency_orders_the_schedulers_as_figure_7_does() -> None:
    """Means 26/3, 8, 17/3 and 16/3 ms; the paper's are 5.0, 4.23, 3.3 and 3.0 for jobs it does not give."""
    variants = ["naive-mlfq", "fcfs", "skip-join", "srpt-oracle"]
    means = [serve(f"fastserve/{variant}", THREE, max_batch=1).mean for variant in variants]
    assert means == pytest.approx([26 / 3, 8, 17 / 3, 16 / 3])


# -- equal jobs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["skip-join", "naive-mlfq", "skip-join-reactive", "skip-join-recompute"])
@pytest.mark.parametrize("gap", [0, 3, 40])
def test_equal_jobs_are_served_in_the_order_of_fcfs(variant: str, gap: float) -> None:
    jobs = [(number * gap, 8, 12) for number in range(10)]
    ours = serve(f"fastserve/{variant}", jobs, max_batch=1, alpha_s=100.0)
    fcfs = serve("fastserve/fcfs", jobs, max_batch=1)
    for times in (ours.ends, ours.starts, fcfs.ends):
        assert times == sorted(times)
    assert ours.ends[-1] == fcfs.ends[-1], "work is conserved"
    if gap == 40:
        assert ours.ends == fcfs.ends, "jobs that never meet"
