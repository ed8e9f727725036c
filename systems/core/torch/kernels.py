"""Paged attention on CPU: serial compiled kernels that walk the block table of a flattened mixed batch.

Rows of one sequence are consecutive; sequence s has rows `starts[s]` to `starts[s+1]` and `lengths[s]` tokens of
context including them, so row r of it sees `lengths[s] - (rows after r)` tokens: decode rows and rows of a prefill
chunk are the same thing. Sizes are constants of the compiled code, and scores and mixes are small products kept in
registers (instructions.py). Keys of a page lie `[dim, token]`, values `[token, dim]` (see arena.py).
"""
# mypy: disable-error-code="no-untyped-call, no-untyped-def, type-arg"
# ruff: noqa: ANN001, ANN201, ANN202  (types of compiled arguments are numba's business)

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from systems.core.torch.instructions import prefetch, product
from systems.core.torch.jit import compiled, helper, inlined

if TYPE_CHECKING:
    from collections.abc import Callable

_f = np.float32
_LOG2E, _LN2 = _f(1.4426950408889634), _f(0.6931471805599453)
_C3, _C4, _C5, _C6 = _f(1 / 6), _f(1 / 24), _f(1 / 120), _f(1 / 720)
LOWEST = _f(-3e38)
WIDE = 8  # queries taken together, at most
LINE = 16  # numbers per cache line
CACHE = 12 << 20  # bytes of KV, all layers, beyond which fetching ahead pays (measured)


@inlined
def exp32(x):
    """The exponential of `x` in float32 for x <= 88, relative error below 2e-7, without a call: it vectorises."""
    y = max(x, _f(-87.0)) * _LOG2E
    n = np.floor(y + _f(0.5))
    f = (y - n) * _LN2
    f2 = f * f
    p = (_f(1.0) + f) + f2 * ((_f(0.5) + f * _C3) + f2 * ((_C4 + f * _C5) + f2 * _C6))
    bits = (np.int32(n) + np.int32(127)) << np.int32(23)
    return p * np.int32(bits).view(np.float32)


