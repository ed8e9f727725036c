"""Lengths and arrival times of real request logs, read from the files in which they are published.

Only lengths are taken: the engines under test are asked for exactly as many tokens as the log's answer had.
The tokenizer is passed in, because the same text has different lengths under different ones.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ae.load.workload import VLLM_FILTER, Filter, Lengths
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Tokenize = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Log:
    """Pairs in file order. `at` has arrival times in seconds from the first row, empty where the file has none."""

    lengths: Lengths
    at: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


def sharegpt(path: Path, tokenize: Tokenize, keep: Filter = VLLM_FILTER) -> Log:
    """Read the JSON list of conversations: turn 1 is the prompt, turn 2 the answer, whoever speaks (vLLM's rule).

    Conversations of fewer than two turns and pairs that `keep` refuses are dropped.
    """
    turns = [row.get("conversations", row.get("conversation", [])) for row in _json(path)]
    texts = [(pair[0]["value"], pair[1]["value"]) for pair in turns if len(pair) >= 2]
    return _tokenized(path, texts, tokenize, keep)


def alpaca(path: Path, tokenize: Tokenize, keep: Filter = VLLM_FILTER) -> Log:
    """Read the JSON list of instructions: instruction and input end to end are the prompt (FastServe's rule)."""
    texts = [(row["instruction"] + row.get("input", ""), row["output"]) for row in _json(path)]
    return _tokenized(path, texts, tokenize, keep)


def azure(path: Path) -> Log:
    """Read the CSV `TIMESTAMP,ContextTokens,GeneratedTokens` of the Azure LLM inference traces."""
    rows = _csv(path)
    return _log(path, [(_iso(r["TIMESTAMP"]), int(r["ContextTokens"]), int(r["GeneratedTokens"])) for r in rows])


def burstgpt(path: Path) -> Log:
    """Read BurstGPT's CSV (`Timestamp` in seconds, `Request tokens`, `Response tokens`); failed rows (0 tokens) dropped."""
    rows = ((float(r["Timestamp"]), int(r["Request tokens"]), int(r["Response tokens"])) for r in _csv(path))
    return _log(path, [row for row in rows if row[2] > 0])


def mooncake(path: Path) -> Log:
    """Read Mooncake's JSONL: `timestamp` in ms, `input_length`, `output_length`."""
    rows = [json.loads(line) for line in _text(path).splitlines() if line.strip()]
    return _log(path, [(r["timestamp"] / 1000, r["input_length"], r["output_length"]) for r in rows])


def _tokenized(path: Path, texts: Iterable[tuple[str, str]], tokenize: Tokenize, keep: Filter) -> Log:
    counts = [(len(tokenize(prompt)), len(tokenize(answer))) for prompt, answer in texts]
    pairs = _lengths(counts)
    pairs = pairs.take(keep.keeps(pairs))
    if not len(pairs):
        raise UsageError(f"{path} holds no usable pair of prompt and answer.", "Is it the data set's own JSON file?")
    return Log(pairs)


def _log(path: Path, rows: list[tuple[float, int, int]]) -> Log:
    if not rows:
        raise UsageError(f"{path} has no usable row.", "Is it the trace's own file?")
    at = np.array([row[0] for row in rows], np.float64)
    return Log(_lengths([(row[1], row[2]) for row in rows]), at - at[0])


def _lengths(counts: Sequence[tuple[int, int]]) -> Lengths:
    table = np.array(counts, np.int64).reshape(-1, 2)
    return Lengths(table[:, 0], table[:, 1])


def _iso(text: str) -> float:
    # The traces print seven decimals of a second; Python reads six. Times carry no zone and only differences matter.
    whole, _, fraction = text.strip().partition(".")
    stamp = datetime.fromisoformat(whole + "+00:00").timestamp()
    return stamp + float(f"0.{fraction}" if fraction else 0)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {path}.") from error


def _json(path: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is not JSON ({error}).", "Was the download complete?") from error
    return rows


def _csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(_text(path).splitlines()))
