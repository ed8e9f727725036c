"""FCFS, fixed priority and SRPT; and what all orders have in common when there is nothing to decide."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.core.assemble import Memory
from systems.core.errors import UsageError
from systems.fastserve.variants import VARIANTS
from tests.core.toy import MS, Clockwork, Hand, serve

ALL = [v.id for v in VARIANTS]
MIXING = [*ALL, "vllm/chunked"]
TIGHT = Memory(device_pages=14, host_pages=40, page_tokens=4, page_bytes=4096)

jobs_strategy = st.lists(
    st.tuples(st.integers(0, 30).map(float), st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=12
)


# -- orders ------------------------------------------------------------------------------------------------


def test_fcfs_runs_to_completion() -> None:
    hand = Hand("fastserve/fcfs")
    hand.arrive(50)
    hand.plan()
    hand.arrive(1)
    for _ in range(50):
        assert hand.turn(MS) == [0]
    assert hand.turn(MS, 0) == [1]


def test_fixed_priority_takes_short_prompts_first_and_preempts() -> None:
    hand = Hand("fastserve/fixed-priority")
    hand.arrive(9, 5)
    hand.plan()
    assert hand.batch() == [1]
    hand.arrive(5, 2)
    assert hand.turn(MS) == [3]
    assert hand.turn(MS, 3) == [1], "equal prompts: first come first"
    assert hand.turn(MS, 1) == [2]


def test_fixed_priority_is_bad_for_short_prompts_with_long_outputs() -> None:
    jobs: list[tuple[float, int, int]] = [(0, 2, 50), (0, 3, 1)]
    assert serve("fastserve/fixed-priority", jobs, max_batch=1).ends == [51, 54]
    assert serve("fastserve/srpt-oracle", jobs, max_batch=1).ends == [54, 3]


def test_srpt_compares_what_is_left_not_what_was_asked_for() -> None:
    hand = Hand("fastserve/srpt-oracle")
    hand.arrive(2, output=10)  # 2 + 10 ms by its key
    hand.plan()
    for _ in range(5):
        hand.turn(MS)
    hand.arrive(1, output=6)
    assert hand.turn(MS) == [0], "4 tokens are left of 0"
    hand.arrive(1, output=2)
    assert hand.turn(MS) == [2], "3 are left; 2 asks for 2"


def test_only_an_oracle_is_told_the_output_length() -> None:
    assert [v.name for v in VARIANTS if v.oracle] == ["srpt-oracle"]
    hand = Hand("fastserve/srpt-oracle")
    with pytest.raises(AssertionError, match="oracle"):
        hand.arrive(1)


def test_an_unknown_setting_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no setting alpha_s.*keep"):
        Hand("fastserve/fcfs", alpha_s=1.0)


# -- FCFS lets nobody overtake -------------------------------------------------------------------------------


def overtaken(keep: str, jobs: list[tuple[float, int, int]], memory: Memory) -> list[str]:
    """Iterations that ran a job while an earlier one, live, did not run."""
    served = serve("fastserve/fcfs", jobs, memory=memory, max_batch=3, max_tokens=24, keep=keep)
    order = sorted(range(len(jobs)), key=lambda r: (jobs[r][0], r))
    left = {r: output for r, (_, _, output) in enumerate(jobs)}
    wrong: list[str] = []
    for iteration, batch in zip(served.tape.iterations, served.tape.batches, strict=True):
        live = [r for r in order if left[r]]
        last = max(live.index(r) for r in batch)
        if len(batch) != last + 1:
            wrong.append(f"iteration {iteration.id}: {sorted(batch)} of {live[: last + 1]}")
        for request in batch:
            left[request] -= 1
    return wrong


@pytest.mark.parametrize("memory", [Memory(4096, 0, 4), TIGHT], ids=["ample", "tight"])
@pytest.mark.parametrize("keep", ["reactive", "recompute"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(jobs=jobs_strategy)
def test_fcfs_never_lets_a_later_job_overtake(keep: str, memory: Memory, jobs: list[tuple[float, int, int]]) -> None:
    assert overtaken(keep, jobs, memory) == []


# -- nothing to decide ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", MIXING)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(jobs=jobs_strategy)
def test_with_a_place_and_memory_for_everybody_all_policies_coincide(
    variant: str, jobs: list[tuple[float, int, int]]
) -> None:
    """vllm/alternating is not among them: its prompts stall decodes, so a late arrival delays everybody else.

    A prompt of one token is a decode in one policy and a chunk in another, which this clock charges differently.
    """
    jobs = [(at, prompt + 1, output) for at, prompt, output in jobs]
    fcfs = serve("fastserve/fcfs", jobs, max_batch=len(jobs), max_tokens=1 << 20)
    ours = serve(variant, jobs, max_batch=len(jobs), max_tokens=1 << 20)
    assert ours.ends == fcfs.ends
    assert ours.starts == fcfs.starts


def test_alternating_does_not_coincide_because_prompts_stall_decodes() -> None:
    jobs: list[tuple[float, int, int]] = [(0, 4, 3), (4, 10, 1)]
    # mixed: A 4, then its decode shares B's prompt (4-14), 15. Alternating: B's prompt 4-14, then A's decodes 15, 16.
    assert serve("fastserve/fcfs", jobs).ends == [15, 14]
    assert serve("vllm/alternating", jobs).ends == [16, 14]


# -- memory pressure -------------------------------------------------------------------------------------------


PRESSED = [(float(n % 7), 3 + (n * 5) % 17, 2 + (n * 11) % 23) for n in range(25)]


@pytest.mark.parametrize("variant", [*MIXING, "vllm/alternating"])
def test_memory_pressure_changes_no_output_and_leaks_nothing(variant: str) -> None:
    served = serve(variant, PRESSED, memory=TIGHT, clockwork=Clockwork(token=MS // 8))
    assert served.instance.counters.preemptions > 0, "no pressure, nothing shown"
    for request, (_, _, output) in enumerate(PRESSED):
        expected = [(request * 7919 + number * 104729) % 512 for number in range(output)]
        assert served.tape.output[request] == expected
    assert served.instance.live == 0
    assert served.instance.usage() == (0.0, 0.0)
    served.instance.blocks.check()


def test_mlfq_needs_several_times_the_kv_of_fcfs_under_overload() -> None:
    """The direction of Figure 8: preempted jobs keep their KV."""
    jobs = [(float(n), 4, 20 + n % 5) for n in range(40)]
    fcfs, mlfq = (serve(f"fastserve/{v}", jobs, max_batch=4).tape.peak for v in ("fcfs", "skip-join"))
    assert mlfq > 3 * fcfs
