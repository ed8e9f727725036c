"""Lengths stretched to other means: the means are met, the shape stays."""

from __future__ import annotations

import numpy as np
import pytest

from ae.figure import Workload
from ae.load.fit import describe
from ae.load.schedule import source_of
from ae.load.workload import published, sample, stretched
from systems.core.errors import UsageError

N = 20_000


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("means", [(102, 408), (256, 256), (512, 16), (512, 2)])
def test_means_are_met_and_no_length_is_below_one(means: tuple[int, int]) -> None:
    pairs = stretched("sharegpt", means)(N, 1 << 20, rng())
    assert pairs.prompt.mean() == pytest.approx(means[0], rel=0.03)
    assert pairs.output.mean() == pytest.approx(means[1], rel=0.03)
    assert min(pairs.prompt.min(), pairs.output.min()) >= 1


def test_spread_and_dependence_are_the_workloads() -> None:
    base = describe(sample(published("sharegpt"), N, rng()))
    fit = describe(stretched("sharegpt", (100, 400))(N, 1 << 20, rng()))
    assert fit.prompt_cv == pytest.approx(base.prompt_cv, rel=0.05)
    assert fit.output_cv == pytest.approx(base.output_cv, rel=0.05)
    assert fit.rank_correlation == pytest.approx(base.rank_correlation, abs=0.03)
    apart = describe(stretched("sharegpt", (100, 400), independent=True)(N, 1 << 20, rng()))
    assert abs(apart.rank_correlation) < 0.03


def test_the_first_pairs_do_not_depend_on_how_many_are_drawn() -> None:
    source = stretched("sharegpt", (300, 200))
    few, many = source(10, 2048, rng(7)), source(3000, 2048, rng(7))
    assert few.prompt.tolist() == many.prompt[:10].tolist()
    assert few.output.tolist() == many.output[:10].tolist()
    assert len(many) == 3000
    assert many.total.max() <= 2048


def test_scale_divides_the_means() -> None:
    pairs = stretched("sharegpt", (400, 80), scale=8)(N, 1 << 20, rng())
    assert pairs.prompt.mean() == pytest.approx(50, rel=0.03)
    assert pairs.output.mean() == pytest.approx(10, rel=0.03)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Mean lengths of 0.5 and 2"):
        stretched("sharegpt", (4, 16), scale=8)
    with pytest.raises(UsageError, match="exceed 100 tokens"):
        stretched("sharegpt", (512, 512))(100, 100, rng())


def test_a_figures_workload_says_which() -> None:
    stretch = source_of(Workload("sharegpt", scale=1.0, lengths=(300, 200)))(5, 2048, rng())
    assert stretch.prompt.tolist() == stretched("sharegpt", (300, 200))(5, 2048, rng()).prompt.tolist()
    equal = source_of(Workload("fixed", lengths=(30, 20)))(5, 2048, rng())
    assert (equal.prompt.tolist(), equal.output.tolist()) == ([30] * 5, [20] * 5)
    with pytest.raises(UsageError, match="two whole lengths"):
        source_of(Workload("fixed"))
    with pytest.raises(UsageError, match="two whole lengths"):
        source_of(Workload("fixed", lengths=(30.5, 20)))
