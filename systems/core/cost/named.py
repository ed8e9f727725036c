"""Hardware by name: a model on GPUs under an engine, turned into what a simulation needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from systems.core.compute import CostModel
from systems.core.cost.analytic import AnalyticCost
from systems.core.cost.capacity import Capacity, Split, capacity
from systems.core.cost.constants import Engine, constants, engine
from systems.core.cost.estimator import CostEstimator
from systems.core.cost.fitted import Overhead, fit, has_fit
from systems.core.cost.gpu import Gpu, gpu
from systems.core.cost.shape import ModelShape, shape


@dataclass(frozen=True, slots=True)
class Hardware:
    """Names of models.yaml, gpus.yaml and engines.yaml. `fabric`: another interconnect than the GPU's own.

    `fits`: use a published fit of the engine where there is one.
    """

    model: str
    gpu: str
    tp: int = 1
    pp: int = 1
    engine: str = "cuda-graphs"
    fabric: str = ""
    fits: bool = True
    utilisation: float = 0.9
    page_tokens: int = 16
    overhead: Overhead | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """What `Hardware` means: who decides time, who predicts it, pages of KV in one replica.

    `page_bytes` is a page over all GPUs of the replica; `host_link` what they copy together, each its own part, in bytes/s.
    """

    cost: CostModel
    estimator: CostEstimator
    capacity: Capacity
    page_bytes: int
    host_link: float
    described: tuple[str, ...]

    def describe(self) -> str:
        """One line per constant with its source."""
        return "\n".join(self.described)


class Slower:
    """A `CostModel` with an overhead in every iteration that does anything."""

    def __init__(self, cost: CostModel, overhead: Overhead) -> None:
        self._cost = cost
        self._ns = overhead.ns

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], decode_batch: int, decode_context: int) -> int:
        """Ns for `chunks` (tokens, context before them) and `decode_batch` decodes over `decode_context` tokens in all."""
        time = self._cost.iteration_ns(chunks, decode_batch, decode_context)
        return time + self._ns if chunks or decode_batch else time


def machine(hardware: Hardware, error: float = 0.0) -> Machine:
    """Everything by name; `error` is the estimator's. Raises UsageError for wrong names and what does not fit."""
    model, on, how = shape(hardware.model), gpu(hardware.gpu), engine(hardware.engine)
    decides, said = cost_model(hardware)
    predicts, _ = cost_model(hardware)
    split, gpus = Split(hardware.tp, hardware.pp, hardware.utilisation), hardware.tp * hardware.pp
    pages = capacity(model, on, split, hardware.page_tokens, how.pages)
    said += (
        f"KV {pages.pages} pages of {pages.page_tokens} tokens: {pages.source}",
        f"host link {on.host_link / 1e9:g} GB/s a GPU, all {gpus} at once: gpus.yaml, {on.name}",
    )
    estimator = CostEstimator(predicts, error)
    link = gpus * on.host_link
    page_bytes = model.kv_bytes_token * hardware.page_tokens
    return Machine(decides, estimator, pages, page_bytes, link, said)


def cost_model(hardware: Hardware) -> tuple[CostModel, tuple[str, ...]]:
    """A new cost model and its constants in words. Needs no memory to fit. Raises UsageError for wrong names."""
    model, on, how = shape(hardware.model), gpu(hardware.gpu), engine(hardware.engine)
    cost, said = _base(hardware, model, on, how)
    if hardware.overhead is None:
        return cost, said
    return Slower(cost, hardware.overhead), (*said, hardware.overhead.describe())


def _base(hardware: Hardware, model: ModelShape, on: Gpu, how: Engine) -> tuple[CostModel, tuple[str, ...]]:
    if hardware.fits and hardware.pp == 1 and not hardware.fabric and has_fit(model, on, hardware.tp, how):
        found = fit(model, on, hardware.tp, how)
        return found, (f"iteration times: a published fit of engine {how.name}", *found.describe())
    known = constants(on, hardware.tp, how, hardware.fabric)
    head = f"iteration times: analytic, {model.name} on {on.name} TP{hardware.tp} PP{hardware.pp}, engine {how.name}"
    sheet = f"{on.flops / 1e12:g} TFLOP/s, {on.bandwidth / 1e9:g} GB/s: gpus.yaml, {on.name}"
    return AnalyticCost(model, on, known, hardware.tp, hardware.pp), (head, sheet, *known.sources)
