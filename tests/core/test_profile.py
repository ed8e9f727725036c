from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from systems.core.errors import UsageError
from systems.core.profile import Profile, ProfileCost, ProfileEstimator

MS = 1_000_000
SANE = Profile(
    model="m",
    hardware="here",
    prefill=((1, 1 * MS), (101, 3 * MS)),
    decode=((1, 10, 1 * MS), (1, 110, 2 * MS), (4, 40, 4 * MS), (4, 440, 8 * MS)),
)


def test_the_profile_that_the_artifact_ships_is_refused() -> None:
    """Its batch-1 prefills: 64 tokens 2.3 ms, 1,024 tokens 2.2 ms, 4,096 tokens 2.0 ms."""
    shipped = replace(SANE, prefill=((64, 2_300_000), (1024, 2_200_000), (4096, 2_000_000)))
    with pytest.raises(UsageError, match="longer prompts do not take longer"):
        shipped.validate()


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (replace(SANE, prefill=((1, MS), (50, 9 * MS), (101, 3 * MS))), "longer prompts"),
        (replace(SANE, prefill=((1, MS),)), "two lengths"),
        (replace(SANE, decode=((1, 10, MS), (1, 20, MS))), "two batch sizes"),
        (replace(SANE, prefill=((1, 0), (101, MS))), "zero or less"),
        (replace(SANE, decode=((1, 10, 9 * MS), (4, 40, MS))), "large batch decodes faster"),
        (replace(SANE, schema=7), "schema 7"),
    ],
)
def test_what_cannot_be_a_measurement_is_refused_with_the_command_to_type(broken: Profile, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        broken.validate()
    assert "python -m systems.core.profiler" in str(refused.value)


def test_a_sane_profile_survives_its_file(tmp_path: Path) -> None:
    SANE.save(tmp_path / "p.json")
    assert Profile.load(tmp_path / "p.json") == SANE


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"model": "m", "prefill": "x"})])
def test_a_file_that_is_no_profile_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(UsageError, match="profile"):
        Profile.load(tmp_path / "p.json")


def test_a_profile_of_another_model_is_refused() -> None:
    SANE.check_model("m")
    with pytest.raises(UsageError, match="of 'm', not of 'n'"):
        SANE.check_model("n")


def test_estimates_pass_through_the_measurements_and_lie_between_them() -> None:
    estimate = ProfileEstimator(SANE)
    assert [estimate.prefill(n) for n in (1, 51, 101, 151)] == [1 * MS, 2 * MS, 3 * MS, 4 * MS]
    assert [estimate.decode(1, 60), estimate.decode(4, 240)] == [1_500_000, 6 * MS]
    assert estimate.decode(2, 20) == 2 * MS, "a third of the way from one request to four, at context 10 each"
    assert estimate.shortest() == 1 * MS


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_a_longer_prompt_never_takes_less(a: int, b: int) -> None:
    estimate = ProfileEstimator(SANE)
    assert estimate.prefill(min(a, b)) <= estimate.prefill(max(a, b))


def test_an_iteration_of_prompts_and_decodes_pays_its_fixed_part_once() -> None:
    cost = ProfileCost(SANE)
    chunk, decode = cost.iteration_ns([(101, 0)], 0, 0), cost.iteration_ns([], 4, 40)
    assert (chunk, decode) == (3 * MS, 4 * MS)
    assert cost.iteration_ns([(101, 0)], 4, 40) == chunk + decode - 1 * MS


def test_a_later_chunk_pays_for_the_context_before_it() -> None:
    cost = ProfileCost(SANE)
    assert cost.iteration_ns([(50, 200)], 0, 0) > cost.iteration_ns([(50, 0)], 0, 0)
