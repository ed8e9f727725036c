"""The picture: what it is worked out from, and that it can be drawn from anything a run leaves."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure as Canvas
from PIL import Image

from ae import layers, paper, plots
from ae.catalog import load
from ae.curves import Estimate
from ae.figure import Figure
from ae.paper import Published
from ae.plots import PALETTE
from ae.table import Row


def made(figure: Figure, trials: int = 3, series: tuple[str, ...] = ("vllm", "fcfs", "fastserve")) -> list[Row]:
    """Rows whose curves cross the SLO at 1.0, 1.1 and 1.8 (test data)."""
    cross = dict(zip(series, (1.0, 1.1, 1.8), strict=False))
    slo = 0.015
    return [
        Row(p.name, s, x, 70 * x, t, slo * (x / cross[s]) ** 3 * (1 + 0.02 * t), requests=100, slo=slo)
        for p in figure.panels
        for s in cross
        for t in range(trials)
        for x in (0.5, 1.0, 1.5, 2.0)
    ]


@pytest.fixture(scope="module")
def figure() -> Figure:
    return load("fastserve/figure14")


@pytest.fixture(scope="module")
def known(figure: Figure) -> Published:
    return paper.for_figure(figure)


def test_a_layer_holds_means_intervals_crossings_and_gains(figure: Figure) -> None:
    layer = layers.measured(figure, figure.panels[0], made(figure))
    assert layer is not None
    assert (layer.trials, layer.requests) == (3, (100, 100))
    assert layer.slo == pytest.approx(0.015)
    assert layer.capacity == pytest.approx(70)
    line = next(one for one in layer.lines if one.series == "fastserve")
    assert [d.x for d in line.dots] == [0.5, 1.0, 1.5, 2.0]
    assert all(d.half > 0 for d in line.dots)
    assert line.carries is not None
    assert line.carries.value is not None
    assert 1.6 < line.carries.value < 1.9
    assert [(g.a, g.b) for g in layer.gains] == [("fastserve", "fcfs"), ("fastserve", "vllm")]


def test_below_three_trials_no_interval_is_drawn(figure: Figure) -> None:
    layer = layers.measured(figure, figure.panels[0], made(figure, trials=2))
    assert layer is not None
    assert all(d.half == 0 for line in layer.lines for d in line.dots)


def test_invalid_points_are_hollow_and_in_no_mean(figure: Figure) -> None:
    rows = [replace(r, valid=False, why="late", value=9.0) if r.trial == 0 and r.x == 0.5 else r for r in made(figure)]
    layer = layers.measured(figure, figure.panels[0], rows)
    assert layer is not None
    for line in layer.lines:
        assert [(d.x, d.y) for d in line.hollow] == [(0.5, 9.0)]
        assert line.dots[0].y < 1


def test_an_unfinished_trial_is_drawn_but_carries_nothing(figure: Figure) -> None:
    whole = layers.measured(figure, figure.panels[0], made(figure, trials=2))
    begun = [r for r in made(figure) if r.trial < 2 or r.x <= 0.5]
    layer = layers.measured(figure, figure.panels[0], begun)
    assert whole is not None
    assert layer is not None
    assert (layer.trials, layer.left_out) == (3, 1)
    assert [line.carries for line in layer.lines] == [line.carries for line in whole.lines]
    assert layer.gains == whole.gains
    assert all(line.dots[0].half > 0 for line in layer.lines)  # the third trial's dot


def frames(figure: Figure, rows: list[Row], known: Published) -> list[tuple[list[str], str, tuple[float, float]]]:
    """Draw the first panel; per side the title's lines, the y label and the ends of the x axis."""
    found = []
    for frame in plots._row(figure, figure.panels[0], rows, known, "smoke"):
        ax = Canvas().subplots()
        plots._fill(ax, frame)
        found.append((ax.get_title(loc="left").split("\n"), ax.get_ylabel(), ax.get_xlim()))
    return found


def test_the_headline_carries_its_interval_and_the_label_its_scale(figure: Figure, known: Published) -> None:
    (title, label, _), (_, paper_label, _) = frames(figure, made(figure), known)
    assert re.fullmatch(r"FastServe carries \d\.\d\dx \[\d\.\d\d, \d\.\d\d\] FastServe-FCFS,", title[1])
    assert re.fullmatch(r"\d\.\d\dx \[\d\.\d\d, \d\.\d\d\] vLLM-like", title[2])
    assert label.endswith("(log scale)")
    assert "log" not in paper_label
    (title, _, _), _ = frames(figure, made(figure, trials=1), known)
    assert re.fullmatch(r"FastServe carries \d\.\d\dx FastServe-FCFS, \d\.\d\dx vLLM-like", title[1])


