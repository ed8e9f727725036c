"""Run every kind of pass once before the first request: kernels are compiled, torch has its buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from systems.core.plan import Iteration, Place, Pool, Span, SpanKind, Transfer, TransferKind
from systems.core.request import Request, Sampling
from systems.core.torch.fast import padded

if TYPE_CHECKING:
    from systems.core.torch.compute import TorchCompute

LANE = -1
CHUNKS = 272  # tokens; oneDNN compiles a product for every size, longer chunks hardly notice it


def warm_up(compute: TorchCompute) -> None:
    """Decodes of every size up to the batch limit, chunks up to `CHUNKS` tokens, sampled draws, a copy each way."""
    longest = min(compute.device_pages, compute.limits.table) * compute.config.page_tokens
    longest = min(longest, compute.max_model_len)
    for size in sorted({padded(n) for n in range(1, compute.config.max_batch + 1)}):
        _decode(compute, size)
    for tokens in sorted({padded(n) for n in range(1, min(longest, CHUNKS))}):
        if tokens < longest:
            _chunk(compute, tokens)
    if compute.host_pages:
        for source, target in ((Pool.DEVICE, Pool.HOST), (Pool.HOST, Pool.DEVICE)):
            compute.copy(Transfer(0, TransferKind.KV, 0, Place(source), Place(target), (0,), (0,), 0))
    compute.batches.lanes.pop(LANE, None)


def _decode(compute: TorchCompute, size: int) -> None:
    """One decode of `size` requests that share a page: what they compute is of no interest."""
    names = range(-size, 0)
    for name in names:
        sampling = Sampling(temperature=float(name % 2), top_p=0.9)
        compute.admit(Request(name, (1 % compute.vocab,), sampling))
    members = tuple(Span(name, 0, 1, SpanKind.DECODE, ((0,),)) for name in names)
    compute.step(Iteration(0, lane=LANE, joined=members))
    for name in names:
        compute.forget(name)


def _chunk(compute: TorchCompute, tokens: int) -> None:
    """A prompt in one chunk that emits, then its first token again, which does not."""
    table = tuple(range(-(-tokens // compute.config.page_tokens)))
    compute.admit(Request(-1, (1 % compute.vocab,) * tokens, Sampling()))
    for count, emits in ((tokens, True), (1, False)):
        span = Span(-1, 0, count, SpanKind.CHUNK, (table,), emits=emits)
        compute.step(Iteration(0, lane=LANE, spans=(span,)))
    compute.forget(-1)
