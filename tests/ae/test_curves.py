"""Crossings and intervals."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ae.curves import Span, combine, crossing, finished, half_width, low_load, trials
from ae.figure import Grid
from ae.table import Row


def row(x: float, value: float, *, valid: bool = True, trial: int = 0, slo: float = 1.0, why: str = "") -> Row:
    return Row("p", "s", x, x, trial, value, valid=valid, slo=slo, why=why)


def curve(*points: tuple[float, float], slo: float = 1.0) -> list[Row]:
    return [row(x, y, slo=slo) for x, y in points]


def test_crossing_lies_on_the_line_between_its_two_points() -> None:
    assert crossing(curve((1, 0.5), (2, 1.5))) == Span(1.5, 1.5)


def test_rows_may_come_in_any_order() -> None:
    points = curve((2, 1.5), (1, 0.5), (3, 9))
    assert crossing(points) == crossing(sorted(points, key=lambda r: r.x))


def test_the_first_upward_crossing_counts_although_the_curve_comes_back() -> None:
    # Sorting by latency, as the artifact's plots do, would mix the two branches.
    assert crossing(curve((4, 0.5), (4.5, 1.5), (5, 2.0), (5.5, 0.4), (6, 1.6))) == Span(4.25, 4.25)


def test_a_curve_that_never_crosses_is_a_lower_bound_and_never_extrapolated() -> None:
    found = crossing(curve((1, 0.1), (2, 0.9)))
    assert (found.low, found.high, found.exact) == (2, math.inf, False)
    assert str(found) == "≥ 2.00"


def test_a_curve_that_starts_above_the_slo_is_an_upper_bound() -> None:
    found = crossing(curve((1, 3.0), (2, 4.0)))
    assert (found.low, found.high) == (0, 1)
    assert str(found) == "< 1.00"


def test_a_value_equal_to_the_slo_still_meets_it() -> None:
    assert crossing(curve((1, 0.5), (2, 1.0), (3, 2.0))) == Span(2.0, 2.0)


def test_an_attainment_crosses_downward() -> None:
    points = [row(x, y, slo=0.95) for x, y in ((1, 1.0), (2, 0.98), (3, 0.92))]
    found = crossing(points, falling=True)
    assert found.low == pytest.approx(2.5)


def test_every_row_is_judged_by_its_own_slo() -> None:
    points = [row(1, 1.0, slo=2.0), row(2, 6.0, slo=4.0)]
    assert crossing(points).low == pytest.approx(1.5)


def test_rows_without_slo_or_number_take_no_part() -> None:
    assert crossing([row(1, 0.5, slo=0.0)]).blocked
    found = crossing([row(1, 0.5), row(2, math.nan), row(3, 1.5)])
    assert found.low == pytest.approx(2.0)
    assert found.blocked


def test_an_invalid_point_where_the_crossing_would_be_blocks_it() -> None:
    inside = [row(1, 0.5), row(1.5, 0.6, valid=False, why="late sends"), row(2, 1.5)]
    assert crossing(inside).blocked == "late sends"
    beyond = [row(1, 0.5), row(2, 0.6, valid=False, why="rate")]
    assert crossing(beyond).blocked == "rate"


def test_an_invalid_point_elsewhere_blocks_nothing() -> None:
    points = [row(0.5, 0.1, valid=False, why="x"), row(1, 0.5), row(2, 1.5), row(3, 9, valid=False, why="x")]
    assert crossing(points) == Span(1.5, 1.5)


@given(
    st.lists(st.floats(0.01, 10), min_size=2, max_size=12),
    st.floats(0.05, 5),
    st.integers(0, 1_000_000),
)
def test_crossing_stays_inside_the_loads_and_shrinks_with_them(values: list[float], slo: float, seed: int) -> None:
    points = curve(*((i + 1.0, v) for i, v in enumerate(values)), slo=slo)
    found = crossing(points)
    assert 0 <= found.low <= len(values)
    if found.exact:
        before = [v for i, v in enumerate(values) if i + 1 <= found.low]
        assert all(v <= slo * (1 + 1e-9) for v in before)
        shorter = crossing(points[: max(1, seed % len(points))])
        assert shorter.low <= found.low


def test_quotient_of_bounds_keeps_what_is_certain() -> None:
    at_least_two = Span(2.0, math.inf)
    assert at_least_two.over(Span(1.0, 1.0)) == Span(2.0, math.inf)
    assert Span(3.0, 3.0).over(at_least_two) == Span(0.0, 1.5)
    assert at_least_two.over(at_least_two) == Span(0.0, math.inf)


def test_interval_of_three_trials_is_students_t() -> None:
    # mean 2, sample deviation 1, t(2) = 4.303
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(4.303 / math.sqrt(3))
    found = combine([Span(v, v) for v in (1.0, 2.0, 3.0)])
    assert found.value == pytest.approx(2.0)
    assert found.low == pytest.approx(2 - 4.303 / math.sqrt(3))


def test_two_trials_give_their_range() -> None:
    found = combine([Span(1.0, 1.0), Span(3.0, 3.0)])
    assert (found.value, found.low, found.high) == (2.0, 1.0, 3.0)


def test_one_bound_among_trials_makes_the_mean_a_bound() -> None:
    found = combine([Span(1.5, 1.5), Span(1.7, math.inf), Span(1.9, 1.9)])
    assert (found.value, found.high) == (None, math.inf)
    assert found.low == pytest.approx(1.7 - 4.303 * 0.2 / math.sqrt(3))
    assert combine([Span(1.5, 1.5), Span(2.0, math.inf)]).low == 1.5


def test_a_bound_is_never_negative_and_upper_bounds_have_an_interval_too() -> None:
    found = combine([Span(0.0, 1.0), Span(0.1, 2.0), Span(3.0, 3.0)])
    assert found.low == 0.0
    assert found.high == pytest.approx(2 + 4.303 / math.sqrt(3))


@given(st.lists(st.floats(0.1, 10), min_size=3, max_size=8), st.integers(0, 7))
def test_a_bound_in_place_of_a_number_never_says_more(values: list[float], which: int) -> None:
    exact = combine([Span(v, v) for v in values])
    spans = [Span(v, math.inf if i == which % len(values) else v) for i, v in enumerate(values)]
    bound = combine(spans)
    assert bound.low <= max(0.0, exact.low) + 1e-9
    assert bound.high >= exact.high


def test_low_load_averages_up_to_the_limit() -> None:
    assert low_load(curve((1, 2), (2, 4), (3, 100)), 2.0) == Span(3.0, 3.0)
    assert low_load(curve((3, 100)), 2.0).blocked


def test_trials_are_kept_apart_and_sorted() -> None:
    rows = [row(2, 1, trial=1), row(1, 1, trial=1), row(1, 5), Row("other", "s", 1, 1, 0, 1)]
    found = trials(rows, "p", "s")
    assert {t: [r.x for r in by] for t, by in found.items()} == {0: [1], 1: [1, 2]}


def test_a_trial_that_lacks_loads_of_the_others_is_left_out() -> None:
    found = {0: curve((1, 1), (2, 2)), 1: curve((1, 1)), 2: curve((1, 1), (2, 2))}
    assert list(finished(found)) == [0, 2]
    assert finished({1: curve((1, 1))}) == {1: curve((1, 1))}
    assert finished({}) == {}


def test_loads_of_the_quick_grid_alone_are_not_asked_of_later_trials() -> None:
    grids = (Grid((2.0, 3.5), 1, 1.0), Grid((1.0, 2.0), 3, 1.0))
    found = {0: curve((1, 1), (2, 2), (3.5, 3)), 1: curve((1, 1), (2, 2)), 2: curve((1, 1))}
    assert list(finished(found, grids)) == [0, 1]
    assert list(finished({0: curve((2, 2), (3.5, 3)), 1: curve((1, 1), (2, 2))}, grids)) == [1]
