"""A machine whose times can be added up by hand, and two ways to drive a policy on it.

`Hand` is the engine played step by step: the test says when something arrives and how long each iteration takes.
`serve` runs a whole schedule through the modeled clock with synthetic compute and keeps everything that was run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from systems.core.assemble import Memory, instance_of, policy_of
from systems.core.compute import Step
from systems.core.config import EngineConfig
from systems.core.event_log import EventLog
from systems.core.events import Arrived, Cancelled, Ended, Moved, Outcome, Ran, SpanOutcome, StopReason
from systems.core.instance import Instance
from systems.core.memory.blocks import PagedBlocks
from systems.core.plan import Iteration, Plan, Transfer
from systems.core.policy import Policy
from systems.core.record import Record
from systems.core.request import Arrival, Request, Sampling
from systems.core.synthetic import SyntheticCompute
from systems.core.variant import Scalar, find
from systems.core.virtual import fleet
from systems.core.virtual.computed import Computed
from systems.core.virtual.links import Link

MS = 1_000_000
AMPLE = Memory(device_pages=4096, host_pages=4096, page_tokens=4, page_bytes=4096)
Job = tuple[float, int, int]
"""Arrival in ms, prompt tokens, output tokens."""


@dataclass(frozen=True)
class Clockwork:
    """Estimator and cost model in one: `token` ns a prompt token, `step` ns a decode; together, the larger."""

    token: int = MS
    step: int = MS
    least: int = MS

    def prefill(self, tokens: int) -> int:
        return max(self.least, tokens * self.token)

    def decode(self, batch: int, context: int) -> int:
        return self.step

    def shortest(self) -> int:
        return self.least

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], decode_batch: int, decode_context: int) -> int:
        prompts = sum(count for count, _ in chunks)
        return max(self.prefill(prompts) if prompts else 0, self.step if decode_batch else 0)


def config_of(
    variant: str, max_batch: int = 4, max_tokens: int = 2048, settings: Mapping[str, Scalar] | None = None
) -> EngineConfig:
    return EngineConfig("synthetic", variant, dict(settings or {}), max_batch=max_batch, max_tokens=max_tokens)


class Hand:
    """A policy driven by hand. `now` is in ns; iterations take what the test says."""

    def __init__(
        self,
        variant: str,
        *,
        max_batch: int = 1,
        max_tokens: int = 2048,
        memory: Memory = AMPLE,
        clockwork: Clockwork | None = None,
        **settings: Scalar,
    ) -> None:
        self.variant = find(variant)
        config = config_of(variant, max_batch, max_tokens, settings)
        self.policy: Policy
        self.blocks: PagedBlocks
        self.policy, self.blocks = policy_of(self.variant, config, memory, clockwork or Clockwork())
        self.now = 0
        self.iteration: Iteration | None = None
        self.moves: dict[int, Transfer] = {}
        self.members: list[int] = []
        self.finished: list[int] = []

    def arrive(self, *prompts: int, output: int | None = None) -> None:
        """Requests numbered by their prompts' place in all arrivals so far."""
        for prompt in prompts:
            self._count = getattr(self, "_count", -1) + 1
            self.policy.on(Arrived(Arrival(self._count, self.now, prompt, output=output)), self.now)

    def cancel(self, request: int) -> None:
        self.policy.on(Cancelled(request), self.now)

    def plan(self) -> Plan:
        plan = self.policy.plan(self.now)
        self.finished += plan.finished
        for request in plan.finished:
            if request in self.members:
                self.members.remove(request)
        self.moves.update((move.id, move) for move in plan.move)
        for iteration in plan.launch:
            assert self.iteration is None
            self.iteration = iteration
            if iteration.lane == 0:
                self.members = [m for m in self.members if m not in iteration.left]
                self.members += [span.request for span in iteration.joined]
        return plan

    def batch(self) -> list[int]:
        """The requests of the running iteration: prompts first."""
        assert self.iteration is not None, "nothing runs"
        members = self.members if self.iteration.lane == 0 else []
        return [span.request for span in self.iteration.spans] + members

    def ran(self, ns: int, *ends: int) -> None:
        """The running iteration took `ns`, and the requests `ends` put out their last token."""
        iteration = self.iteration
        assert iteration is not None, "nothing runs"
        self.iteration = None
        self.now += ns
        spans = tuple(SpanOutcome(span.count, int(span.emits)) for span in iteration.spans)
        ended = tuple(Ended(request, StopReason.LENGTH) for request in ends)
        self.policy.on(Ran(iteration, Outcome((self.now,), spans, ended)), self.now)

    def turn(self, ns: int, *ends: int) -> list[int]:
        """Finish the running iteration after `ns`, plan, and say who runs next."""
        self.ran(ns, *ends)
        self.plan()
        return self.batch() if self.iteration else []

    def land(self, request: int) -> None:
        """The transfer of `request` is over."""
        (transfer,) = [move for move in self.moves.values() if move.request == request]
        self.policy.on(Moved(self.moves.pop(transfer.id)), self.now)


