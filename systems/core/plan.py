"""What a policy answers: iterations to launch, transfers to start, messages, requests that are over.

Times are integer nanoseconds, sizes are bytes, positions count tokens from 0. All values are frozen:
a plan can be logged, sent to another process and compared with a replay.

Decodes are persistent. A request enters a lane's decode batch once (`Iteration.joined`) and then
produces one token in every iteration of that lane until it is named in `left`, ends, or is cancelled;
`grown` names the pages appended to members meanwhile. So a step in which nothing changes costs nothing
to say, and an executor keeps its batch as arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class SpanKind(StrEnum):
    """What a span computes. RECOMPUTE redoes tokens whose KV was dropped; VERIFY scores a token tree."""

    CHUNK = "chunk"
    DECODE = "decode"
    RECOMPUTE = "recompute"
    VERIFY = "verify"
    ENCODE = "encode"


class TokenTree(NamedTuple):
    """A speculated tree as parallel arrays: parent index (-1: the root), token id, log path probability."""

    parent: tuple[int, ...]
    token: tuple[int, ...]
    logp: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """`count` tokens of one request from position `start` on, in one iteration.

    `tables` holds one block table per KV group (page ids in order). `emits` is false for a chunk that
    is not the last of its prompt: it fills memory and produces no token.
    """

    request: int
    start: int
    count: int
    kind: SpanKind
    tables: tuple[tuple[int, ...], ...]
    emits: bool = True
    tree: TokenTree | None = None


class Grant(NamedTuple):
    """A page appended to a member's block table in one KV group."""

    request: int
    group: int
    page: int


class SlotCopy(NamedTuple):
    """Copy the KV of one token slot to another before the iteration (tree compaction)."""

    group: int
    source_page: int
    source_slot: int
    target_page: int
    target_slot: int


class Beam(NamedTuple):
    """One composite draft pass: expand `roots` to `depth` layers, keeping `width` best paths each."""

    model: str
    roots: tuple[Span, ...]
    depth: int
    width: int


class Leap(NamedTuple):
    """A promise: if nothing else happens, the same is launched again, each decode one token longer.

    At most `max_steps` steps, none starting at or after `stop_after` ns (None: no limit). An executor
    that really computes always does one step.
    """

    max_steps: int = 1
    stop_after: int | None = None


@dataclass(frozen=True, slots=True)
class Iteration:
    """One forward pass of one named model on one lane.

    Spans with more than the next token to compute are in `spans`; decodes are the lane's persistent
    members. `copies` are made first; the pass waits for the transfers named in `after`.
    """

    id: int
    model: str = ""
    lane: int = 0
    spans: tuple[Span, ...] = ()
    joined: tuple[Span, ...] = ()
    left: tuple[int, ...] = ()
    grown: tuple[Grant, ...] = ()
    copies: tuple[SlotCopy, ...] = ()
    after: tuple[int, ...] = ()
    beam: Beam | None = None
    leap: Leap = Leap()


class TransferKind(StrEnum):
    """What is moved."""

    KV = "kv"
    STATE = "state"
    WEIGHTS = "weights"
    EMBEDDING = "embedding"


class Pool(StrEnum):
    """Where pages live. HOST belongs to the node, not to an instance."""

    DEVICE = "device"
    HOST = "host"


class Place(NamedTuple):
    """A pool of an instance; the empty name is the instance that plans the transfer."""

    pool: Pool
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A copy of whole pages. Until `Moved`, the source stays readable, the target is not, neither is free.

    `model` says whose weights or state these are.
    """

    id: int
    kind: TransferKind
    request: int
    source: Place
    target: Place
    source_pages: tuple[int, ...]
    target_pages: tuple[int, ...]
    bytes: int
    link: str = "pcie"
    group: int = 0
    model: str = ""


class Message(NamedTuple):
    """A value sent to a named instance or to the cluster policy (""); it travels, and ages on the way.

    `carries` names live requests that the shell sends along (tokens, sampling, the client's route) and admits at
    the target before `Said`.
    """

    target: str
    body: object
    carries: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """One answer of a policy. `finished` names requests whose memory is free; `wake_at` asks for `Woke`."""

    launch: tuple[Iteration, ...] = ()
    move: tuple[Transfer, ...] = ()
    say: tuple[Message, ...] = ()
    finished: tuple[int, ...] = ()
    wake_at: int | None = None


IDLE = Plan()
