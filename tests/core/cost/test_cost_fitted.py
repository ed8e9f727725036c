"""DistServe's fits: their arithmetic, what moving them scales, and the independent number for the A100-40G."""

from __future__ import annotations

import pytest

from systems.core.cost.constants import engine
from systems.core.cost.fitted import Line, LinearFit, fit, has_fit
from systems.core.cost.gpu import gpu
from systems.core.cost.shape import shape
from systems.core.errors import UsageError

OPT = shape("opt-13b")
PLAIN = LinearFit(Line(100, 10, 1), Line(50, 2, 3), Line(20, 4, 5))


def test_prefill_and_decode_are_their_lines() -> None:
    assert PLAIN.iteration_ns([(4, 0), (2, 0)], 0, 0) == 100 + 10 * 6 + 16 + 4
    assert PLAIN.iteration_ns((), 94, 1000) == 50 + 2 * 1000 + 3 * 94
    assert PLAIN.iteration_ns((), 95, 1000) == 20 + 4 * 1000 + 5 * 95
    assert PLAIN.iteration_ns((), 0, 0) == 0


def test_a_mixed_iteration_pays_the_smaller_fixed_part_once() -> None:
    alone = PLAIN.iteration_ns([(4, 0)], 0, 0) + PLAIN.iteration_ns((), 2, 8)
    assert PLAIN.iteration_ns([(4, 0)], 2, 8) == alone - 50


def test_chunks_of_a_prompt_cost_together_what_the_prompt_costs() -> None:
    whole = PLAIN.iteration_ns([(6, 0)], 0, 0)
    assert PLAIN.iteration_ns([(4, 0)], 0, 0) + PLAIN.iteration_ns([(2, 4)], 0, 0) == whole + 100


def test_published_numbers_come_out_at_home() -> None:
    found = fit(OPT, gpu("a100-80g"), 1, engine("swifttransformer"))
    assert found.iteration_ns((), 16, 16 * 256) == pytest.approx(
        1e6 * (19.935 + 0.00062694 * 4096 + 0.038507 * 16), abs=1
    )
    prefill = 18.103 + 0.10191 * 512 + 7.1223e-6 * 512**2
    assert found.iteration_ns([(512, 0)], 0, 0) == pytest.approx(1e6 * prefill, abs=1)
    assert "82831f1" in found.source


def test_moving_scales_reading_weights_and_kv_and_nothing_else() -> None:
    old, new = gpu("a100-80g"), gpu("a100-40g")
    at_home = fit(OPT, old, 1, engine("vllm-0.6"))
    moved = fit(OPT, new, 1, engine("vllm-0.6"))
    ratio = 2039 / 1555
    weights = 25.707e9 / (2039 * 0.812)  # ns, at the share of the bandwidth that kernels reach
    for before, after in ((at_home.small, moved.small), (at_home.large, moved.large)):
        assert after.first == pytest.approx(before.first * ratio)
        assert after.second == before.second
        assert after.fixed - before.fixed == pytest.approx(weights * (ratio - 1))
    assert (moved.prefill.first, moved.prefill.second) == (at_home.prefill.first, at_home.prefill.second)
    assert "moved from a100-80g to a100-40g" in moved.source


@pytest.mark.parametrize(("name", "stated_ms"), [("swifttransformer", 25.7), ("vllm-0.6", 32.8)])
def test_the_moved_fits_meet_the_independent_number(name: str, stated_ms: float) -> None:
    cost = fit(OPT, gpu("a100-40g"), 1, engine(name))
    run = cost.iteration_ns([(16, 0)] * 16, 0, 0)
    run += sum(cost.iteration_ns((), 16, 16 * (16 + done)) for done in range(1, 16))
    assert run / 16 / 1e6 == pytest.approx(stated_ms, rel=0.06)


def test_no_fit_for_another_chip_fabric_engine_or_model() -> None:
    how = engine("swifttransformer")
    assert has_fit(OPT, gpu("a100-80g-pcie"), 1, how)
    assert not has_fit(OPT, gpu("a100-80g-pcie"), 2, how)
    assert not has_fit(OPT, gpu("h100"), 1, how)
    assert not has_fit(OPT, gpu("a100-80g"), 8, how)
    assert not has_fit(shape("opt-30b"), gpu("a100-80g"), 1, how)
    with pytest.raises(UsageError, match="no published fit of opt-13b with tp 1 on a100-80g for engine cuda-graphs"):
        fit(OPT, gpu("a100-80g"), 1, engine("cuda-graphs"))
