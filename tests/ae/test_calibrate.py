"""The units of the axes: bursts that agree, and iteration times from an event log written by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ae.saturate import agreed, between
from systems.core.decode_times import Decoding, Step, full_batch, steps
from systems.core.errors import MeasurementInvalid
from systems.core.record import Record, Tokens

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = [1, 0, 8, "chunk", 1, 0]


@pytest.mark.parametrize(
    ("measured", "capacity", "bursts"),
    [
        ((100.0, 109.0), 104.5, 2),
        ((100.0, 111.0, 104.0), 104.0, 3),
        ((100.0, 60.0, 101.0), 100.0, 3),
        ((60.0, 100.0, 50.0), 60.0, 3),
    ],
)
def test_two_bursts_that_agree_or_the_median_of_three(
    measured: tuple[float, ...], capacity: float, bursts: int
) -> None:
    found = agreed(iter(measured).__next__)
    assert found.capacity == capacity
    assert found.bursts == measured[:bursts]
    assert ("median of three" in found.how) == (bursts == 3)


def test_a_rate_counts_tokens_while_the_loop_was_full() -> None:
    records = [
        Record(i, i, float(i), i + 0.5, i + 2.0, "ok", 8, 2, 2, (Tokens(i + 0.5, 1, 0.0), Tokens(i + 1.5, 1, 0.0)))
        for i in range(6)
    ]
    # Full from the third send (at 2 s) to the last (at 5 s); a token comes every half second.
    assert between(records, 2) == (6.0, 3.0)


def launch(number: int, spans: list[list[object]], joined: tuple[int, ...], left: tuple[int, ...] = ()) -> str:
    joins = [[request, 8, 1, "decode", 1, 0] for request in joined]
    return json.dumps(
        [0, None, [[[number, 0, spans, joins, list(left), [], [], [], ["", [1, None], ""]]], [], [], 0, []]]
    )


def ran(number: int, end: int, ended: tuple[int, ...] = (), waiting: int = 0) -> str:
    return json.dumps([end, ["ran", number, [end], [], [[r, "length", 0] for r in ended], [waiting, 5, 0]]])


def log(folder: Path, *rows: str) -> Path:
    file = folder / "events.jsonl"
    file.write_text("\n".join(['{"schema": 1}', *rows]) + "\n")
    return file


def test_only_iterations_without_prompts_that_follow_another_are_timed(tmp_path: Path) -> None:
    file = log(
        tmp_path,
        *(launch(0, [CHUNK], ()), ran(0, 100)),
        *(launch(1, [], (1,)), ran(1, 110)),  # it may have waited since the prompt: nobody was in the batch
        *(launch(7, [], ()), ran(7, 120)),  # one request decodes: 10 ns
        *(launch(2, [CHUNK], ()), ran(2, 190)),  # a prompt beside it does not count
        *(launch(3, [], (2,)), ran(3, 210, waiting=3, ended=(1,))),  # two decode: 20 ns, 3 of them waiting
        *(launch(4, [], ()), ran(4, 225, ended=(2,))),  # one: 15 ns; then the engine has nothing to do
        *(launch(5, [], (3,)), ran(5, 900)),  # after a pause
        *(launch(6, [], (), left=(3,)), ran(6, 990)),  # nobody is left in the batch
    )
    assert list(steps(file)) == [Step(1, 10), Step(2, 17), Step(1, 15)]


def test_the_iteration_time_is_that_of_a_full_batch(tmp_path: Path) -> None:
    rows = [launch(0, [CHUNK], ()), ran(0, 0), launch(1, [], (1,)), ran(1, 1000)]
    end = 1000
    for i, period in enumerate((40, 50, 60, 70, 80), start=2):
        end += period
        rows += [launch(i, [], (2,) if i == 2 else ()), ran(i, end)]
    assert full_batch([log(tmp_path, *rows)]) == Decoding(60e-9, 2, 5)


def test_an_engine_that_never_only_decodes_has_no_iteration_time(tmp_path: Path) -> None:
    with pytest.raises(MeasurementInvalid, match="nothing but decode"):
        full_batch([log(tmp_path, launch(0, [CHUNK], ()), ran(0, 5))])
