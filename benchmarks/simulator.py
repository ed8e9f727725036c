"""How fast the simulator is, on the configuration of Vidur's recorded row.

    python -m benchmarks.simulator [--requests N] [--runs N] [--json]

Llama-2-7B on one A100-80, Poisson at 4 requests/s, lengths drawn from the published quantiles of Azure's conversation
trace (the trace Vidur ships as splitwise_conv), chunked prefill of 512 tokens, at most 128 requests a batch, records and
counters kept. Vidur on the same kind of machine: 510 requests/s with its metrics on, 793 without (event loop alone;
simulators' notes of this project, measured on two shared cores). Runs with leaps and without alternate; medians of
CPU seconds. `cold` is a fresh process from its start to its first result.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from statistics import median

from ae.figure import Workload
from ae.sim.one import memory_of, requests_of
from ae.sim.points import Job
from systems.core.assemble import policy_of
from systems.core.config import EngineConfig
from systems.core.cost.named import Hardware, machine
from systems.core.request import Request
from systems.core.variant import find
from systems.core.virtual.fleet import serve
from systems.core.virtual.simulated import Simulated

VIDUR = 510.0  # requests/s, metrics on
WARM = 100  # requests of the process that is timed from cold


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians over runs. Times are CPU seconds of the event loop, records included."""

    name: str
    requests: int
    iterations: int
    seconds: float
    requests_per_s: float
    iterations_per_s: float
    sequence_steps_per_s: float
    against_vidur: float


def vidurs_row(requests: int) -> Job:
    """The configuration."""
    engine = EngineConfig(
        "synthetic", "vllm/chunked", max_batch=128, max_tokens=512, max_model_len=16384, device_pages=0, host_pages=0
    )
    return Job(
        Hardware("llama-7b", "a100-80g", engine="ideal"), engine, Workload("azure_conversation", 1.0), 4.0, requests, 1
    )


def overload(requests: int) -> Job:
    """FastServe's skip-join MLFQ at 6 jobs/s, where FCFS carries 2.4: a quantum ends nearly every iteration."""
    limits = {"max_batch": 16, "max_tokens": 2048, "max_model_len": 2048, "device_pages": 3813, "host_pages": 7626}
    engine = EngineConfig("synthetic", "fastserve/skip-join", **limits)  # type: ignore[arg-type]
    hardware = Hardware("opt-13b", "a100-80g", engine="swifttransformer")
    return Job(hardware, engine, Workload("sharegpt", 1.0), 6.0, requests, 1)


def timed(job: Job, schedule: list[Request], *, leaps: bool) -> tuple[float, int, int]:
    """CPU seconds, iterations and tokens of one run."""
    hardware = machine(job.hardware)
    entry, memory = find(job.engine.variant), memory_of(job, hardware)
    engine = Simulated(
        lambda: policy_of(entry, job.engine, memory, hardware.estimator),
        hardware.cost,
        max_model_len=job.engine.max_model_len,
        leaps=leaps,
    )
    gc.collect()
    gc.disable()
    began = time.process_time()
    serve(engine, schedule)
    seconds = time.process_time() - began
    gc.enable()
    return seconds, engine.counters.iterations, engine.counters.generated_tokens


def measure(name: str, job: Job, runs: int) -> list[Speed]:
    """Both ways in turn."""
    schedule = requests_of(job)
    found: dict[bool, list[tuple[float, int, int]]] = {False: [], True: []}
    for _ in range(runs):
        for leaps, rows in found.items():
            rows.append(timed(job, schedule, leaps=leaps))
    return [_speed(f"{name}, {'leaps' if leaps else 'steps'}", job, rows) for leaps, rows in found.items()]


def _speed(name: str, job: Job, rows: list[tuple[float, int, int]]) -> Speed:
    seconds, iterations, tokens = median(row[0] for row in rows), rows[0][1], rows[0][2]
    rate = job.requests / seconds
    return Speed(name, job.requests, iterations, seconds, rate, iterations / seconds, tokens / seconds, rate / VIDUR)


def cold() -> float:
    """Wall seconds of a fresh process that simulates a hundred requests."""
    began = time.perf_counter()
    code = f"from benchmarks.simulator import *; job = vidurs_row({WARM}); timed(job, requests_of(job), leaps=True)"
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    speeds = measure("Vidur's row", vidurs_row(given.requests), given.runs)
    speeds += measure("MLFQ overload", overload(given.requests), given.runs)
    start = cold()
    if given.json:
        sys.stdout.write(json.dumps({"cold_s": start, "speeds": [asdict(s) for s in speeds]}, indent=1) + "\n")
        return
    sys.stdout.write(
        f"{'':24}{'requests/s':>12}{'iterations/s':>14}{'seq-steps/s':>13}{'iterations':>12}{'x Vidur':>9}\n"
    )
    for s in speeds:
        ratio = f"{s.against_vidur:9.1f}" if s.name.startswith("Vidur") else ""
        sys.stdout.write(
            f"{s.name:24}{s.requests_per_s:12.0f}{s.iterations_per_s:14.0f}{s.sequence_steps_per_s:13.0f}"
            f"{s.iterations:12}{ratio}\n"
        )
    sys.stdout.write(f"cold start to the first result: {start:.2f} s\n")


if __name__ == "__main__":
    main()