def test_every_measured_load_is_shown(figure: Figure, known: Published) -> None:
    rows = made(figure)
    far = [*rows, *(replace(r, x=9.0, value=9.0) for r in rows if r.x == 2.0)]
    (_, _, ends), _ = frames(figure, far, known)
    assert ends[1] > 9.0


def test_published_layers_stay_apart(figure: Figure, known: Published) -> None:
    found = layers.published(figure, figure.panels[1], known)
    assert [(layer.source, layer.slo) for layer in found] == [("paper", 0.25), ("re-run", 0.2)]
    assert layers.measured(figure, figure.panels[1], []) is None


def test_a_crossing_without_a_curve_becomes_a_point_on_the_target() -> None:
    figure = load("fastserve/figure13")
    (layer,) = layers.published(figure, figure.panels[0], paper.for_figure(figure))
    at = {line.series: (line.dots[0].x, line.dots[0].y, line.carries) for line in layer.lines}
    assert at["fastserve"] == (2.28, 0.95, Estimate(2.28, 2.28, 2.28, 1))


def test_every_series_looks_different_and_the_same_in_every_figure() -> None:
    figures = [load(f"fastserve/figure{n}") for n in (11, 12, 13, 14, 15, 18)]
    looks = {(s.name, s.color, s.marker) for f in figures for s in f.series}
    assert len({name for name, _, _ in looks}) == len(looks)
    assert len({color for _, color, _ in looks}) == len(looks)
    assert {color for _, color, _ in looks} <= set(PALETTE)


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_draws_small_files_and_the_same_ones_again(tmp_path: Path, figure: Figure, known: Published) -> None:
    first = plots.draw(figure, made(figure), known, "smoke", tmp_path / "a")
    again = plots.draw(figure, made(figure), known, "smoke", tmp_path / "b")
    assert [p.name for p in first] == ["a.png", "a.pdf"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert first[0].stat().st_size < 200_000
    assert min(size(first[0])) > 500
    assert not list(tmp_path.glob(".*"))


def test_a_changed_point_changes_the_picture(tmp_path: Path, known: Published) -> None:
    figure = load("fastserve/figure12")
    rows = made(figure)
    a = plots.draw(figure, rows, known, "smoke", tmp_path / "a")[0].read_bytes()
    b = plots.draw(figure, [replace(rows[0], valid=False), *rows[1:]], known, "smoke", tmp_path / "b")[0].read_bytes()
    assert a != b


@pytest.mark.parametrize(
    "keep",
    ["nothing", "one point", "one series", "no slo", "not a number", "all invalid", "a server of the user's own"],
)
def test_draws_whatever_there_is(tmp_path: Path, keep: str, known: Published) -> None:
    figure = load("fastserve/figure12")
    rows = made(figure, trials=1)
    cases = {
        "nothing": [],
        "one point": rows[:1],
        "one series": [r for r in rows if r.series == "fcfs"],
        "no slo": [replace(r, slo=0.0) for r in rows],
        "not a number": [replace(r, value=math.nan) for r in rows],
        "all invalid": [replace(r, valid=False, why="late") for r in rows],
        "a server of the user's own": [*rows, *(replace(r, series="mine_$2") for r in rows if r.series == "fcfs")],
    }
    png, pdf = plots.draw(figure, cases[keep], known, "smoke", tmp_path / "x")
    assert size(png)[0] > 500
    assert pdf.read_bytes().startswith(b"%PDF")


def test_without_measurements_only_the_papers_column_is_drawn(tmp_path: Path, known: Published) -> None:
    figure = load("fastserve/figure12")
    alone = size(plots.draw(figure, [], known, "smoke", tmp_path / "a")[0])
    both = size(plots.draw(figure, made(figure), known, "smoke", tmp_path / "b")[0])
    assert alone[0] < 0.6 * both[0]


def test_nothing_published_and_nothing_measured_still_gives_a_page(tmp_path: Path, figure: Figure) -> None:
    bare = replace(figure, panels=tuple(replace(p, paper={}) for p in figure.panels))
    assert plots.draw(bare, [], Published(), "smoke", tmp_path / "a")[0].is_file()
