"""What a decision costs: policy and bookkeeping per iteration at batch 256, every variant. Goal 200 us, required 1 ms.

    python -m benchmarks.policy [--iterations N] [--profile VARIANT] [VARIANT ...]

One sample is `policy.on(Ran)` and the `policy.plan` after it, in a real `Instance` with synthetic compute on the
modeled clock. steady: about 256 live requests, as many arrive as end. overload: 1,000 more wait. tight: the same
with device memory for half of the live requests, so that they swap or recompute.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median, quantiles
from time import perf_counter_ns

from systems.core.assemble import Memory, policy_of
from systems.core.config import EngineConfig
from systems.core.events import Event, Ran
from systems.core.instance import Instance
from systems.core.plan import Plan
from systems.core.policy import Policy
from systems.core.profile import Profile, ProfileCost, ProfileEstimator
from systems.core.request import Request, Sampling
from systems.core.synthetic import SyntheticCompute
from systems.core.variant import find
from systems.core.virtual.computed import Computed
from systems.core.virtual.fleet import serve
from systems.core.virtual.links import Link
from systems.fastserve.variants import VARIANTS as FASTSERVE
from systems.vllm.variants import VARIANTS as VLLM

BATCH = 256
WAITING = 1000
PROMPT, OUTPUT = 64, 200  # tokens; outputs are spread over 100 to 300
PAGE = 16
AMPLE = Memory(device_pages=1 << 16, host_pages=1 << 16, page_tokens=PAGE, page_bytes=1 << 17)
TIGHT = Memory(
    device_pages=BATCH * (PROMPT + OUTPUT) // PAGE // 2, host_pages=1 << 16, page_tokens=PAGE, page_bytes=1 << 17
)
WARM_UP = 20  # iterations of prompts and first growth that are no steady state


class EnoughError(Exception):
    """The samples are complete."""


@dataclass
class Timed:
    """A policy whose decisions are timed: ns from `Ran` to the end of the plan that answers it."""

    policy: Policy
    want: int
    samples: list[int] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    profiler: cProfile.Profile | None = None
    _ran: int = 0
    _skipped: int = 0

    def on(self, event: Event, now: int) -> None:
        """Pass an event on."""
        began = perf_counter_ns()
        self._enter()
        self.policy.on(event, now)
        self._leave()
        if isinstance(event, Ran):
            self._ran = perf_counter_ns() - began

    def plan(self, now: int) -> Plan:
        """Pass the question on; count it when an iteration has run. Raises EnoughError when there are enough."""
        began = perf_counter_ns()
        self._enter()
        plan = self.policy.plan(now)
        self._leave()
        if self._ran:
            self._skipped += 1
            if self._skipped > WARM_UP:
                self.samples.append(self._ran + perf_counter_ns() - began)
            self._ran = 0
        if len(self.samples) >= self.want:
            raise EnoughError
        return plan

    def describe(self, request: int) -> str:
        """Pass the question on."""
        return self.policy.describe(request)

    def _enter(self) -> None:
        if self.profiler:
            self.profiler.enable()

    def _leave(self) -> None:
        if self.profiler:
            self.profiler.disable()


def schedule(first: int, gap: int) -> Iterator[Request]:
    """`first` requests at once, then one every `gap` ns, more than any run needs."""
    prompt = tuple(range(PROMPT))
    for number in range(first + 4000):
        output = 100 + number * 7919 % 201
        yield Request(number, prompt, Sampling(max_tokens=output, ignore_eos=True), max(0, number - first) * gap)


def measure(variant: str, memory: Memory, waiting: int, iterations: int, profiler: cProfile.Profile | None) -> Timed:
    """Samples of one variant in one situation."""
    profile = Profile.synthetic()
    estimator = ProfileEstimator(profile)
    config = EngineConfig("synthetic", variant, max_batch=BATCH, max_tokens=8192)
    inner, blocks = policy_of(find(variant), config, memory, estimator)
    timed = Timed(inner, iterations, profiler=profiler)
    instance = Instance(lambda: (timed, blocks), SyntheticCompute(), max_model_len=4096, oracle=find(variant).oracle)
    step = estimator.decode(BATCH, BATCH * (PROMPT + OUTPUT // 2))
    engine = Computed(instance, ProfileCost(profile))
    gc.collect()
    gc.disable()  # the engine process freezes its heap too; a collection here would be of this benchmark's own lists
    try:
        serve(engine, schedule(BATCH + waiting, step * OUTPUT // BATCH), {"pcie": Link(20e9)})
    except EnoughError:
        pass
    finally:
        gc.enable()
    return timed


SITUATIONS = {"steady": (AMPLE, 0), "overload": (AMPLE, WAITING), "tight": (TIGHT, WAITING)}


def report(variants: list[str], iterations: int) -> None:
    """Print the table: us, median and p99."""
    print(f"us per iteration: policy.on(Ran) + policy.plan, batch {BATCH}, {iterations} iterations")
    print(f"{'':32}" + "".join(f"{name:>20}" for name in SITUATIONS))
    print(f"{'variant':32}" + f"{'median':>12}{'p99':>8}" * len(SITUATIONS))
    for variant in variants:
        cells = []
        for memory, waiting in SITUATIONS.values():
            us = [ns / 1000 for ns in measure(variant, memory, waiting, iterations, None).samples]
            cells.append(f"{median(us):12.0f}{quantiles(us, n=100)[98]:8.0f}")
        print(f"{variant:32}" + "".join(cells), flush=True)


def show_profile(variant: str, iterations: int) -> None:
    """Print where the time of `variant` goes, situation by situation (a profiler slows small functions down most)."""
    for name, (memory, waiting) in SITUATIONS.items():
        profiler = cProfile.Profile()
        measure(variant, memory, waiting, iterations, profiler)
        print(f"--- {variant}, {name}")
        pstats.Stats(profiler).sort_stats("tottime").print_stats(12)


def main() -> None:
    """Read the arguments and print."""
    known = [variant.id for variant in (*FASTSERVE, *VLLM)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", default=known, metavar="VARIANT")
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--profile", metavar="VARIANT", choices=known)
    arguments = parser.parse_args()
    if arguments.profile:
        show_profile(arguments.profile, arguments.iterations)
    else:
        report(arguments.variants, arguments.iterations)


if __name__ == "__main__":
    main()
