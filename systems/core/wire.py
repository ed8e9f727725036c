"""What the front end and the engine process of one server tell each other. Plain values, pickled over a pipe.

Front end to engine: `Start` once, then `Submit`, `Abort`, `Reset`, `Stop`. Engine to front end: `Ready` once,
then `Emitted` (one message per iteration for all requests, never one per token), `Rejected`, `Stats`,
`ResetDone`, and `Died` as the last word. Order is kept both ways, so the k-th token emitted for a request is its
token number k.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from systems.core.config import EngineConfig
from systems.core.request import Request

NO_TOKEN = -1


class Start(NamedTuple):
    """The engine to build; the first message of all."""

    config: EngineConfig


class Submit(NamedTuple):
    """A new request. Its `arrival` is overwritten by the engine, whose clock counts."""

    request: Request


class Abort(NamedTuple):
    """Nobody waits for this request any more; nothing needs to be emitted for it. Unknown ids are ignored."""

    id: int


class Reset(NamedTuple):
    """Begin a fresh event log at this path ("": none) and clear the counters; answered by `ResetDone`."""

    event_log: str


class Stop(NamedTuple):
    """Leave the loop and exit; also what a lost front end looks like."""


ToEngine = Submit | Abort | Reset | Stop


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What a built engine turned out to be. Sizes are resolved (`EngineConfig` may have asked for "what fits").

    `compute` holds facts for the record only (packages, threads, kernels), as text.
    """

    device_pages: int
    host_pages: int
    max_model_len: int
    vocab: int
    eos: tuple[int, ...] = ()
    pid: int = 0
    compute: Mapping[str, str] = field(default_factory=dict)


class Ready(NamedTuple):
    """The engine takes requests from now on."""

    facts: EngineFacts


Emission = tuple[int, int, str | None]
"""Request id, token id (`NO_TOKEN`: none, only the end), and why the request ended (None: it goes on)."""


class Emitted(NamedTuple):
    """Everything one iteration put out, in the order of its batch."""

    batch: list[Emission]


class Rejected(NamedTuple):
    """A request is over without (more) output: HTTP status, OpenAI error type and the reason."""

    id: int
    status: int
    kind: str
    reason: str


class Stats(NamedTuple):
    """Gauges now, and counters since the start or the last `Reset`. Times in ns, usage as a share of the pool.

    Sent a few times a second while there is work, and once more when there is none left.
    """

    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0
    host_usage: float = 0.0
    preemptions: int = 0
    swapped_out_bytes: int = 0
    swapped_in_bytes: int = 0
    iterations: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    waiting_ns: int = 0
    compute_ns: int = 0
    sampling_ns: int = 0
    policy_ns: int = 0


class ResetDone(NamedTuple):
    """Answer to `Reset`; not `ok` while requests are live or when the log cannot be written."""

    ok: bool = True
    reason: str = ""


class Died(NamedTuple):
    """The engine cannot go on; `exit_code` is what the whole server exits with."""

    reason: str
    exit_code: int = 1


FromEngine = Ready | Emitted | Rejected | Stats | ResetDone | Died
