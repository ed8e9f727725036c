"""One simulated point, start to end, as a pure function of its job.

Policy, memory and limits are the very ones that serve real requests. Time comes from the cost model of `job.hardware`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ae.load.schedule import Load, plain
from systems.core.assemble import Memory, log_header, policy_of
from systems.core.cost.named import machine
from systems.core.event_log import EventLog
from systems.core.request import Request, Sampling
from systems.core.variant import find
from systems.core.virtual.fleet import serve
from systems.core.virtual.links import Link
from systems.core.virtual.simulated import Simulated

if TYPE_CHECKING:
    from pathlib import Path

    from ae.sim.points import Job
    from systems.core.cost.named import Machine
    from systems.core.record import Record

HOST_SHARE = 2.0  # host pool in device pools, where nothing says how large it is


@dataclass(frozen=True, slots=True)
class Outcome:
    """The records, ordered by id, the engine's counters by name (times in ns, sizes in bytes), and how large both pools were."""

    records: list[Record]
    counters: dict[str, int]
    memory: Memory


def simulate(job: Job, log: Path | None = None) -> Outcome:
    """Run one point; with `log`, write its events there. Raises UsageError for what does not exist or fit."""
    hardware = machine(job.hardware)
    memory = memory_of(job, hardware)
    entry, config = find(job.engine.variant), job.engine
    engine = Simulated(
        lambda: policy_of(entry, config, memory, hardware.estimator),
        hardware.cost,
        max_model_len=config.max_model_len,
        max_queue=config.max_queue,
        oracle=entry.oracle,
    )
    if log:
        engine.log = EventLog(log, header(job, memory))
    records = serve(engine, requests_of(job), {"pcie": Link(hardware.host_link)})
    if engine.log:
        engine.log.close()
    return Outcome(records, asdict(engine.counters), memory)


def memory_of(job: Job, hardware: Machine) -> Memory:
    """The pages that the job states, else those that fit; a host pool that nothing states is twice as large."""
    pages = job.engine.device_pages or hardware.capacity.pages
    host = job.engine.host_pages or round(HOST_SHARE * pages)
    return Memory(pages, host, job.engine.page_tokens, hardware.page_bytes)


def requests_of(job: Job) -> list[Request]:
    """The schedule: lengths and times, no tokens."""
    load = Load(job.rate, requests=job.requests, seed=job.seed, max_model_len=job.engine.max_model_len)
    at, pairs = plain(job.workload, load)
    return [
        Request(i, range(prompt), Sampling(max_tokens=output, ignore_eos=True), arrival=round(time * 1e9))
        for i, (time, prompt, output) in enumerate(
            zip(at.tolist(), pairs.prompt.tolist(), pairs.output.tolist(), strict=True)
        )
    ]


def header(job: Job, memory: Memory) -> dict[str, Any]:
    """What a replay of the event log needs: configuration, memory, and the hardware that the estimator knows."""
    sized = replace(job.engine, device_pages=memory.device_pages, host_pages=memory.host_pages)
    return {**log_header(sized, memory, {}), "hardware": asdict(job.hardware)}
