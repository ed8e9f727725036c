"""The body of a completions request: every field named, checked, and turned into values.

A field we do not support is accepted when it asks for nothing (null, or the value that means "off"): the
OpenAI client and `vllm bench serve` send such fields. Anything else is a 400 that names the field.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from systems.core.errors import BadRequest
from systems.core.request import Slo

NS_PER_MS = 1_000_000

SUPPORTED = (
    "model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop", "stop_token_ids", "ignore_eos",
    "stream", "stream_options", "priority", "user", "ae",
)  # fmt: skip

# What these fields may say without asking for anything we do not do; null is always fine.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (False,),
    "prompt_logprobs": (),
    "suffix": ("",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "top_k": (-1, 0),
    "min_p": (0,),
    "min_tokens": (0,),
    "use_beam_search": (False,),
    "early_stopping": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "add_special_tokens": (True,),
    "include_stop_str_in_output": (False,),
    "return_token_ids": (False,),
    "truncate_prompt_tokens": (),
    "response_format": ({"type": "text"},),
    "metadata": ({},),
}


class FieldError(BadRequest):
    """A wrong or unsupported field; `param` is its name."""

    def __init__(self, param: str, what: str, fix: str = "") -> None:
        super().__init__(what, fix)
        self.param = param


@dataclass(frozen=True, slots=True)
class Completion:
    """A checked request. `prompts` are texts or token ids; `seed` None means: draw one per request."""

    model: str | None
    prompts: tuple[str | tuple[int, ...], ...]
    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[int, ...] = ()
    ignore_eos: bool = False
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    priority: int = 0
    slo: Slo = field(default_factory=Slo)


def parse(body: bytes, max_prompts: int) -> Completion:
    """Check the body of POST /v1/completions. Raises FieldError, with the field's name."""
    try:
        row = json.loads(body)
    except ValueError as error:
        raise FieldError("", f"The body is not JSON: {error}.", "Send a JSON object.") from error
    if not isinstance(row, dict):
        raise FieldError("", f"The body is {_kind(row)}.", "Send a JSON object.")
    _refuse_unsupported(row)
    options = _options(row)
    return Completion(
        model=_get(row, "model", None, _string),
        prompts=_prompts(row.get("prompt"), max_prompts),
        max_tokens=_get(row, "max_tokens", 16, _integer(1)),
        temperature=_get(row, "temperature", 1.0, _number(0.0, 100.0)),
        top_p=_get(row, "top_p", 1.0, _number(0.0, 1.0, above=True)),
        seed=_get(row, "seed", None, _integer(-(1 << 63), (1 << 63) - 1)),
        stop=_get(row, "stop", (), _stop),
        stop_tokens=_get(row, "stop_token_ids", (), _token_ids),
        ignore_eos=_flag(row, "ignore_eos"),
        stream=_flag(row, "stream"),
        include_usage=_flag(options, "include_usage"),
        continuous_usage=_flag(options, "continuous_usage_stats"),
        priority=_get(row, "priority", 0, _integer(-(1 << 31), (1 << 31) - 1)),
        slo=_slo(row.get("ae")),
    )


def _refuse_unsupported(row: dict[str, Any]) -> None:
    for name, value in row.items():
        if name in SUPPORTED:
            continue
        if name not in NEUTRAL:
            raise FieldError(name, f"There is no field {name!r}.", f"Known fields: {', '.join(SUPPORTED)}.")
        if value is not None and not any(_same(value, neutral) for neutral in NEUTRAL[name]):
            neutral = " or ".join(json.dumps(v) for v in (*NEUTRAL[name], None))
            raise FieldError(
                name,
                f"{name!r} = {json.dumps(value)[:80]} is not supported.",
                f"Leave it out or send {neutral}. Supported fields: {', '.join(SUPPORTED)}.",
            )
    _get(row, "user", "", _string)


def _same(value: object, neutral: object) -> bool:
    """Whether two JSON values are equal; true and 1 are not, 1 and 1.0 are."""
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


