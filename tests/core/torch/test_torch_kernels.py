"""Paged attention against a plain computation, over scrambled pages whose unused slots hold NaN."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from systems.core.memory.layout import Group, KVLayout
from systems.core.plan import Pool, SlotCopy
from systems.core.torch import jit
from systems.core.torch.arena import Arena
from systems.core.torch.attention import CpuPaged, Paged
from systems.core.torch.batch import Rows
from systems.core.torch.cuda import CudaPaged
from systems.core.torch.instructions import product
from systems.core.torch.kernels import exp32
from systems.core.torch.sampler import Draws

Array = NDArray[Any]
LAYERS = 2


def arena(page: int, kv_heads: int, dim: int) -> Arena:
    layout = KVLayout((Group("full", tuple(range(LAYERS)), kv_heads, dim, page, 4),))
    made = Arena(layout, {Pool.DEVICE: 64, Pool.HOST: 4}, "cpu")
    made.view(layout.groups[0], torch.float32).fill_(float("nan"))
    return made


def plain(q: Array, k: Array, v: Array, window: int, softcap: float) -> Array:
    """Attention of the last rows of one sequence; q [rows, heads, dim], k and v [tokens, kv_heads, dim]."""
    shared = q.shape[1] // k.shape[1]
    k, v = (part.repeat(shared, axis=1).astype(np.float64) for part in (k, v))
    scores = np.einsum("rhd,thd->hrt", q.astype(np.float64), k) * q.shape[2] ** -0.5
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    row = np.arange(len(k) - len(q), len(k))[:, None]
    column = np.arange(len(k))[None]
    scores = np.where((column <= row) & (column > row - (window or 1 << 30)), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    out: Array = np.einsum("hrt,thd->rhd", weights, v)
    return out


def feed(paged: Paged, chunks: list[list[int]], q: Array, k: Array, v: Array, **how: Any) -> Array:
    """Sequences in the given chunks, all sequences' chunks of one round in one pass; the outputs, [seq, token, ...]."""
    draw = np.random.default_rng(1)
    pages = draw.permutation(64)[: 21 * len(chunks)].astype(np.int32).reshape(len(chunks), -1)
    out, done = np.zeros_like(q), [0] * len(chunks)
    for turn in range(max(map(len, chunks))):
        now = [(s, done[s], c[turn]) for s, c in enumerate(chunks) if turn < len(c)]
        places = [np.arange(start, start + count) for _, start, count in now]
        rows = Rows(
            tokens=np.zeros(0, np.int64),
            positions=np.concatenate(places),
            starts=np.cumsum([0] + [count for *_, count in now]).astype(np.int32),
            lengths=np.asarray([start + count for _, start, count in now], np.int32),
            tables=np.ascontiguousarray(pages[[s for s, *_ in now]]),
            emit=None,
            requests=[],
            draws=Draws.none(),
        )
        x, y, z = (
            torch.from_numpy(np.concatenate([part[s, p] for (s, *_), p in zip(now, places, strict=True)]))
            for part in (q, k, v)
        )
        paged.begin(rows)
        got = paged.attend(1, x, y, z, q.shape[3] ** -0.5, how.get("window", 0), how.get("softcap", 0.0)).numpy()
        for (s, start, count), first in zip(now, rows.starts, strict=False):
            out[s, start : start + count] = got[first : first + count]
            done[s] += count
    return out


@pytest.mark.parametrize("kind", ["cpu", "gathered"])
@pytest.mark.parametrize(
    ("page", "heads", "kv_heads", "dim"), [(16, 8, 2, 16), (8, 4, 1, 64), (4, 3, 3, 20), (16, 12, 1, 32), (16, 6, 2, 8)]
)
def test_mixed_batches(kind: str, page: int, heads: int, kv_heads: int, dim: int) -> None:
    draw = np.random.default_rng(0)
    q, k, v = (draw.standard_normal((3, 32, h, dim)).astype(np.float32) for h in (heads, kv_heads, kv_heads))
    chunks = [[5, 1, 1, 17, 8], [32], [1, 2, 3, 4, 1, 1]]
    paged: Paged = CpuPaged(arena(page, kv_heads, dim), heads, 40)
    if kind == "gathered":
        paged = CudaPaged(arena(page, kv_heads, dim))
    for window, softcap in ((0, 0.0), (6, 0.0), (0, 1.5)) if kind == "cpu" else ((0, 0.0), (6, 0.0)):
        out = feed(paged, chunks, q, k, v, window=window, softcap=softcap)
        for s, sizes in enumerate(chunks):
            n = sum(sizes)
            np.testing.assert_allclose(out[s, :n], plain(q[s, :n], k[s, :n], v[s, :n], window, softcap), atol=2e-6)


