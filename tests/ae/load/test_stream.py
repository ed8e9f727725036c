from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ae.load.stream import Stream, error_text

DONE = b"data: [DONE]\n\n"


def event(text: str = " a", usage: int | None = None, finish: str | None = None, **more: object) -> bytes:
    body: dict[str, object] = {"choices": [{"index": 0, "text": text, "finish_reason": finish}], **more}
    if usage is not None:
        body["usage"] = {"prompt_tokens": 7, "completion_tokens": usage, "total_tokens": 7 + usage}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def final(usage: int) -> bytes:
    counts = {"prompt_tokens": 7, "completion_tokens": usage}
    return b"data: " + json.dumps({"choices": [], "usage": counts}, separators=(",", ":")).encode() + b"\n\n"


def feed(*reads: bytes) -> tuple[Stream, list[tuple[int, int]]]:
    stream = Stream()
    return stream, [stream.feed(read) for read in reads]


def test_cumulative_usage_says_how_many_tokens_each_read_brought() -> None:
    stream, counts = feed(event(usage=1), event(usage=3) + event(usage=4), event("", usage=8, finish="length"), DONE)
    assert counts == [(1, 1), (2, 3), (1, 4), (0, 0)]
    assert (stream.output, stream.prompt, stream.finish, stream.done) == (8, 7, "length", True)
    assert not stream.guessed_wrong


def test_without_cumulative_usage_one_event_is_one_token_checked_at_the_end() -> None:
    stream, counts = feed(event(), event() + event(), event() + final(4) + DONE)
    assert counts == [(1, 1), (2, 2), (2, 1)]
    assert stream.output == 4
    assert not stream.guessed_wrong


def test_several_tokens_in_an_event_are_found_out_by_the_final_usage() -> None:
    stream, _ = feed(event(), event(), final(7) + DONE)
    assert stream.output == 7
    assert stream.guessed_wrong


def test_events_without_text_are_no_tokens() -> None:
    stream, counts = feed(event(""), b": comment\n\n", event(), event("", finish="stop"), DONE)
    assert [tokens for _, tokens in counts] == [0, 0, 1, 0, 0]
    assert (stream.output, stream.finish) == (1, "stop")


@pytest.mark.parametrize(
    "text",
    ['"completion_tokens": 99', "\n\ndata: [DONE]\n\n", '"error"', '"finish_reason":"stop"', 'x","text":"y', "data:"],
)
def test_text_that_looks_like_the_protocol_is_only_text(text: str) -> None:
    stream, counts = feed(event(text, usage=1), event(text), event(text, usage=3))
    assert [tokens for _, tokens in counts] == [1, 1, 1]
    assert (stream.done, stream.error, stream.finish) == (False, "", "")


def test_error_event() -> None:
    stream, _ = feed(event(usage=1), b'data: {"error":{"message":"out of memory","code":503}}\n\n', DONE)
    assert stream.error == "out of memory"


def test_error_that_is_null_is_none() -> None:
    stream, _ = feed(event(usage=1, error=None), DONE)
    assert stream.error == ""


def test_crlf_line_ends() -> None:
    whole = (event(usage=1) + event(usage=2) + DONE).replace(b"\n", b"\r\n")
    for cut in range(len(whole)):
        stream, _ = feed(whole[:cut], whole[cut:])
        assert (stream.output, stream.done) == (2, True)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.data())
def test_how_the_bytes_are_cut_into_reads_changes_no_total(steps: list[int], data: st.DataObject) -> None:
    totals = [sum(steps[: i + 1]) for i in range(len(steps))]
    whole = b"".join(event("x" * step, usage=total) for step, total in zip(steps, totals, strict=True)) + DONE
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    reads = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    stream, counts = feed(*reads)
    assert stream.done
    assert sum(events for events, _ in counts) == len(steps)
    assert sum(tokens for _, tokens in counts) == stream.output == totals[-1]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"error": {"message": "no"}}, "no"),
        ({"error": "no"}, "no"),
        ({"message": "no", "object": "error"}, "no"),
        ("no", "no"),
        ({"error": {"message": "x" * 999}}, "x" * 300),
    ],
)
def test_error_texts(answer: object, text: str) -> None:
    assert error_text(answer) == text
