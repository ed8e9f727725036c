"""The configuration of one engine, as data: what is asked for, and what `/ae/config` reads back."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Literal

from systems.core.errors import UsageError
from systems.core.variant import Scalar

Device = Literal["cpu", "cuda"]
# The least and the most a number may be. The upper ends are far above any machine: what lies beyond is a slip of the
# hand, which would otherwise end in an allocation that fails or in a server that hangs.
_MANY = 1 << 24
_BYTES = 1 << 46
RANGES: dict[str, tuple[float, float]] = {
    "max_batch": (1, 1 << 16),
    "max_tokens": (1, _MANY),
    "max_model_len": (1, _MANY),
    "max_queue": (1, _MANY),
    "page_tokens": (1, 1 << 12),
    "device_pages": (0, 1 << 31),
    "host_pages": (0, 1 << 31),
    "kv_bytes": (1, _BYTES),
    "host_bytes": (0, _BYTES),
    "link_bytes_per_s": (0.0, 1e15),
    "threads": (1, 1 << 10),
    "seed": (0, (1 << 32) - 1),
    "port": (0, (1 << 16) - 1),
}


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """One engine: a model, a variant, its memory and its machine.

    `device_pages` / `host_pages` 0 means: as many as fit in `kv_bytes` / `host_bytes`. `link_bytes_per_s` paces
    transfers between the pools (0: as fast as memory copies). `profile` is the path of a measured profile.
    `model` is a checkpoint directory; `dummy_weights` needs only its config.json.

    Raises UsageError for a number outside its range in `RANGES`.
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

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            fits = type(value) is int or (isinstance(least, float) and type(value) is float and math.isfinite(value))
            if not (fits and least <= value <= most):
                kind = "number" if isinstance(least, float) else "whole number"
                raise UsageError(
                    f"{name} is {value!r}.", f"Give a {name} that is a {kind} from {least:g} to {most:.15g}."
                )

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
