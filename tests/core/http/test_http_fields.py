"""What a completions body may say, and how what it may not say is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from systems.core.http.fields import SUPPORTED, Completion, FieldError, parse
from systems.core.request import Slo


def _parse(**fields: object) -> Completion:
    return parse(json.dumps({"prompt": "hello", **fields}).encode(), max_prompts=4)


def test_everything_supported_arrives() -> None:
    asked = _parse(
        model="m", prompt=[[1, 2], [3]], max_tokens=5, temperature=0, top_p=0.5, seed=-7, stop="x", stop_token_ids=[9],
        ignore_eos=True, stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True},
        priority=-3, user="me", ae={"slo": {"name": "chat", "ttft_ms": 250, "tpot_ms": 12.5}},
    )  # fmt: skip
    assert asked == Completion(
        model="m", prompts=((1, 2), (3,)), max_tokens=5, temperature=0.0, top_p=0.5, seed=-7, stop=("x",),
        stop_tokens=(9,), ignore_eos=True, stream=True, include_usage=True, continuous_usage=True, priority=-3,
        slo=Slo("chat", 250_000_000, 12_500_000),
    )  # fmt: skip


def test_null_means_default() -> None:
    nulls = dict.fromkeys(("model", "max_tokens", "temperature", "top_p", "seed", "stop", "stream", "ae", "user"))
    assert _parse(**nulls) == _parse()
    assert _parse().max_tokens == 16


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ("a",)), ([1, 2], ((1, 2),)), (["a"], ("a",)), (["a", "b"], ("a", "b")), ([[1], [2, 3]], ((1,), (2, 3)))],
)
def test_prompt_forms(prompt: object, prompts: object) -> None:
    assert _parse(prompt=prompt).prompts == prompts


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1, "best_of": 1, "echo": False, "logprobs": None, "suffix": None, "presence_penalty": 0},
        {"repetition_penalty": 1.0, "top_k": -1, "min_p": 0.0, "use_beam_search": False, "frequency_penalty": 0.0},
        {"logit_bias": {}, "best_of": None, "skip_special_tokens": True, "truncate_prompt_tokens": None},
    ],
)
def test_fields_that_ask_for_nothing_are_fine(fields: dict[str, object]) -> None:
    assert _parse(**fields) == _parse()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2), ("n", True), ("best_of", 3), ("echo", True), ("logprobs", 0), ("logprobs", 5), ("suffix", "x"),
        ("presence_penalty", 0.5), ("repetition_penalty", 1.1), ("top_k", 5), ("use_beam_search", True),
        ("logit_bias", {"1": 2}), ("response_format", {"type": "json_object"}), ("min_tokens", 3),
        ("temprature", 1), ("messages", []), ("functions", None),
        ("max_tokens", 0), ("max_tokens", -1), ("max_tokens", 1.5), ("max_tokens", "5"), ("max_tokens", True),
        ("temperature", -0.1), ("temperature", "hot"), ("temperature", True), ("temperature", float("nan")),
        ("top_p", 0), ("top_p", 1.1), ("seed", 1.0), ("seed", 1 << 64), ("stream", 1), ("ignore_eos", "yes"),
        ("stop", ""), ("stop", [""]), ("stop", 5), ("stop", ["a", 1]), ("stop_token_ids", ["a"]), ("stop_token_ids", 3),
        ("priority", "high"), ("user", 5), ("model", 5),
        ("prompt", None), ("prompt", ""), ("prompt", []), ("prompt", [""]), ("prompt", [[]]), ("prompt", [1, "a"]),
        ("prompt", ["a", 1]), ("prompt", [1, -2]), ("prompt", [True]), ("prompt", {"text": "a"}), ("prompt", 5),
        ("prompt", [["a"]]), ("prompt", ["a"] * 5), ("stream_options", "all"), ("stream_options", {"include_usage": True}),
        ("ae", 5),
    ],
)  # fmt: skip
def test_wrong_fields_are_named(field: str, value: object) -> None:
    with pytest.raises(FieldError) as refused:
        _parse(**{field: value})
    assert refused.value.param == field
    assert refused.value.status == 400
    assert repr(field) in str(refused.value) or "prompt" in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"ae": {"slow": {}}}, "ae.slow"),
        ({"ae": {"slo": 5}}, "ae.slo"),
        ({"ae": {"slo": {"ttft": 5}}}, "ae.slo.ttft"),
        ({"ae": {"slo": {"ttft_ms": "soon"}}}, "ttft_ms"),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "include_usage"),
    ],
)
def test_wrong_inner_fields_are_named(fields: dict[str, object], param: str) -> None:
    with pytest.raises(FieldError) as refused:
        _parse(**fields)
    assert refused.value.param == param


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b'"prompt"', b"\xff\xfe{}"])
def test_what_is_no_object(body: bytes) -> None:
    with pytest.raises(FieldError, match="JSON"):
        parse(body, max_prompts=1)


def test_unknown_field_lists_the_known() -> None:
    with pytest.raises(FieldError, match=r"no field 'temprature'.*Known fields: .*temperature"):
        _parse(temprature=1)


def test_the_manual_names_the_supported_fields_and_no_other() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "http.md").read_text()
    listed = page.split("Supported: ")[1].split("and one extension")[0]
    assert {*re.findall(r"`(\w+)`", listed), "ae"} == {*SUPPORTED, "include_usage", "continuous_usage_stats"}