@dataclass
class Taped(SyntheticCompute):
    """Synthetic compute that keeps every iteration, its batch, every token and the most KV pages ever live."""

    vocab: int = 512
    blocks: PagedBlocks | None = None
    iterations: list[Iteration] = field(default_factory=list)
    batches: list[list[int]] = field(default_factory=list)
    output: dict[int, list[int]] = field(default_factory=dict)
    carried: list[Transfer] = field(default_factory=list)
    peak: int = 0

    def __post_init__(self) -> None:
        super().__init__(self.vocab)

    def step(self, iteration: Iteration) -> Step:
        step = super().step(iteration)
        self.iterations.append(iteration)
        self.batches.append([*(s.request for s in iteration.spans if not s.emits), *step.requests])
        for request, token in zip(step.requests, step.tokens, strict=True):
            self.output.setdefault(request, []).append(token)
        if self.blocks:
            host = self.blocks.host_pages - self.blocks.host_free
            self.peak = max(self.peak, host + self.blocks.device_pages - self.blocks.device_free)
        return step

    def copy(self, transfer: Transfer) -> None:
        self.carried.append(transfer)


@dataclass(frozen=True)
class Served:
    """A schedule that was served: what the clients saw, what was run, and the engine as it was left."""

    records: list[Record]
    tape: Taped
    instance: Instance

    @property
    def ends(self) -> list[float]:
        """When each request ended, in ms, by id."""
        return [round(r.end * 1000, 6) for r in self.records]

    @property
    def starts(self) -> list[float]:
        """When each request got its first token, in ms, by id."""
        return [round((r.first_byte or 0.0) * 1000, 6) for r in self.records]

    @property
    def mean(self) -> float:
        """Mean latency in ms."""
        return sum(r.end - r.scheduled for r in self.records) / len(self.records) * 1000


def requests_of(jobs: Iterable[Job]) -> list[Request]:
    return [
        Request(number, tuple(range(prompt)), Sampling(max_tokens=output, ignore_eos=True), round(at * MS))
        for number, (at, prompt, output) in enumerate(jobs)
    ]


def serve(
    variant: str,
    jobs: Iterable[Job],
    *,
    memory: Memory = AMPLE,
    max_batch: int = 4,
    max_tokens: int = 2048,
    clockwork: Clockwork | None = None,
    links: Mapping[str, Link] | None = None,
    cancels: Iterable[tuple[int, int]] = (),
    log: EventLog | None = None,
    **settings: Scalar,
) -> Served:
    """Serve `jobs` in virtual time; every request must have all its tokens or have been cancelled."""
    clockwork = clockwork or Clockwork()
    tape = Taped()
    instance = instance_of(config_of(variant, max_batch, max_tokens, settings), tape, memory, clockwork)
    if log:
        instance.start_log(log)
    tape.blocks = instance.blocks
    records = fleet.serve(Computed(instance, clockwork), requests_of(jobs), links, cancels)
    if log:
        instance.start_log(None)
    for record in records:
        assert record.status == "cancelled" or record.output == record.want, record
    return Served(records, tape, instance)
