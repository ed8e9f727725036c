"""Puts an instance together from its configuration, and the same policy again from an event log's header."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from systems.core.compute import Compute
from systems.core.config import EngineConfig
from systems.core.instance import Instance
from systems.core.memory.blocks import PagedBlocks
from systems.core.policy import Estimator, Limits, Policy
from systems.core.variant import Variant, build, find


@dataclass(frozen=True, slots=True)
class Memory:
    """Resolved sizes of an instance's pools."""

    device_pages: int
    host_pages: int
    page_tokens: int = 16
    page_bytes: int = 0


def policy_of(
    variant: Variant, config: EngineConfig, memory: Memory, estimator: Estimator
) -> tuple[Policy, PagedBlocks]:
    """A fresh policy with fresh memory. Raises UsageError for unknown settings."""
    blocks = PagedBlocks(memory.device_pages, memory.host_pages, memory.page_tokens, memory.page_bytes)
    limits = Limits(max_batch=config.max_batch, max_tokens=config.max_tokens)
    return build(variant, limits, blocks, estimator, config.settings), blocks


def instance_of(
    config: EngineConfig,
    compute: Compute,
    memory: Memory,
    estimator: Estimator,
    *,
    max_model_len: int | None = None,
    eos: tuple[int, ...] = (),
) -> Instance:
    """An instance as `config` describes it over `compute`."""
    variant = find(config.variant)
    return Instance(
        lambda: policy_of(variant, config, memory, estimator),
        compute,
        max_model_len=max_model_len or config.max_model_len,
        max_queue=config.max_queue,
        eos=eos,
        oracle=variant.oracle,
    )


def log_header(config: EngineConfig, memory: Memory, profile: dict[str, Any]) -> dict[str, Any]:
    """What a replay needs: the configuration, the memory and the profile that the estimator read."""
    return {"config": asdict(config), "memory": asdict(memory), "profile": profile}
