"""Compiled norms, rotary embedding and gates: what lies between two matrix products, in one pass over memory.

All arrays are float32, [rows, numbers], contiguous.
"""
# mypy: disable-error-code="no-untyped-call, no-untyped-def"
# ruff: noqa: ANN001, ANN201  (types of compiled arguments are numba's business)

from __future__ import annotations

import numpy as np

from systems.core.torch.jit import compiled
from systems.core.torch.kernels import exp32

_f = np.float32


@compiled
def rms_norm(x, weight, eps, out):
    """`out` = x / rms(x) * weight."""
    size = x.shape[1]
    for r in range(x.shape[0]):
        row, to = x[r], out[r]
        total = _f(0.0)
        for i in range(size):
            total += row[i] * row[i]
        factor = _f(1.0) / np.sqrt(total / _f(size) + eps)
        for i in range(size):
            to[i] = row[i] * factor * weight[i]


@compiled
def layer_norm(x, weight, bias, eps, out):
    """`out` = (x - mean) / deviation * weight + bias."""
    size = x.shape[1]
    for r in range(x.shape[0]):
        row, to = x[r], out[r]
        total = _f(0.0)
        for i in range(size):
            total += row[i]
        mean = total / _f(size)
        total = _f(0.0)
        for i in range(size):
            total += (row[i] - mean) * (row[i] - mean)
        factor = _f(1.0) / np.sqrt(total / _f(size) + eps)
        for i in range(size):
            to[i] = (row[i] - mean) * factor * weight[i] + bias[i]


@compiled
def rotate(x, heads, dim, positions, cosine, sine):
    """Rotate the first `heads` heads of every row, in place; tables are [position, dim / 2]."""
    half = dim // 2
    for r in range(positions.shape[0]):
        c, s = cosine[positions[r]], sine[positions[r]]
        for h in range(heads):
            low = x[r, h * dim : h * dim + half]
            high = x[r, h * dim + half : (h + 1) * dim]
            for i in range(half):
                a, b = low[i], high[i]
                low[i] = a * c[i] - b * s[i]
                high[i] = b * c[i] + a * s[i]


@compiled
def gate(x, out):
    """`out` = silu(left half of x) * right half."""
    size = out.shape[1]
    for r in range(x.shape[0]):
        left, right, to = x[r, :size], x[r, size:], out[r]
        for i in range(size):
            e = exp32(-abs(left[i]))
            s = _f(1.0) / (_f(1.0) + e)
            to[i] = left[i] * (s if left[i] >= _f(0.0) else e * s) * right[i]


@compiled
def embed(tokens, words, positions, places, offset, out):
    """`out` = words[token] + places[position + offset]."""
    for r in range(tokens.shape[0]):
        word, place, to = words[tokens[r]], places[positions[r] + offset], out[r]
        for i in range(word.shape[0]):
            to[i] = word[i] + place[i]
