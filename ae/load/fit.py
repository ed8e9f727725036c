"""What was really drawn, next to what was published: means, variation, rank correlation, distance of shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ae.load.workload import Lengths, Published, levels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Fit:
    """Token statistics of a drawn sample; `cv` is standard deviation / mean.

    `d_*` is the largest distance between the sample's distribution function and the published quantiles
    (None where no quantiles are published). Above 0.05 the shape is visibly wrong: another filter or tokenizer.
    """

    n: int
    prompt_mean: float
    prompt_cv: float
    output_mean: float
    output_cv: float
    total_mean: float
    total_p95: float
    rank_correlation: float
    d_prompt: float | None = None
    d_output: float | None = None
    d_total: float | None = None

    def __str__(self) -> str:
        shape = ", ".join(
            f"D({name}) {value:.3f}"
            for name, value in (("prompt", self.d_prompt), ("output", self.d_output), ("total", self.d_total))
            if value is not None
        )
        return (
            f"{self.n} requests: prompt mean {self.prompt_mean:.1f} (CV {self.prompt_cv:.2f}), output mean "
            f"{self.output_mean:.1f} (CV {self.output_cv:.2f}), rank correlation {self.rank_correlation:+.2f}"
            + (f", {shape}" if shape else "")
        )


def describe(pairs: Lengths, against: Published | None = None) -> Fit:
    """Statistics of at least one pair; `against` needs unscaled lengths."""
    total = pairs.total
    return Fit(
        n=len(pairs),
        prompt_mean=float(pairs.prompt.mean()),
        prompt_cv=_cv(pairs.prompt),
        output_mean=float(pairs.output.mean()),
        output_cv=_cv(pairs.output),
        total_mean=float(total.mean()),
        total_p95=float(np.percentile(total, 95)),
        rank_correlation=rank_correlation(pairs.prompt, pairs.output),
        d_prompt=_distance(pairs.prompt, against.prompt.quantiles) if against else None,
        d_output=_distance(pairs.output, against.output.quantiles) if against else None,
        d_total=_distance(total, against.total) if against else None,
    )


def _cv(values: NDArray[np.int64]) -> float:
    return float(values.std() / values.mean())


def _distance(values: NDArray[np.int64], quantiles: Sequence[float]) -> float | None:
    return distance(values, quantiles) if quantiles else None


def distance(values: NDArray[np.int64], quantiles: Sequence[float]) -> float:
    """Kolmogorov-Smirnov distance at the published levels.

    Token counts are integers, so a level counts as met when it lies inside the sample's jump at its quantile.
    The ends (levels 0 and 1) are extremes of a finite sample and are left out.
    """
    ordered = np.sort(values)
    points, wanted = np.asarray(quantiles)[1:-1], np.asarray(levels())[1:-1]
    below = np.searchsorted(ordered, points, side="left") / len(ordered)
    upto = np.searchsorted(ordered, points, side="right") / len(ordered)
    return float(np.maximum(np.maximum(below - wanted, wanted - upto), 0).max())


def rank_correlation(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Spearman's: correlation of ranks, ties sharing their mean rank; 0 when one side is constant."""
    x, y = _ranks(a), _ranks(b)
    if x.std() == 0 or y.std() == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(values: NDArray[np.int64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    ranks: NDArray[np.float64] = mean_rank[inverse].astype(np.float64)
    return ranks
