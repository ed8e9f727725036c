"""The real-time driver with its queues in this process: order, aborts, resets, refusals, and a link that paces."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from systems.core.assemble import Memory, instance_of, log_header
from systems.core.copier import Copier
from systems.core.event_log import EventLog
from systems.core.plan import Place, Pool, Transfer, TransferKind
from systems.core.profile import Profile, ProfileEstimator
from systems.core.replay import replay
from systems.core.request import Request, Sampling
from systems.core.wall import WallLoop
from systems.core.wire import Abort, Emitted, FromEngine, Rejected, Reset, ResetDone, Stats, Stop, Submit, ToEngine
from tests.core.toy import Taped, config_of

MEMORY = Memory(device_pages=12, host_pages=40, page_tokens=4, page_bytes=1000)
PROFILE = Profile.synthetic()
Reply = Callable[["Front"], Sequence[ToEngine]]


def submit(request: int, prompt: int = 4, output: int = 3) -> Submit:
    return Submit(Request(request, tuple(range(prompt)), Sampling(max_tokens=output, ignore_eos=True)))


class Front:
    """A front end: says what it has to say when a condition on what it heard is met, then stops the engine."""

    def __init__(self, *script: tuple[Callable[[Front], bool], Sequence[ToEngine]]) -> None:
        self.script = list(script)
        self.heard: list[FromEngine] = []
        self.patience = 20_000

    def inbox(self, seconds: float | None) -> Sequence[ToEngine]:
        self.patience -= 1
        assert self.patience, f"still waiting, having heard {self.heard[-3:]}"
        if self.script and self.script[0][0](self):
            return self.script.pop(0)[1]
        if not self.script:
            return [Stop()]
        time.sleep(min(seconds or 0.0, 0.001))
        return []

    def tokens(self, request: int) -> list[int]:
        return [t for m in self.heard if isinstance(m, Emitted) for r, t, _ in m.batch if r == request]

    def ends(self) -> dict[int, str]:
        return {r: why for m in self.heard if isinstance(m, Emitted) for r, _, why in m.batch if why}


def at_once(front: Front) -> bool:
    return True


def over(*requests: int) -> Callable[[Front], bool]:
    return lambda front: set(requests) <= set(front.ends())


def idle(front: Front) -> bool:
    """The engine has said that it has nothing left to do."""
    last = next((m for m in reversed(front.heard) if isinstance(m, Stats)), None)
    return last is not None and last.running == last.waiting == 0


def serve(
    front: Front,
    variant: str = "fastserve/skip-join",
    *,
    bytes_per_s: float = 0.0,
    log: Path | None = None,
    **limits: int,
) -> tuple[WallLoop, Taped]:
    config = config_of(variant).but(**limits)
    tape = Taped()
    instance = instance_of(config, tape, MEMORY, ProfileEstimator(PROFILE))
    tape.blocks = instance.blocks
    facts = log_header(config, MEMORY, PROFILE.to_dict())
    if log:
        instance.start_log(EventLog(log, facts))
    loop = WallLoop(instance, front.inbox, front.heard.append, bytes_per_s=bytes_per_s, facts=facts)
    loop.run()
    return loop, tape


def expected(request: int, output: int) -> list[int]:
    return [(request * 7919 + number * 104729) % 512 for number in range(output)]


# -- serving ----------------------------------------------------------------------------------------------------


def test_tokens_come_in_order_and_each_request_ends_once() -> None:
    front = Front((at_once, [submit(n, 3 + n, 2 + n) for n in range(8)]), (over(*range(8)), []), (idle, []))
    serve(front)
    for request in range(8):
        assert front.tokens(request) == expected(request, 2 + request)
    assert front.ends() == dict.fromkeys(range(8), "length")
    assert sum(len(m.batch) for m in front.heard if isinstance(m, Emitted)) == sum(2 + n for n in range(8))


def test_one_message_an_iteration_whatever_the_batch() -> None:
    front = Front((at_once, [submit(n) for n in range(4)]), (over(*range(4)), []))
    serve(front)
    assert [len(m.batch) for m in front.heard if isinstance(m, Emitted)] == [4, 4, 4]


def test_arrival_is_when_the_engine_took_the_request() -> None:
    front = Front((at_once, [submit(1)]), (over(1), [submit(2)]), (over(2), []))
    loop, _ = serve(front)
    assert loop.now() > 0
    assert front.tokens(2) == expected(2, 3)


def test_the_last_stats_say_that_nothing_is_left() -> None:
    front = Front((at_once, [submit(1, 6, 3), submit(2, 2, 1)]), (over(1, 2), []), (idle, []))
    serve(front)
    stats = [m for m in front.heard if isinstance(m, Stats)][-1]
    assert (stats.running, stats.waiting, stats.kv_usage, stats.host_usage) == (0, 0, 0.0, 0.0)
    assert (stats.prompt_tokens, stats.generated_tokens, stats.iterations) == (8, 4, 3)
    assert stats.compute_ns > 0
    assert stats.policy_ns > 0


# -- aborting and refusing -----------------------------------------------------------------------------------------


def test_an_aborted_request_falls_silent_and_the_others_go_on() -> None:
    front = Front(
        (at_once, [submit(1, 4, 30), submit(2, 4, 30)]),
        (lambda f: len(f.tokens(1)) == 5, [Abort(1), Abort(99)]),
        (over(2), []),
        (idle, []),
    )
    serve(front)
    assert front.tokens(1) == expected(1, 5)
    assert front.tokens(2) == expected(2, 30)
    assert front.ends() == {2: "length"}


def test_a_request_aborted_before_it_ran_is_never_heard_of() -> None:
    front = Front((at_once, [submit(1), submit(2), Abort(1)]), (over(2), []), (idle, []))
    serve(front)
    assert front.tokens(1) == []


def test_refusals_carry_status_kind_and_reason() -> None:
    front = Front((at_once, [submit(1, 60), submit(2), submit(3)]), (over(2), []))
    serve(front, max_queue=1)
    long, full = [m for m in front.heard if isinstance(m, Rejected)]
    assert (long.id, long.status, long.kind) == (1, 400, "invalid_request_error")
    assert "60 tokens" in long.reason
    assert (full.id, full.status, full.kind) == (3, 429, "rate_limit_error")


# -- resetting -----------------------------------------------------------------------------------------------------


def answers(front: Front) -> list[ResetDone]:
    return [m for m in front.heard if isinstance(m, ResetDone)]


def test_a_reset_starts_a_log_that_replays_and_is_refused_while_requests_live(tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    front = Front(
        (at_once, [Reset(str(first)), submit(1, 4, 20)]),
        (lambda f: len(f.tokens(1)) >= 2, [Reset(str(second))]),
        (lambda f: over(1)(f) and idle(f), [Reset(str(second)), submit(2)]),
        (lambda f: over(2)(f) and idle(f), []),
    )
    serve(front)
    assert answers(front) == [ResetDone(), ResetDone(ok=False, reason="1 requests are live"), ResetDone()]
    for log in (first, second):
        decisions = list(replay(log))
        assert decisions
        assert all(decision.equal for decision in decisions)
    assert [m for m in front.heard if isinstance(m, Stats)][-1].generated_tokens == 3, "counted since the reset"


def test_a_log_that_cannot_be_written_is_no_reset(tmp_path: Path) -> None:
    front = Front((at_once, [Reset(str(tmp_path / "no" / "such.jsonl"))]), (at_once, [Reset("")]))
    serve(front)
    bad, good = answers(front)
    assert not bad.ok
    assert "such.jsonl" in bad.reason
    assert good.ok


# -- moving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["skip-join", "skip-join-reactive", "artifact"])
def test_swapping_in_the_background_changes_no_output_and_leaves_nothing(variant: str, tmp_path: Path) -> None:
    jobs = [(n, 3 + (n * 5) % 17, 2 + (n * 11) % 23) for n in range(20)]
    log = tmp_path / "events.jsonl"
    front = Front((at_once, [submit(*job) for job in jobs]), (over(*range(20)), []), (idle, []))
    _, tape = serve(front, f"fastserve/{variant}", bytes_per_s=1e8, log=log)
    for request, _, output in jobs:
        assert front.tokens(request) == expected(request, output)
    assert tape.carried, "memory was short"
    assert tape.blocks
    assert (tape.blocks.device_free, tape.blocks.host_free) == (12, 40)
    decisions = list(replay(log))
    assert all(decision.equal for decision in decisions), "a run on a real clock replays exactly"


def transfer(number: int, pages: int) -> Transfer:
    ends = (Place(Pool.DEVICE), Place(Pool.HOST))
    return Transfer(number, TransferKind.KV, number, *ends, tuple(range(pages)), tuple(range(pages)), pages * 1000)


def landed(copier: Copier, count: int) -> list[tuple[int, bool]]:
    done: list[tuple[int, bool]] = []
    for _ in range(10_000):
        done += [(t.id, ok) for t, ok in copier.done()]
        if len(done) == count:
            return done
        copier.wait()
    raise AssertionError(f"only {done} landed")


def test_copies_land_in_order_each_taking_at_least_its_share_of_the_link() -> None:
    tape = Taped()
    copier = Copier(tape, time.perf_counter_ns, bytes_per_s=1e6)
    began = time.perf_counter()
    for number, pages in enumerate([5, 1, 4]):
        copier.start(transfer(number, pages))
    assert copier.pending == 3
    assert landed(copier, 3) == [(0, True), (1, True), (2, True)]
    # a lower bound holds on any machine, however busy: pacing sleeps
    assert time.perf_counter() - began >= 0.010
    assert copier.pending == 0
    assert [t.id for t in tape.carried] == [0, 1, 2]


class Faulty(Taped):
    """Cannot copy transfer 1."""

    def copy(self, transfer: Transfer) -> None:
        if transfer.id == 1:
            raise RuntimeError("no")
        super().copy(transfer)


def test_a_copy_that_fails_says_so_and_the_next_goes_on() -> None:
    copier = Copier(Faulty(), time.perf_counter_ns)
    for number in range(3):
        copier.start(transfer(number, 1))
    assert landed(copier, 3) == [(0, True), (1, False), (2, True)]


class Late(Taped):
    """Transfer 0 is on a stream that is slow; `asked` counts looks at it."""

    asked = 0

    def copied(self, transfer: int) -> bool:
        self.asked += transfer == 0
        return transfer != 0 or self.asked > 3


def test_a_transfer_is_not_over_before_its_bytes_are_there_nor_is_the_one_behind_it() -> None:
    late = Late()
    copier = Copier(late, time.perf_counter_ns)
    for number in range(2):
        copier.start(transfer(number, 1))
    assert copier.done() == []
    assert copier.pending == 2
    assert landed(copier, 2) == [(0, True), (1, True)]
    assert late.asked == 4