@inlined
def store(k, k_column, v, v_column, kv, layer, starts, positions, tables, page, dim):
    """Write the keys and values of every row to its page."""
    for s in range(starts.shape[0] - 1):
        for r in range(starts[s], starts[s + 1]):
            block = tables[s, positions[r] // page]
            slot = positions[r] % page
            for h in range(kv.shape[3]):
                keys = kv[block, layer, 0, h]
                values = kv[block, layer, 1, h]
                for d in range(dim):
                    keys[d * page + slot] = k[r, k_column + h * dim + d]
                    values[slot * dim + d] = v[r, v_column + h * dim + d]


@helper
def fill(numbers, low, high, value):
    """`numbers[low:high] = value`; as an assignment to a slice it takes ten times as long to compile."""
    for i in range(low, high):
        numbers[i] = value


@helper
def fetch(page):
    """Start loading numbers that will be used soon."""
    for i in range(0, page.size, LINE):
        prefetch(page, i)


@inlined
def weigh(scores, low, high, softcap, lanes, page):
    """Scores `low` to `high` become e^(score - largest), the others 0; returns one over their sum.

    There are whole pages of scores, because LLVM does what is left over after whole vectors one by one.
    """
    if softcap > _f(0.0):
        for t in range(low, high):
            scores[t] = softcap * math.tanh(scores[t] / softcap)
    fill(scores, 0, low, LOWEST)
    fill(scores, high, scores.shape[0], LOWEST)
    fill(lanes, 0, page, LOWEST)
    for j in range(0, scores.shape[0], page):
        part = scores[j : j + page]
        for t in range(page):
            lanes[t] = max(lanes[t], part[t])
    largest = LOWEST
    for t in range(page):
        largest = max(largest, lanes[t])
    fill(lanes, 0, page, _f(0.0))
    for j in range(0, scores.shape[0], page):
        part = scores[j : j + page]
        for t in range(page):
            weight = exp32(part[t] - largest)
            part[t] = weight
            lanes[t] += weight
    fill(scores, 0, low, _f(0.0))
    fill(scores, high, scores.shape[0], _f(0.0))
    total = _f(0.0)
    for t in range(page):
        total += lanes[t]
    return _f(1.0) / total


@inlined
def attend_tile(
    q, kv, layer, head, shared, table, coming, row, i, queries, seen, window, scale, softcap, ahead, out, scores, step,
    tile, mixed, page, dim, size,
):  # fmt: skip
    """`size` queries of one kv head, from the `i`-th of `queries` on: `shared` of each row, rows from `row` on.

    Row `row` sees `seen` tokens, the next one more. A tile that is not full repeats its last query. With `ahead`, the
    pages of the sequence that follows (`coming`) are fetched meanwhile.
    """
    last = min(i + size, queries) - 1
    for g in range(size):
        n = min(i + g, last)
        r, c = row + n // shared, (head * shared + n % shared) * dim
        for d in range(dim):
            tile[g * dim + d] = q[r, c + d] * scale
    length = seen + last // shared
    first = max(0, seen + i // shared - window) if window > 0 else 0
    begin, end = first // page, (length + page - 1) // page
    for j in range(begin, end):
        if ahead:
            fetch(kv[coming[j], layer, 0, head])
        product(tile, 0, dim, kv[table[j], layer, 0, head], 0, scores, j * page, step, size, dim, page, 0)
    for g in range(last - i + 1):
        own = seen + (i + g) // shared
        low = max(0, own - window) if window > 0 else 0
        whole = scores[g * step + begin * page : g * step + end * page]
        tile[g] = weigh(whole, low - begin * page, own - begin * page, softcap, mixed, page)
    fill(mixed, 0, size * dim, _f(0.0))
    for j in range(begin, end):
        if ahead:
            fetch(kv[coming[j], layer, 1, head])
        low, high = max(first - j * page, 0), min(length - j * page, page)
        values = kv[table[j], layer, 1, head]
        if high - low == page:
            product(scores, j * page, step, values, 0, mixed, 0, dim, size, page, dim, 1)
        else:  # the other slots may hold anything, NaN included
            for t in range(low, high):
                product(scores, j * page + t, step, values, t * dim, mixed, 0, dim, size, 1, dim, 1)
    for g in range(last - i + 1):
        r, c = row + (i + g) // shared, (head * shared + (i + g) % shared) * dim
        for d in range(dim):
            out[r, c + d] = mixed[g * dim + d] * tile[g]


@cache
def storing(page: int, dim: int) -> Callable[..., None]:
    """The kernel that only writes k and v to their pages; arguments as those of `attention`."""

    @compiled
    def keep(k, k_column, v, v_column, kv, layer, starts, positions, tables):
        store(k, k_column, v, v_column, kv, layer, starts, positions, tables, page, dim)

    kernel: Callable[..., None] = keep
    return kernel


@cache
def attention(page: int, dim: int, shared: int) -> Callable[..., None]:
    """The kernel for pages of `page` tokens, heads of `dim` numbers, and `shared` query heads to a kv head.

    Arguments: q [rows, >= heads * dim]; k and v [rows, *] with the column at which each begins; kv
    [page, layer, 2, kv_heads, page * dim]; the layer's index in the group; starts [seqs + 1]; lengths [seqs];
    positions [rows]; tables [seqs, *]; scale; window (0: none); softcap (0: none); out [rows, heads * dim]; scratch
    [WIDE * longest context rounded up to a page]. Writes k and v to their pages, then fills `out`. Queries that see
    the same keys are taken together, so that a key is loaded once for all of them: those of a head's group in a
    decode, of several rows in a chunk. Pages are fetched ahead when the batch's KV is too large for a core's cache.
    """
    narrow, wide = next(size for size in (1, 2, 4, WIDE) if size >= min(shared, WIDE)), WIDE
    room = WIDE * max(page, dim)

    @compiled
    def attend(
        q, k, k_column, v, v_column, kv, layer, starts, lengths, positions, tables, scale, window, softcap, out, scratch
    ):
        store(k, k_column, v, v_column, kv, layer, starts, positions, tables, page, dim)
        tokens, step = 0, scratch.shape[0] // wide
        for length in lengths:
            tokens += length
        large = tokens * kv.shape[1] * kv.shape[3] * dim * 8 > CACHE
        tile, mixed = np.empty(room, np.float32), np.empty(room, np.float32)
        seqs = starts.shape[0] - 1
        for s in range(seqs):
            row, rows = starts[s], starts[s + 1] - starts[s]
            table, coming, seen = tables[s], tables[min(s + 1, seqs - 1)], lengths[s] - rows + 1
            for head in range(kv.shape[3]):
                if rows == 1:
                    for i in range(0, shared, narrow):
                        attend_tile(
                            q, kv, layer, head, shared, table, coming, row, i, shared, seen, window, scale, softcap,
                            large, out, scratch, step, tile, mixed, page, dim, narrow,
                        )  # fmt: skip
                else:
                    for i in range(0, rows * shared, wide):
                        attend_tile(
                            q, kv, layer, head, shared, table, coming, row, i, rows * shared, seen, window, scale,
                            softcap, 0, out, scratch, step, tile, mixed, page, dim, wide,
                        )  # fmt: skip

    kernel: Callable[..., None] = attend
    return kernel
