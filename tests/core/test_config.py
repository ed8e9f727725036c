"""What an engine is asked for is checked before anything is started."""

from __future__ import annotations

import json

import pytest

from systems.core.config import RANGES, EngineConfig
from systems.core.errors import UsageError


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("port", 65536, "from 0 to 65535"),
        ("port", -1, "from 0 to 65535"),
        ("page_tokens", 0, "from 1 to 4096"),
        ("page_tokens", 10**9, "from 1 to 4096"),
        ("max_batch", 0, "a whole number from 1 to 65536"),
        ("max_batch", 10**12, "a whole number from 1 to 65536"),
        ("max_batch", 2.5, "a whole number from 1 to 65536"),
        ("max_batch", True, "a whole number from 1 to 65536"),
        ("max_queue", "many", "a whole number from 1 to 16777216"),
        ("threads", 10**6, "from 1 to 1024"),
        ("link_bytes_per_s", float("inf"), "a number from 0 to 1e+15"),
        ("link_bytes_per_s", float("nan"), "a number from 0 to"),
        ("seed", -1, "from 0 to 4294967295"),
    ],
)
def test_a_number_out_of_its_range_is_refused_with_the_range(name: str, value: object, fix: str) -> None:
    with pytest.raises(UsageError) as error:
        EngineConfig("synthetic").but(**{name: value})
    assert error.value.what == f"{name} is {value!r}."
    assert f"Give a {name} that is " in error.value.fix
    assert fix in error.value.fix
    row = {**json.loads(EngineConfig("synthetic").to_json()), name: value}
    with pytest.raises(UsageError, match=f"{name} is"):
        EngineConfig.from_json(json.dumps(row))


@pytest.mark.parametrize("name", list(RANGES))
def test_both_ends_of_a_range_are_accepted(name: str) -> None:
    least, most = RANGES[name]
    for value in (least, most):
        assert getattr(EngineConfig("synthetic").but(**{name: value}), name) == value


def test_a_whole_number_will_do_for_a_rate() -> None:
    assert EngineConfig("synthetic", link_bytes_per_s=1_000_000).link_bytes_per_s == 1e6