def test_exponential() -> None:
    def each(x: Array) -> Array:
        out = np.empty_like(x)
        for i in range(x.size):
            out[i] = exp32(x[i])
        return out

    compiled_exp: Any = numba.njit()(each)
    x = np.linspace(-86, 87, 20001).astype(np.float32)
    np.testing.assert_allclose(compiled_exp(x), np.exp(x.astype(np.float64)), rtol=5e-6)
    small = np.linspace(-8, 0, 20001).astype(np.float32)
    np.testing.assert_allclose(compiled_exp(small), np.exp(small.astype(np.float64)), rtol=8e-7)


def test_slot_copy_moves_one_token_in_every_layer() -> None:
    made = arena(16, 2, 16)
    paged = CpuPaged(made, 2, 64)
    kv = paged.kv.reshape(-1, LAYERS, 2, 2, 256)
    kv[:] = np.arange(kv.size, dtype=np.float32).reshape(kv.shape)
    before = kv.copy()
    paged.move(SlotCopy(0, 3, 5, 7, 2))
    changed = np.argwhere(kv != before)
    assert {tuple(row[:1]) for row in changed} == {(7,)}
    assert len(changed) == LAYERS * 2 * 2 * 16
    keys, old = kv[7, 1, 0, 1].reshape(16, 16), before[3, 1, 0, 1].reshape(16, 16)
    assert (keys[:, 2] == old[:, 5]).all()
    values, old = kv[7, 0, 1, 0].reshape(16, 16), before[3, 0, 1, 0].reshape(16, 16)
    assert (values[2] == old[5]).all()


def test_compiled_kernels_are_kept_by_their_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in jit._SOURCES:
        (tmp_path / name).write_text(name)
    first = jit.cache_folder(tmp_path)
    assert first.parent == tmp_path / "__pycache__"
    (tmp_path / "kernels.py").write_text("changed")
    second = jit.cache_folder(tmp_path)
    assert second != first
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert jit.cache_folder(tmp_path).name == second.name
    assert not jit.cache_folder(tmp_path).is_relative_to(tmp_path)


def test_one_process_compiles_while_the_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    entered = threading.Event()

    def enter() -> None:
        with jit.one_at_a_time():
            entered.set()

    other = threading.Thread(target=enter)
    with jit.one_at_a_time():
        other.start()
        assert not entered.wait(0.1)
    assert entered.wait(30)
    other.join()


def test_where_nothing_can_be_locked_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file" / "cache"))
    with jit.one_at_a_time(), jit.one_at_a_time():
        pass


@pytest.mark.parametrize(("rows", "inner", "columns"), [(1, 32, 16), (2, 5, 24), (8, 16, 32), (4, 3, 20), (3, 1, 7)])
@pytest.mark.parametrize("add", [0, 1])
def test_small_products(rows: int, inner: int, columns: int, add: int) -> None:
    draw = np.random.default_rng(0)
    a, b, c = (draw.standard_normal(shape).astype(np.float32) for shape in ((rows, 40), (inner, columns), (rows, 50)))
    want = c.copy()
    want[:, 2 : 2 + columns] = add * c[:, 2 : 2 + columns] + a[:, 3 : 3 + inner] @ b

    def run(a: Array, b: Array, c: Array) -> None:
        product(a, 3, 40, b, 0, c, 2, 50, rows, inner, columns, add)

    jit.compiled(run)(a.ravel(), b.ravel(), c.reshape(-1))
    np.testing.assert_allclose(c, want, rtol=2e-6, atol=2e-6)
