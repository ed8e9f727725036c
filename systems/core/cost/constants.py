"""The constants of the analytic cost model, picked for one GPU, degree of parallelism and engine, with their sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from systems.core.cost import tables
from systems.core.cost.gpu import Gpu
from systems.core.errors import UsageError

OTHER = {"classic": "modern", "modern": "classic"}


@dataclass(frozen=True, slots=True)
class Linear:
    """`t0` us, shares of FLOP/s (`ec`) and of memory bandwidth (`eb`) that are reached, norm `p` that joins the two."""

    t0: float
    ec: float
    eb: float
    p: float


@dataclass(frozen=True, slots=True)
class Kernel:
    """A fixed cost `t0` in us and the share of the peak (bandwidth or FLOP/s) that is reached."""

    t0: float
    share: float


@dataclass(frozen=True, slots=True)
class AllReduce:
    """`alpha` us and bus bandwidth in bytes/s; no time at all on one GPU."""

    alpha: float = 0.0
    bandwidth: float = float("inf")


@dataclass(frozen=True, slots=True)
class Overheads:
    """The host's part, in us: `launch` a layer is a floor of the whole iteration, `step` and `request` add to it."""

    launch: float = 0.0
    step: float = 0.0
    request: float = 0.0


@dataclass(frozen=True, slots=True)
class Constants:
    """Everything the formulas need beside shape, GPU and batch. `sources` has one line per constant."""

    linear: Linear
    small: Kernel
    decode: Kernel
    prefill: Kernel
    allreduce: AllReduce
    overheads: Overheads
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Engine:
    """One entry of engines.yaml. `cpu`: ms per iteration and per request, unless the host's own (`host`) are meant."""

    name: str
    linear: str
    attention: str
    allreduce: str
    source: str
    eager: bool = False
    host: bool = False
    cpu: tuple[float, float] = (0.0, 0.0)
    fit: str = ""
    pages: str = ""


def engine(name: str) -> Engine:
    """The engine `name` of engines.yaml. Raises UsageError."""
    known = tables.full_name("engines", "engine", name)
    row = tables.row("engines", known)
    return Engine(name=known, **{**row, "cpu": tuple(row.get("cpu", (0.0, 0.0)))})


def engines() -> tuple[str, ...]:
    """Every engine by name."""
    return tables.names("engines")


def constants(gpu: Gpu, tp: int, how: Engine, fabric: str = "") -> Constants:
    """The constants for `tp` GPUs over `fabric` (default: the GPU's own). Raises UsageError for what has no numbers."""
    said: list[str] = []
    linear = _pick(gpu, "linear", how.linear, said)
    small = _pick(gpu, "small", how.linear, said)
    decode = _pick(gpu, "decode", how.attention, said)
    prefill = _pick(gpu, "prefill", how.attention, said)
    reduce = _allreduce(fabric or gpu.fabric, tp, how.allreduce, said)
    host = _overheads(gpu, tp, how, said)
    return Constants(Linear(*linear), Kernel(*small), Kernel(*decode), Kernel(*prefill), reduce, host, tuple(said))


def _pick(gpu: Gpu, what: str, generation: str, said: list[str]) -> list[float]:
    """The generation wanted, or the one there is."""
    sets = tables.read("calibration")["kernels"][gpu.kernels][what]
    used = generation if generation in sets else OTHER[generation]
    said.append(f"{what} ({used}) {_numbers(sets[used]['values'])}: {sets[used]['source']}")
    return list(sets[used]["values"])


def _allreduce(fabric: str, tp: int, kind: str, said: list[str]) -> AllReduce:
    """Of the smallest number of GPUs listed that is not below `tp`, else of the largest one."""
    fabrics = tables.read("calibration")["fabrics"]
    tables.check_name("fabric", fabric, fabrics)
    if tp == 1:
        return AllReduce()
    kinds = fabrics[fabric]
    used = kind if kind in kinds else "nccl"
    sizes: dict[int, list[float]] = kinds[used]["sizes"]
    if tp > 8:
        raise UsageError(
            f"There are no all-reduce times for tensor parallelism over {tp} GPUs.",
            "Use tp of at most 8 and pipeline stages beyond it.",
        )
    size = min((n for n in sizes if n >= tp), default=max(sizes))
    alpha, bandwidth = sizes[size]
    said.append(f"all-reduce over {size} ({fabric}, {used}) {alpha} us, {bandwidth} GB/s: {kinds[used]['source']}")
    return AllReduce(alpha, bandwidth * 1e9)


def _overheads(gpu: Gpu, tp: int, how: Engine, said: list[str]) -> Overheads:
    hosts = tables.read("calibration")["hosts"]
    host = hosts[gpu.kernels]
    host = hosts[host["like"]] if "like" in host else host
    launch, several = 0.0, int(tp > 1)
    if how.eager:
        launch = host["launch"]["values"][0]
        said.append(f"launch floor {launch} ms a layer: {host['launch']['source']}")
    if not how.host:
        said.append(f"host {how.cpu[0]} ms + {how.cpu[1]} ms a request: {how.source}")
        return Overheads(launch * 1e3, how.cpu[0] * 1e3, how.cpu[1] * 1e3)
    cpu, ray, request = (host[part]["values"][several] for part in ("cpu", "ray", "request"))
    for part, value in (("cpu", cpu), ("ray", ray), ("request", request)):
        said.append(f"host {part} {value} ms: {host[part]['source']}")
    return Overheads(launch * 1e3, (cpu + ray) * 1e3, request * 1e3)


def _numbers(values: Any) -> str:
    return ", ".join(f"{value:g}" for value in values)
