"""The shell around a policy: why requests end, when their memory is free, what is refused, what is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from systems.core.assemble import Memory, instance_of
from systems.core.compute import Step
from systems.core.errors import PromptTooLong, QueueFull
from systems.core.event_log import EventLog
from systems.core.events import Times
from systems.core.instance import NO_TOKEN, Emission, Instance
from systems.core.plan import Iteration, Plan
from systems.core.request import Request, Sampling
from systems.core.synthetic import SyntheticCompute
from tests.core.toy import Clockwork, config_of

MEMORY = Memory(device_pages=10, host_pages=4, page_tokens=4, page_bytes=100)


class Turns:
    """An instance with a clock that ticks once an iteration."""

    def __init__(self, variant: str = "fastserve/fcfs", *, eos: tuple[int, ...] = (), max_queue: int = 100) -> None:
        config = config_of(variant).but(max_queue=max_queue)
        self.compute = SyntheticCompute()
        self.instance: Instance = instance_of(config, self.compute, MEMORY, Clockwork(), eos=eos)
        self.now = 0
        self.iteration: Iteration | None = None

    def submit(self, request: int, prompt: int, **sampling: object) -> None:
        self.instance.arrive(Request(request, tuple(range(prompt)), Sampling(**sampling)), self.now)  # type: ignore[arg-type]

    def plan(self) -> Plan:
        plan = self.instance.plan(self.now)
        for iteration in plan.launch:
            self.iteration = iteration
        return plan

    def run(self, *broken: int) -> list[Emission]:
        """Compute what was launched; the requests `broken` fail in it."""
        assert self.iteration
        self.now += 1
        step = self.compute.step(self.iteration)
        keep = [(r, t) for r, t in zip(step.requests, step.tokens, strict=True) if r not in broken]
        step = Step([r for r, _ in keep], [t for _, t in keep], tuple((r, "broke") for r in broken))
        return self.instance.finish(self.iteration, step, (self.now,), Times(1, 2, 3))

    def turn(self, *broken: int) -> list[Emission]:
        self.plan()
        return self.run(*broken)


def token(request: int, number: int) -> int:
    return (request * 7919 + number * 104729) % 512


# -- why requests end -------------------------------------------------------------------------------------------


def test_a_request_ends_at_max_tokens() -> None:
    turns = Turns()
    turns.submit(1, 4, max_tokens=2)
    assert turns.turn() == [(1, token(1, 0), None)]
    assert turns.turn() == [(1, token(1, 1), "length")]
    assert turns.plan().finished == (1,)
    assert turns.instance.live == 0


@pytest.mark.parametrize(("ignore", "reason"), [(False, "stop"), (True, None)])
def test_the_end_token_ends_a_request_unless_it_is_ignored(ignore: bool, reason: str | None) -> None:
    turns = Turns(eos=(token(1, 1),))
    turns.submit(1, 4, max_tokens=9, ignore_eos=ignore)
    assert turns.turn()[0][2] is None
    assert turns.turn() == [(1, token(1, 1), reason)]


def test_a_stop_token_of_its_own_ends_a_request_even_if_the_end_token_is_ignored() -> None:
    turns = Turns()
    turns.submit(1, 4, max_tokens=9, ignore_eos=True, stop_tokens=(token(1, 0),))
    assert turns.turn() == [(1, token(1, 0), "stop")]


def test_a_failed_request_ends_alone_with_its_reason() -> None:
    turns = Turns()
    turns.submit(1, 4, max_tokens=3)
    turns.submit(2, 4, max_tokens=3)
    assert turns.turn(1) == [(2, token(2, 0), None), (1, NO_TOKEN, "error: broke")]
    assert turns.plan().finished == (1,)
    assert turns.run() == [(2, token(2, 1), None)]
    assert turns.instance.live == 1
    turns.instance.blocks.check()


# -- cancelling --------------------------------------------------------------------------------------------------


def test_memory_of_a_request_cancelled_in_its_iteration_is_free_when_that_has_run() -> None:
    turns = Turns()
    turns.submit(1, 8, max_tokens=9)
    turns.submit(2, 4, max_tokens=9)
    turns.plan()
    assert turns.instance.blocks.device_free == 10 - 2 - 1
    turns.instance.cancel(1, turns.now)
    assert turns.plan().finished == ()
    assert turns.instance.blocks.device_free == 7, "the iteration writes there"
    assert turns.run() == [(2, token(2, 0), None)], "nobody waits for the other token"
    assert turns.instance.blocks.device_free == 9
    assert turns.plan().finished == (1,)
    assert turns.run() == [(2, token(2, 1), None)]


def test_memory_of_a_request_cancelled_between_iterations_is_free_at_once() -> None:
    turns = Turns()
    turns.submit(1, 8, max_tokens=9)
    turns.turn()
    turns.instance.cancel(1, turns.now)
    assert turns.instance.blocks.device_free == 10
    assert turns.plan() == Plan(finished=(1,))


def test_cancelling_twice_or_nobody_or_the_finished_does_nothing() -> None:
    turns = Turns()
    turns.submit(1, 4, max_tokens=1)
    turns.plan()
    turns.instance.cancel(1, turns.now)
    turns.instance.cancel(1, turns.now)
    turns.instance.cancel(7, turns.now)
    assert turns.run() == []
    assert turns.plan() == Plan(finished=(1,))
    turns.instance.cancel(1, turns.now)
    assert turns.plan() == Plan()


# -- refusing ----------------------------------------------------------------------------------------------------


def test_what_can_never_fit_is_refused_and_changes_nothing() -> None:
    turns = Turns()
    with pytest.raises(PromptTooLong, match=r"prompt \(30 tokens\) plus max_tokens \(11\) is 41.* 40 tokens"):
        turns.submit(1, 30, max_tokens=11)
    assert turns.instance.live == 0
    assert turns.plan() == Plan()
    turns.submit(1, 30, max_tokens=10)
    assert turns.instance.live == 1


def test_the_queue_has_a_limit() -> None:
    turns = Turns(max_queue=2)
    turns.submit(1, 4)
    turns.submit(2, 4)
    with pytest.raises(QueueFull, match="2 requests are live"):
        turns.submit(3, 4)
    turns.instance.cancel(1, 0)
    turns.plan()
    turns.submit(3, 4)


# -- counting ----------------------------------------------------------------------------------------------------


def test_counters_say_what_was_done() -> None:
    turns = Turns("vllm/chunked")
    turns.submit(1, 6, max_tokens=3)
    turns.submit(2, 3, max_tokens=1)
    while turns.instance.live:
        turns.turn()
        turns.plan()
    counters = turns.instance.counters
    assert (counters.prompt_tokens, counters.generated_tokens, counters.iterations) == (9, 4, 3)
    assert (counters.waiting_ns, counters.compute_ns, counters.sampling_ns) == (3, 6, 9)
    assert counters.preemptions == 0


def test_usage_is_the_share_of_each_pool() -> None:
    turns = Turns()
    turns.submit(1, 8)
    turns.turn()
    assert turns.instance.usage() == pytest.approx((0.2, 0.0))
    transfer = turns.instance.blocks.swap_out(1)
    assert transfer
    turns.instance.blocks.settle(transfer)
    assert turns.instance.usage() == pytest.approx((0.0, 0.5))


def test_a_new_log_begins_with_a_new_policy_and_counters_at_zero(tmp_path: Path) -> None:
    turns = Turns()
    turns.submit(1, 4, max_tokens=1)
    turns.turn()
    turns.plan()
    before = turns.instance.policy
    turns.instance.start_log(EventLog(tmp_path / "a.jsonl", {}))
    assert turns.instance.policy is not before
    assert turns.instance.counters.iterations == 0
    turns.submit(2, 4, max_tokens=1)
    turns.turn()
    turns.plan()
    turns.instance.start_log(None)
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ['["arrived"', "null", '["ran"', "null"]
