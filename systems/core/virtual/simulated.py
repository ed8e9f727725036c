"""An engine that computes nothing: policy and memory are the real ones, tokens are counted, time is a cost model's.

What makes it fast: the decode batch is aggregates (size, sum of contexts, tick; a member's tokens are tick - join tick),
completions are a heap keyed by tick, and the ends of iterations are one timeline that all members share. Where the
policy promises to launch the same again (`Leap`), many steps are one event; the result is the same, bit for bit.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from systems.core.compute import CostModel
from systems.core.errors import PromptTooLong, QueueFull
from systems.core.event_log import EventLog
from systems.core.events import (
    Arrived,
    Cancelled,
    Ended,
    Event,
    Moved,
    Outcome,
    Ran,
    Said,
    SpanOutcome,
    StopReason,
    Times,
    Woke,
)
from systems.core.instance import Counters
from systems.core.memory.blocks import PagedBlocks
from systems.core.plan import IDLE, Iteration, Message, Plan, Pool, Span, Transfer
from systems.core.policy import Policy
from systems.core.request import Arrival
from systems.core.virtual.engine import Client, Run
from systems.core.virtual.ledger import Ledger


@dataclass(slots=True, eq=False)
class _Lane:
    """The decode members of one lane. `timeline` has the end of every step that had members.

    `busy` and `held` are ns in which its iterations ran, and in which they were kept back by transfers.
    """

    joined: dict[int, int] = field(default_factory=dict)  # request -> tick at which it joined
    start: dict[int, int] = field(default_factory=dict)  # request -> context at join minus that tick
    context: int = 0  # tokens in memory of all members, before the next step
    tick: int = 0
    timeline: array[int] = field(default_factory=lambda: array("q"))
    completions: list[tuple[int, int, int]] = field(default_factory=list)  # (tick, request, tick at which it joined)
    iteration: Iteration | None = None
    begun: int = 0
    waited: int = 0
    busy: int = 0
    held: int = 0
    ends: list[int] = field(default_factory=list)

    def seen(self, request: int, now: int) -> array[int]:
        """When the tokens of a member came out that came before `now`, those of a leap under way included."""
        times = self.timeline[self.joined[request] :]
        if self.iteration is not None:
            times.extend(end for end in self.ends if end < now)
        return times

    def spent(self, now: int) -> tuple[int, int]:
        """`busy` and `held` up to `now`, in the midst of an iteration perhaps."""
        if self.iteration is None:
            return self.busy, self.held
        ready = self.begun + self.waited
        return self.busy + max(0, now - ready), self.held - max(0, ready - now)


class Simulated:
    """One engine. `make_policy` makes a fresh policy with its memory; `max_model_len` bounds prompt + output."""

    def __init__(
        self,
        make_policy: Callable[[], tuple[Policy, PagedBlocks]],
        cost: CostModel,
        *,
        max_model_len: int,
        max_queue: int = 1 << 30,
        oracle: bool = False,
        leaps: bool = True,
    ) -> None:
        self.policy, self.blocks = make_policy()
        self.counters = Counters()
        self.clients: dict[int, Client] = {}
        self.log: EventLog | None = None
        self._cost = cost.iteration_ns
        self._max_len = min(max_model_len, self.blocks.device_pages * self.blocks.page_tokens)
        self._max_queue = max_queue
        self._oracle = oracle
        self._leaps = leaps
        self._lanes: dict[int, _Lane] = {}
        self._leaping: dict[int, _Lane] = {}
        self._ledger = Ledger()

    @property
    def load(self) -> int:
        """Requests that are not over."""
        return len(self.clients)

    # -- in ------------------------------------------------------------------------------------------------------

    def arrive(self, client: Client, now: int) -> None:
        """Take a request. Raises RequestRejected."""
        request = client.request
        total = len(request.prompt) + client.want
        if total > self._max_len:
            raise PromptTooLong(
                f"prompt plus output is {total} tokens; this engine holds {self._max_len} of one request.",
                "Give it more memory.",
            )
        if len(self.clients) >= self._max_queue:
            raise QueueFull(f"{len(self.clients)} requests are live, the limit is {self._max_queue}.", "Try later.")
        self.clients[request.id] = client
        self._ledger.open(request.id, now)
        self._on(Arrived(Arrival.of(request, oracle=self._oracle)), now)

    def cancel(self, request: int, now: int) -> None:
        """Its client went away; unknown or finished requests are ignored."""
        client = self.clients.get(request)
        if client and not client.over:
            for lane in self._lanes.values():
                self._charge(lane, request, now)
                if request in lane.joined:
                    self._write(client, lane.seen(request, now))
            client.over = True
            client.close("cancelled", "", now)
            self._ledger.close(client, now)
            self._on(Cancelled(request), now)

    def _charge(self, lane: _Lane, request: int, now: int) -> None:
        """Account for a request that goes in the midst of an iteration of `lane`, if it is in it."""
        busy, held = lane.spent(now)
        if request in lane.joined:
            self._ledger.add(request, busy, held)
        elif lane.iteration and any(span.request == request for span in lane.iteration.spans):
            self._ledger.add(request, busy - lane.busy, held - lane.held)

    def moved(self, transfer: Transfer, now: int) -> None:
        """A transfer has landed."""
        self._ledger.moved(transfer, now)
        if transfer.source.pool is Pool.DEVICE:
            self.counters.swapped_out_bytes += transfer.bytes
        else:
            self.counters.swapped_in_bytes += transfer.bytes
        self._on(Moved(transfer), now)

    def said(self, sender: str, message: Message, carried: Sequence[Client], now: int) -> None:
        """A message arrived, with the requests it carries."""
        for client in carried:
            self.clients[client.request.id] = client
            self._ledger.open(client.request.id, now)
        self._on(Said(sender, message.body), now)

    def hand_over(self, requests: tuple[int, ...]) -> list[Client]:
        """Live requests that a message takes away."""
        for lane in self._lanes.values():
            for request in requests:
                self._leave(lane, request)
        gone = [self.clients.pop(request) for request in requests]
        for client in gone:
            self._ledger.close(client, self._ledger.now)
        return gone

    def woke(self, now: int) -> None:
        """The time the policy asked for has come."""
        self._on(Woke(), now)

    def _on(self, event: Event, now: int) -> None:
        if self.log:
            self.log.event(event, now)
        self.policy.on(event, now)

    # -- out -----------------------------------------------------------------------------------------------------

    def plan(self, now: int) -> Plan:
        """The policy's plan; requests whose memory is free are forgotten here."""
        plan = self.policy.plan(now)
        if self.log and (plan is not IDLE or self.clients):
            self.log.plan(plan, now)
        if plan.move:
            self._ledger.planned(plan.move, now)
        for request in plan.finished:
            for lane in self._lanes.values():
                if request in lane.joined:
                    self._leave(lane, request)
            del self.clients[request]
        return plan

    def begin(self, iteration: Iteration, now: int, ready: int, horizon: int) -> int:
        """Start an iteration, with as many steps as its leap allows; when it ends."""
        lane = self._lanes.get(iteration.lane)
        if lane is None:
            lane = self._lanes[iteration.lane] = _Lane()
        waited, ledger = ready - now, self._ledger
        since = ledger.begins(now)
        for request in iteration.left:
            self._leave(lane, request)
        lane.held += ledger.held - since
        for span in iteration.spans:
            ledger.enter(span.request, now, since)
            if waited:
                ledger.add(span.request, 0, waited)
        for span in iteration.joined:
            ledger.enter(span.request, now, since)
            self._join(lane, span)
        lane.held += waited
        self.counters.preemptions += len(iteration.left)
        size = len(lane.joined)
        chunks = [(span.count, span.start) for span in iteration.spans]
        end = ready + self._cost(chunks, size, lane.context)
        lane.iteration, lane.begun, lane.waited = iteration, now, waited
        ends = lane.ends = [end]
        if iteration.leap.max_steps > 1 and self._leaps and not chunks:
            self._leap(lane, iteration, horizon)
            if len(ends) > 1:
                self._leaping[iteration.lane] = lane
        return ends[-1]

    def _leap(self, lane: _Lane, iteration: Iteration, horizon: int) -> None:
        """Add the steps that the leap allows: up to the first completion, none starting at or after its limits."""
        leap, cost, ends, size, context = iteration.leap, self._cost, lane.ends, len(lane.joined), lane.context
        stop = horizon if leap.stop_after is None else min(horizon, leap.stop_after)
        first = self._first_completion(lane)
        steps = leap.max_steps if first is None else min(leap.max_steps, first - lane.tick)
        end = ends[0]
        for _ in range(steps - 1):
            if end >= stop:
                return
            context += size
            end += cost((), size, context)
            ends.append(end)

    def cut(self, now: int) -> list[tuple[int, int]]:
        """End the leaps under way at their first step boundary at or after `now`."""
        if not self._leaping:
            return []
        changed: list[tuple[int, int]] = []
        for number, lane in self._leaping.items():
            keep = bisect_left(lane.ends, now) + 1
            if keep < len(lane.ends):
                del lane.ends[keep:]
                changed.append((number, lane.ends[-1]))
        return changed

    def end(self, lane: int, now: int) -> None:
        """Count the tokens of the iteration, end the requests that have all theirs, tell the policy."""
        self._leaping.pop(lane, None)
        state = self._lanes[lane]
        iteration, ends = state.iteration, state.ends
        assert iteration is not None
        state.iteration = None
        took = now - state.begun - state.waited
        state.busy += took
        self._ledger.ended(now)
        ended: list[Ended] = []
        spans = [self._emit(span, now, took, ended) for span in iteration.spans]
        steps, size = len(ends), len(state.joined)
        if size:
            state.timeline.extend(ends)
            state.tick += steps
            state.context += steps * size
            self._complete(state, now, steps - 1, ended)
        counters = self.counters
        counters.iterations += steps
        counters.generated_tokens += steps * size
        counters.waiting_ns += state.waited
        counters.compute_ns += took
        times = Times(state.waited, took)
        self._on(Ran(iteration, Outcome(tuple(ends), tuple(spans), tuple(ended), times)), now)

    def _emit(self, span: Span, now: int, took: int, ended: list[Ended]) -> SpanOutcome:
        """A span has been computed; its token comes out if it is the last of its prompt."""
        self.counters.prompt_tokens += span.count
        self._ledger.add(span.request, took, 0)
        if not span.emits:
            return SpanOutcome(span.count, 0)
        self.counters.generated_tokens += 1
        client = self.clients[span.request]
        if not client.over:
            client.output += 1
            client.runs.append(Run(now, now, 1))
            if client.output >= client.want:
                self._finish(client, now, 0, ended)
        return SpanOutcome(span.count, 1)

    def _finish(self, client: Client, now: int, step: int, ended: list[Ended]) -> None:
        client.over = True
        client.close("ok", StopReason.LENGTH.value, now)
        self._ledger.close(client, now)
        ended.append(Ended(client.request.id, StopReason.LENGTH, step))

    # -- members -------------------------------------------------------------------------------------------------

    def _join(self, lane: _Lane, span: Span) -> None:
        request, tick = span.request, lane.tick
        client = self.clients[request]
        lane.joined[request] = tick
        lane.start[request] = span.start - tick
        self._ledger.add(request, -lane.busy, -lane.held)
        lane.context += span.start
        heappush(lane.completions, (tick + client.want - client.output, request, tick))

    def _leave(self, lane: _Lane, request: int) -> None:
        """End a membership, if it is one, and write down the tokens that came out of it."""
        tick = lane.joined.pop(request, None)
        if tick is None:
            return
        lane.context -= lane.start.pop(request) + lane.tick
        self._ledger.add(request, lane.busy, lane.held)
        client = self.clients[request]
        if not client.over:
            self._write(client, lane.timeline[tick:])

    def _write(self, client: Client, times: array[int]) -> None:
        """Note the tokens that a membership brought."""
        if times:
            client.output += len(times)
            client.runs.append(Run(times[0], times[-1], len(times)))

    def _first_completion(self, lane: _Lane) -> int | None:
        """The tick at which the next member has all its tokens."""
        heap, joined = lane.completions, lane.joined
        while heap and joined.get(heap[0][1]) != heap[0][2]:
            heappop(heap)
        return heap[0][0] if heap else None

    def _complete(self, lane: _Lane, now: int, step: int, ended: list[Ended]) -> None:
        heap = lane.completions
        while heap and heap[0][0] <= lane.tick:
            _, request, tick = heappop(heap)
            if lane.joined.get(request) != tick:
                continue
            client = self.clients[request]
            self._leave(lane, request)
            if not client.over:
                self._finish(client, now, step, ended)
