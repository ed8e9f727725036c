"""The vLLM-like baselines by worked examples: prompts first and alternating; and chunked prefill."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.core.assemble import Memory
from systems.core.memory.blocks import Where
from systems.core.plan import SpanKind
from tests.core.toy import MS, Hand, serve

jobs_strategy = st.lists(
    st.tuples(st.integers(0, 30).map(float), st.integers(1, 24), st.integers(1, 20)), min_size=1, max_size=12
)


def spans(hand: Hand) -> list[tuple[int, int, int, bool]]:
    """(request, start, tokens, emits) of the running iteration."""
    assert hand.iteration
    return [(s.request, s.start, s.count, s.emits) for s in hand.iteration.spans]


# -- alternating -------------------------------------------------------------------------------------------------


def test_prompts_go_first_and_decodes_stall_meanwhile() -> None:
    hand = Hand("vllm/alternating", max_batch=4)
    hand.arrive(4)
    hand.plan()
    hand.arrive(5)
    assert hand.turn(MS) == [1], "0 has a token to decode, and waits"
    assert hand.turn(MS) == [0, 1], "both decode"
    hand.arrive(3)
    assert hand.turn(MS) == [2]
    assert sorted(hand.turn(MS)) == [0, 1, 2]


def test_whole_prompts_in_order_up_to_the_token_budget() -> None:
    hand = Hand("vllm/alternating", max_batch=8, max_tokens=10)
    hand.arrive(6, 4, 5, 6, 1)
    hand.plan()
    assert spans(hand) == [(0, 0, 6, True), (1, 0, 4, True)]
    assert hand.turn(MS) == [2], "3 does not fit beside it, and 4 does not overtake 3"
    assert hand.turn(MS) == [3, 4]
    assert sorted(hand.turn(MS)) == [0, 1, 2, 3, 4]


def test_a_prompt_over_the_budget_runs_alone() -> None:
    hand = Hand("vllm/alternating", max_batch=8, max_tokens=10)
    hand.arrive(11, 1)
    hand.plan()
    assert spans(hand) == [(0, 0, 11, True)]


@pytest.mark.parametrize("variant", ["vllm/alternating", "vllm/chunked"])
def test_the_batch_limit_counts_prompts_and_decodes(variant: str) -> None:
    hand = Hand(variant, max_batch=2)
    hand.arrive(4, 4, 4)
    hand.plan()
    assert hand.batch() == [0, 1]
    assert hand.turn(MS) == [0, 1]
    assert sorted(hand.turn(MS, 0)) in ([2], [1, 2])


# -- memory ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["vllm/alternating", "vllm/chunked"])
def test_the_last_admitted_is_preempted_and_recomputed(variant: str) -> None:
    hand = Hand(variant, max_batch=4, memory=Memory(4, 0, 4))
    hand.arrive(7, 7)  # two pages each: all there are
    hand.plan()
    assert hand.turn(MS) == [0, 1], "the eighth tokens still fit"
    assert hand.turn(MS) == [0]
    assert hand.iteration
    assert hand.iteration.left == (1,)
    assert hand.blocks.where(1) is Where.NOWHERE
    assert hand.turn(MS) == [0], "no room for 1"
    assert hand.turn(MS, 0) == [1]
    (span,) = hand.iteration.spans
    assert (span.kind, span.start, span.count) == (SpanKind.RECOMPUTE, 0, 9), "its prompt and two tokens of output"


def test_a_preempted_request_is_the_next_to_be_admitted() -> None:
    hand = Hand("vllm/alternating", max_batch=4, memory=Memory(4, 0, 4))
    hand.arrive(7, 7)
    hand.plan()
    hand.arrive(1)
    assert hand.turn(MS) == [0, 1]
    hand.turn(MS)
    assert hand.turn(MS, 0) == [1, 2], "before 2, which never ran"


@pytest.mark.parametrize(("watermark", "batch"), [(0.25, [0, 1]), (0.5, [0])])
def test_admission_leaves_the_watermark_free(watermark: float, batch: list[int]) -> None:
    hand = Hand("vllm/alternating", max_batch=4, memory=Memory(8, 0, 4), watermark=watermark)
    hand.arrive(12, 9)  # three pages each
    hand.plan()
    assert hand.batch() == batch


def test_the_watermark_does_not_keep_a_lone_request_out() -> None:
    hand = Hand("vllm/alternating", memory=Memory(8, 0, 4), watermark=0.5)
    hand.arrive(32)
    hand.plan()
    assert hand.batch() == [0]


def test_a_cancelled_request_leaves_whichever_queue_it_is_in() -> None:
    hand = Hand("vllm/alternating", max_batch=1, memory=Memory(8, 0, 4))
    hand.arrive(4, 4, 4)
    hand.plan()
    hand.cancel(1)
    assert hand.plan().finished == (1,)
    hand.cancel(0)
    assert hand.plan().finished == (), "in use until its iteration has run"
    assert hand.blocks.device_free == 7
    assert hand.turn(MS) == [2]
    assert hand.finished == [1, 0]


# -- chunked ---------------------------------------------------------------------------------------------------


def test_decodes_first_then_chunks_within_the_budget() -> None:
    hand = Hand("vllm/chunked", max_batch=4, max_tokens=8)
    hand.arrive(6, 20, 5)
    hand.plan()
    assert spans(hand) == [(0, 0, 6, True), (1, 0, 2, False)]
    hand.turn(MS)
    assert (hand.members, spans(hand)) == ([0], [(1, 2, 7, False)])
    hand.turn(MS)
    assert (hand.members, spans(hand)) == ([0], [(1, 9, 7, False)])
    hand.turn(MS)
    assert (hand.members, spans(hand)) == ([0], [(1, 16, 4, True), (2, 0, 3, False)])
    hand.turn(MS)
    assert (hand.members, spans(hand)) == ([0, 1], [(2, 3, 2, True)])


def test_a_chunk_gets_memory_only_for_itself() -> None:
    hand = Hand("vllm/chunked", max_tokens=8, memory=Memory(8, 0, 4))
    hand.arrive(20)
    hand.plan()
    assert hand.blocks.held(0) == 2
    hand.turn(MS)
    assert hand.blocks.held(0) == 4


@settings(max_examples=40, deadline=None, derandomize=True)
@given(jobs=jobs_strategy)
def test_iterations_stay_within_the_token_budget(jobs: list[tuple[float, int, int]]) -> None:
    """Under memory pressure too; budget 8, batch limit 4."""
    served = serve("vllm/chunked", jobs, max_batch=4, max_tokens=8, memory=Memory(11, 0, 4))
    for iteration, batch in zip(served.tape.iterations, served.tape.batches, strict=True):
        assert sum(s.count for s in iteration.spans) + len(batch) - len(iteration.spans) <= 8
        assert len(batch) <= 4


@settings(max_examples=40, deadline=None, derandomize=True)
@given(jobs=jobs_strategy)
def test_prompts_and_decodes_never_share_an_iteration(jobs: list[tuple[float, int, int]]) -> None:
    served = serve("vllm/alternating", jobs, max_batch=4, max_tokens=30, memory=Memory(11, 0, 4))
    for iteration, batch in zip(served.tape.iterations, served.tape.batches, strict=True):
        assert len(iteration.spans) in {0, len(batch)}
        assert len(iteration.spans) < 2 or sum(s.count for s in iteration.spans) <= 30
        assert all(s.emits for s in iteration.spans), "whole prompts"


@pytest.mark.parametrize("variant", ["vllm/alternating", "vllm/chunked"])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(jobs=jobs_strategy)
def test_first_tokens_come_in_order_of_arrival(variant: str, jobs: list[tuple[float, int, int]]) -> None:
    starts = serve(variant, jobs, max_batch=3, max_tokens=16, memory=Memory(4096, 0, 4)).starts
    order = sorted(range(len(jobs)), key=lambda r: (jobs[r][0], r))
    assert [starts[r] for r in order] == sorted(starts)
