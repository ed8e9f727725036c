"""Verdicts: every outcome, from curves whose crossings are known."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from ae import claimfile
from ae.claims import Verdict, judge, judge_paper
from ae.figure import Claim, Figure, Grid, Panel, Series, Slo, Workload
from ae.paper import Curve, PaperSet, Published
from ae.table import Row

BASE = Claim(
    id="C1",
    section="6",
    wording="A carries twice the load of B.",
    panel="p",
    a="a",
    b="b",
    value=2.0,
    source="text",
    tolerance=0.2,
    tolerance_reason="because",
)


def panel(name: str = "p", **paper: str) -> Panel:
    return Panel(name, name, Workload("sharegpt"), Slo(10.0, 0.3), paper=paper)


def figure(*claims: Claim, metric: Any = "normalized_latency_mean", panels: tuple[Panel, ...] = ()) -> Figure:
    return Figure(
        id="sys/fig",
        title="t",
        caption="c",
        metric=metric,
        panels=panels or (panel(),),
        series=(Series("a", "A", "x/a"), Series("b", "B", "x/b")),
        grids={"quick": Grid((1.0,), 1, 1.0, panels=("p",)), "full": Grid((1.0,), 3, 1.0)},
        claims=claims or (BASE,),
        hardware="h",
        minutes={"quick": None, "full": None},
        limitations=(),
        y_label="y",
    )


def line(series: str, cross: float, trial: int = 0, on: str = "p", slo: float = 1.0) -> list[Row]:
    """Rows at x = 0.5 to 5 that cross the SLO exactly at `cross`."""
    return [Row(on, series, x / 2, x / 2, trial, slo * x / 2 / cross, slo=slo, requests=9) for x in range(1, 11)]


def both(a: float, b: float, trial: int = 0, on: str = "p") -> list[Row]:
    return line("a", a, trial, on) + line("b", b, trial, on)


def one(claim: Claim, rows: list[Row], **kw: Any) -> Verdict:
    (verdict,) = judge(figure(claim, **kw), rows, "smoke")
    return verdict


def three(*pairs: tuple[float, float], on: str = "p") -> list[Row]:
    return [r for t, (a, b) in enumerate(pairs) for r in both(a, b, t, on)]


def test_met_within_tolerance_and_interval() -> None:
    verdict = one(BASE, three((2.0, 1.0), (2.1, 1.0), (1.9, 1.0)))
    assert verdict.outcome == "met"
    assert verdict.found is not None
    assert verdict.found.value == pytest.approx(2.0)
    assert 1.7 < verdict.found.low < 1.8  # 2 - 4.303 * 0.1 / sqrt(3)
    assert verdict.found.n == 3


def test_the_ratio_is_taken_per_trial() -> None:
    # Trials whose capacity differs: every ratio is 2, while the ratio of means would hide their spread.
    verdict = one(BASE, three((1.0, 0.5), (2.0, 1.0), (4.0, 2.0)))
    assert verdict.found is not None
    assert verdict.found.low == pytest.approx(2.0)
    assert verdict.found.high == pytest.approx(2.0)


def test_direction_only_when_another_size() -> None:
    verdict = one(BASE, three((3.0, 1.0), (3.1, 1.0), (3.2, 1.0)))
    assert verdict.outcome == "direction only"
    assert "+55% off" in verdict.reason


def test_one_trial_is_at_best_direction_only_and_names_the_remedy() -> None:
    verdict = one(BASE, both(2.0, 1.0))
    assert verdict.outcome == "direction only"
    assert verdict.remedy == "ae run sys/fig --full"


def test_not_met_the_other_way_round() -> None:
    assert one(BASE, both(0.9, 1.0)).outcome == "not met"
    assert one(BASE, three((0.9, 1.0), (0.8, 1.0), (0.85, 1.0))).outcome == "not met"


def test_not_met_in_one_trial_says_so_and_names_the_remedy() -> None:
    early = one(BASE, both(0.9, 1.0))
    assert early.reason == "the other way round; 1 trial, 3 are needed to say more"
    assert early.remedy == "ae run sys/fig --full"
    assert one(BASE, both(0.9, 1.0) + both(0.9, 1.0, 1)).reason.endswith("2 trials, 3 are needed to say more")
    settled = one(BASE, three((0.9, 1.0), (0.8, 1.0), (0.85, 1.0)))
    assert (settled.reason, settled.remedy) == ("the other way round", "")


def test_not_met_when_the_interval_includes_one() -> None:
    verdict = one(BASE, three((3.0, 1.0), (1.0, 1.0), (2.0, 1.0)))
    assert verdict.outcome == "not met"
    assert "noise" in verdict.reason


def test_a_bound_shows_direction_but_no_size() -> None:
    verdict = one(BASE, three((9.0, 1.0), (9.0, 1.0), (9.0, 1.0)))  # a never crosses up to 5
    assert verdict.outcome == "direction only"
    assert verdict.found is not None
    assert verdict.found.value is None
    assert verdict.found.low == pytest.approx(5.0)


def test_a_bound_is_not_judged_more_leniently_than_a_number() -> None:
    # The third ratio is 1.6 as a number: noise. Known only as "at least 1.67" it must not say more than that.
    claim = replace(BASE, statistic="order", value=1.0)
    assert one(claim, three((2.0, 2.0), (3.0, 2.0), (4.8, 3.0))).outcome == "not met"
    bound = one(claim, three((2.0, 2.0), (3.0, 2.0), (9.0, 3.0)))
    assert bound.outcome == "not testable here"
    assert "1 is not excluded" in bound.reason


def test_an_order_known_by_a_bound_in_one_trial_is_direction_only() -> None:
    claim = replace(BASE, statistic="order", value=1.0)
    assert one(claim, three((4.0, 1.0), (4.1, 1.0), (9.0, 1.0))).outcome == "direction only"


def test_two_curves_that_never_cross_test_nothing() -> None:
    assert one(BASE, three((9.0, 9.0), (9.0, 9.0), (9.0, 9.0))).outcome == "not testable here"


def test_an_invalid_point_at_the_crossing_invalidates() -> None:
    rows = three((2.0, 1.0), (2.0, 1.0), (2.0, 1.0))
    bad = [replace(r, valid=False, why="late") if r.series == "a" and r.x in (2.0, 2.5) else r for r in rows]
    verdict = one(BASE, bad)
    assert (verdict.outcome, verdict.reason) == ("invalid measurement", "late")


def test_an_unfinished_trial_does_not_void_the_finished_ones() -> None:
    begun = [r for r in both(2.0, 1.0, 3) if r.x <= 1.5]  # neither curve's crossing can be told from these
    verdict = one(BASE, three((2.0, 1.0), (2.1, 1.0), (1.9, 1.0)) + begun)
    assert (verdict.outcome, verdict.left_out) == ("met", 1)
    assert verdict.found is not None
    assert verdict.found.n == 3
    assert verdict.line().endswith("1 unfinished trial left out")
    entry = yaml.safe_load(claimfile.text(figure(), [verdict], "smoke"))["claims"][0]
    assert entry["unfinished_trials_left_out"] == 1


def test_invalid_points_never_count() -> None:
    rows = three((2.0, 1.0), (2.0, 1.0), (2.0, 1.0))
    absurd = [Row("p", "a", 0.25, 0.25, t, 99.0, valid=False, slo=1.0) for t in range(3)]
    assert one(BASE, rows + absurd).outcome == "met"


def test_missing_series_and_panels_are_not_testable() -> None:
    missing = one(replace(BASE, b="nobody"), both(2.0, 1.0))
    assert (missing.outcome, missing.reason) == ("not testable here", "nobody is not run by this harness")
    half = one(BASE, line("a", 2.0))
    assert (half.outcome, half.remedy) == ("not testable here", "ae run sys/fig")
    other = one(replace(BASE, panel="q"), both(2.0, 1.0), panels=(panel(), panel("q")))
    assert (other.outcome, other.remedy) == ("not testable here", "ae run sys/fig --full")


def test_series_that_share_no_trial_are_not_compared() -> None:
    assert one(BASE, line("a", 2.0, trial=0) + line("b", 1.0, trial=1)).outcome == "not testable here"


def test_other_tiers_and_absolute_speed_are_not_claimed() -> None:
    there = replace(BASE, tiers=("paper",), untested="needs the cluster")
    assert one(there, both(2.0, 1.0)).reason == "needs the cluster"
    assert one(replace(BASE, statistic="absolute"), both(2.0, 1.0)).outcome == "not testable here"


def test_data_wins_over_the_text_for_our_measurements() -> None:
    claim = replace(BASE, value=4.0, data=2.0)
    assert one(claim, three((2.0, 1.0), (2.1, 1.0), (1.9, 1.0))).outcome == "met"
    assert one(replace(claim, data=None), three((2.0, 1.0), (2.1, 1.0), (1.9, 1.0))).outcome == "direction only"


def test_a_range_is_met_anywhere_inside() -> None:
    claim = replace(BASE, value=1.5, value_high=2.5, tolerance=0.0)
    assert one(claim, three((2.4, 1.0), (2.4, 1.0), (2.4, 1.0))).outcome == "met"
    assert one(claim, three((2.6, 1.0), (2.6, 1.0), (2.6, 1.0))).outcome == "direction only"


def test_order_needs_only_the_sign() -> None:
    claim = replace(BASE, statistic="order", value=1.0)
    assert one(claim, three((1.2, 1.0), (1.21, 1.0), (1.19, 1.0))).outcome == "met"
    assert one(claim, both(1.2, 1.0)).outcome == "direction only"


def test_shrinks_compares_two_panels_trial_by_trial() -> None:
    claim = replace(BASE, statistic="shrinks", other_panel="q", value=1.0)
    small = three((2.0, 1.0), (2.1, 1.0), (1.9, 1.0))
    panels = (panel(), panel("q"))
    less = three((1.2, 1.0), (1.2, 1.0), (1.2, 1.0), on="q")
    more = three((3.0, 1.0), (3.0, 1.0), (3.0, 1.0), on="q")
    assert one(claim, small + less, panels=panels).outcome == "met"
    assert one(claim, small + more, panels=panels).outcome == "not met"


def test_equal_at_low_load() -> None:
    claim = replace(BASE, statistic="equal", quantity="low_load_latency", value=1.0, tolerance=0.1)
    rows = three((4.0, 4.1), (4.1, 4.0), (4.0, 4.0))
    assert one(claim, rows).outcome == "met"
    noisy = one(claim, three((4.0, 3.2), (4.0, 4.8), (4.0, 4.0)))  # 0.8, 1.2, 1.0: the interval is [0.5, 1.5]
    assert noisy.found is not None
    assert noisy.outcome == "direction only"
    assert "interval" in noisy.reason
    slower = [replace(r, value=r.value * 1.5) if r.series == "a" else r for r in rows]
    assert one(claim, slower).outcome == "not met"


def test_low_load_needs_points_at_low_load() -> None:
    claim = replace(BASE, statistic="equal", quantity="low_load_latency", value=1.0, tolerance=0.1)
    verdict = one(claim, [r for r in both(4.0, 4.0) if r.x > 2])
    assert (verdict.outcome, verdict.remedy) == ("not testable here", "ae run sys/fig --full")
    low = [replace(r, valid=r.x > 2, why="late") for r in both(4.0, 4.0)]
    assert one(claim, low).outcome == "invalid measurement"


def test_goodput_is_read_downward() -> None:
    def share(series: str, cross: float, trial: int) -> list[Row]:
        return [Row("p", series, x / 2, 1, trial, 1 - 0.05 * x / 2 / cross, slo=0.95) for x in range(1, 11)]

    rows = [r for t in range(3) for r in share("a", 2.0, t) + share("b", 1.0, t)]
    verdict = one(BASE, rows, metric="slo_attainment")
    assert verdict.outcome == "met"


def test_published_rows_never_count_as_measured() -> None:
    rows = [replace(r, source="paper") for r in both(2.0, 1.0)]
    assert one(BASE, rows).outcome == "not testable here"


def published(a: float, b: float, **more: Any) -> Published:
    def made(series: str, cross: float) -> Curve:
        return Curve(series, tuple(x / 2 for x in range(1, 11)), tuple(0.3 * x / 2 / cross for x in range(1, 11)))

    return Published((PaperSet("set", "normalized_latency_mean", "S", "exact", (made("a", a), made("b", b)), **more),))


def test_the_papers_points_are_judged_against_the_text_without_trials() -> None:
    claim = replace(BASE, value=2.0, data=3.0)
    (verdict,) = judge_paper(figure(claim, panels=(panel(paper="set"),)), published(2.0, 1.0))
    assert (verdict.outcome, verdict.source) == ("met", "paper")


def test_a_crossing_read_off_replaces_the_curves() -> None:
    known = published(2.0, 1.0, at_slo=(("a", 4.0),))
    (verdict,) = judge_paper(figure(panels=(panel(paper="set"),)), known)
    assert verdict.found is not None
    assert verdict.found.value == pytest.approx(4.0)


def test_a_set_of_its_own_threshold() -> None:
    known = published(2.0, 1.0, slo=0.15)
    (verdict,) = judge_paper(figure(panels=(panel(paper="set"),)), known)
    assert [s.found.low for s in verdict.sides] == [pytest.approx(1.0), pytest.approx(0.5)]


def test_a_set_without_one_series_is_not_testable() -> None:
    known = Published((replace(published(2.0, 1.0).sets[0], curves=published(2.0, 1.0).sets[0].curves[:1]),))
    (verdict,) = judge_paper(figure(panels=(panel(paper="set"),)), known)
    assert verdict.outcome == "not testable here"
    (verdict,) = judge_paper(figure(), Published())
    assert verdict.reason == "nothing was published for this panel"


def test_claim_file_reads_from_the_top_and_as_yaml() -> None:
    verdicts = judge(figure(BASE, replace(BASE, id="C2", b="nobody")), both(2.0, 1.0), "smoke")
    text = claimfile.text(figure(), verdicts, "smoke")
    assert text.startswith("# sys/fig, tier smoke: 1 direction only, 1 not testable here\n")
    tree = yaml.safe_load(text)
    assert [c["id"] for c in tree["claims"]] == ["C1", "C2"]
    first = tree["claims"][0]
    assert list(first)[:5] == ["id", "verdict", "source", "found", "trials"]
    assert (first["found"], first["published"], first["remedy"]) == (2.0, 2.0, "ae run sys/fig --full")
    assert text == claimfile.text(figure(), verdicts, "smoke")


def test_an_unbounded_interval_is_written_as_a_word() -> None:
    verdicts = judge(figure(), both(9.0, 1.0), "smoke")
    entry = yaml.safe_load(claimfile.text(figure(), verdicts, "smoke"))["claims"][0]
    assert entry["interval"] == [5.0, "unbounded"]
    assert "found ≥ 5.00" in verdicts[0].line()
