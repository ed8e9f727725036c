"""Paged attention on CPU: serial compiled kernels that walk the block table of a flattened mixed batch.

Rows of one sequence are consecutive; sequence s has rows `starts[s]` to `starts[s+1]` and `lengths[s]` tokens of
context including them, so row r of it sees `lengths[s] - (rows after r)` tokens: decode rows and rows of a prefill
chunk are the same thing. Page size and head size are constants of the compiled code, which is what lets LLVM keep
a page's scores in registers. Keys of a page lie `[dim, token]`, values `[token, dim]` (see arena.py).
"""
# mypy: disable-error-code="no-untyped-call, no-untyped-def, type-arg"
# ruff: noqa: ANN001, ANN201, ANN202  (types of compiled arguments are numba's business)

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from systems.core.torch.jit import compiled, inlined, prefetch

if TYPE_CHECKING:
    from collections.abc import Callable

_f = np.float32
_LOG2E, _LN2 = _f(1.4426950408889634), _f(0.6931471805599453)
_C3, _C4, _C5, _C6 = _f(1 / 6), _f(1 / 24), _f(1 / 120), _f(1 / 720)
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


def _tile(size: int) -> int:
    """The largest run that LLVM still unrolls whole."""
    return next(run for run in (32, 16, 8, 4, 2, 1) if size % run == 0)


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


@inlined
def fetch(pages):
    """Start loading [kv_head, page * dim] numbers that are about to be used."""
    flat = pages.reshape(pages.size)
    for i in range(0, pages.size, LINE):
        prefetch(flat, i)


@inlined
def score(query, keys, out, page, dim, run):
    """`out` [page] = query . keys of one page. Everything is sliced first: LLVM vectorises no index that might be < 0."""
    for t in range(page):
        total = _f(0.0)
        for d in range(run):
            total += query[d] * keys[d * page + t]
        out[t] = total
    for i in range(run, dim, run):
        part = query[i : i + run]
        tile = keys[i * page : (i + run) * page]
        for t in range(page):
            total = _f(0.0)
            for d in range(run):
                total += part[d] * tile[d * page + t]
            out[t] += total


@inlined
def weigh(scores, scale, softcap):
    """Scores become e^(score - largest), in place; returns one over their sum."""
    largest = _f(-3e38)
    if softcap > _f(0.0):
        for t in range(scores.shape[0]):
            scores[t] = softcap * math.tanh(scores[t] * scale / softcap) / scale
    for t in range(scores.shape[0]):
        largest = max(largest, scores[t])
    total = _f(0.0)
    for t in range(scores.shape[0]):
        weight = exp32((scores[t] - largest) * scale)
        scores[t] = weight
        total += weight
    return _f(1.0) / total


@inlined
def mix(weights, values, low, high, out, page, dim):
    """`out` [dim] += weights x values of slots `low` to `high`; the others may hold anything, NaN included."""
    if high - low == page:
        for d in range(dim):
            total = _f(0.0)
            for t in range(page):
                total += weights[t] * values[t * dim + d]
            out[d] += total
    else:
        for t in range(low, high):
            row = values[t * dim : (t + 1) * dim]
            for d in range(dim):
                out[d] += weights[t] * row[d]


@inlined
def attend_row(q, kv, layer, heads, table, first, length, scale, softcap, ahead, out, scratch, page, dim, run):
    """One query row, page by page for all heads: scores, weights, then the mix of values."""
    shared = heads // kv.shape[3]
    begin, end = first // page, (length + page - 1) // page
    for j in range(begin, end):
        if ahead and j + 1 < end:
            fetch(kv[table[j + 1], layer, 0])
        for h in range(kv.shape[3]):
            keys = kv[table[j], layer, 0, h]
            for g in range(h * shared, (h + 1) * shared):
                score(q[g * dim : (g + 1) * dim], keys, scratch[g, j * page : (j + 1) * page], page, dim, run)
    for g in range(heads):
        norm = weigh(scratch[g, first:length], scale, softcap)
        for t in range(first, length):
            scratch[g, t] *= norm
    out[: heads * dim] = _f(0.0)
    for j in range(begin, end):
        if ahead and j + 1 < end:
            fetch(kv[table[j + 1], layer, 1])
        low, high = max(first - j * page, 0), min(length - j * page, page)
        for h in range(kv.shape[3]):
            values = kv[table[j], layer, 1, h]
            for g in range(h * shared, (h + 1) * shared):
                mix(scratch[g, j * page : (j + 1) * page], values, low, high, out[g * dim : (g + 1) * dim], page, dim)


@cache
def attention(page: int, dim: int) -> Callable[..., None]:
    """The kernel for pages of `page` tokens and heads of `dim` numbers.

    Arguments: q [rows, >= heads * dim]; k and v [rows, *] with the column at which each begins; kv
    [page, layer, 2, kv_heads, page * dim]; the layer's index in the group; query heads; starts [seqs + 1];
    lengths [seqs]; positions [rows]; tables [seqs, *]; scale (positive); window (0: none); softcap (0: none);
    out [rows, heads * dim]; scratch [heads, longest context rounded up to a page]. Writes k and v to their pages,
    then fills `out`. Pages are fetched ahead when the batch's KV is too large to stay in a core's cache.
    """
    run = _tile(dim)

    @compiled
    def attend(
        q, k, k_column, v, v_column, kv, layer, heads, starts, lengths, positions, tables, scale, window, softcap,
        out, scratch,
    ):  # fmt: skip
        store(k, k_column, v, v_column, kv, layer, starts, positions, tables, page, dim)
        large = lengths.sum() * kv.shape[1] * kv.shape[3] * dim * 8 > CACHE
        for s in range(starts.shape[0] - 1):
            for r in range(starts[s], starts[s + 1]):
                length = lengths[s] - (starts[s + 1] - 1 - r)
                first = max(0, length - window) if window > 0 else 0
                ahead = large and r == starts[s]
                attend_row(
                    q[r], kv, layer, heads, tables[s], first, length, scale, softcap, ahead, out[r], scratch,
                    page, dim, run,
                )  # fmt: skip

    kernel: Callable[..., None] = attend
    return kernel
