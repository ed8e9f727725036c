"""Names and settings of variants: what a user may type is checked before anything is built."""

from __future__ import annotations

import pytest

from systems.core.errors import UsageError
from systems.core.policy import Limits
from systems.core.variant import Scalar, check, find, systems


@pytest.mark.parametrize(
    ("variant", "settings", "fix"),
    [
        ("fastserve", {"keep": "foo"}, "Give proactive or reactive or recompute."),
        ("fastserve/fcfs", {"keep": "foo"}, "Give proactive or reactive or recompute."),
        ("fastserve", {"alpha_s": "abc"}, "Give a number that is not negative."),
        ("fastserve", {"alpha_s": -1}, "Give a number that is not negative."),
        ("fastserve", {"alpha_s": float("nan")}, "Give a number that is not negative."),
        ("fastserve", {"alpha_s": float("inf")}, "Give a number that is not negative."),
        ("fastserve", {"alpha_s": True}, "Give a number that is not negative."),
        ("fastserve", {"skip": 1}, "Give true or false."),
        ("fastserve", {"ratio": 2.5}, "Give a whole number that is not negative."),
        ("fastserve", {"ratio": 1}, "Give a whole number of at least 2."),
        ("vllm", {"watermark": "1%"}, "Give a number that is not negative."),
        ("vllm", {"watermark": 1}, "Give a share from 0 to below 1."),
        ("vllm/chunked", {"watermark": 250.0}, "Give a share from 0 to below 1."),
        ("fastserve/artifact", {"host_guard": 1.5}, "Give a share from 0 to 1."),
        ("fastserve", {"alpha": 0.3}, "Settings: alpha_s, alpha_steps, keep, ratio, skip."),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_what_may_be(
    variant: str, settings: dict[str, Scalar], fix: str
) -> None:
    with pytest.raises(UsageError) as error:
        check(find(variant), Limits(), settings)
    assert error.value.fix == fix
    assert next(iter(settings)) in error.value.what


@pytest.mark.parametrize("limits", [Limits(max_batch=0), Limits(max_batch=-1), Limits(max_tokens=0)])
def test_empty_limits_are_refused(limits: Limits) -> None:
    with pytest.raises(UsageError, match="of at least 1"):
        check(find("fastserve"), limits)


def test_settings_lie_on_top_of_the_variants_own_and_a_whole_number_will_do_for_a_float() -> None:
    settings = check(find("fastserve/skip-join-recompute"), Limits(), {"alpha_s": 1})
    assert (getattr(settings, "keep", None), repr(getattr(settings, "alpha_s", None))) == ("recompute", "1.0")


@pytest.mark.parametrize("system", systems())
def test_every_variant_accepts_its_own_settings(system: str) -> None:
    table = __import__(f"systems.{system}.variants", fromlist=["VARIANTS"]).VARIANTS
    assert all(type(check(variant, Limits())).__name__ == "Settings" for variant in table)


@pytest.mark.parametrize(("name", "fix"), [("nothing", "Systems: fastserve"), ("fastserve/x", "Variants: skip-join")])
def test_an_unknown_name_is_refused_with_those_there_are(name: str, fix: str) -> None:
    with pytest.raises(UsageError) as error:
        find(name)
    assert error.value.fix.startswith(fix)
