from __future__ import annotations

from pathlib import Path

import pytest

from systems.core.torch.checkpoint import ensure


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root below which `ensure` has put t-opt and t-llama."""
    root = tmp_path_factory.mktemp("checkpoints")
    for name in ("t-opt", "t-llama"):
        ensure(name, root)
    return root
