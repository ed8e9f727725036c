from __future__ import annotations

import numpy as np
import pytest

from ae.load import workload
from ae.load.fit import describe, distance, rank_correlation
from ae.load.workload import Filter, Lengths, drawn, fixed, levels, pool, published, sample
from systems.core.errors import UsageError

N = 20_000


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", workload.names())
def test_published_tables_are_consistent(name: str) -> None:
    data = published(name)
    for marginal in (data.prompt, data.output):
        if marginal.quantiles:
            assert len(marginal.quantiles) == len(levels())
            assert list(marginal.quantiles) == sorted(marginal.quantiles)
        else:
            assert marginal.sigma > 0
    assert data.source
    assert data.about
    if data.joint:
        assert sum(map(sum, data.joint)) == pytest.approx(1)


def test_sharegpt_cells_have_the_published_joint_shape() -> None:
    data = published("sharegpt")
    fit = describe(sample(data, N, rng()), data)
    assert fit.prompt_mean == pytest.approx(data.prompt_mean, rel=0.03)
    assert fit.output_mean == pytest.approx(data.output_mean, rel=0.03)
    assert fit.total_p95 == pytest.approx(1058, rel=0.03)
    assert fit.rank_correlation == pytest.approx(-0.40, abs=0.02)
    assert fit.output_cv == pytest.approx(1.07, abs=0.03)
    assert fit.d_prompt is not None
    assert fit.d_output is not None
    assert fit.d_total is not None
    assert fit.d_prompt < 0.01
    assert fit.d_output < 0.015
    assert fit.d_total < 0.03


def test_independent_marginals_are_an_ablation_that_gets_the_total_wrong() -> None:
    data = published("sharegpt")
    fit = describe(sample(data, N, rng(), independent=True), data)
    assert abs(fit.rank_correlation) < 0.03
    assert fit.d_prompt is not None
    assert fit.d_total is not None
    assert fit.d_prompt < 0.01
    assert fit.d_total > 0.08


def test_filter_holds_for_every_pair() -> None:
    pairs = sample(published("sharegpt"), N, rng())
    assert pairs.prompt.min() >= 4
    assert pairs.output.min() >= 4
    assert pairs.prompt.max() <= 1024
    assert pairs.total.max() <= 2048


def test_alpaca_has_the_published_means() -> None:
    pairs = sample(published("alpaca"), N, rng())
    assert pairs.prompt.mean() == pytest.approx(19.31, rel=0.03)
    assert pairs.output.mean() == pytest.approx(58.45, rel=0.03)


def test_the_first_pairs_do_not_depend_on_how_many_are_drawn() -> None:
    few, many = (sample(published("sharegpt"), n, rng(7)) for n in (10, 3000))
    assert few.prompt.tolist() == many.prompt[:10].tolist()
    assert few.output.tolist() == many.output[:10].tolist()


def test_scaling_divides_by_a_constant_with_floor_one() -> None:
    pairs = Lengths(np.array([1, 8, 100]), np.array([3, 16, 1000])).scaled(8)
    assert pairs.prompt.tolist() == [1, 1, 12]
    assert pairs.output.tolist() == [1, 2, 125]


def test_scaling_keeps_the_rank_correlation() -> None:
    pairs = sample(published("sharegpt"), N, rng())
    assert describe(pairs.scaled(8)).rank_correlation == pytest.approx(describe(pairs).rank_correlation, abs=0.02)


def test_no_scaled_pair_exceeds_the_limit() -> None:
    source = drawn("sharegpt", scale=8)
    assert source(500, 100, rng()).total.max() <= 100


def test_a_limit_that_nothing_fits_is_refused() -> None:
    with pytest.raises(UsageError, match="fits in 7 tokens"):
        sample(published("sharegpt"), 5, rng(), limit=7)


def test_unknown_workload_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="sharegpt"):
        published("sharedgpt")


def test_fixed_source() -> None:
    pairs = fixed(128, 64)(3, 2048, rng())
    assert pairs.prompt.tolist() == [128] * 3
    assert pairs.output.tolist() == [64] * 3
    with pytest.raises(UsageError):
        fixed(128, 64)(3, 100, rng())


def test_pool_uses_every_pair_once_before_it_starts_again() -> None:
    real = Lengths(np.arange(1, 11), np.arange(11, 21))
    pairs = pool(real)(20, 100, rng())
    assert sorted(pairs.prompt[:10].tolist()) == list(range(1, 11))
    assert pairs.prompt[:10].tolist() == pairs.prompt[10:].tolist()
    assert (pairs.output - pairs.prompt == 10).all()
    assert pool(real, in_order=True)(10, 100, rng()).prompt.tolist() == list(range(1, 11))
    assert pool(real)(5, 15, rng()).total.max() <= 15


def test_filter_drops_a_pair_outside_any_bound() -> None:
    pairs = Lengths(np.array([3, 4, 4, 1025, 1024]), np.array([4, 3, 4, 4, 1025]))
    assert Filter(4, 4, 1024, 2048).keeps(pairs).tolist() == [False, False, True, False, False]


def test_distance_of_integers_counts_a_jump_as_met_and_sees_a_shift() -> None:
    quantiles = [1.0] * 12 + [2.0] * 13
    even = np.repeat([1, 2], 1000)
    assert distance(even, quantiles) <= 0.05
    assert distance(even + 5, quantiles) > 0.9


def test_rank_correlation_with_ties() -> None:
    a = np.array([1, 2, 2, 3])
    assert rank_correlation(a, a) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)
    assert rank_correlation(a, np.array([5, 5, 5, 5])) == 0
    # By hand: ranks 1, 2.5, 2.5, 4 and 4, 1, 2, 3; products of deviations -2.25 + 0.75 over sqrt(4.5 * 5).
    assert rank_correlation(a, np.array([9, 1, 2, 3])) == pytest.approx(-1.5 / np.sqrt(22.5))