# -- values: each checker takes (field name, value) and returns it or raises FieldError ---------------------


def _get(row: dict[str, Any], name: str, default: Any, check: Callable[[str, Any], Any]) -> Any:
    value = row.get(name)
    return default if value is None else check(name, value)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _wrong(name: str, value: object, wanted: str) -> FieldError:
    shown = json.dumps(value)[:80]
    return FieldError(name, f"{name!r} is {_kind(value)} ({shown}).", f"It must be {wanted}.")


def _string(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(name, value, "a string")
    return value


def _flag(row: dict[str, Any], name: str) -> bool:
    value = row.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return bool(value)


def _integer(low: int, high: int | None = None) -> Callable[[str, Any], int]:
    def check(name: str, value: object) -> int:
        if type(value) is not int or value < low or (high is not None and value > high):
            raise _wrong(name, value, f"an integer from {low}" + (f" to {high}" if high is not None else " on"))
        return value

    return check


def _number(low: float, high: float, *, above: bool = False) -> Callable[[str, Any], float]:
    """A number in [low, high], or in (low, high] when `above`. NaN is in neither."""

    def check(name: str, value: object) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        if not good or (above and value == low):
            raise _wrong(
                name, value, f"a number {'above' if above else 'from'} {low:g} {'up ' if above else ''}to {high:g}"
            )
        return float(value)  # type: ignore[arg-type]

    return check


def _stop(name: str, value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts):
        raise _wrong(name, value, "a non-empty string or a list of them")
    return tuple(texts)


def _token_ids(name: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(t) is int and t >= 0 for t in value):
        raise _wrong(name, value, "a list of token ids (integers from 0 on)")
    return tuple(value)


def _prompts(value: object, most: int) -> tuple[str | tuple[int, ...], ...]:
    """One prompt per choice: a text, token ids, or a list of either. None is empty."""
    wanted = "a string, a list of token ids, or a non-empty list of either"
    if isinstance(value, str):
        prompts: list[str | tuple[int, ...]] = [value]
    elif not isinstance(value, list) or not value:
        raise _wrong("prompt", value, wanted)
    elif type(value[0]) is int:
        prompts = [_token_ids("prompt", value)]
    elif all(isinstance(p, str) for p in value):
        prompts = list(value)
    else:
        prompts = [_token_ids("prompt", p) for p in value]
    if len(prompts) > most:
        raise FieldError("prompt", f"{len(prompts)} prompts in one request.", f"Send at most {most}.")
    if not all(prompts):
        raise FieldError("prompt", "A prompt is empty.", f"It must be {wanted}.")
    return tuple(prompts)


def _options(row: dict[str, Any]) -> dict[str, Any]:
    options = row.get("stream_options") or {}
    if not isinstance(options, dict):
        raise _wrong("stream_options", options, "an object")
    if options and not row.get("stream"):
        raise FieldError("stream_options", "'stream_options' without 'stream'.", 'Add "stream": true.')
    return _only(options, "stream_options", ("include_usage", "continuous_usage_stats", "include_obfuscation"))


def _slo(extension: object) -> Slo:
    """The `ae` extension: {"slo": {"name": str, "ttft_ms": number, "tpot_ms": number}}."""
    slo = _only(_only(extension or {}, "ae", ("slo",)).get("slo") or {}, "ae.slo", ("name", "ttft_ms", "tpot_ms"))
    target = _number(0.0, 1e12)
    return Slo(
        name=_get(slo, "name", "", _string),
        ttft=round(_get(slo, "ttft_ms", 0.0, target) * NS_PER_MS),
        tpot=round(_get(slo, "tpot_ms", 0.0, target) * NS_PER_MS),
    )


def _only(value: object, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, value, "an object")
    if unknown := sorted(set(value) - set(known)):
        raise FieldError(
            f"{where}.{unknown[0]}", f"{where!r} has no field {unknown[0]!r}.", f"Known: {', '.join(known)}."
        )
    return value
