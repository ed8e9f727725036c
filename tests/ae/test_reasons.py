"""The reasons follow from the numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ae import reasons
from ae.cells import Cell, Numbers
from ae.reasons import Given
from ae.table import Row

GIVEN = Given(
    slo=0.1,
    step=0.01,
    full=4,
    batch=4,
    pages=100,
    page_tokens=16,
    source="a test",
    held=200.0,
    output=50.0,
    prompt=0.075,
)


def rows_and_cells(values: dict[str, list[list[float]]]) -> tuple[list[Row], list[Cell]]:
    """Normalized latencies by series, trial and rate (1, 2, ... requests/s)."""
    rows = [
        Row("p", name, x, x, t, y, requests=10, slo=0.1)
        for name, by_trial in values.items()
        for t, ys in enumerate(by_trial)
        for x, y in enumerate(ys, 1)
    ]
    quiet = Numbers(0.0, 0.1, 0.1, 1.0, 1.0, 0.01, 1.0, 0.0, 0.0, 0.0, 0.0)
    cells = [
        Cell(name, float(x), len(by_trial), 10 * len(by_trial), 0, "", quiet._replace(normalized=y))
        for name, by_trial in values.items()
        for x, y in enumerate(by_trial[0], 1)
    ]
    return rows, cells


@pytest.mark.parametrize(
    ("by_trial", "words"),
    [
        ([[0.05, 0.15], [0.05, 0.15]], "Its mean latency crosses the SLO at 1.50"),
        ([[0.05, 0.06], [0.05, 0.07]], "keeps to the SLO up to 2 requests/s, the highest rate asked."),
        ([[0.2, 0.3], [0.2, 0.4]], "is beyond the SLO at 1 requests/s already, the lowest rate asked."),
        ([[0.05, 0.15], [0.05, 0.06]], "in some trials only"),
        ([[math.nan, math.nan]], "No trial says where"),
    ],
)
def test_where_the_slo_is_crossed_is_said_as_far_as_it_is_known(by_trial: list[list[float]], words: str) -> None:
    rows, cells = rows_and_cells({"a/b": by_trial})
    assert words in reasons.words(GIVEN, cells, rows)[2]


def test_the_first_system_is_held_against_the_others() -> None:
    rows, cells = rows_and_cells({"a": [[0.05, 0.15]], "b": [[0.095, 0.105]], "c": [[0.05, 0.06]], "d": [[0.2, 0.3]]})
    *_, b, c, d, long = reasons.words(GIVEN, cells, rows)
    assert b == "a carries 1.00 times the load of b at the SLO."
    assert c == "a carries < 0.75 times the load of c at the SLO."
    assert d == "a carries ≥ 1.50 times the load of d at the SLO."
    assert long.endswith("here 10 requests.")


def test_preemption_is_told_with_what_it_costs() -> None:
    rows, cells = rows_and_cells({"a": [[0.05, 0.06, 0.07]]})
    assert "Preempts nobody." in reasons.words(GIVEN, cells, rows)[2]
    busy = [
        replace(c, numbers=c.numbers._replace(preemptions=c.rate - 1, swapped=c.rate * 2**29, waiting=0.25))
        for c in cells
    ]
    swaps = reasons.words(GIVEN, busy, rows)[2]
    assert "Preempts from 2/s on, up to 2 times a request (at 3/s)." in swaps
    assert "Copies up to 1.5 GiB a request between GPU and host (at 3/s), for which iterations wait 25.0%" in swaps
    again = [replace(c, numbers=c.numbers._replace(preemptions=1.0, recomputed=40.0)) for c in cells]
    assert "Computes up to 40 tokens a request again (at 1/s)." in reasons.words(GIVEN, again, rows)[2]
    assert "GiB" not in reasons.words(GIVEN, again, rows)[2]


def test_the_offered_concurrency_is_held_against_places_and_memory() -> None:
    rows, cells = rows_and_cells({"a": [[0.05, 0.06, 0.07]]})
    busy = [replace(c, numbers=c.numbers._replace(offered=2.4 * c.rate)) for c in cells]
    slo, memory, crowded, _ = reasons.words(GIVEN, busy, rows)
    # 50 tokens of 10 ms, shared by 4 requests, and 75 ms for the prompt
    assert "a request takes 125 ms, its prompt alone 75 ms: so about 5 requests/s can be served." in slo
    assert "8 fit at once; the batch has 4 places: the batch limit binds before memory does" in memory
    assert "From 2/s on the offered concurrency (rate x mean latency) exceeds the 4 places" in crowded
    assert "7.2 at 3/s" in crowded
    assert "KV for so many would be 90% of the memory" in crowded  # 7.2 x 200 of 1600 tokens
    full = reasons.words(GIVEN, [replace(c, numbers=c.numbers._replace(offered=1600.0)) for c in cells], rows)[2]
    assert "1,600 at 1/s: requests wait or take turns; KV for so many would be 200 times the memory" in full
    calm = reasons.words(replace(GIVEN, pages=40), cells, rows)
    assert "3 fit at once; the batch has 4 places: memory is full first" in calm[1]
    assert "stays below the 4 places of the batch, 1 at 1/s" in calm[2]
