"""Removes what runs left behind, and nothing else: results of figures, and processes of our own pid files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ae import places, processes
from ae.store import locked
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ae.processes import Started


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process that a run of ours left, and the folder of its pid file."""

    started: Started
    pids: Path


def orphans() -> list[Orphan]:
    """Find processes of ours that no living run holds (a run in progress keeps its own)."""
    folders = places.results().glob("*/*/calibration/run/pids")
    return [Orphan(s, folder) for folder in folders if not _held(folder) for s in processes.left_over(folder)]


def folders(figures: Sequence[str], tiers: Sequence[str], *, calibration: bool) -> list[Path]:
    """Find the result folders of figures (`system/name`), and of their systems' calibration if asked for."""
    base = places.results()
    wanted = [base / tier / figure for tier in tiers for figure in figures]
    if calibration:
        systems = dict.fromkeys(figure.partition("/")[0] for figure in figures)
        wanted += [base / tier / system / "calibration" for tier in tiers for system in systems]
    return [folder for folder in wanted if folder.is_dir()]


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def remove(folder: Path) -> None:
    """Remove one of `folders`. Raises UsageError while a run is measuring into it."""
    with locked(folder.parent):
        shutil.rmtree(folder)


def end(orphan: Orphan) -> None:
    """Kill a process and its group."""
    processes.end(orphan.started, orphan.pids)


def _held(pids: Path) -> bool:
    try:
        with locked(pids.parents[2]):
            return False
    except UsageError:
        return True
