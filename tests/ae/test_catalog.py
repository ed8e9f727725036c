"""Names of figures as users type them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ae import catalog
from systems.core.errors import UsageError

FIGURES = Path(__file__).parents[1] / "data" / "figures"

TEXT = """
from dataclasses import replace
from ae import catalog
from pathlib import Path
FIGURE = replace(catalog.load("demo/figure1", Path({base!r})), id={name!r})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one/figure2", "one/figure11", "two/figure2"):
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(TEXT.format(base=str(FIGURES), name=name))
    (tmp_path / "one" / "_shared.py").write_text("")
    (tmp_path / "one" / "paper.yaml").write_text("")
    return tmp_path


def test_figures_are_listed_in_reading_order(folder: Path) -> None:
    assert catalog.identifiers(folder) == ["one/figure2", "one/figure11", "two/figure2"]


@pytest.mark.parametrize(
    ("selectors", "meant"),
    [
        (["figure2"], ["one/figure2", "two/figure2"]),
        (["two/figure2"], ["two/figure2"]),
        (["one"], ["one/figure2", "one/figure11"]),
        (["all"], ["one/figure2", "one/figure11", "two/figure2"]),
        (["figure11", "one"], ["one/figure11", "one/figure2"]),
    ],
)
def test_selectors(folder: Path, selectors: list[str], meant: list[str]) -> None:
    assert [figure.id for figure in catalog.select(selectors, folder)] == meant


@pytest.mark.parametrize(("typed", "near"), [("figur2", "figure2"), ("two/figure3", "two/figure2"), ("oen", "one")])
def test_an_unknown_name_suggests_the_nearest(folder: Path, typed: str, near: str) -> None:
    with pytest.raises(UsageError) as error:
        catalog.select([typed], folder)
    assert error.value.fix == f"Did you mean {near}?"


def test_a_name_unlike_any_other_points_to_the_list(folder: Path) -> None:
    with pytest.raises(UsageError, match="ae list"):
        catalog.select(["zzz"], folder)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("x = 1", "declares no FIGURE"), (TEXT.format(base=str(FIGURES), name="a/b"), "calls itself")],
)
def test_a_file_that_declares_no_figure_of_its_name_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "one" / "figure3.py"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(UsageError, match=complaint):
        catalog.load("one/figure3", tmp_path)
