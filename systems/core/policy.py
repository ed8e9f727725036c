"""The two things a policy is given and the one thing it is: a pure state machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from systems.core.events import Event
from systems.core.plan import Plan


class Policy(Protocol):
    """Fed events, answers with plans. No clock, no I/O, no randomness of its own; time is passed in."""

    def on(self, event: Event, now: int) -> None:
        """Take note of `event` at `now` (ns)."""

    def plan(self, now: int) -> Plan:
        """What to do at `now`. Called after every batch of events; launching nothing is an answer."""

    def describe(self, request: int) -> str:
        """The policy's own words for where `request` stands ("Q3, 12 ms of 40 used"); "" if unknown."""


class Estimator(Protocol):
    """A policy's idea of time, in ns: a measured profile, never the model that decides how long things take."""

    def prefill(self, tokens: int) -> int:
        """The first iteration of a prompt of `tokens`, alone."""

    def decode(self, batch: int, context: int) -> int:
        """One decode iteration of `batch` requests with `context` tokens in all."""

    def shortest(self) -> int:
        """The shortest possible iteration."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds an iteration: requests in it, and prompt tokens in it (`max_tokens`)."""

    max_batch: int = 16
    max_tokens: int = 2048
