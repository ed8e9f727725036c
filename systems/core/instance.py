"""One engine with its memory: the shell around a pure policy and a compute.

It turns requests into `Arrived`, what a forward pass put out into `Ran` (deciding why requests end), and keeps
counters. It has no clock: a driver (wall.py, virtual.py) passes the time in and carries plans out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns

from systems.core.compute import Compute, Step
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
    SpanOutcome,
    StopReason,
    Times,
    Woke,
)
from systems.core.memory.blocks import PagedBlocks
from systems.core.plan import IDLE, Iteration, Plan, Pool, Transfer
from systems.core.policy import Policy
from systems.core.request import Arrival, Request

Emission = tuple[int, int, str | None]
NO_TOKEN = -1


@dataclass(slots=True)
class Counters:
    """What happened since the last reset. Times in ns, sizes in bytes."""

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


@dataclass(slots=True)
class _Live:
    request: Request
    output: int = 0
    over: bool = False


class Instance:
    """Requests, policy, memory and compute of one engine."""

    def __init__(
        self,
        make_policy: Callable[[], tuple[Policy, PagedBlocks]],
        compute: Compute,
        *,
        max_model_len: int,
        max_queue: int = 1 << 30,
        eos: tuple[int, ...] = (),
        oracle: bool = False,
    ) -> None:
        self._make_policy = make_policy
        self.policy, self.blocks = make_policy()
        self.compute = compute
        self.counters = Counters()
        self.log: EventLog | None = None
        self.running = 0  # requests in the last iteration
        self._live: dict[int, _Live] = {}
        self._max_len = min(max_model_len, self.blocks.device_pages * self.blocks.page_tokens)
        self._max_queue = max_queue
        self._eos = eos
        self._oracle = oracle

    # -- looking ---------------------------------------------------------------------------------------

    @property
    def live(self) -> int:
        """Requests that are not over."""
        return len(self._live)

    def usage(self) -> tuple[float, float]:
        """Shares of the device and host pools in use."""
        blocks = self.blocks
        host = 1 - blocks.host_free / blocks.host_pages if blocks.host_pages else 0.0
        return 1 - blocks.device_free / blocks.device_pages, host

    # -- in --------------------------------------------------------------------------------------------

    def start_log(self, log: EventLog | None) -> None:
        """Begin afresh for the next measurement: new policy and memory, counters at zero. Only when idle."""
        assert not self._live
        if self.log:
            self.log.close()
        self.log = log
        self.policy, self.blocks = self._make_policy()
        self.counters = Counters()

    def arrive(self, request: Request, now: int) -> None:
        """Take a request. Raises RequestRejected (too long, queue full, bad token ids); then nothing has changed."""
        total = len(request.prompt) + request.sampling.max_tokens
        if total > self._max_len:
            raise PromptTooLong(
                f"prompt ({len(request.prompt)} tokens) plus max_tokens ({request.sampling.max_tokens}) is {total};"
                f" this engine holds {self._max_len} tokens of one request.",
                "Shorten the prompt, lower max_tokens, or give the engine more KV memory.",
            )
        if len(self._live) >= self._max_queue:
            raise QueueFull(f"{len(self._live)} requests are live, the limit is {self._max_queue}.", "Try again later.")
        self.compute.admit(request)
        self._live[request.id] = _Live(request)
        self._on(Arrived(Arrival.of(request, oracle=self._oracle)), now)

    def cancel(self, request: int, now: int) -> None:
        """The client of `request` went away; unknown or finished requests are ignored."""
        live = self._live.get(request)
        if live and not live.over:
            live.over = True
            self._on(Cancelled(request), now)

    def moved(self, transfer: Transfer, now: int, *, ok: bool = True) -> None:
        """A transfer is over."""
        if ok and transfer.source.pool is Pool.DEVICE:
            self.counters.swapped_out_bytes += transfer.bytes
        elif ok:
            self.counters.swapped_in_bytes += transfer.bytes
        self._on(Moved(transfer, ok), now)

    def woke(self, now: int) -> None:
        """The time that the policy asked for has come."""
        self._on(Woke(), now)

    def _on(self, event: Event, now: int) -> None:
        if self.log:
            self.log.event(event, now)
        self.policy.on(event, now)

    # -- out -------------------------------------------------------------------------------------------

    def plan(self, now: int) -> Plan:
        """The policy's plan; requests whose memory is free are forgotten here."""
        began = perf_counter_ns()
        plan = self.policy.plan(now)
        self.counters.policy_ns += perf_counter_ns() - began
        if self.log and (plan is not IDLE or self._live):
            self.log.plan(plan, now)  # empty plans too: asking may have promoted somebody
        for request in plan.finished:
            self.compute.forget(request)
            del self._live[request]
        for iteration in plan.launch:
            self.counters.preemptions += len(iteration.left)
        return plan

    def finish(self, iteration: Iteration, step: Step, ends: tuple[int, ...], times: Times) -> list[Emission]:
        """Tell the policy what `iteration` did; what the clients get, in batch order."""
        emitted: list[Emission] = []
        ended: list[Ended] = []
        for request, token in zip(step.requests, step.tokens, strict=True):
            live = self._live[request]
            live.output += 1
            reason = self._stop(live, token)
            if live.over:
                continue
            emitted.append((request, token, reason))
            if reason:
                live.over = True
                ended.append(Ended(request, reason))
        for request, why in step.failed:
            self._live[request].over = True
            ended.append(Ended(request, StopReason.ERROR))
            emitted.append((request, NO_TOKEN, f"error: {why}"))
        self._count(iteration, len(step.tokens), times)
        self.running = len(step.tokens) + sum(not s.emits for s in iteration.spans)
        broken = {request for request, _ in step.failed}
        outcome = Outcome(
            ends=ends,
            spans=tuple(
                SpanOutcome(0, 0) if s.request in broken else SpanOutcome(s.count, int(s.emits))
                for s in iteration.spans
            ),
            ended=tuple(ended),
            times=times,
        )
        self._on(Ran(iteration, outcome), ends[-1])
        return emitted

    def _stop(self, live: _Live, token: int) -> StopReason | None:
        sampling = live.request.sampling
        if (token in self._eos and not sampling.ignore_eos) or token in sampling.stop_tokens:
            return StopReason.STOP
        return StopReason.LENGTH if live.output >= sampling.max_tokens else None

    def _count(self, iteration: Iteration, tokens: int, times: Times) -> None:
        counters = self.counters
        counters.iterations += 1
        counters.generated_tokens += tokens
        counters.prompt_tokens += sum(s.count for s in iteration.spans)
        counters.waiting_ns += times.waiting
        counters.compute_ns += times.compute
        counters.sampling_ns += times.sampling
