"""The JSON of completions and of errors, and the pieces of an SSE stream.

A stream's unchanging parts are encoded once per request; an event costs one string of text and one join.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import NamedTuple

DONE = b"data: [DONE]\n\n"


class Usage(NamedTuple):
    """Tokens in and out; both are exact counts of token ids."""

    prompt: int
    completion: int

    def json(self) -> str:
        """OpenAI's usage object."""
        return (
            f'{{"prompt_tokens":{self.prompt},"completion_tokens":{self.completion},'
            f'"total_tokens":{self.prompt + self.completion}}}'
        )


class Choice(NamedTuple):
    """One finished output."""

    text: str
    finish: str


class Answer:
    """The JSON of one completion, whole or as events. `id`, `created` (s since the epoch) and `model` as sent."""

    __slots__ = ("_begin",)

    def __init__(self, ident: str, created: int, model: str) -> None:
        self._begin = (
            f'{{"id":{encode_basestring_ascii(ident)},"object":"text_completion","created":{created},'
            f'"model":{encode_basestring_ascii(model)},"choices":['
        )

    def whole(self, choices: list[Choice], usage: Usage) -> bytes:
        """The body of an answer that is not streamed."""
        parts = [_choice(index, c.text, f'"{c.finish}"') for index, c in enumerate(choices)]
        return f'{self._begin}{",".join(parts)}],"usage":{usage.json()}}}'.encode()

    def event(self, index: int, text: str, finish: str | None, usage: str) -> str:
        """One SSE event; `usage` is the JSON to send along ("": no such member)."""
        reason = "null" if finish is None else f'"{finish}"'
        tail = f',"usage":{usage}' if usage else ""
        return f"data: {self._begin}{_choice(index, text, reason)}]{tail}}}\n\n"

    def usage_event(self, usage: Usage) -> str:
        """The last event before [DONE] when usage was asked for: no choices."""
        return f'data: {self._begin}],"usage":{usage.json()}}}\n\n'


def _choice(index: int, text: str, finish: str) -> str:
    return f'{{"index":{index},"text":{encode_basestring_ascii(text)},"logprobs":null,"finish_reason":{finish}}}'


def error(status: int, kind: str, message: str, param: str | None = None) -> bytes:
    """OpenAI's error object."""
    return json.dumps({"error": {"message": message, "type": kind, "param": param or None, "code": status}}).encode()


def error_event(status: int, kind: str, message: str) -> bytes:
    """An error in a stream whose headers are sent already."""
    return b"data: " + error(status, kind, message) + b"\n\n"
