"""Run every kind of pass once before the first request: kernels are compiled, torch has its buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from systems.core.plan import Iteration, Place, Pool, Span, SpanKind, Transfer, TransferKind
from systems.core.request import Request, Sampling

if TYPE_CHECKING:
    from systems.core.torch.compute import TorchCompute

LANE = -1


def warm_up(compute: TorchCompute) -> None:
    """Prefill, mixed and decode passes of a few sizes, greedy and sampled, and one copy each way."""
    room = min(compute.device_pages, compute.limits.table) * compute.config.page_tokens
    tokens = min(room, compute.max_model_len, 24) - 3
    if tokens >= 1:
        sizes = sorted({1, 2, max(1, compute.config.max_batch // 2), compute.config.max_batch})
        for size in sizes[: None if tokens > 1 else 1]:
            _one(compute, size, tokens)
    if compute.host_pages:
        for source, target in ((Pool.DEVICE, Pool.HOST), (Pool.HOST, Pool.DEVICE)):
            compute.copy(Transfer(0, TransferKind.KV, 0, Place(source), Place(target), (0,), (0,), 0))
    compute.batches.lanes.pop(LANE, None)


def _one(compute: TorchCompute, size: int, tokens: int) -> None:
    """`size` requests that share one set of pages: what they compute is of no interest."""
    table = tuple(range(-(-(tokens + 3) // compute.config.page_tokens)))
    names = range(-size, 0)
    for name in names:
        compute.admit(Request(name, (1 % compute.vocab,) * tokens, Sampling(temperature=float(name % 2), top_p=0.9)))

    def span(name: int, start: int, count: int, kind: SpanKind) -> Span:
        return Span(name, start, count, kind, (table,))

    first = span(-1, 0, tokens, SpanKind.CHUNK)
    compute.step(Iteration(0, lane=LANE, spans=tuple(span(name, 0, tokens, SpanKind.CHUNK) for name in names)))
    members = tuple(span(name, tokens, 1, SpanKind.DECODE) for name in names)
    compute.step(Iteration(1, lane=LANE, joined=members))
    compute.step(Iteration(2, lane=LANE, spans=(first,)))
    for name in names:
        compute.forget(name)
