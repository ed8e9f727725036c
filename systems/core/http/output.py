"""One choice of an answer as it grows: tokens in, final text out, and why it ended."""

from __future__ import annotations

from systems.core.http.stops import StopScan
from systems.core.http.text import Decoder
from systems.core.wire import NO_TOKEN


class Output:
    """Text and counts of one choice. `request` is the engine's id, `prompt` the prompt's tokens.

    `cut` is true when a stop string ended it: then the engine still has to be told.
    """

    __slots__ = ("_decoder", "_scan", "cut", "finish", "prompt", "request", "tokens")

    def __init__(self, request: int, prompt: int, decoder: Decoder, stops: tuple[str, ...]) -> None:
        self.request = request
        self.prompt = prompt
        self.tokens = 0
        self.finish: str | None = None
        self.cut = False
        self._decoder = decoder
        self._scan = StopScan(stops) if stops else None

    def push(self, token: int, finish: str | None) -> str:
        """The text to give out for one item. A stop string wins over any other reason to end."""
        text = ""
        if token != NO_TOKEN:
            self.tokens += 1
            text = self._decoder.push(token)
        if finish is not None:
            text += self._decoder.flush()
        if self._scan is not None:
            text = self._scan.push(text)
            if self._scan.hit:
                self.cut = finish is None
                self.finish = "stop"
                return text
            if finish is not None:
                text += self._scan.flush()
        self.finish = finish
        return text
