"""Which short path, if any, covers a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from systems.core.torch.attention import CpuPaged
    from systems.core.torch.compute import Path


def fast_path(model: Any, paged: CpuPaged) -> Path | None:
    """The short path for `model`, or None where only the library's modules will do."""
    return None
