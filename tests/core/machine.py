"""A random adversary that drives a policy with its block manager and checks every promise of the protocol.

It plays engine and clients: requests arrive and are cancelled at any time, iterations and transfers end in any
order, transfers may fail. It keeps its own idea of tokens, batches and block tables and compares.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from systems.core.assemble import Memory, policy_of
from systems.core.config import EngineConfig
from systems.core.events import Arrived, Cancelled, Ended, Moved, Outcome, Ran, SpanOutcome, StopReason
from systems.core.plan import Iteration, Plan, Pool, Span, SpanKind, Transfer
from systems.core.request import Arrival
from systems.core.variant import find

MS = 1_000_000


class Linear:
    """An estimator: 1 ms for an iteration, 0.01 ms for a prompt token."""

    def prefill(self, tokens: int) -> int:
        return MS + tokens * MS // 100

    def decode(self, batch: int, context: int) -> int:
        return MS + batch * 1000 + context * 10

    def shortest(self) -> int:
        return MS


@dataclass
class Shadow:
    """What the adversary knows of a request."""

    prompt: int
    output: int
    known: int
    computed: int = 0
    cancelled: bool = False
    over: bool = False


@dataclass
class Machine:
    """One policy under attack. `events` counts what it was told."""

    variant: str
    memory: Memory
    max_batch: int = 4
    max_tokens: int = 64
    settings: dict[str, bool | int | float | str] = field(default_factory=dict)
    seed: int = 0
    longest: int = 60

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        found = find(self.variant)
        self.oracle = found.oracle
        config = EngineConfig(
            "synthetic", self.variant, self.settings, max_batch=self.max_batch, max_tokens=self.max_tokens
        )
        self.policy, self.blocks = policy_of(found, config, self.memory, Linear())
        self.now = 0
        self.events = 0
        self.requests: dict[int, Shadow] = {}
        self.members: dict[int, list[int]] = {}  # request -> block table as the executor has it
        self.running: Iteration | None = None
        self.transfers: dict[int, Transfer] = {}
        self.finished = 0
        self.next = 0
        self.longest_batch = 0

    # -- the adversary ---------------------------------------------------------------------------------

    def step(self) -> None:
        """One random event, then a plan."""
        choices = ["arrive"] * 3 if len(self.requests) < 40 else []
        if self.running:
            choices += ["ran"] * 12
        if self.transfers:
            choices += ["moved"] * 6
        if self.requests:
            choices += ["cancel"]
        self.now += self.random.choice([0, 1000, MS // 3, MS, 5 * MS])
        getattr(self, self.random.choice(choices or ["arrive"]))()
        self.check_plan(self.policy.plan(self.now))
        self.check_state()

    def drain(self) -> None:
        """No more arrivals: everything must come to an end."""
        for _ in range(200_000):
            if not self.requests:
                return
            self.now += MS
            if self.transfers and (not self.running or self.random.random() < 0.5):
                self.moved(fail=False)
            else:
                assert self.running, "nothing runs, nothing moves, and requests are waiting"
                self.ran()
            self.check_plan(self.policy.plan(self.now))
            self.check_state()
        raise AssertionError("requests never end")

    def arrive(self) -> None:
        prompt = self.random.randint(1, self.longest // 2)
        output = self.random.randint(1, self.longest - prompt)
        request = self.next
        self.next += 1
        self.requests[request] = Shadow(prompt, output, prompt)
        arrival = Arrival(request, self.now, prompt, output=output if self.oracle else None)
        self.tell(Arrived(arrival))

    def cancel(self) -> None:
        request = self.random.choice(list(self.requests))
        self.requests[request].cancelled = True
        self.tell(Cancelled(request))

    def moved(self, *, fail: bool = True) -> None:
        transfer = self.transfers.pop(self.random.choice(list(self.transfers)))
        self.tell(Moved(transfer, not (fail and self.random.random() < 0.05)))

    def ran(self) -> None:
        iteration = self.running
        assert iteration is not None
        self.running = None
        ended: list[Ended] = []
        spans: list[SpanOutcome] = []
        for span in iteration.spans:
            shadow = self.requests[span.request]
            shadow.computed = span.start + span.count
            spans.append(SpanOutcome(span.count, int(span.emits)))
            if span.emits:
                self.put_out(span.request, ended)
        for request in list(self.members) if iteration.lane == 0 else []:
            self.requests[request].computed += 1
            self.put_out(request, ended)
        self.now += self.random.randint(1, 3) * MS
        self.tell(Ran(iteration, Outcome((self.now,), tuple(spans), tuple(ended))))

    def put_out(self, request: int, ended: list[Ended]) -> None:
        shadow = self.requests[request]
        shadow.known += 1
        if shadow.known - shadow.prompt >= shadow.output and not shadow.cancelled:
            shadow.over = True
            ended.append(Ended(request, StopReason.LENGTH))

    def tell(self, event: Arrived | Cancelled | Moved | Ran) -> None:
        self.events += 1
        self.policy.on(event, self.now)
        self.blocks.check()

    # -- the promises ----------------------------------------------------------------------------------

    def check_plan(self, plan: Plan) -> None:
        for request in plan.finished:
            shadow = self.requests.pop(request)
            assert shadow.over or shadow.cancelled, "a request was finished that had not ended"
            self.members.pop(request, None)
            self.finished += 1
        moving = set(self.transfers)
        for transfer in plan.move:
            assert transfer.id not in moving
            assert transfer.request in self.requests
            assert len(transfer.source_pages) == len(transfer.target_pages)
            assert self.running is None or transfer.request not in self.running_requests()
            self.transfers[transfer.id] = transfer
        for iteration in plan.launch:
            assert self.running is None, "two iterations at once"
            self.launch(iteration)
        if self.requests and not self.running and not self.transfers:
            raise AssertionError("work is waiting and nothing was launched")

    def launch(self, iteration: Iteration) -> None:
        self.running = iteration
        if iteration.lane == 0:
            for request in iteration.left:
                del self.members[request]
            for span in iteration.joined:
                assert span.request not in self.members
                assert span.kind is SpanKind.DECODE
                self.check_span(span)
                self.members[span.request] = list(span.tables[0])
            for grant in iteration.grown:
                self.members[grant.request].append(grant.page)
            for request, table in self.members.items():
                shadow = self.requests[request]
                assert shadow.computed == shadow.known - 1
                assert tuple(table) == self.blocks.table(request), "executor and manager disagree on a block table"
                assert len(table) * self.memory.page_tokens >= shadow.known
        for span in iteration.spans:
            self.check_span(span)
        batch = self.running_requests()
        self.longest_batch = max(self.longest_batch, len(batch))
        assert 0 < len(batch) <= self.max_batch
        assert not batch & {t.request for t in self.transfers.values()}, "scheduled while in transfer"

    def check_span(self, span: Span) -> None:
        shadow = self.requests[span.request]
        if span.start == 0:
            shadow.computed = 0
        assert span.start == shadow.computed
        assert span.count > 0
        assert span.start + span.count <= shadow.known
        assert span.emits == (span.start + span.count == shadow.known)
        assert span.tables[0] == self.blocks.table(span.request)
        assert len(span.tables[0]) * self.memory.page_tokens >= span.start + span.count

    def check_state(self) -> None:
        self.blocks.check()
        moving = [p for t in self.transfers.values() for p in t.target_pages if t.target.pool is Pool.DEVICE]
        tables = [p for table in self.members.values() for p in table] if self.running else []
        assert not set(moving) & set(tables), "a page is written and read at once"

    def running_requests(self) -> set[int]:
        assert self.running is not None
        members = set(self.members) if self.running.lane == 0 else set()
        return members | {span.request for span in self.running.spans}
