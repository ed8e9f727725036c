"""The raw timestamps of one request: what every metric is derived from, real or simulated.

Times are seconds from the start of the point's schedule, as the client (or the simulator) saw them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, NamedTuple

Status = Literal["ok", "failed", "cancelled"]


class Tokens(NamedTuple):
    """`number` tokens from `first` on, `step` seconds apart, delivered by `events` stream events.

    A stream read that brings several events is one run with `step` 0; a simulator writes a whole decode as one run.
    """

    first: float
    number: int
    step: float = 0.0
    events: int = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One request of one point.

    `scheduled` is when it should have been sent, `sent` when it was, `first_byte` when the answer's first
    byte came, `end` when the stream ended. `output` counts output tokens as the server's usage reports them,
    `want` as the schedule asked for. `executing` and `swapping` are parts of its latency that only a simulation knows
    (what they are: systems/core/virtual/ledger.py); the rest is queueing.
    """

    id: int
    scheduled: float
    sent: float
    first_byte: float | None
    end: float
    status: Status
    prompt: int
    want: int
    output: int
    tokens: tuple[Tokens, ...] = ()
    error: str = ""
    finish: str = ""
    slo: str = ""
    warmup: bool = False
    executing: float | None = None
    swapping: float | None = None

    def to_json(self) -> str:
        """One line of `requests.jsonl`."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Record:
        """The record of one line of `requests.jsonl`."""
        row = json.loads(line)
        row["tokens"] = tuple(Tokens(*t) for t in row["tokens"])
        return cls(**row)
