"""Reading published points."""

from pathlib import Path

import pytest

from ae import paper
from ae.figure import Panel, Slo, Workload
from ae.paper import Published
from systems.core.errors import UsageError

GOOD = """
labels: {a: A system}
sets:
  one: {metric: normalized_latency_mean, source: NB, kind: exact, series: {a: {x: [1, 2], y: [0.1, 0.4]}}}
  two: {metric: slo_attainment, unit: percent, source: AE, kind: read-off-plot, slo: 0.9, at_slo: {a: 1.5}}
"""


def load(folder: Path, text: str) -> Published:
    path = folder / "paper.yaml"
    path.write_text(text)
    return paper.load(path)


def test_sets_keep_their_own_metric_threshold_and_crossings(tmp_path: Path) -> None:
    known = load(tmp_path, GOOD)
    one, two = known.find("one"), known.find("two")
    assert (one.curves[0].x, one.curves[0].y, one.slo) == ((1.0, 2.0), (0.1, 0.4), None)
    assert (two.slo, two.crossing_of("a"), two.crossing_of("b")) == (0.9, 1.5, None)
    assert (known.label("a"), known.label("b")) == ("A system", "b")


def test_percent_becomes_a_share(tmp_path: Path) -> None:
    known = load(tmp_path, GOOD.replace("at_slo: {a: 1.5}", "series: {a: {x: [1], y: [99.5]}}"))
    assert known.find("two").curves[0].y[0] == pytest.approx(0.995)


def test_rows_carry_source_and_threshold(tmp_path: Path) -> None:
    panel = Panel("p", "P", Workload("sharegpt"), Slo(10.0, 0.3), paper={"re-run": "one"})
    ((label, data),) = load(tmp_path, GOOD).of(panel)
    rows = paper.rows(panel, label, data, 0.3)
    assert [(r.x, r.value, r.source, r.slo, r.trial) for r in rows] == [
        (1.0, 0.1, "re-run", 0.3, 0),
        (2.0, 0.4, "re-run", 0.3, 0),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        GOOD.replace("y: [0.1, 0.4]", "y: [0.1]"),
        GOOD.replace("x: [1, 2]", "x: [2, 1]"),
        GOOD.replace("source: NB, ", ""),
        GOOD.replace("y: [0.1, 0.4]", "y: [0.1, high]"),
    ],
)
def test_a_malformed_set_is_named(tmp_path: Path, broken: str) -> None:
    with pytest.raises(UsageError, match="one"):
        load(tmp_path, broken)


def test_an_unknown_set_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one, two"):
        load(tmp_path, GOOD).find("three")
