"""The engine process of one server: builds compute, memory, policy and loop from a configuration, and runs it.

Started by the front end as `python -m systems.core.engine_process FD`, with a socket at FD.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from systems.core.assemble import Memory, instance_of, log_header
from systems.core.compute import Compute
from systems.core.config import EngineConfig
from systems.core.engine_pipe import EnginePipe
from systems.core.errors import AeError, UsageError
from systems.core.estimators import SYNTHETIC, estimator_of, recorded_profile
from systems.core.event_log import EventLog
from systems.core.synthetic import SyntheticCompute
from systems.core.wall import WallLoop
from systems.core.wire import Died, EngineFacts, Ready

SYNTHETIC_TOKEN_BYTES = 4096  # KV bytes of one token of the made-up model; sizes pools and transfers only


@dataclass(frozen=True, slots=True)
class Built:
    """A compute and what it turned out to be."""

    compute: Compute
    memory: Memory
    max_model_len: int
    vocab: int
    eos: tuple[int, ...]
    facts: Mapping[str, str]


def main() -> None:
    """Serve the front end at the other end of the pipe until it stops us or is gone."""
    code = _serve(EnginePipe(int(sys.argv[1])))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # everything is closed; taking torch down in good order would cost up to 3 s


def _serve(pipe: EnginePipe) -> int:
    """Build and run; the exit code."""
    try:
        config = pipe.start().config
        built = build_compute(config)
        loop = make_loop(config, built, pipe)
        pipe.outbox(Ready(facts_of(built)))
        loop.run()
    except AeError as error:
        pipe.outbox(Died(str(error), error.exit_code))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - whatever it is, waiting clients must hear of it
        traceback.print_exc()
        pipe.outbox(Died(f"{type(error).__name__}: {error}"))
        return 1
    return 0


def build_compute(config: EngineConfig) -> Built:
    """The compute that `config.model` asks for. Raises UsageError when it is no model."""
    if config.model == SYNTHETIC:
        return _synthetic(config)
    if not Path(config.model).is_dir():
        raise UsageError(f"There is no model at {config.model!r}.", f"Give a checkpoint directory, or {SYNTHETIC!r}.")
    from systems.core.torch.compute import TorchCompute  # noqa: PLC0415 - seconds that synthetic compute need not pay

    compute = TorchCompute.load(config)
    memory = Memory(
        compute.device_pages,
        compute.host_pages,
        config.page_tokens,
        sum(group.page_bytes for group in compute.layout.groups),
    )
    facts = {key: str(value) for key, value in compute.facts().items()}
    return Built(compute, memory, compute.max_model_len, compute.vocab, tuple(compute.eos), facts)


def _synthetic(config: EngineConfig) -> Built:
    compute = SyntheticCompute()
    page = config.page_tokens * SYNTHETIC_TOKEN_BYTES
    memory = Memory(
        config.device_pages or config.kv_bytes // page, config.host_pages or config.host_bytes // page,
        config.page_tokens, page,
    )  # fmt: skip
    return Built(compute, memory, config.max_model_len, compute.vocab, (), {"compute": SYNTHETIC})


def make_loop(config: EngineConfig, built: Built, pipe: EnginePipe) -> WallLoop:
    """The wall-clock loop over a new instance, with an event log if `config` names one. Raises UsageError."""
    profile = recorded_profile(config)
    instance = instance_of(
        config, built.compute, built.memory, estimator_of(profile),
        max_model_len=built.max_model_len, eos=built.eos,
    )  # fmt: skip
    facts = log_header(config, built.memory, profile)
    if config.event_log:
        instance.start_log(_event_log(Path(config.event_log), facts))
    return WallLoop(instance, pipe.inbox, pipe.outbox, bytes_per_s=config.link_bytes_per_s, facts=facts)


def _event_log(path: Path, header: dict[str, Any]) -> EventLog:
    try:
        return EventLog(path, header)
    except OSError as error:
        raise UsageError(
            f"Cannot write the event log {path}: {error.strerror}.", "Name a file in a folder that is there."
        ) from error


def facts_of(built: Built) -> EngineFacts:
    """What the front end is told."""
    return EngineFacts(
        device_pages=built.memory.device_pages,
        host_pages=built.memory.host_pages,
        max_model_len=built.max_model_len,
        vocab=built.vocab,
        eos=built.eos,
        pid=os.getpid(),
        compute=dict(built.facts),
    )


if __name__ == "__main__":
    main()
