"""Tables, and the files that plotting and checking leave."""

from pathlib import Path

import pytest
import yaml

from ae import places, render
from ae.catalog import load
from ae.cli.main import execute
from ae.figure import Figure
from ae.table import Row
from systems.core.errors import UsageError


@pytest.fixture(scope="module")
def figure() -> Figure:
    return load("fastserve/figure12")


def rows() -> list[Row]:
    cross = {"vllm": 1.0, "fcfs": 1.05, "fastserve": 2.1}
    return [
        Row("sharegpt", s, x, 70 * x, t, 0.015 * x / c, requests=200, failed=t, slo=0.015)
        for s, c in cross.items()
        for t in range(3)
        for x in (0.5, 1.5, 3.0)
    ]


def test_a_table_reads_back_to_the_last_digit(tmp_path: Path) -> None:
    odd = Row("p", 'a,"b"', 0.1 + 0.2, 1e-9, 2, float("inf"), 7, 1, valid=False, why="late, by\n2 ms", slo=1 / 3)
    path = render.write_csv(tmp_path / "t.csv", [odd, *rows()])
    assert render.read_csv(path) == [odd, *rows()]


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda text: text.replace("slo", "sol"), "lacks slo"),
        (lambda text: text + "p,s,one,1,0,1,1,0,True,,m,1\n", "one"),
    ],
)
def test_a_broken_table_says_where(tmp_path: Path, break_it: object, says: str) -> None:
    assert callable(break_it)
    path = render.write_csv(tmp_path / "t.csv", rows())
    path.write_text(break_it(path.read_text()))
    with pytest.raises(UsageError, match=says):
        render.read_csv(path)


def test_plotting_writes_picture_and_table(tmp_path: Path, figure: Figure) -> None:
    made = render.plot_figure(figure, rows(), tmp_path, "smoke")
    assert [p.name for p in made] == ["figure12.png", "figure12.pdf", "figure12.csv"]
    assert render.read_csv(made[2]) == rows()


def test_plotting_the_paper_touches_none_of_our_files(tmp_path: Path, figure: Figure) -> None:
    made = render.plot_figure(figure, [], tmp_path, "smoke")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "figure12_paper.csv",
        "figure12_paper.pdf",
        "figure12_paper.png",
    ]
    assert {r.source for r in render.read_csv(made[2])} == {"paper", "re-run"}


def test_checking_writes_both_claim_files(tmp_path: Path, figure: Figure) -> None:
    verdicts = render.check_figure(figure, rows(), tmp_path, "smoke")
    elsewhere = ["not testable here"] * 4  # models of several GPUs
    assert [v.outcome for v in verdicts] == ["met", "met", *elsewhere]
    ours = yaml.safe_load((tmp_path / "figure12.claim").read_text())
    theirs = yaml.safe_load((tmp_path / "figure12_paper.claim").read_text())
    assert [c["verdict"] for c in ours["claims"]] == ["met", "met", *elsewhere]
    assert {c["source"] for c in theirs["claims"]} == {"paper", "re-run"}


@pytest.mark.parametrize("source", ["reference", "paper"])
def test_another_source_leaves_our_own_files_alone(
    tmp_path: Path, figure: Figure, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setenv("AE_RESULTS", str(tmp_path))
    own = [render.folder(figure, "smoke") / f"figure12.{kind}" for kind in ("csv", "png", "pdf", "claim")]
    for file in own:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    reference = render.folder(figure, "smoke", "reference")
    render.write_csv(reference / "figure12.csv", rows())
    assert execute(["plot", "figure12", "--from", source]) == 0
    assert execute(["check", "figure12", "--from", source]) in {0, 3}
    assert [file.read_text() for file in own] == ["mine"] * 4
    made = reference / "figure12" if source == "reference" else own[0].with_name("figure12_paper")
    assert {made.with_suffix(end).exists() for end in (".png", ".claim")} == {True}


def test_sources_of_rows(tmp_path: Path, figure: Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AE_RESULTS", str(tmp_path))
    assert render.load_rows(figure, "smoke", "paper") == []
    with pytest.raises(UsageError, match="ae run fastserve/figure12"):
        render.load_rows(figure, "smoke", "results")
    render.write_csv(render.folder(figure, "smoke", "reference") / "figure12.csv", rows())
    assert render.load_rows(figure, "smoke", "reference") == rows()
    assert (places.results() / "reference/smoke/fastserve/figure12/figure12.csv").is_file()
