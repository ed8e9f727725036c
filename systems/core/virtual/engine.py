"""What modeled time drives: an engine behind four verbs, and what its clients saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from systems.core.plan import Iteration, Message, Plan, Transfer
from systems.core.record import Record, Tokens
from systems.core.request import Request

MOST_RUNS = 16  # of one request that a record keeps


class Run(NamedTuple):
    """Tokens that came out `first`, ..., `last` ns, evenly as far as anybody asks."""

    first: int
    last: int
    number: int


@dataclass(slots=True)
class Client:
    """What the client of one request has seen so far. `want` is known to the shell, never to the policy.

    `executing` and `swapping` are ns of its time (systems/core/virtual/ledger.py), where somebody counts them.
    """

    request: Request
    want: int
    output: int = 0
    runs: list[Run] = field(default_factory=list)
    over: bool = False
    status: str = "live"
    why: str = ""
    end: int = 0
    executing: int | None = None
    swapping: int | None = None

    def close(self, status: str, why: str, now: int) -> None:
        """Nothing more will come."""
        self.status, self.why, self.end = status, why, now

    def record(self) -> Record:
        """Times in seconds; a request is sent when it was scheduled."""
        request, at = self.request, self.request.arrival / 1e9
        failed = self.status == "failed"
        return Record(
            id=request.id,
            scheduled=at,
            sent=at,
            first_byte=self.runs[0].first / 1e9 if self.runs else None,
            end=self.end / 1e9,
            status="failed" if failed else "cancelled" if self.status == "cancelled" else "ok",
            prompt=len(request.prompt),
            want=self.want,
            output=sum(run.number for run in self.runs),
            tokens=tuple(_tokens(run) for run in merged(self.runs)),
            error=self.why if failed else "",
            finish="" if failed else self.why,
            slo=request.slo.name,
            executing=None if self.executing is None else self.executing / 1e9,
            swapping=None if self.swapping is None else self.swapping / 1e9,
        )


def merged(runs: list[Run], most: int = MOST_RUNS) -> list[Run]:
    """At most `most` runs of the same tokens: all but the longest gaps between runs become part of an even run."""
    if len(runs) <= most:
        return runs
    gaps = sorted(range(1, len(runs)), key=lambda i: runs[i - 1].last - runs[i].first)[: most - 1]
    out: list[Run] = []
    begin = 0
    for end in (*sorted(gaps), len(runs)):
        part = runs[begin:end]
        out.append(Run(part[0].first, part[-1].last, sum(run.number for run in part)))
        begin = end
    return out


def _tokens(run: Run) -> Tokens:
    step = (run.last - run.first) / (run.number - 1) / 1e9 if run.number > 1 else 0.0
    return Tokens(run.first / 1e9, run.number, step, run.number)


class Engine(Protocol):
    """One engine with its memory. Times are ns; `lane` numbers are the policy's."""

    clients: dict[int, Client]

    @property
    def load(self) -> int:
        """Requests that are not over."""

    def arrive(self, client: Client, now: int) -> None:
        """Take a request. Raises RequestRejected; then nothing has changed."""

    def cancel(self, request: int, now: int) -> None:
        """Its client went away."""

    def moved(self, transfer: Transfer, now: int) -> None:
        """A transfer has landed."""

    def said(self, sender: str, message: Message, carried: list[Client], now: int) -> None:
        """A message arrived, with the requests it carries."""

    def hand_over(self, requests: tuple[int, ...]) -> list[Client]:
        """Live requests that a message takes away."""

    def woke(self, now: int) -> None:
        """The time the policy asked for has come."""

    def plan(self, now: int) -> Plan:
        """The policy's plan."""

    def begin(self, iteration: Iteration, now: int, ready: int, horizon: int) -> int:
        """Start an iteration that may begin at `ready`; when it ends. A leap need not go on beyond `horizon`."""

    def cut(self, now: int) -> list[tuple[int, int]]:
        """Something happened: end the leaps under way at their next step; (lane, end) of those that end earlier now."""

    def end(self, lane: int, now: int) -> None:
        """The iteration of `lane` is over."""
