"""Text to token ids and back, one token at a time.

A checkpoint's own `tokenizer.json` is read with the `tokenizers` library; the synthetic model writes token N
as "tN ". Decoders are incremental: what they give out never has to be taken back.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from systems.core.errors import PrerequisiteError, UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SYNTHETIC = "synthetic"
UNFINISHED = "\ufffd"  # what decoding puts where the bytes of a character are not all there
_MAX_MISSING = 3  # a character has at most four bytes, so at most three stand without the rest
_WINDOW = 16  # tokens decoded again with each new one, at most


class Decoder(Protocol):
    """The text of one output, as it grows."""

    def push(self, token: int) -> str:
        """The text that became final with `token` (often less or more than one word)."""

    def flush(self) -> str:
        """The rest, when no more tokens come."""


class Text(Protocol):
    """What turns prompts into token ids and output into text."""

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of a prompt, with the model's special tokens."""

    def decoder(self) -> Decoder:
        """A decoder for one output."""


def load(model: str, *, dummy: bool = False) -> Text:
    """The text side of `model`, a checkpoint directory or "synthetic". Raises UsageError, PrerequisiteError.

    A `dummy` model without a tokenizer gets the synthetic one: its words mean nothing anyway.
    """
    path = Path(model) / "tokenizer.json"
    if model == SYNTHETIC or (dummy and not path.is_file()):
        return SyntheticText()
    if not path.parent.is_dir():
        raise UsageError(f"There is no model at {model!r}.", f"Give a checkpoint directory, or {SYNTHETIC!r}.")
    if not path.is_file():
        raise PrerequisiteError(
            f"{model} has no tokenizer.json.", "Use a checkpoint in Hugging Face's fast-tokenizer layout."
        )
    from tokenizers import Tokenizer  # noqa: PLC0415 - 60 ms that the synthetic model need not pay

    return FileText(Tokenizer.from_file(str(path)))


class FileText:
    """The tokenizer of a checkpoint."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of a prompt, with the model's special tokens."""
        return tuple(self._tokenizer.encode(text).ids)

    def decoder(self) -> Decoder:
        """A decoder for one output; special tokens have no text."""
        return FileDecoder(self._tokenizer)


class FileDecoder:
    """Decodes a short window of tokens again with each new one, and gives out what is new and final.

    The window begins one group of tokens early, because some tokenizers treat the first token of a text
    differently (a leading space is dropped). Trailing replacement characters are held back: they may be the
    first bytes of a character whose other bytes come with the next token.
    """

    __slots__ = ("_given", "_read", "_tokenizer", "_window")

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._read = 0  # tokens of the window whose text was all given out when it was read
        self._given = 0  # characters of the window's text that were given out

    def push(self, token: int) -> str:
        """The text that became final with `token`."""
        window = self._window
        window.append(token)
        text = self._decode(window)
        final = _final_length(text)
        fresh = text[self._given : final]
        self._given = max(final, self._given)
        if final == len(text):
            self._slide(self._read)
            self._read = len(window)
        elif len(window) > _WINDOW:
            self._slide(len(window) // 2)
        return fresh

    def flush(self) -> str:
        """The rest: what was held back never became a character."""
        return self._decode(self._window)[self._given :]

    def _slide(self, count: int) -> None:
        if count:
            del self._window[:count]
            self._read = max(0, self._read - count)
            self._given = _final_length(self._decode(self._window))

    def _decode(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True)


def _final_length(text: str) -> int:
    """Characters of `text` that no further token can change."""
    if not text.endswith(UNFINISHED):
        return len(text)
    tail = text[-_MAX_MISSING:]
    return len(text) - (len(tail) - len(tail.rstrip(UNFINISHED)))


class SyntheticText:
    """Token N is "tN "; any other word of a prompt becomes some token below 256, always the same."""

    def encode(self, text: str) -> tuple[int, ...]:
        """One token per word; a text without words is one token."""
        return tuple(_synthetic_token(word) for word in text.split() or [text])

    def decoder(self) -> Decoder:
        """A decoder without state."""
        return SyntheticDecoder()


def _synthetic_token(word: str) -> int:
    known = re.fullmatch(r"t([0-9]{1,9})", word)
    return int(known[1]) if known else zlib.crc32(word.encode()) % 256


class SyntheticDecoder:
    """Writes token N as "tN "."""

    def push(self, token: int) -> str:
        """The token's word."""
        return f"t{token} "

    def flush(self) -> str:
        """Nothing: words are whole."""
        return ""
