"""What can be asked of `ae try`, and that every part of a question counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ae.figure import Workload
from ae.load.schedule import Load, plain
from ae.question import Question, figure_of, rates, stage
from ae.sim import points
from systems.core.cost.named import Hardware, machine
from systems.core.errors import UsageError

ASKED = Question(
    systems=("fastserve", "vllm"),
    model="opt-13b",
    gpu="a100-40g",
    rates=(1.0, 12.0),
    requests=60,
    trials=1,
    settings=(("max_batch", 8), ("alpha_s", 1.0)),
    costs="swifttransformer",
)


@pytest.mark.parametrize(
    ("text", "points", "found"),
    [
        ("4..20", 9, (4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0)),
        ("4..20", 2, (4.0, 20.0)),
        ("1..100", 3, (1.0, 10.0, 100.0)),  # wide: by equal factors
        ("1..10", 4, (1.0, 4.0, 7.0, 10.0)),  # just not wide
        ("1..2", 4, (1.0, 1.33, 1.67, 2.0)),
        ("8,2,4.125,2", 9, (2.0, 4.125, 8.0)),
        ("5", 9, (5.0,)),
    ],
)
def test_rates_are_a_range_or_a_list(text: str, points: int, found: tuple[float, ...]) -> None:
    assert rates(text, points) == found


@pytest.mark.parametrize("text", ["", "4..", "20..4", "0..4", "4..4", "-1", "2,x", "nan", "1..inf", "4,0"])
def test_what_are_no_rates_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="are no rates") as caught:
        rates(text)
    assert "--rate 4..20" in caught.value.fix


def test_a_range_needs_two_points() -> None:
    with pytest.raises(UsageError, match="two ends"):
        rates("4..20", 1)


@pytest.mark.parametrize(
    ("changes", "what", "fix"),
    [
        ({"systems": ("fastserv",)}, "There is no system called 'fastserv'.", "fastserve"),
        ({"systems": ("fastserve/x",)}, "fastserve has no variant 'x'.", "skip-join"),
        ({"model": "llama-3-7b"}, "There is no model 'llama-3-7b'.", "llama-3-8b"),
        ({"gpu": "a100"}, "There is no GPU 'a100'.", "a100-40g"),
        ({"costs": "vlm"}, "There is no engine 'vlm'.", "vllm"),
        ({"workload": "shargpt"}, "There is no workload called 'shargpt'.", "sharegpt"),
        ({"workload": "ShareGPT_V3.json"}, "tokenizer", "sharegpt"),
        ({"workload": "0+4"}, "There is no workload called '0+4'.", "512+128"),
        ({"model": "opt-66b"}, "does not fit", "tp"),
        ({"tp": 3}, "heads", "tp"),
        ({"settings": (("max_bach", 4),)}, "There is no setting 'max_bach'.", "Did you mean max_batch"),
        ({"settings": (("alpha", 4),)}, "There is no setting 'alpha'.", "alpha_s"),
        ({"settings": (("threads", 2),)}, "There is no setting 'threads'.", "max_tokens"),
        ({"settings": (("alpha_s", "x"),)}, "The setting alpha_s is 'x'.", "number"),
        ({"settings": (("max_batch", 0),)}, "max_batch is 0.", "from 1"),
        ({"requests": 0}, "Nothing is to be simulated.", "--requests"),
        ({"trials": 0}, "Nothing is to be simulated.", "--trials"),
        ({"slo": -0.1}, "makes no sense", "--slo"),
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_runs(changes: dict[str, object], what: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        stage(replace(ASKED, **changes))  # type: ignore[arg-type]
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_a_system_means_its_default_variant_and_a_setting_goes_to_those_that_have_it() -> None:
    series = stage(replace(ASKED, systems=("fastserve", "vllm", "fastserve/skip-join", "fastserve/fcfs"))).series
    assert [one.variant for one in series] == ["fastserve/skip-join", "vllm/alternating", "fastserve/fcfs"]
    assert [one.settings for one in series] == [{"alpha_s": 1.0}, {}, {}]
    assert len({one.color for one in series}) == len({one.marker for one in series}) == 3
    assert {one.costs for one in series} == {"swifttransformer"}


def test_limits_are_those_asked_for_else_what_the_workload_needs() -> None:
    bare = replace(ASKED, settings=())
    assert stage(bare).engine.max_batch == 256
    assert stage(bare).engine.max_model_len == 2048  # ShareGPT under vLLM's filter
    assert stage(replace(bare, workload="3000+200")).engine.max_model_len == 3200
    long = stage(replace(bare, workload="azure_conversation", model="opt-13b", gpu="h100")).engine
    assert long.max_model_len == 14050 + 1000  # the longest prompt and the longest output published
    assert long.max_tokens == long.max_model_len  # no prompt is longer than an iteration may be
    assert stage(replace(bare, workload="alpaca")).engine.max_model_len == 2048  # its lengths have no end
    asked = stage(replace(bare, settings=(("max_model_len", 900), ("device_pages", 77), ("page_tokens", 32))))
    assert (asked.engine.max_model_len, asked.given.pages, asked.given.page_tokens) == (900, 77, 32)
    assert "would fit" in asked.given.source


def test_memory_and_the_slo_come_from_the_named_machine() -> None:
    on = machine(Hardware("opt-13b", "a100-40g", engine="swifttransformer"))
    given = stage(ASKED).given
    assert (given.pages, given.source) == (on.capacity.pages, on.capacity.source)
    _, pairs = plain(Workload("sharegpt", scale=1.0), Load(1.0, requests=60, seed=1, max_model_len=2048))
    lived = sum(o * (p + o / 2) for p, o in zip(pairs.prompt.tolist(), pairs.output.tolist(), strict=True))
    assert given.held == pytest.approx(lived / int(pairs.output.sum()) + 8)
    assert given.full == 8
    assert given.step == pytest.approx(on.cost.iteration_ns((), 8, round(8 * given.held)) / 1e9)
    assert given.slo == pytest.approx(10 * given.step)
    assert given.output == pytest.approx(sum(pairs.output.tolist()) / 60)
    assert given.prompt == on.cost.iteration_ns(((round(float(pairs.prompt.mean())), 0),), 0, 0) / 1e9
    assert stage(replace(ASKED, slo=0.3)).given.slo == 0.3


def test_every_part_of_a_question_makes_another_figure() -> None:
    plain_one = replace(ASKED, settings=())
    others = [
        ASKED,
        replace(plain_one, systems=("vllm",)),
        replace(plain_one, model="llama-3-8b"),
        replace(plain_one, gpu="h100"),
        replace(plain_one, rates=(1.0, 2.0)),
        replace(plain_one, tp=2),
        replace(plain_one, pp=2),
        replace(plain_one, workload="alpaca"),
        replace(plain_one, requests=61),
        replace(plain_one, trials=2),
        replace(plain_one, slo=1.0),
        replace(plain_one, costs="ideal"),
    ]
    assert len({figure_of(stage(one)).id for one in (plain_one, *others)}) == 1 + len(others)


def test_the_figure_says_what_was_asked() -> None:
    figure = figure_of(stage(ASKED))
    assert figure.caption == "opt-13b on 1x a100-40g, sharegpt, max_batch=8, times of swifttransformer"
    assert [one.label for one in figure.series] == ["fastserve/skip-join (alpha_s=1.0)", "vllm/alternating"]
    (panel,) = figure.panels
    assert panel.scene is not None
    assert [at.rate for at in panel.scene.at] == [1.0, 12.0]
    assert [len(points.slots(figure, "full"))] == [4]
