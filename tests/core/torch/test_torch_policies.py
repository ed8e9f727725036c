"""Greedy output equals `generate` under every policy, with memory for a third of the demand and clients that leave."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from systems.core.assemble import Memory, instance_of
from systems.core.compute import Step
from systems.core.config import EngineConfig
from systems.core.plan import Iteration, Transfer
from systems.core.profile import Profile, ProfileCost, ProfileEstimator
from systems.core.request import Request, Sampling
from systems.core.torch.compute import TorchCompute
from systems.core.virtual.computed import Computed
from systems.core.virtual.fleet import serve
from systems.core.virtual.links import Link
from systems.core.wall import WallLoop
from systems.core.wire import Abort, Emitted, FromEngine, Stop, Submit, ToEngine
from systems.fastserve.variants import VARIANTS as FASTSERVE
from systems.vllm.variants import VARIANTS as VLLM
from tests.core.torch.test_torch_parity import MODELS, OUTPUT, Reference, prompts, reference

CLIENTS = 64
PAGES = 14  # eight requests at once would fill 40
MS = 1_000_000


class Listening:
    """A compute that remembers what it put out."""

    def __init__(self, compute: TorchCompute) -> None:
        self.compute = compute
        self.tokens: dict[int, list[int]] = {}

    def admit(self, request: Request) -> None:
        self.tokens[request.id] = []
        self.compute.admit(request)

    def forget(self, request: int) -> None:
        self.compute.forget(request)

    def step(self, iteration: Iteration) -> Step:
        step = self.compute.step(iteration)
        assert not step.failed, step.failed
        for request, token in zip(step.requests, step.tokens, strict=True):
            self.tokens[request].append(token)
        return step

    def copy(self, transfer: Transfer) -> None:
        self.compute.copy(transfer)

    def copied(self, transfer: int) -> bool:
        return self.compute.copied(transfer)


@pytest.fixture(scope="module", params=MODELS)
def engine(request: pytest.FixtureRequest, checkpoints: Path) -> tuple[TorchCompute, list[Reference]]:
    directory = str(checkpoints / request.param)
    config = EngineConfig(directory, max_batch=8, device_pages=PAGES, host_pages=40)
    return TorchCompute.load(config), reference(directory)


def clients(seed: int) -> tuple[list[Request], dict[int, int]]:
    """Requests in order of arrival (a burst, then more), and when some of them are cancelled (ns)."""
    draw = random.Random(seed)
    known = prompts()
    requests = [
        Request(i, known[i % len(known)], Sampling(max_tokens=OUTPUT), arrival=draw.randrange(0, 400) * MS)
        for i in range(CLIENTS)
    ]
    requests.sort(key=lambda r: r.arrival)
    leave = {r.id: r.arrival + draw.randrange(0, 500) * MS for r in requests if draw.random() < 0.3}
    return requests, leave


def agree(tokens: Sequence[int], want: Reference) -> bool:
    """Whether `tokens` (perhaps cut short) are what the library generates; at a tie nothing more can be said."""
    for i, token in enumerate(tokens):
        if token != want.tokens[i]:
            return want.gaps[i] < 1e-5
    return True


@pytest.mark.parametrize("variant", [v.id for v in (*FASTSERVE, *VLLM)])
def test_parity_under_every_policy(engine: tuple[TorchCompute, list[Reference]], variant: str) -> None:
    compute, want = engine
    listening = Listening(compute)
    settings: dict[str, bool | int | float | str] = {}
    if "skip-join" in variant or "mlfq" in variant:
        settings = {"alpha_s": 0.02}
    config = EngineConfig("x", variant=variant, settings=settings, max_batch=8, max_tokens=48, max_model_len=160)
    memory = Memory(PAGES, 40, 16, 1 << 16)
    instance = instance_of(config, listening, memory, ProfileEstimator(Profile.synthetic()))
    requests, leave = clients(seed=len(variant))
    engine_of = Computed(instance, ProfileCost(Profile.synthetic()))
    records = serve(engine_of, requests, {"pcie": Link(1e8)}, [(at, request) for request, at in leave.items()])
    done = [r for r in records if r.status == "ok"]
    assert len(done) >= CLIENTS - len(leave)
    assert all(r.output == OUTPUT for r in done)
    assert instance.counters.preemptions > 0 or instance.counters.swapped_out_bytes > 0, "memory was never short"
    for request, tokens in listening.tokens.items():
        assert agree(tokens, want[request % len(want)]), f"request {request}"
    assert instance.blocks.device_free == PAGES


def test_parity_in_real_time_with_the_copy_thread(engine: tuple[TorchCompute, list[Reference]]) -> None:
    """Overlapped copies on their own thread are never visible in the output; clients come and go."""
    compute, want = engine
    config = EngineConfig("x", variant="fastserve/skip-join", settings={"alpha_s": 0.01}, max_batch=8, max_tokens=48)
    instance = instance_of(
        config, compute, Memory(PAGES, 40, 16, 1 << 16), ProfileEstimator(Profile.synthetic()), max_model_len=160
    )
    draw = random.Random(5)
    requests, _ = clients(seed=1)
    waiting = [Submit(r) for r in requests]
    got: dict[int, list[int]] = {}
    over: set[int] = set()
    left: set[int] = set()

    def inbox(timeout: float | None) -> Sequence[ToEngine]:
        if len(over | left) == CLIENTS and not instance.live:
            return [Stop()]
        new: list[ToEngine] = [waiting.pop(0) for _ in range(min(len(waiting), draw.randrange(4)))]
        live = [request for request, tokens in got.items() if request not in over and len(tokens) > 2]
        if live and draw.random() < 0.02:
            left.add(live[0])
            new.append(Abort(live[0]))
        return new

    def outbox(message: FromEngine) -> None:
        if isinstance(message, Emitted):
            for request, token, finish in message.batch:
                got.setdefault(request, []).append(token)
                if finish:
                    over.add(request)

    WallLoop(instance, inbox, outbox, bytes_per_s=2e8, facts={}).run()
    assert left - over, "somebody left before the end"
    assert instance.counters.swapped_out_bytes > 0
    for request, tokens in got.items():
        assert agree(tokens, want[request % len(want)]), f"request {request}"
        assert request in left or len(tokens) == OUTPUT
