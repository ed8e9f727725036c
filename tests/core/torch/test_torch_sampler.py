from __future__ import annotations

import numpy as np
import pytest
import torch

from systems.core.request import Sampling
from systems.core.torch.sampler import Draws, sample, uniform


def draws(samplings: list[Sampling], positions: list[int]) -> Draws:
    return Draws.of(samplings).at(np.asarray(positions))


def test_uniform_is_uniform_and_keyed_by_both() -> None:
    seeds, places = np.meshgrid(np.arange(100, dtype=np.uint64), np.arange(100))
    u = uniform(seeds.ravel(), places.ravel())
    assert len(np.unique(u)) == u.size
    assert 0 <= u.min() < 0.001
    assert 0.999 < u.max() < 1
    counts = np.histogram(u, 20, (0, 1))[0]
    assert ((counts - 500) ** 2 / 500).sum() < 45  # chi square, 19 degrees: p = 0.0007


def test_greedy_takes_the_best_and_says_what_is_not_finite() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [float("nan"), 1.0, 2.0], [5.0, 1.0, float("-inf")]])
    tokens, sound = sample(logits, Draws.of([Sampling()] * 3))
    assert tokens[[0, 2]].tolist() == [1, 0]
    assert sound.tolist() == [True, False, True]


def test_frequencies_follow_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    want = torch.softmax(logits / 0.7, -1)[0].numpy()
    n = 4000
    tokens, _ = sample(logits.expand(n, 4), draws([Sampling(temperature=0.7, seed=5)] * n, list(range(n))))
    np.testing.assert_allclose(np.bincount(tokens, minlength=4) / n, want, atol=0.025)


@pytest.mark.parametrize(("top_p", "kept"), [(0.5, {2}), (0.8, {1, 2}), (0.0, {2}), (1.0, {0, 1, 2, 3})])
def test_top_p_keeps_the_fewest_tokens_that_reach_it(top_p: float, kept: set[int]) -> None:
    logits = torch.log(torch.tensor([[0.1, 0.3, 0.55, 0.05]]))
    n = 400
    tokens, _ = sample(logits.expand(n, 4), draws([Sampling(temperature=1.0, top_p=top_p)] * n, list(range(n))))
    assert set(tokens.tolist()) == kept


def test_a_draw_depends_on_seed_and_position_only() -> None:
    torch.manual_seed(0)
    logits = torch.randn(16, 50)
    samplings = [Sampling(temperature=(0.0, 1.0, 0.5)[i % 3], top_p=(1.0, 0.9)[i % 2], seed=i) for i in range(16)]
    places = list(range(100, 116))
    whole, _ = sample(logits, draws(samplings, places))
    for i in reversed(range(16)):
        alone, _ = sample(logits[i : i + 1], draws([samplings[i]], [places[i]]))
        assert alone[0] == whole[i]
    others = [sample(logits, draws(samplings, [place + shift for place in places]))[0] for shift in range(1, 4)]
    assert all((other != whole).any() for other in others)
