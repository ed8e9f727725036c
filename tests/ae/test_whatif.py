"""`ae try`, simulated for real on a small question: cells, reasons, files, resumption, the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ae import whatif
from ae.cli.main import execute
from ae.question import Question
from ae.report import Silent
from ae.whatif import Answer

ASKED = Question(
    systems=("fastserve", "vllm"),
    model="opt-13b",
    gpu="a100-40g",
    rates=(0.5, 12.0),
    requests=60,
    trials=1,
    settings=(("max_batch", 8), ("alpha_s", 1.0)),
    slo=0.06,
    costs="swifttransformer",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, results: Path) -> None:
    monkeypatch.setenv("AE_RESULTS", str(results))


@pytest.fixture(scope="module")
def answered(results: Path) -> Answer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AE_RESULTS", str(results))
        return whatif.answer(ASKED, Silent())


def test_there_is_a_cell_for_every_rate_and_system(answered: Answer) -> None:
    names = ("fastserve/skip-join", "vllm/alternating")
    assert [(one.rate, one.series) for one in answered.cells] == [
        (rate, name) for rate in ASKED.rates for name in names
    ]
    assert all(one.requests == 60 and one.failed == 0 and one.trials == 1 for one in answered.cells)
    assert not answered.result.failed


def test_more_load_is_worse_and_overload_fills_the_batch(answered: Answer) -> None:
    for name in ("fastserve/skip-join", "vllm/alternating"):
        low, high = (one.numbers for one in answered.cells if one.series == name)
        assert high.normalized > low.normalized
        assert high.p95 > low.p95
        assert high.attainment < low.attainment
        assert low.offered < 8 < high.offered
        assert low.tokens < high.tokens <= 8.0
        assert low.iteration < high.iteration


def test_the_reasons_name_what_binds(answered: Answer) -> None:
    slo, memory, first, second, against, *rest = answered.words
    assert slo.startswith("SLO: ")
    assert "60 ms per output token" in slo
    assert "decode iterations of a full batch (8 requests" in slo
    assert "911 pages" in memory
    assert "FastServe's own formula" in memory
    assert "the batch limit binds before memory does" in memory
    for words in (first, second):
        assert "Its mean latency crosses the SLO at" in words
        assert "From 12/s on the offered concurrency (rate x mean latency) exceeds the 8 places" in words
    assert first.startswith("fastserve/skip-join: ")
    assert "Preempts from 12/s on" in first
    assert "Preempts nobody" in second
    assert against.startswith("fastserve/skip-join carries ")
    assert rest == [
        "Beyond what can be served, latency and concurrency grow with the length of a run: here 60 requests."
    ]
    assert any("KV 911 pages" in line for line in answered.constants)


def test_picture_tables_and_reasons_lie_together(answered: Answer, tmp_path: Path) -> None:
    for end in (".png", ".pdf", ".csv", ".json", ".txt"):
        assert answered.picture.with_suffix(end).stat().st_size > 0
    assert not list(answered.picture.parent.glob("*.claim"))  # there is nothing to claim
    kept = whatif.keep(answered, tmp_path / "new" / "folder")
    assert [path.name for path in kept] == ["try.png", "try.pdf", "try.csv", "try.json", "try.txt"]
    assert kept[0].read_bytes() == answered.picture.read_bytes()


def test_the_same_question_runs_nothing_and_a_wider_one_what_is_new(answered: Answer) -> None:
    again = whatif.answer(ASKED, Silent())
    assert (again.result.ran, again.result.skipped) == (0, 4)
    assert again.cells == answered.cells
    assert again.words == answered.words
    wider = whatif.answer(replace(ASKED, rates=(0.5, 3.0, 12.0)), Silent())
    assert (wider.result.ran, wider.result.skipped) == (2, 4)
    assert [one for one in wider.cells if one.rate != 3.0] == list(answered.cells)


def test_short_memory_is_told_by_its_traces() -> None:
    tight = replace(
        ASKED,
        systems=("fastserve", "vllm"),
        rates=(12.0,),
        settings=(("max_batch", 16), ("device_pages", 140), ("host_pages", 4000)),
    )
    found = whatif.answer(tight, Silent())
    fastserve, vllm = (one.numbers for one in found.cells)
    assert fastserve.swapped > 0
    assert fastserve.recomputed == 0
    assert vllm.swapped == 0
    assert vllm.recomputed > 0
    assert "memory is full first" in found.words[1]
    assert "GiB a request between GPU and host" in found.words[2]
    assert "tokens a request again" in found.words[3]


def test_requests_that_can_never_fit_are_counted_and_explained() -> None:
    small = replace(ASKED, systems=("vllm",), rates=(1.0,), requests=40, settings=(("device_pages", 40),))
    found = whatif.answer(small, Silent())
    (one,) = found.cells
    assert 0 < one.failed < one.requests
    assert f"{one.failed} of 40 requests were refused" in found.words[2]
    assert "this engine holds 640 of one request" in found.words[2]
    assert one.numbers.attainment <= 1 - one.failed / one.requests


COMMAND = ["try", "fastserve", "vllm", "--tier", "sim", "--model", "opt-13b", "--gpu", "a100-40g", "--rate", "0.5,12"]
FEW = [
    "-n",
    "60",
    "--trials",
    "1",
    "--set",
    "max_batch=8",
    "--set",
    "alpha_s=1.0",
    "--costs",
    "swifttransformer",
    "--slo",
    "0.06",
]


def test_the_command_prints_table_reasons_and_picture(
    capsys: pytest.CaptureFixture[str], answered: Answer, tmp_path: Path
) -> None:
    assert execute([*COMMAND, *FEW, "--out", str(tmp_path / "kept")]) == 0
    text = capsys.readouterr().out
    assert text.startswith("opt-13b on 1x a100-40g, sharegpt, max_batch=8")
    head = next(line for line in text.splitlines() if line.startswith("rate/s"))
    table = text.partition(head)[2].splitlines()[1:5]
    assert [line.split()[0] for line in table] == ["0.5", "vllm/alternating", "12", "vllm/alternating"]
    assert all(f"- {words}" in text for words in answered.words)
    assert f"picture: {tmp_path / 'kept' / 'try.png'}" in text
    assert (tmp_path / "kept" / "try.png").exists()


def test_json_holds_everything_and_nothing_else_is_printed(
    capsys: pytest.CaptureFixture[str], answered: Answer
) -> None:
    assert execute([*COMMAND, *FEW, "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err == ""
    assert found["schema"] == 1
    assert [cell["p95"] for cell in found["try"]["cells"]] == [one.numbers.p95 for one in answered.cells]
    assert found["try"]["reasons"] == list(answered.words)
    assert found["try"]["rate_at_slo"]["vllm/alternating"]["value"] == answered.at_slo[1][1].value  # type: ignore[union-attr]
    assert found["try"]["question"]["settings"] == [["max_batch", 8], ["alpha_s", 1.0]]


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["--tier", "smoke"], "ae try has no tier 'smoke' yet.", "ae bench"),
        (["--tier", "smok"], "There is no tier 'smok'.", "Tiers: smoke"),
        (["--rate", "many"], "'many' are no rates.", "--rate 4..20"),
        (["--set", "max_batch"], "'max_batch' is no setting.", "--set key=value"),
        (["--set", "max_bach=4"], "There is no setting 'max_bach'.", "Did you mean max_batch"),
        (["--set", "threads=4"], "There is no setting 'threads'.", "max_batch"),
        (["--model", "opt-66b"], "each GPU is", "It fits with tp"),
        (["--workload", "shargpt"], "There is no workload called 'shargpt'.", "sharegpt"),
    ],
)
def test_a_wrong_word_is_one_error_with_its_fix(
    capsys: pytest.CaptureFixture[str], arguments: list[str], what: str, fix: str
) -> None:
    assert execute([*COMMAND, *arguments]) == 2
    captured = capsys.readouterr()
    assert what in captured.err
    assert fix in captured.err
    assert len(captured.err.splitlines()) == 2
    assert captured.out == ""
