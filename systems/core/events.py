"""What a policy is told: arrivals, cancellations, finished iterations and transfers, messages, wake-ups."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from systems.core.plan import Iteration, TokenTree, Transfer
from systems.core.request import Arrival


class StopReason(StrEnum):
    """Why a request ended. The shell decides it before `Ran`; a policy never guesses."""

    LENGTH = "length"
    STOP = "stop"
    ABORT = "abort"
    ERROR = "error"


class Ended(NamedTuple):
    """A request that ended in an iteration, at its `step`-th step (0 for the first)."""

    request: int
    reason: StopReason
    step: int = 0


class SpanOutcome(NamedTuple):
    """Tokens computed and tokens put out (0 to d+1) by one span.

    `tree` holds a draft's candidates; `accepted` the accepted nodes of a VERIFY span, in path order.
    """

    computed: int
    tokens: int
    tree: TokenTree | None = None
    accepted: tuple[int, ...] = ()


class Times(NamedTuple):
    """Where an iteration's time went, in ns."""

    waiting: int = 0
    compute: int = 0
    sampling: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an iteration did.

    `ends` has the end time of each step. `spans` is parallel to `Iteration.spans`, then to the roots of its beam; every decode member
    put out one token per step up to the step in which it is named in `ended`.
    """

    ends: tuple[int, ...]
    spans: tuple[SpanOutcome, ...] = ()
    ended: tuple[Ended, ...] = ()
    times: Times = Times()


class Arrived(NamedTuple):
    """A request is there."""

    arrival: Arrival


class Cancelled(NamedTuple):
    """A client went away. Pages in use by a running iteration are held until its `Ran`."""

    request: int


class Ran(NamedTuple):
    """An iteration is over."""

    iteration: Iteration
    outcome: Outcome


class Moved(NamedTuple):
    """A transfer is over; `ok` is false when it failed and the source is still the only copy."""

    transfer: Transfer
    ok: bool = True


class Said(NamedTuple):
    """A message arrived."""

    sender: str
    body: object


class Woke(NamedTuple):
    """The time asked for with `Plan.wake_at` has come."""


Event = Arrived | Cancelled | Ran | Moved | Said | Woke
