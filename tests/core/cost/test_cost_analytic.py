"""The formulas against values worked out by hand, and what must grow with the work."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.core.cost.analytic import AnalyticCost
from systems.core.cost.constants import AllReduce, Constants, Kernel, Linear, Overheads, constants, engine
from systems.core.cost.gpu import Gpu, gpu
from systems.core.cost.shape import ModelShape, shape
from systems.core.errors import UsageError

# 1 FLOP/ns and 1 byte/ns: a GPU to count on. Nothing fixed, everything reached, compute plus memory (p = 1).
COUNTER = Gpu("counter", 1e9, 1e9, 2**30, 1e9, 0.0, "a100", "a100-nvlink")
FREE = Kernel(0.0, 1.0)
PLAIN = Constants(Linear(0.0, 1.0, 1.0, 1.0), FREE, FREE, FREE, AllReduce(), Overheads())
TINY = ModelShape("tiny", 1, 4, 2, 2, 2, 8, 10, gated=False, tied=True, params=100)


def _linear(m: int, n: int, k: int) -> int:
    return 2 * m * n * k + 2 * (n * k + m * k + m * n)


def test_one_decode_is_the_sum_of_its_parts() -> None:
    linears = _linear(1, 12, 4) + _linear(1, 4, 4) + _linear(1, 8, 4) + _linear(1, 4, 8) + _linear(1, 10, 4)
    small = 8 * 4 + 6 * 4 + 4 * (4 + 4) + 2 * 8 * 2  # norms, residual, rotary, activation
    keys_and_values = 5 * 2 * 2 * 4  # 5 tokens, K and V, 2 bytes, 4 wide
    assert AnalyticCost(TINY, COUNTER, PLAIN).iteration_ns((), 1, 5) == linears + small + keys_and_values


def test_a_chunk_attends_to_what_is_before_it_and_to_half_of_itself() -> None:
    cost = AnalyticCost(TINY, COUNTER, PLAIN)
    assert cost.iteration_ns([(4, 10)], 0, 0) - cost.iteration_ns([(4, 0)], 0, 0) == 4 * 4 * 4 * 10
    exact = replace(PLAIN, prefill=Kernel(0.0, 1e-3))  # attention a thousand times dearer, the rest unchanged
    slow = AnalyticCost(TINY, COUNTER, exact)
    assert slow.iteration_ns([(4, 0)], 0, 0) - cost.iteration_ns([(4, 0)], 0, 0) == 999 * 4 * 4 * (4 * 4 // 2)


def test_grouped_queries_and_a_gated_mlp_change_their_parts_only() -> None:
    base = AnalyticCost(TINY, COUNTER, PLAIN).iteration_ns((), 1, 5)
    grouped = AnalyticCost(replace(TINY, kv_heads=1), COUNTER, PLAIN).iteration_ns((), 1, 5)
    assert base - grouped == _linear(1, 12, 4) - _linear(1, 8, 4) + 4 * 2 + 5 * 2 * 2 * 2
    gated = AnalyticCost(replace(TINY, gated=True), COUNTER, PLAIN).iteration_ns((), 1, 5)
    assert gated - base == _linear(1, 16, 4) - _linear(1, 8, 4) + 2 * 8


def test_fixed_costs_are_per_kernel_and_per_layer() -> None:
    fixed = Constants(
        Linear(1.0, 1.0, 1.0, 1.0), Kernel(10, 1), Kernel(100, 1), Kernel(1000, 1), AllReduce(), Overheads()
    )
    two = replace(TINY, layers=2)
    plain, cost = AnalyticCost(two, COUNTER, PLAIN), AnalyticCost(two, COUNTER, fixed)
    assert cost.iteration_ns((), 3, 9) - plain.iteration_ns((), 3, 9) == 1000 * (2 * (4 + 10 + 100) + 1)
    chunks = [(4, 0), (2, 2)]
    mixed = 1000 * (2 * (4 + 10 + 100 + 2 * 1000) + 1)
    assert cost.iteration_ns(chunks, 1, 9) - plain.iteration_ns(chunks, 1, 9) == mixed


def test_the_norm_lies_between_the_larger_and_the_sum() -> None:
    def at(p: float) -> int:
        return AnalyticCost(TINY, COUNTER, replace(PLAIN, linear=Linear(0, 1, 1, p))).iteration_ns((), 8, 8)

    assert at(1.0) > at(1.5) > at(30.0)


def test_two_gpus_halve_the_work_and_pay_two_all_reduces_a_layer() -> None:
    reduced = replace(PLAIN, allreduce=AllReduce(7.0, 1e9))
    free = AnalyticCost(TINY, COUNTER, replace(PLAIN, allreduce=AllReduce(0.0, 1e30)), tp=2)
    sent = 2 * 3 * 4  # fp16, 3 tokens, 4 wide; 2 (n - 1) / n = 1
    assert AnalyticCost(TINY, COUNTER, reduced, tp=2).iteration_ns((), 3, 3) - free.iteration_ns((), 3, 3) == 2 * (
        7000 + sent
    )
    halved = sum(_linear(1, n, k) for n, k in ((6, 4), (4, 2), (4, 4), (4, 4), (5, 4)))
    assert free.iteration_ns((), 1, 5) == halved + 8 * 4 + 6 * 4 + 4 * 4 + 2 * 4 * 2 + 5 * 2 * 2 * 2


def test_a_stage_boundary_costs_one_send() -> None:
    known = replace(PLAIN, allreduce=AllReduce(7.0, 1e9))
    two = replace(TINY, layers=2)
    one, staged = AnalyticCost(two, COUNTER, known), AnalyticCost(two, COUNTER, known, pp=2)
    assert staged.iteration_ns((), 3, 3) - one.iteration_ns((), 3, 3) == 7000 + 2 * 3 * 4


def test_the_launch_floor_holds_and_requests_come_on_top() -> None:
    floor = replace(PLAIN, overheads=Overheads(launch=50.0, step=1.0, request=2.0))
    cost = AnalyticCost(TINY, COUNTER, floor)
    assert cost.iteration_ns((), 1, 5) == 50_000 + 2_000
    assert cost.iteration_ns([(1, 0)], 1, 5) == 50_000 + 4_000
    assert cost.iteration_ns((), 1, 10**6) == 1000 + 2000 + AnalyticCost(TINY, COUNTER, PLAIN).iteration_ns(
        (), 1, 10**6
    )


def test_nothing_to_do_takes_no_time() -> None:
    assert AnalyticCost(TINY, COUNTER, replace(PLAIN, overheads=Overheads(50.0, 1.0))).iteration_ns((), 0, 0) == 0


@pytest.mark.parametrize(("tp", "pp"), [(3, 1), (0, 1), (1, 0), (1, 2)])
def test_a_split_that_cannot_be_is_refused(tp: int, pp: int) -> None:
    with pytest.raises(UsageError, match="tiny has"):
        AnalyticCost(TINY, COUNTER, PLAIN, tp, pp)


def _real(name: str = "vllm-0.6") -> AnalyticCost:
    on, how = gpu("a100-80g"), engine(name)
    return AnalyticCost(shape("opt-13b"), on, constants(on, 1, how))


CHUNKS = st.lists(st.tuples(st.integers(1, 2048), st.integers(0, 2048)), max_size=4)


@settings(max_examples=200, deadline=None)
@given(chunks=CHUNKS, batch=st.integers(0, 300), mean=st.integers(1, 2048), more=st.integers(1, 500))
def test_more_work_never_takes_less_time(chunks: list[tuple[int, int]], batch: int, mean: int, more: int) -> None:
    cost, context = _real("swifttransformer"), batch * mean
    base = cost.iteration_ns(chunks, batch, context)
    assert cost.iteration_ns(chunks, batch + more, context + more * mean) >= base
    assert cost.iteration_ns([*chunks, (more, 0)], batch, context) > base
    assert cost.iteration_ns(chunks, batch, context + more) >= base
    assert cost.iteration_ns([(n + more, k) for n, k in chunks], batch, context) >= base
    assert cost.iteration_ns([(n, k + more) for n, k in chunks], batch, context) >= base


@settings(max_examples=100, deadline=None)
@given(asked=st.lists(st.tuples(CHUNKS, st.integers(0, 300), st.integers(0, 10**6)), min_size=1, max_size=8))
def test_what_was_asked_before_does_not_matter(asked: list[tuple[list[tuple[int, int]], int, int]]) -> None:
    used = _real()
    forwards = [used.iteration_ns(*question) for question in asked]
    backwards = [used.iteration_ns(*question) for question in reversed(asked)]
    assert forwards == backwards[::-1] == [_real().iteration_ns(*question) for question in asked]


def test_the_order_of_chunks_does_not_matter_to_the_engine() -> None:
    # sums of floats do depend on order: half a nanosecond may round the other way
    chunks = [(100, 7), (3, 900), (777, 0)]
    assert abs(_real().iteration_ns(chunks, 5, 99) - _real().iteration_ns(chunks[::-1], 5, 99)) <= 1
