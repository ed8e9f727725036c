"""The request schedule as data: drawn once from one seed, written, hashed, and given to every series alike.

Time zero is the start of the measured window. Warm-up requests come before it, have other prompts, negative
times and negative ids, and are in no metric. Every draw has a generator of its own, keyed by (seed, purpose,
request): more requests, another rate or a longer warm-up leave all other numbers as they were.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ae.load.arrivals import Arrivals, times
from ae.load.workload import drawn, fixed, stretched
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from ae.figure import Workload
    from ae.load.workload import Lengths, Source


class Purpose(IntEnum):
    """What a generator is for; part of its key."""

    ARRIVALS = 0
    LENGTHS = 1
    PROMPTS = 2
    WARMUP_ARRIVALS = 3
    WARMUP_LENGTHS = 4
    WARMUP_PROMPTS = 5


@dataclass(frozen=True, slots=True)
class Planned:
    """One request: send `prompt` (token ids) `at` seconds and ask for exactly `output` tokens."""

    id: int
    at: float
    prompt: tuple[int, ...]
    output: int
    warmup: bool = False
    slo: str = ""

    def to_json(self) -> str:
        """One line of `schedule.jsonl`."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Planned:
        """Read `to_json` back."""
        row = json.loads(line)
        row["prompt"] = tuple(row["prompt"])
        return cls(**row)


@dataclass(frozen=True)
class Schedule:
    """Requests in order of time."""

    requests: tuple[Planned, ...]

    @property
    def measured(self) -> tuple[Planned, ...]:
        """The requests that count."""
        return tuple(r for r in self.requests if not r.warmup)

    @property
    def rate(self) -> float:
        """Requests/s that were really drawn: gaps / time between the first and the last measured arrival."""
        at = [r.at for r in self.requests if not r.warmup]
        return (len(at) - 1) / (at[-1] - at[0]) if len(at) > 1 and at[-1] > at[0] else 0.0

    @cached_property
    def text(self) -> str:
        """The contents of `schedule.jsonl`."""
        return "".join(r.to_json() + "\n" for r in self.requests)

    @property
    def sha256(self) -> str:
        """Hash of `text`: equal exactly when the requests are."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write `schedule.jsonl`, whole or not at all."""
        temporary = path.with_name(path.name + ".part")
        temporary.write_text(self.text)
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> Schedule:
        """Read `write` back. Raises UsageError."""
        try:
            return cls(tuple(Planned.from_json(line) for line in path.read_text().splitlines()))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{path} is not a request schedule ({error}).", "Make it again.") from error


@dataclass(frozen=True, slots=True)
class Load:
    """How much to ask for. `rate` in requests/s, for `seconds` or for `requests` (one of the two).

    Prompts are random ids of [`reserved`, `vocab`) without `special`: real checkpoints keep pad, bos, eos and
    unknown in the first ids. `max_model_len` bounds prompt plus output. `warmup` seconds of other requests come
    first, at `warmup_rate` (0: at `rate`, which under overload hands the measured window a queue).
    """

    rate: float
    seconds: float | None = None
    requests: int | None = None
    warmup: float = 0.0
    warmup_rate: float = 0.0
    seed: int = 0
    vocab: int = 512
    max_model_len: int = 2048
    reserved: int = 4
    special: tuple[int, ...] = ()
    slo: str = ""


def draw(workload: Workload, load: Load, *, independent: bool = False) -> Schedule:
    """Draw the schedule of a figure's workload. Raises UsageError."""
    return build(source_of(workload, independent=independent), Arrivals(workload.arrivals, workload.cv), load)


def plain(workload: Workload, load: Load) -> tuple[np.ndarray, Lengths]:
    """Draw the arrival times (s) and lengths of a figure's workload without its prompts. Raises UsageError."""
    at = times(
        Arrivals(workload.arrivals, workload.cv),
        load.rate,
        _rng(load, Purpose.ARRIVALS),
        n=load.requests,
        seconds=load.seconds,
    )
    return at, source_of(workload)(len(at), load.max_model_len, _rng(load, Purpose.LENGTHS))


def source_of(workload: Workload, *, independent: bool = False) -> Source:
    """Draw lengths as a figure's workload says. Raises UsageError for a name that is none, and for lengths that cannot be."""
    if workload.name == "fixed":
        if workload.lengths is None or any(length != int(length) for length in workload.lengths):
            raise UsageError("A workload of equal requests needs two whole lengths.", "Give `lengths`.")
        prompt, output = map(int, workload.lengths)
        return fixed(prompt, output)
    if workload.lengths:
        return stretched(workload.name, workload.lengths, scale=workload.scale, independent=independent)
    return drawn(workload.name, scale=workload.scale, independent=independent)


def build(source: Source, process: Arrivals, load: Load) -> Schedule:
    """Draw the schedule of any source of lengths and any arrival process. Raises UsageError."""
    if load.vocab <= load.reserved:
        raise UsageError(f"A vocabulary of {load.vocab} has no ids above the {load.reserved} reserved ones.")
    at = times(process, load.rate, _rng(load, Purpose.ARRIVALS), n=load.requests, seconds=load.seconds)
    measured = _requests(source, load, at, (Purpose.LENGTHS, Purpose.PROMPTS))
    return Schedule((*_warmup(source, process, load), *measured))


def _warmup(source: Source, process: Arrivals, load: Load) -> list[Planned]:
    if load.warmup <= 0:
        return []
    # A recorded trace has no other arrivals to warm up with.
    process = Arrivals("poisson" if process.kind == "trace" else process.kind, process.cv)
    at = times(process, load.warmup_rate or load.rate, _rng(load, Purpose.WARMUP_ARRIVALS), n=None, seconds=load.warmup)
    return _requests(source, load, at - load.warmup, (Purpose.WARMUP_LENGTHS, Purpose.WARMUP_PROMPTS))


def _requests(source: Source, load: Load, at: np.ndarray, purposes: tuple[Purpose, Purpose]) -> list[Planned]:
    lengths, prompts = purposes
    warmup = prompts is Purpose.WARMUP_PROMPTS
    pairs = source(len(at), load.max_model_len, _rng(load, lengths)) if len(at) else None
    if pairs is None:
        return []
    allowed = np.setdiff1d(np.arange(load.reserved, load.vocab), np.array(load.special, np.int64))
    return [
        Planned(
            id=-1 - i if warmup else i,
            at=round(float(at[i]), 9),
            prompt=tuple(allowed[_rng(load, prompts, i).integers(len(allowed), size=pairs.prompt[i])].tolist()),
            output=int(pairs.output[i]),
            warmup=warmup,
            slo=load.slo,
        )
        for i in range(len(at))
    ]


def _rng(load: Load, purpose: Purpose, request: int = 0) -> np.random.Generator:
    return np.random.default_rng([load.seed, purpose, request])
