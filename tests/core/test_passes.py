"""The passes of a log are what the cost model was asked about, when it said; and simulated logs replay, leaps and all."""

from __future__ import annotations

from pathlib import Path

import pytest

from systems.core.passes import Pass, Passes, Row
from systems.core.replay import replay
from systems.fastserve.variants import VARIANTS as FASTSERVE
from systems.vllm.variants import VARIANTS as VLLM
from tests.core import logged

ALL = [v.id for v in (*FASTSERVE, *VLLM)]


def passes_of(path: Path) -> list[Pass]:
    passes = Passes()
    return [one for row in logged.rows_of(path) for one in passes.feed(row)]


def arrived(request: int, now: int) -> Row:
    return [now, ["arrived", request, now, 5, "", 0, ["", 0, 0], None]]


def launch(number: int, now: int, spans: Row, joined: Row, finished: Row) -> Row:
    return [now, None, [[[number, 0, spans, joined, [], [], [], [], ["", [9, None], ""]]], [], finished, None, []]]


def test_a_leap_is_as_many_passes_as_it_has_steps() -> None:
    passes = Passes()
    assert passes.feed(arrived(0, 0)) == []
    assert passes.feed(launch(0, 0, [[0, 0, 5, "chunk", 1, 7]], [], [])) == []
    assert passes.running() == {0}
    assert passes.feed([6, ["ran", 0, [6], [[5, 1]], [], [1, 5, 0]]]) == [Pass(0, 0, 1, 6, 1, ((5, 0),), 0, 0)]
    assert passes.running() == set()
    passes.feed(launch(1, 8, [], [[0, 5, 1, "decode", 1, 7], [4, 9, 1, "decode", 1, 7]], []))
    assert passes.running() == {0, 4}
    assert passes.feed([41, ["ran", 1, [20, 30, 41], [], [[0, "length", 1]], [2, 31, 0]]]) == [
        Pass(1, 0, 10, 20, 2, (), 2, 14),
        Pass(1, 0, 20, 30, 0, (), 2, 16),
        Pass(1, 0, 30, 41, 0, (), 1, 11),
    ]
    passes.feed(launch(2, 41, [[6, 0, 3, "chunk", 1, 7]], [], [4]))
    assert passes.running() == {6}, "a cancelled member leaves when its memory is free"


@pytest.mark.parametrize("variant", ALL)
def test_they_are_what_the_cost_model_was_asked(variant: str, tmp_path: Path) -> None:
    cost = logged.simulated(variant, tmp_path / "log", leaps=False)
    passes = passes_of(tmp_path / "log")
    assert [(one.chunks, one.batch, one.context) for one in passes] == cost.asked
    assert all(one.end > one.begin for one in passes)


@pytest.mark.parametrize("variant", ALL)
def test_they_are_the_same_with_leaps_without_and_as_served(variant: str, tmp_path: Path) -> None:
    logged.simulated(variant, tmp_path / "leapt")
    logged.simulated(variant, tmp_path / "stepped", leaps=False)
    logged.served(variant, tmp_path / "served")
    leapt, stepped, served = ([one[1:] for one in passes_of(tmp_path / n)] for n in ("leapt", "stepped", "served"))
    assert leapt == stepped == served


@pytest.mark.parametrize("variant", ALL)
def test_a_simulated_log_replays_to_equal_decisions(variant: str, tmp_path: Path) -> None:
    logged.simulated(variant, tmp_path / "log")
    decisions = list(replay(tmp_path / "log"))
    assert all(decision.equal for decision in decisions)
    assert sum("free" in decision.words for decision in decisions)
    assert len(decisions) == sum(len(row) == 3 for row in logged.rows_of(tmp_path / "log"))


@pytest.mark.parametrize("variant", ["vllm", "fastserve"])
def test_the_log_that_replays_has_leaps(variant: str, tmp_path: Path) -> None:
    logged.simulated(variant, tmp_path / "log")
    assert max(len(event[2]) for event in logged.ran(tmp_path / "log")) > 4
