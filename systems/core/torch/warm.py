"""Run every kind of pass once before the first request: kernels are compiled, torch has its buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from systems.core.plan import Iteration, Place, Pool, Span, SpanKind, Transfer, TransferKind
from systems.core.request import Request, Sampling
from systems.core.torch.fast import padded
from systems.core.torch.jit import one_at_a_time

if TYPE_CHECKING:
    from systems.core.torch.compute import TorchCompute

LANE = -1
CHUNKS = 272  # rows; oneDNN compiles a product for every size, longer chunks hardly notice it


def warm_up(compute: TorchCompute) -> None:
    """A decode, a drawn token, a chunk and a copy each way; products of every size up to the limits."""
    longest = min(compute.device_pages, compute.limits.table) * compute.config.page_tokens
    longest = min(longest, compute.max_model_len)
    with one_at_a_time():
        _decode(compute, 1)
        _chunk(compute, min(2, longest))
        if compute.host_pages:
            for source, target in ((Pool.DEVICE, Pool.HOST), (Pool.HOST, Pool.DEVICE)):
                compute.copy(Transfer(0, TransferKind.KV, 0, Place(source), Place(target), (0,), (0,), 0))
    _decode(compute, min(2, compute.config.max_batch))
    with torch.inference_mode():
        for rows in sorted({padded(n) for n in range(1, max(compute.config.max_batch, min(longest, CHUNKS)) + 1)}):
            compute.path.warm(rows)
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
