"""Prompt and output lengths drawn from published aggregates (`workloads.yaml`), as pairs.

Prompt and output of one request are not independent: in ShareGPT_V3 their rank correlation is -0.42, so
drawing the two marginals apart gets total length and KV demand wrong. The method "cells" draws a cell of the
published 5x5 table first and then a point inside that fifth of either marginal, through its piecewise-linear
inverse distribution function. `independent` is kept as a named ablation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import yaml

from systems.core.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

DATA = Path(__file__).with_name("workloads.yaml")
# Pairs are drawn in blocks of fixed size, so that the first k pairs do not depend on how many are asked for.
BLOCK = 1024
HOPELESS = 1000  # blocks without enough pairs that pass the filter


@dataclass(frozen=True, slots=True)
class Lengths:
    """Parallel arrays: prompt and output tokens of each request."""

    prompt: Ints
    output: Ints

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def total(self) -> Ints:
        """Prompt plus output tokens."""
        return self.prompt + self.output

    def scaled(self, scale: float) -> Lengths:
        """Both lengths divided by `scale`, rounded, at least 1 token each."""
        return Lengths(_shrink(self.prompt, scale), _shrink(self.output, scale))

    def take(self, which: NDArray[Any]) -> Lengths:
        """Select pairs by an index array or a mask."""
        return Lengths(self.prompt[which], self.output[which])


def _shrink(tokens: Ints, scale: float) -> Ints:
    return np.maximum(1, np.rint(tokens / scale)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Filter:
    """Bounds in unscaled tokens; the defaults keep every pair. A pair outside ANY bound is dropped (vLLM's rule)."""

    prompt_min: int = 1
    output_min: int = 1
    prompt_max: int = 1 << 40
    total_max: int = 1 << 40

    def keeps(self, pairs: Lengths) -> NDArray[np.bool_]:
        """Return a mask over `pairs`."""
        return (
            (pairs.prompt >= self.prompt_min)
            & (pairs.output >= self.output_min)
            & (pairs.prompt <= self.prompt_max)
            & (pairs.total <= self.total_max)
        )


VLLM_FILTER = Filter(prompt_min=4, output_min=4, prompt_max=1024, total_max=2048)


@dataclass(frozen=True, slots=True)
class Marginal:
    """A distribution of token counts: values at the published quantile levels, or a lognormal (mu, sigma)."""

    quantiles: tuple[float, ...] = ()
    mu: float = 0.0
    sigma: float = 0.0

    def at(self, u: Floats, rng: np.random.Generator) -> Ints:
        """Token counts at probabilities `u`; a lognormal has no closed inverse in numpy and draws its own."""
        if self.quantiles:
            values = np.interp(u, levels(), self.quantiles)
        else:
            values = rng.lognormal(self.mu, self.sigma, len(u))
        return np.maximum(1, np.rint(values)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Published:
    """One workload of `workloads.yaml`; `joint` sums to 1, empty where the two lengths are independent."""

    name: str
    about: str
    source: str
    prompt: Marginal
    output: Marginal
    filter: Filter
    joint: tuple[tuple[float, ...], ...]
    total: tuple[float, ...]
    prompt_mean: float
    output_mean: float
    rank_correlation: float


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(DATA.read_text())
    return data


@cache
def levels() -> tuple[float, ...]:
    """Return the probabilities at which quantiles are published, 0 to 1."""
    return tuple(_data()["levels"])


def names() -> list[str]:
    """List the workloads that can be drawn from published aggregates."""
    return list(_data()["workloads"])


@cache
def published(name: str) -> Published:
    """Read the aggregates of workload `name`. Raises UsageError."""
    if name not in names():
        raise UsageError(f"There is no workload called {name!r}.", f"Workloads: {', '.join(names())}.")
    row = _data()["workloads"][name]
    table = row.get("joint", [])
    whole = sum(map(sum, table)) or 1.0
    about = row["published"]
    return Published(
        name=name,
        about=row["about"],
        source=row["source"],
        prompt=_marginal(row["prompt"]),
        output=_marginal(row["output"]),
        filter=Filter(**row.get("filter", {})),
        joint=tuple(tuple(share / whole for share in line) for line in table),
        total=tuple(row.get("total", ())),
        prompt_mean=about["prompt_mean"],
        output_mean=about["output_mean"],
        rank_correlation=about.get("rank_correlation", 0.0),
    )


def _marginal(row: dict[str, Any]) -> Marginal:
    return Marginal(quantiles=tuple(row.get("quantiles", ())), **row.get("lognormal", {}))


def sample(
    workload: Published,
    n: int,
    rng: np.random.Generator,
    *,
    independent: bool = False,
    scale: float = 1.0,
    limit: int | None = None,
) -> Lengths:
    """Draw `n` unscaled pairs that pass the workload's filter; the first k are the same for every n.

    Pairs whose scaled total exceeds `limit` tokens are drawn again. Raises UsageError when (nearly) none fits.
    """
    kept: list[Lengths] = []
    found = 0
    for _ in range(HOPELESS + n):
        block = _block(workload, rng, independent=independent)
        mask = workload.filter.keeps(block)
        if limit is not None:
            mask &= block.scaled(scale).total <= limit
        kept.append(block.take(mask))
        found += len(kept[-1])
        if found >= n:
            break
    else:
        raise UsageError(
            f"Hardly any request of workload {workload.name!r} divided by {scale:g} fits in {limit} tokens.",
            "Use a larger scale or a larger context window.",
        )
    prompt = np.concatenate([part.prompt for part in kept])[:n]
    return Lengths(prompt, np.concatenate([part.output for part in kept])[:n])


def _block(workload: Published, rng: np.random.Generator, *, independent: bool) -> Lengths:
    u, v = rng.random(BLOCK), rng.random(BLOCK)
    if workload.joint and not independent:
        table = np.array(workload.joint)
        rows, columns = table.shape
        cell = rng.choice(table.size, BLOCK, p=table.ravel())
        u, v = (cell // columns + u) / rows, (cell % columns + v) / columns
    return Lengths(workload.prompt.at(u, rng), workload.output.at(v, rng))


class Source(Protocol):
    """Draws scaled pairs."""

    def __call__(self, n: int, limit: int, rng: np.random.Generator) -> Lengths:
        """`n` pairs, none of more than `limit` tokens in all. Raises UsageError when that cannot be."""


def drawn(name: str, *, scale: float = 1.0, independent: bool = False) -> Source:
    """Make a source of scaled pairs of the published workload `name`."""
    workload = published(name)

    def source(n: int, limit: int, rng: np.random.Generator) -> Lengths:
        pairs = sample(workload, n, rng, independent=independent, scale=scale, limit=limit)
        return pairs.scaled(scale)

    return source


def stretched(name: str, means: tuple[float, float], *, scale: float = 1.0, independent: bool = False) -> Source:
    """Make a source of pairs of the published workload `name`, stretched to other mean lengths (prompt, output).

    What a length has beyond its first token is multiplied, so that no length falls below 1, the means are met and the
    ranks stay: the spread (as a share of the mean) and the dependence of the two lengths are the workload's. `scale`
    divides both means. Raises UsageError for a mean below 1.
    """
    workload = published(name)
    prompt, output = (mean / scale for mean in means)
    if min(prompt, output) < 1:
        raise UsageError(f"Mean lengths of {prompt:g} and {output:g} tokens cannot be drawn.", "Give at least 1 each.")

    def source(n: int, limit: int, rng: np.random.Generator) -> Lengths:
        pairs = sample(workload, 2 * n, rng, independent=independent)
        long = Lengths(
            _stretch(pairs.prompt, workload.prompt_mean, prompt), _stretch(pairs.output, workload.output_mean, output)
        )
        fits = long.take(long.total <= limit)
        if len(fits) < n:
            raise UsageError(
                f"Most requests of workload {name!r} with means {prompt:g} and {output:g} exceed {limit} tokens.",
                "Use smaller means or a larger context window.",
            )
        return fits.take(np.arange(n))

    return source


def _stretch(tokens: Ints, mean: float, to: float) -> Ints:
    longer: Ints = np.rint((tokens - 1) * ((to - 1) / (mean - 1))).astype(np.int64)
    return longer + 1


def fixed(prompt: int, output: int) -> Source:
    """Make a source of equal requests. Raises UsageError when one does not fit."""

    def source(n: int, limit: int, rng: np.random.Generator) -> Lengths:
        del rng
        if prompt + output > limit:
            raise UsageError(f"{prompt} + {output} tokens do not fit in a context of {limit}.")
        return Lengths(np.full(n, prompt, np.int64), np.full(n, output, np.int64))

    return source


def pool(pairs: Lengths, *, scale: float = 1.0, in_order: bool = False) -> Source:
    """Make a source that walks real pairs, shuffled once per seed (or `in_order`), and starts again when they run out."""

    def source(n: int, limit: int, rng: np.random.Generator) -> Lengths:
        small = pairs.scaled(scale)
        small = small.take(small.total <= limit)
        if not len(small):
            raise UsageError(f"None of {len(pairs)} requests fits in a context of {limit} tokens.")
        order = np.arange(len(small)) if in_order else rng.permutation(len(small))
        return small.take(order[np.arange(n) % len(small)])

    return source
