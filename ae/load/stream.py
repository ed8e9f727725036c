"""Counting tokens in a server-sent event stream without decoding each event.

A run of 20,000 events/s leaves 50 us per event for everything, so events are searched as bytes. This is exact,
not a guess: inside a JSON string every quote is escaped, so `"completion_tokens"` can only be a key, and a line
break can only end a line.
"""

from __future__ import annotations

import json
import re

_TOKENS = re.compile(rb'"completion_tokens"\s*:\s*(\d+)')
_PROMPT = re.compile(rb'"prompt_tokens"\s*:\s*(\d+)')
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"(\w+)"')
_TEXT = re.compile(rb'"text"\s*:\s*"[^"]')  # a choice whose text is not empty
_DONE = re.compile(rb"^data: ?\[DONE\]", re.MULTILINE)


class Stream:
    """One answer as it arrives. `output` counts its tokens so far.

    Tokens come from the cumulative usage where an event has it. An event without usage but with text is one
    token, checked against the final usage: `guessed_wrong` says that this did not hold.
    """

    __slots__ = ("_guessed", "_tail", "done", "error", "finish", "guessed_wrong", "output", "prompt")

    def __init__(self) -> None:
        self._tail = b""
        self._guessed = False
        self.output = 0
        self.prompt: int | None = None
        self.finish = ""
        self.error = ""
        self.done = False
        self.guessed_wrong = False

    def feed(self, data: bytes) -> tuple[int, int]:
        """Take one socket read; (events, tokens) completed by it. An event cut in two counts with its second half."""
        if self._tail:
            data = self._tail + data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        cut = data.rfind(b"\n\n")
        if cut < 0:
            self._tail = data
            return 0, 0
        self._tail, data = data[cut + 2 :], data[:cut]
        events = data.startswith(b"data:") + data.count(b"\ndata:")
        if b"[DONE]" in data and _DONE.search(data):
            self.done = True
            events -= 1
        if b'"error"' in data:
            self._look_for_error(data)
        finish = _FINISH.search(data)
        if finish:
            self.finish = finish[1].decode()
        return events, self._count(data)

    def _count(self, data: bytes) -> int:
        key = data.rfind(b'"completion_tokens"')
        usage = _TOKENS.match(data, key) if key >= 0 else None
        if usage is None:
            tokens = len(_TEXT.findall(data))
            self._guessed = self._guessed or tokens > 0
            self.output += tokens
            return tokens
        tokens = int(usage[1]) - self.output
        if self._guessed and tokens != len(_TEXT.findall(data)):
            self.guessed_wrong = True
        if self.prompt is None and (prompt := _PROMPT.search(data)):
            self.prompt = int(prompt[1])
        self.output += tokens
        return tokens

    def _look_for_error(self, data: bytes) -> None:
        for line in data.split(b"\n"):
            if line.startswith(b"data:") and b'"error"' in line:
                event = json.loads(line[5:])
                if event.get("error"):
                    self.error = error_text(event)


def error_text(answer: object) -> str:
    """Find the message inside an OpenAI-style error object, in whatever of its usual places it is."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]
