"""The configuration of one engine, as data: what is asked for, and what `/ae/config` reads back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Literal

from systems.core.errors import UsageError
from systems.core.variant import Scalar

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """One engine: a model, a variant, its memory and its machine.

    `device_pages` / `host_pages` 0 means: as many as fit in `kv_bytes` / `host_bytes`. `link_bytes_per_s` paces
    transfers between the pools (0: as fast as memory copies). `profile` is the path of a measured profile.
    `model` is a checkpoint directory; `dummy_weights` needs only its config.json.
    """

    model: str
    variant: str = "fastserve"
    settings: dict[str, Scalar] = field(default_factory=dict)
    device: Device = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    dummy_weights: bool = False
    max_batch: int = 16
    max_tokens: int = 2048
    max_model_len: int = 2048
    max_queue: int = 4096
    page_tokens: int = 16
    device_pages: int = 0
    host_pages: int = 0
    kv_bytes: int = 64 << 20
    host_bytes: int = 64 << 20
    link_bytes_per_s: float = 0.0
    profile: str = ""
    fast_path: bool = True
    threads: int = 1
    seed: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    event_log: str = ""

    def to_json(self) -> str:
        """Canonical JSON (sorted keys)."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> EngineConfig:
        """Read `to_json` back. Raises UsageError for an unknown field."""
        row = json.loads(text)
        if unknown := sorted(set(row) - {f.name for f in fields(cls)}):
            raise UsageError(f"Unknown engine setting: {', '.join(unknown)}.")
        return cls(**row)

    def but(self, **changes: object) -> EngineConfig:
        """A copy with `changes`."""
        return replace(self, **changes)  # type: ignore[arg-type]
