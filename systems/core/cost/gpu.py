"""GPUs as the data sheets have them, and what a published number implies where a sheet is not enough."""

from __future__ import annotations

from dataclasses import dataclass

from systems.core.cost import tables

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Gpu:
    """Dense fp16 FLOP/s, memory in bytes and bytes/s, the host link's practical bytes/s, NVLink's (one way, 0: none).

    `memory` is what software sees of it. `kernels` and `fabric` name entries of calibration.yaml.
    """

    name: str
    flops: float
    bandwidth: float
    memory: int
    host_link: float
    nvlink: float
    kernels: str
    fabric: str


def gpu(name: str) -> Gpu:
    """The GPU `name` of gpus.yaml. Raises UsageError."""
    known = tables.full_name("gpus", "GPU", name)
    row = tables.row("gpus", known)
    return Gpu(
        name=known,
        flops=row["tflops"] * 1e12,
        bandwidth=row["hbm"] * 1e9,
        memory=round(row.get("visible", row["gib"]) * GIB),
        host_link=row["host"] * 1e9,
        nvlink=row["nvlink"] * 1e9,
        kernels=row["kernels"],
        fabric=row["fabric"],
    )


def gpus() -> tuple[str, ...]:
    """Every GPU by name."""
    return tables.names("gpus")
