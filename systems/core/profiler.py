"""Measure how long prompts and decodes of one engine take on this machine.

`python -m systems.core.profiler --config ENGINE.json --out PROFILE.json` takes a few seconds. Every number is the
median of repeated passes of `TorchCompute` itself, so it holds the bookkeeping of a step but no scheduling and no HTTP.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from systems.core.config import EngineConfig
from systems.core.errors import AeError, UsageError
from systems.core.hardware import cpu_name
from systems.core.plan import Iteration, Span, SpanKind
from systems.core.profile import Profile
from systems.core.request import Request, Sampling

if TYPE_CHECKING:
    from systems.core.torch.compute import TorchCompute

PROMPTS = (1, 16, 32, 64, 128, 256, 512, 1024, 2048)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
CONTEXTS = (16, 128, 512)
MOST_PASSES = 26  # of one cell; a decode grows by a token in each
CELL_NS = 120_000_000  # a cell is repeated at least 3 times, for about this long
INTERRUPTED = 1.05  # wall over thread time beyond which a pass shared its core (with threads, most of them do)
ATTEMPTS = 3  # a neighbour on the machine can spoil a measurement; a profile that is not sane is measured again


def measure(config: EngineConfig) -> Profile:
    """The profile of the engine `config` describes. Raises UsageError when even the last attempt is not sane."""
    from systems.core.torch.compute import TorchCompute  # noqa: PLC0415  `--help` pays for no torch

    compute = TorchCompute.load(config)
    for attempt in range(ATTEMPTS):
        profile = _measure(compute)
        try:
            profile.validate()
        except UsageError:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            break
    return profile


def _measure(compute: TorchCompute) -> Profile:
    config = compute.config
    longest = min(compute.max_model_len, compute.device_pages * config.page_tokens, config.max_tokens)
    prompts = [n for n in PROMPTS if n < longest] + [longest]
    batches = sorted({b for b in BATCHES if b < config.max_batch} | {1, max(2, config.max_batch)})
    contexts = [c for c in CONTEXTS if c + MOST_PASSES < longest] or [max(1, longest - MOST_PASSES)]
    return Profile(
        model=Path(config.model).name,
        hardware=f"{cpu_name()}, {config.device}, {config.threads} thread(s)",
        prefill=tuple((n, prefill_ns(compute, n)) for n in prompts),
        decode=tuple((b, b * c, decode_ns(compute, b, c)) for b in batches for c in contexts),
    )


def prefill_ns(compute: TorchCompute, tokens: int) -> int:
    """Median ns of the first iteration of a prompt of `tokens`, alone."""
    compute.admit(_request(compute, 0, tokens))
    span = Span(0, 0, tokens, SpanKind.CHUNK, (_table(compute, 0, tokens),))
    try:
        # `emits` appends a token to the request each time; the span still names the prompt's own tokens
        return _repeat(lambda: _step(compute, Iteration(0, spans=(span,))))
    finally:
        compute.forget(0)


def decode_ns(compute: TorchCompute, batch: int, context: int) -> int:
    """Median ns of one decode iteration of `batch` requests with about `context` tokens each.

    Memory is not filled first: how long a pass takes does not depend on what the numbers are. Requests have pages of
    their own as far as the pool reaches.
    """
    names = range(batch)
    for name in names:
        compute.admit(_request(compute, name, context))
    members = tuple(
        Span(name, context - 1, 1, SpanKind.DECODE, (_table(compute, name, context + MOST_PASSES),)) for name in names
    )
    try:
        _step(compute, Iteration(0, joined=members))
        return _repeat(lambda: _step(compute, Iteration(1)))
    finally:
        for name in names:
            compute.forget(name)


def _request(compute: TorchCompute, name: int, tokens: int) -> Request:
    ids = tuple((7 * name + 13 * i) % compute.vocab for i in range(tokens))
    return Request(name, ids, Sampling(max_tokens=1 << 30))


def _table(compute: TorchCompute, name: int, tokens: int) -> tuple[int, ...]:
    count = min(-(-tokens // compute.config.page_tokens), compute.limits.table)
    return tuple((name * count + i) % compute.device_pages for i in range(count))


def _step(compute: TorchCompute, iteration: Iteration) -> None:
    step = compute.step(iteration)
    assert not step.failed, step.failed


def _repeat(once: Callable[[], None]) -> int:
    """Median ns of `once`, not counting its first call.

    On a machine shared with others a pass may be interrupted; where enough passes were not, only those count.
    """
    once()
    whole: list[int] = []
    undisturbed: list[int] = []
    while len(whole) < 3 or (len(whole) < MOST_PASSES - 2 and sum(whole) < CELL_NS):
        start, worked = time.perf_counter_ns(), time.thread_time_ns()
        once()
        elapsed, worked = time.perf_counter_ns() - start, time.thread_time_ns() - worked
        whole.append(elapsed)
        if elapsed < worked * INTERRUPTED:
            undisturbed.append(elapsed)
    return round(statistics.median(undisturbed if len(undisturbed) >= 3 else whole))


def main() -> int:
    """Measure and write. The exit code is that of the error."""
    parser = argparse.ArgumentParser(prog="python -m systems.core.profiler", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="engine configuration, JSON")
    parser.add_argument("--out", required=True, type=Path, help="where the profile is written")
    args = parser.parse_args()
    try:
        if not args.config.is_file():
            raise UsageError(f"There is no file {args.config}.", "Give --config an engine configuration.")
        profile = measure(EngineConfig.from_json(args.config.read_text(encoding="utf-8")))
        profile.save(args.out)
    except AeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
