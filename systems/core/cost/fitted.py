"""Published linear fits of whole engines (DistServe's, for OPT on A100-80G), and how they are moved to another memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from systems.core.cost import tables
from systems.core.cost.constants import Engine, constants
from systems.core.cost.gpu import Gpu, gpu
from systems.core.cost.shape import ModelShape
from systems.core.errors import UsageError

LARGE = 95  # requests, from which on the second decode line holds (DistServe's threshold)


@dataclass(frozen=True, slots=True)
class Line:
    """ns: `fixed`, `first` per token (prefill) or per context token (decode), `second` per squared token or request."""

    fixed: float
    first: float
    second: float

    def at(self, first: float, second: float) -> float:
        """The time in ns."""
        return self.fixed + self.first * first + self.second * second

    def words(self, first: str, second: str) -> str:
        """For a caption, in ms."""
        return f"{self.fixed / 1e6:.5g} + {self.first / 1e6:.5g} x {first} + {self.second / 1e6:.5g} x {second} ms"


@dataclass(frozen=True, slots=True)
class Overhead:
    """Time added to every iteration, and how it is known: it must be named wherever results are shown."""

    name: str
    ns: int
    kind: Literal["fitted", "measured"]
    source: str

    def describe(self) -> str:
        """For a caption."""
        return f"overhead {self.name!r} {self.ns / 1e6:g} ms an iteration ({self.kind}): {self.source}"


@dataclass(frozen=True, slots=True)
class LinearFit:
    """A `CostModel`: prefill = a + b tokens + c sum(len^2); decode = a + b context + c batch, in two ranges of batch.

    An iteration with both pays the smaller of the two fixed parts once only: the fixed part is dominated by reading
    the weights, which one pass does once. A chunk with context before it adds (before + n)^2 - before^2 to the sum of
    squares, so that chunks of a prompt cost together what the whole prompt costs (fixed parts aside).
    """

    prefill: Line
    small: Line
    large: Line
    source: str = ""

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], decode_batch: int, decode_context: int) -> int:
        """Ns for `chunks` (tokens, context before them) and `decode_batch` decodes over `decode_context` tokens in all."""
        time = 0.0
        line = self.small if decode_batch < LARGE else self.large
        if decode_batch:
            time = line.fixed + line.first * decode_context + line.second * decode_batch
        if chunks:
            squares = sum(n * (n + 2 * before) for n, before in chunks)
            time += self.prefill.at(sum(n for n, _ in chunks), squares)
            if decode_batch:
                time -= min(self.prefill.fixed, line.fixed)
        return int(max(0.0, time) + 0.5)

    def describe(self) -> tuple[str, ...]:
        """One line per line of the fit, with its source."""
        parts = ("prefill", self.prefill.words("tokens", "length^2")), ("decode", self.small.words("context", "batch"))
        large = (f"decode from {LARGE} requests on", self.large.words("context", "batch"))
        return tuple(f"{name} {words}: {self.source}" for name, words in (*parts, large))

    def moved(self, shape: ModelShape, tp: int, old: Gpu, new: Gpu, reached: float) -> LinearFit:
        """The fit on a GPU with the same chip and another memory, of which a share `reached` is used.

        What waits for memory is scaled by the ratio of bandwidths: the time to read the weights once, which is part of
        every fixed part, and the time per context token of decodes, whose KV is read (OPT-13B: 0.627 us for 819,200
        bytes, 64 % of the peak). The rest of the fixed parts is launches and the host; time per request is sampling
        and small kernels; prefill's time per token is compute. Those stay.
        """
        ratio = old.bandwidth / new.bandwidth
        weights = 1e9 * shape.weight_bytes / tp / (old.bandwidth * reached)
        more = min(weights, self.small.fixed) * (ratio - 1)
        lines = [replace(x, fixed=x.fixed + more, first=x.first * ratio) for x in (self.small, self.large)]
        why = f"; moved from {old.name} to {new.name} by memory bandwidth x {1 / ratio:.3f}"
        prefill = replace(self.prefill, fixed=self.prefill.fixed + more)
        return LinearFit(prefill, lines[0], lines[1], self.source + why)


def has_fit(shape: ModelShape, on: Gpu, tp: int, how: Engine) -> bool:
    """Whether a published fit can be used: for the engine, model and TP, on its GPU or one with the same chip.

    Several GPUs must also be connected as there, since their exchange is inside the fit.
    """
    data = tables.read("fits")
    home = gpu(data["gpu"])
    alike = on.kernels == home.kernels and (tp == 1 or on.fabric == home.fabric)
    return alike and tp in data["engines"].get(how.fit, {}).get(shape.name, {})


def fit(shape: ModelShape, on: Gpu, tp: int, how: Engine) -> LinearFit:
    """The published fit, moved to `on` where that is not its own GPU. Raises UsageError where there is none."""
    if not has_fit(shape, on, tp, how):
        raise UsageError(
            f"There is no published fit of {shape.name} with tp {tp} on {on.name} for engine {how.name}.",
            "Leave the choice to `ae`: it uses the analytic model.",
        )
    data = tables.read("fits")
    home = gpu(data["gpu"])
    row = data["engines"][how.fit][shape.name][tp]
    prefill, small, large = (_line(row.get(part, row["small"])) for part in ("prefill", "small", "large"))
    source = f"DistServe 82831f1, fit of {how.fit}, {shape.name} TP{tp} on {home.name}"
    found = LinearFit(prefill, small, large, source)
    if on == home:
        return found
    return found.moved(shape, tp, home, on, constants(home, tp, how).linear.eb)


def _line(ms: Sequence[float]) -> Line:
    return Line(*(1e6 * x for x in ms))
