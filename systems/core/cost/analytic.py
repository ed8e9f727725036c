"""How long an iteration takes, from the model's shape, the GPU and measured kernel constants.

In us; M new tokens in all, of which every request needs one row of logits; per GPU of `tp`:

    linear(M,N,K) = t0 + ((2MNK / (F ec))^p + (2(NK + MK + MN) / (B eb))^p)^(1/p)    qkv, o, up (+ gate), down
    small ops     = s0 + bytes / (B es)        norms, rotary, activation, residual
    decode attn   = d0 + KV bytes / (B ed)
    prefill attn  = a0 + 4 q (n k + n^2 / 2) / (F ea)       each chunk: n new tokens on k before them, causal
    all-reduce    = alpha + 2 (tp - 1) / tp x bytes / bandwidth, two a layer
    iteration     = max(layers x (all of these) + LM head + step, layers x launch) + request x requests

The launch floor comes from the times of whole iterations, so the host's `step` is not added on top of it.
Joining compute and memory by a p-norm of about 1.5 halves the error of max(compute, memory) where batches mix prompts
and decodes. Not modelled: rotary embeddings count for every model; experts, state-space layers and attention windows
(a window is charged in full); re-use of a prefix in attention; power limits; jitter.
"""

from __future__ import annotations

from collections.abc import Sequence

from systems.core.cost.constants import Constants
from systems.core.cost.gpu import Gpu
from systems.core.cost.shape import FP16, ModelShape
from systems.core.errors import UsageError


class AnalyticCost:
    """A `CostModel` of one replica over `tp` x `pp` GPUs. The same numbers whatever was asked before.

    Pipeline stages: the time is one batch's latency through all stages, with one send of its activations per boundary
    at the fabric's bandwidth. Several batches in the pipeline at once, and stages of unequal length, are not modelled.
    """

    def __init__(self, shape: ModelShape, gpu: Gpu, constants: Constants, tp: int = 1, pp: int = 1) -> None:
        if tp < 1 or shape.heads % tp:
            raise UsageError(f"{shape.name} has {shape.heads} heads: not over {tp} GPUs.", "Use tp 1, 2, 4 or 8.")
        if pp < 1 or pp > shape.layers:
            raise UsageError(f"{shape.name} has {shape.layers} layers: no {pp} stages.", "Use a smaller pp.")
        self._shape, self._k, self._tp, self._pp = shape, constants, tp, pp
        self._flops = gpu.flops / 1e6  # per us from here on
        self._bandwidth = gpu.bandwidth / 1e6
        self._q = shape.heads // tp * shape.head_dim
        self._kv = max(1, -(-shape.kv_heads // tp)) * shape.head_dim
        self._floor = shape.layers * constants.overheads.launch
        reads = 2 * FP16 * self._kv / (self._bandwidth * constants.decode.share)
        self._ns_context = 1e3 * shape.layers * reads
        # Kept, because they are asked for often; two tables, so that they stay as small as the largest batch.
        self._layers: dict[int, float] = {}
        self._heads: dict[int, float] = {}
        self._decodes: dict[int, tuple[float, float]] = {}

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], decode_batch: int, decode_context: int) -> int:
        """Ns for `chunks` (tokens, context before them) and `decode_batch` decodes over `decode_context` tokens in all."""
        if not chunks:
            found = self._decodes.get(decode_batch)
            body, tail = self._decode_only(decode_batch) if found is None else found
            time = body + self._ns_context * decode_context
            floor = 1e3 * self._floor
            return int(max(time, floor) + tail + 0.5)
        return self._mixed(chunks, decode_batch, decode_context)

    def _decode_only(self, batch: int) -> tuple[float, float]:
        """What does not depend on the context, before the floor and after it, in ns. Nothing to do takes no time."""
        if not batch:
            found = (-1e3 * self._floor, -1e3 * self._floor)  # cancels the floor
        else:
            body = self._body(batch, batch) + self._shape.layers * self._k.decode.t0
            found = (1e3 * body, 1e3 * self._k.overheads.request * batch)
        self._decodes[batch] = found
        return found

    def _mixed(self, chunks: Sequence[tuple[int, int]], batch: int, context: int) -> int:
        requests = batch + len(chunks)
        body = self._body(batch + sum(n for n, _ in chunks), requests)
        layer = sum(map(self._prefill_attention, chunks))
        if batch:
            layer += self._k.decode.t0
        time = body + self._shape.layers * layer + self._ns_context * context / 1e3
        return int(1e3 * (max(time, self._floor) + self._k.overheads.request * requests) + 0.5)

    def _body(self, tokens: int, rows: int) -> float:
        """Us of everything but attention, for `tokens` new tokens and `rows` rows of logits."""
        layers = self._layers.get(tokens)
        if layers is None:
            layer = self._layer_linears(tokens) + self._small(tokens) + 2 * self._allreduce(tokens)
            sends = (self._pp - 1) * self._send(tokens)
            layers = self._layers[tokens] = self._shape.layers * layer + sends + self._k.overheads.step
        head = self._heads.get(rows)
        if head is None:
            head = self._heads[rows] = self._linear(rows, -(-self._shape.vocab // self._tp), self._shape.hidden)
        return layers + head

    def _layer_linears(self, tokens: int) -> float:
        hidden, inter = self._shape.hidden, self._shape.inter / self._tp
        up = inter * 2 if self._shape.gated else inter
        sizes = ((self._q + 2 * self._kv, hidden), (hidden, self._q), (up, hidden), (hidden, inter))
        return sum(self._linear(tokens, n, k) for n, k in sizes)

    def _linear(self, m: int, n: float, k: float) -> float:
        c = self._k.linear
        compute = 2 * m * n * k / (self._flops * c.ec)
        memory = FP16 * (n * k + m * k + m * n) / (self._bandwidth * c.eb)
        return float(c.t0 + (compute**c.p + memory**c.p) ** (1 / c.p))

    def _small(self, tokens: int) -> float:
        shape, inter = self._shape, self._shape.inter / self._tp
        norms_and_residual = 8 * shape.hidden + 6 * shape.hidden
        activation = 2 * inter * (3 if shape.gated else 2)
        moved = tokens * (norms_and_residual + 4 * (self._q + self._kv) + activation)
        return self._k.small.t0 + moved / (self._bandwidth * self._k.small.share)

    def _prefill_attention(self, chunk: tuple[int, int]) -> float:
        n, before = chunk
        flops = 4 * self._q * (n * before + n * n / 2)
        return self._k.prefill.t0 + flops / (self._flops * self._k.prefill.share)

    def _allreduce(self, tokens: int) -> float:
        if self._tp == 1:
            return 0.0
        sent = 2 * (self._tp - 1) / self._tp * FP16 * tokens * self._shape.hidden
        return self._k.allreduce.alpha + sent * 1e6 / self._k.allreduce.bandwidth

    def _send(self, tokens: int) -> float:
        """One stage's activations to the next, each of the `tp` GPUs its share."""
        sent = FP16 * tokens * self._shape.hidden / self._tp
        return self._k.allreduce.alpha + sent * 1e6 / self._k.allreduce.bandwidth
