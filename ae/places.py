"""Where things are: the repository, the figure files, the results, the cache."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def figures() -> Path:
    """The folder with one folder of figure files per system (`AE_FIGURES` names another)."""
    return _from_environment("AE_FIGURES", REPOSITORY / "figures")


def results() -> Path:
    """Where runs leave their points, tables and pictures (`AE_RESULTS` names another)."""
    return _from_environment("AE_RESULTS", REPOSITORY / "results")


def figure(identifier: str, tier: str) -> Path:
    """results/<tier>/<system>/<figure>."""
    return results() / tier / identifier


def cache() -> Path:
    """What can be made again: tiny checkpoints (`AE_CACHE` names another; default under `XDG_CACHE_HOME`)."""
    base = _from_environment("XDG_CACHE_HOME", Path.home() / ".cache")
    return _from_environment("AE_CACHE", base / "ae")


def lock_file() -> Path:
    """The pinned versions that a measured point depends on."""
    return REPOSITORY / "scripts" / "constraints.txt"


def _from_environment(name: str, default: Path) -> Path:
    value = os.environ.get(name)
    return Path(value).resolve() if value else default
