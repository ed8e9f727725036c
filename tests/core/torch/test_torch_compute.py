"""What `TorchCompute` promises beside right tokens: failures that stay with their request, copies, sampling, facts."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
import torch

from systems.core.config import EngineConfig
from systems.core.errors import BadRequest, OutOfMemory, PrerequisiteError, UsageError
from systems.core.plan import Grant, Iteration, Place, Pool, Span, SpanKind, Transfer, TransferKind
from systems.core.request import Request, Sampling
from systems.core.torch.compute import TorchCompute
from tests.core.torch.torch_driver import Driver


@pytest.fixture(scope="module")
def engine(checkpoints: Path) -> TorchCompute:
    return TorchCompute.load(EngineConfig(str(checkpoints / "t-llama"), max_batch=4, device_pages=64, host_pages=64))


def chunk(name: int, start: int, count: int, table: tuple[int, ...], *, emits: bool = True) -> Span:
    return Span(name, start, count, SpanKind.CHUNK, (table,), emits=emits)


def decode(name: int, start: int, table: tuple[int, ...]) -> Span:
    return Span(name, start, 1, SpanKind.DECODE, (table,))


def prompt(seed: int, length: int) -> tuple[int, ...]:
    draw = random.Random(seed)
    return tuple(draw.randrange(4, 512) for _ in range(length))


def test_emitting_spans_come_first_then_members_in_the_order_they_joined(engine: TorchCompute) -> None:
    for name in (1, 2, 3, 4):
        engine.admit(Request(name, prompt(name, 5), Sampling()))
    first = engine.step(Iteration(0, spans=(chunk(2, 0, 5, (0,)), chunk(1, 0, 5, (1,)))))
    assert first.requests == [2, 1]
    joined = (decode(2, 5, (0,)), decode(1, 5, (1,)))
    spans = (chunk(3, 0, 3, (2,), emits=False), chunk(4, 0, 5, (3,)))
    assert engine.step(Iteration(1, spans=spans, joined=joined)).requests == [4, 2, 1]
    assert engine.step(Iteration(2, spans=(chunk(3, 3, 2, (2,)),), left=(2,))).requests == [3, 1]
    engine.forget(1)
    assert engine.step(Iteration(3)).requests == []
    for name in (2, 3, 4):
        engine.forget(name)
    assert not engine.batches.live


def test_a_failure_stays_with_its_request(engine: TorchCompute) -> None:
    for name in (1, 2, 3):
        engine.admit(Request(name, prompt(name, 16), Sampling()))
    bad = (
        chunk(9, 0, 4, (0,)),  # unknown
        chunk(2, 0, 17, (0, 1)),  # more tokens than there are
        chunk(3, 0, 16, (64,)),  # no such page
    )
    step = engine.step(Iteration(0, spans=(*bad, chunk(1, 0, 16, (5,)))))
    assert step.requests == [1]
    assert sorted(name for name, _ in step.failed) == [2, 3, 9]
    # no page was granted for the 17th token: the member fails and is out, and the engine lives on
    step = engine.step(Iteration(1, joined=(decode(1, 16, (5,)),), spans=(chunk(3, 0, 16, (7,)),)))
    assert (step.requests, [name for name, _ in step.failed]) == ([3], [1])
    step = engine.step(Iteration(2, joined=(decode(3, 16, (7, 8)),)))
    assert (step.requests, step.failed) == ([3], ())
    step = engine.step(Iteration(3, grown=(Grant(3, 0, 64),)))
    assert (step.requests, [name for name, _ in step.failed]) == ([], [3])
    for name in (1, 2, 3):
        engine.forget(name)


def test_out_of_memory_fails_the_iteration_and_no_more(engine: TorchCompute, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (1, 2):
        engine.admit(Request(name, prompt(name, 4), Sampling()))
    engine.step(Iteration(0, spans=(chunk(1, 0, 4, (0,)),)))

    def exhausted(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine.path, "forward", exhausted)
        step = engine.step(Iteration(1, spans=(chunk(2, 0, 4, (1,)),), joined=(decode(1, 4, (0,)),)))
    assert sorted(step.failed) == [(1, "Out of memory."), (2, "Out of memory.")]
    assert engine.step(Iteration(2, left=(1,), spans=(chunk(2, 0, 4, (1,)),))).requests == [2]
    for name in (1, 2):
        engine.forget(name)


def test_logits_that_are_not_finite_are_their_requests_failure(engine: TorchCompute) -> None:
    for name in (1, 2):
        engine.admit(Request(name, prompt(name, 4), Sampling()))
    engine.step(Iteration(0, spans=(chunk(1, 0, 4, (0,)), chunk(2, 0, 4, (1,)))))
    engine.arena.view(engine.layout.groups[0], torch.float32)[0] = float("nan")
    step = engine.step(Iteration(1, joined=(decode(1, 4, (0,)), decode(2, 4, (1,)))))
    assert (step.requests, [name for name, _ in step.failed]) == ([2], [1])
    assert engine.step(Iteration(2)).requests == [2]
    for name in (1, 2):
        engine.forget(name)


def test_a_batch_grows_beyond_its_first_capacity(engine: TorchCompute) -> None:
    names = range(40)
    for name in names:
        engine.admit(Request(name, prompt(name % 20, 3), Sampling()))
    engine.step(Iteration(0, spans=tuple(chunk(name, 0, 3, (name,)) for name in names)))
    engine.step(Iteration(1, joined=tuple(decode(name, 3, (name,)) for name in names[:10])))
    step = engine.step(Iteration(2, joined=tuple(decode(name, 3, (name,)) for name in names[10:])))
    assert step.requests == list(names)
    twins = dict(zip(step.requests, step.tokens, strict=True))
    assert all(twins[name] == twins[name + 20] for name in range(10, 20))
    for name in names:
        engine.forget(name)


def sampled(engine: TorchCompute, chosen: list[int], **how: float) -> dict[int, list[int]]:
    requests = [
        Request(i, prompt(i, 20 + i), Sampling(max_tokens=12, temperature=0.8, top_p=0.95, seed=i * 7)) for i in chosen
    ]
    return Driver(engine, chunk=int(how.get("chunk", 100)), trouble=how.get("trouble", 0.0), seed=3).run(requests)


def test_sampling_is_the_same_in_every_batch(engine: TorchCompute) -> None:
    together = sampled(engine, list(range(6)))
    assert sampled(engine, list(range(6)), chunk=9, trouble=0.4) == together
    for i in (0, 3, 5):
        assert sampled(engine, [i])[i] == together[i]
    assert len({tuple(tokens) for tokens in together.values()}) == 6


def transfer(source: Pool, target: Pool, taken: tuple[int, ...], put: tuple[int, ...]) -> Transfer:
    return Transfer(0, TransferKind.KV, 0, Place(source), Place(target), taken, put, 0)


def test_copies_run_beside_steps_and_change_nothing_else(engine: TorchCompute) -> None:
    group = engine.layout.groups[0]
    device = engine.arena.rows(group, Pool.DEVICE)
    device[40:60] = torch.randint(0, 256, device[40:60].shape, dtype=torch.uint8)
    want = device[40:60].clone()
    stop = threading.Event()
    turns = [0]

    def back_and_forth() -> None:
        pages, away = tuple(range(40, 60)), tuple(reversed(range(20)))
        while not stop.is_set() or turns[0] == 0:
            engine.copy(transfer(Pool.DEVICE, Pool.HOST, pages, away))
            device[40:60] = 0
            engine.copy(transfer(Pool.HOST, Pool.DEVICE, away, pages))
            turns[0] += 1

    requests = [Request(0, prompt(0, 30), Sampling(max_tokens=40))]
    alone = run_in(engine, requests)
    thread = threading.Thread(target=back_and_forth)
    thread.start()
    try:
        assert run_in(engine, requests) == alone
    finally:
        stop.set()
        thread.join()
    assert turns[0] > 0
    assert torch.equal(device[40:60], want)


def run_in(engine: TorchCompute, requests: list[Request]) -> list[int]:
    """Run one request in pages 0 to 7."""
    (request,) = requests
    table = tuple(range(8))
    engine.admit(request)
    size = len(request.prompt)
    out = engine.step(Iteration(0, spans=(chunk(0, 0, size, table),))).tokens
    joined: tuple[Span, ...] = (decode(0, size, table),)
    for number in range(request.sampling.max_tokens - 1):
        out += engine.step(Iteration(number, joined=joined)).tokens
        joined = ()
    engine.forget(0)
    return out


def test_a_copy_outside_a_pool_is_refused(engine: TorchCompute) -> None:
    for taken, put in (((0,), (64,)), ((-1,), (0,)), ((64,), (0,))):
        with pytest.raises(OutOfMemory, match="outside"):
            engine.copy(transfer(Pool.DEVICE, Pool.HOST, taken, put))


def test_prompts_with_ids_of_no_token_are_rejected(engine: TorchCompute) -> None:
    for ids in ((512,), (-1,), ()):
        with pytest.raises(BadRequest, match="0 to 511"):
            engine.admit(Request(1, ids, Sampling()))


def test_facts_say_what_was_applied(engine: TorchCompute) -> None:
    facts = engine.facts()
    assert facts["device_pages"] == engine.device_pages == 64
    assert facts["path"] == "fast llama"
    assert facts["threads"] == 1
    assert engine.eos == (2,)
    assert facts["page_bytes"] == engine.layout.token_bytes * 16 == 4 * 2 * 2 * 16 * 16 * 4


def test_settings_that_cannot_be_met(checkpoints: Path) -> None:
    model = str(checkpoints / "t-opt")
    with pytest.raises(UsageError, match="float32"):
        TorchCompute.load(EngineConfig(model, dtype="bfloat16"))
    with pytest.raises(UsageError, match="hold no page"):
        TorchCompute.load(EngineConfig(model, kv_bytes=1000))
    if not torch.cuda.is_available():
        with pytest.raises(PrerequisiteError, match="CUDA"):
            TorchCompute.load(EngineConfig(model, device="cuda"))
