"""How far the cost model is from every published latency (`published.yaml`), and the page that says so.

Points that constants were fitted to are shown and never counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import yaml

from systems.core.cost.capacity import Split, capacity
from systems.core.cost.constants import engine
from systems.core.cost.fitted import fit
from systems.core.cost.gpu import Gpu, gpu
from systems.core.cost.named import Hardware, cost_model
from systems.core.cost.shape import shape
from systems.core.cost.tables import read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from systems.core.compute import CostModel

Role = Literal["unseen", "calibration", "context"]
FILE = Path(__file__).with_name("published.yaml")
PROMPTS_TOKENS = 4096  # prompt tokens that a server in steady state takes in one pass


@dataclass(frozen=True, slots=True)
class Point:
    """One published latency and ours, both in ms."""

    source: str
    role: Role
    what: str
    published: float
    predicted: float

    @property
    def error(self) -> float:
        """Relative, positive when we are too slow."""
        return self.predicted / self.published - 1


@dataclass(frozen=True, slots=True)
class Summary:
    """Absolute relative errors of one source; `p95` is the nearest rank."""

    source: str
    role: Role
    what: str
    reference: str
    n: int
    median: float
    p95: float
    bias: float
    worst: Point


@dataclass(frozen=True, slots=True)
class Stated:
    """KV tokens: what a source states for its hardware, and what our formula says."""

    what: str
    source: str
    stated: int
    formula: int

    @property
    def error(self) -> float:
        """Relative, positive when we have too much memory."""
        return self.formula / self.stated - 1


def points() -> list[Point]:
    """Every published point with our prediction, in the file's order."""
    return [point for group in _groups() for point in _points(group)]


def summaries(found: Iterable[Point]) -> list[Summary]:
    """One per source, in the file's order."""
    by_source: dict[str, list[Point]] = {}
    for point in found:
        by_source.setdefault(point.source, []).append(point)
    texts = {group["source"]: group for group in _groups()}
    return [_summary(texts[source], rows) for source, rows in by_source.items()]


def unseen(found: Iterable[Point]) -> tuple[int, float, float]:
    """Number, median and p95 of the absolute errors of all points that nothing was fitted to."""
    errors = [abs(p.error) for p in found if p.role == "unseen"]
    return len(errors), median(errors), _p95(errors)


def capacities() -> list[Stated]:
    """The formula for KV memory against every stated capacity."""
    found = []
    for row in read("capacities"):
        split = Split(row["tp"], 1, 0.9)
        formula = capacity(shape(row["model"]), gpu(row["gpu"]), split).tokens
        what = f"{row['model']} on {row['gpu']} TP{row['tp']}"
        found.append(Stated(what, row["source"], row["tokens"], formula))
    return found


@cache
def _groups() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return groups


def _summary(group: dict[str, Any], rows: list[Point]) -> Summary:
    errors = [abs(point.error) for point in rows]
    worst = max(rows, key=lambda point: abs(point.error))
    bias = sum(point.error for point in rows) / len(rows)
    texts = group["what"], group["reference"]
    return Summary(rows[0].source, rows[0].role, *texts, len(rows), median(errors), _p95(errors), bias, worst)


def _p95(errors: list[float]) -> float:
    return sorted(errors)[ceil(0.95 * len(errors)) - 1]


def _points(group: dict[str, Any]) -> Iterator[Point]:
    for row in _sampled(group) if "fit" in group else group["points"]:
        said = {**group, **row}
        hardware = Hardware(
            said["model"], said["gpu"], tp=said.get("tp", 1), engine=said["engine"], fits=said.get("fits", False)
        )
        kind = next(kind for kind in ("decode", "prefill", "run", "steady") if kind in row)
        sizes = tuple(row[kind]) if isinstance(row[kind], list) else (row[kind],)
        published = row["ms"] if "ms" in row else 1e3 * sizes[0] / row["tok_s"]
        predicted = _predict(cost_model(hardware)[0], kind, sizes) / 1e6
        what = f"{hardware.model} {hardware.gpu} TP{hardware.tp} {kind} {' x '.join(map(str, sizes))}"
        yield Point(group["source"], group["role"], what, published, predicted)


def _predict(cost: CostModel, kind: str, sizes: tuple[int, ...]) -> float:
    """Ns of one iteration, of a whole batch (`run`), or of an iteration with its share of prompts (`steady`)."""
    if kind == "decode":
        return cost.iteration_ns((), sizes[0], sizes[0] * sizes[1])
    if kind == "prefill":
        return cost.iteration_ns(((sizes[0], 0),), 0, 0)
    batch, prompt, output = sizes
    if kind == "run":
        first = cost.iteration_ns([(prompt, 0)] * batch, 0, 0)
        return first + sum(cost.iteration_ns((), batch, batch * (prompt + i)) for i in range(1, output))
    together = max(1, PROMPTS_TOKENS // prompt)
    prompts = cost.iteration_ns([(prompt, 0)] * together, 0, 0) / together
    return cost.iteration_ns((), batch, batch * (prompt + output // 2)) + prompts * batch / output


def _sampled(group: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Points of the published fits, as far as the KV memory that DistServe states can have held them."""
    how, on = engine(group["engine"]), gpu(group["gpu"])
    for model, by_tp in read("fits")["engines"][group["fit"]].items():
        for tp in by_tp:
            line = fit(shape(model), on, tp, how)
            for row in _grid(model, tp, on):
                kind = "decode" if "decode" in row else "prefill"
                if group.get("part", kind) == kind:
                    sizes = tuple(row.get("decode") or [row["prefill"]])
                    yield {**row, "ms": _predict(line, kind, sizes) / 1e6}


def _grid(model: str, tp: int, on: Gpu) -> Iterator[dict[str, Any]]:
    room = capacity(shape(model), on, Split(tp), stated_by="distserve").tokens
    for batch in (1, 16, 64):
        for context in (256, 512):
            if batch * context <= room:
                yield {"model": model, "tp": tp, "decode": [batch, context]}
    for tokens in (256, 512, 1024, 2000):
        yield {"model": model, "tp": tp, "prefill": tokens}
