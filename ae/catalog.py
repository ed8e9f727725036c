"""Finds figure files by folder, loads them by path, and understands what a user calls them."""

from __future__ import annotations

import difflib
import importlib.util
import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ae import places
from ae.figure import Figure
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable


def identifiers(folder: Path | None = None) -> list[str]:
    """The ids (`system/name`) of every figure file, in reading order (figure2 before figure11)."""
    base = folder or places.figures()
    files = [file for file in base.glob("*/*.py") if not file.name.startswith("_")]
    return [f"{file.parent.name}/{file.stem}" for file in sorted(files, key=_reading_order)]


def select(selectors: Iterable[str], folder: Path | None = None) -> list[Figure]:
    """The figures meant by `figure14`, `fastserve/figure14`, `fastserve` or `all`, each once.

    Raises UsageError for a name that means nothing, with the nearest one that does.
    """
    known = identifiers(folder)
    chosen = [name for selector in selectors for name in _matches(selector, known)]
    return [load(name, folder) for name in dict.fromkeys(chosen)]


def load(identifier: str, folder: Path | None = None) -> Figure:
    """The figure declared in `<folder>/<system>/<name>.py`. Raises UsageError when it declares none."""
    return _load((folder or places.figures()) / f"{identifier}.py", identifier)


def file_of(figure: Figure, folder: Path | None = None) -> Path:
    """The file that declares `figure`."""
    return (folder or places.figures()) / f"{figure.id}.py"


def find_log(name: str) -> Path:
    """The event log meant by its path, its point's folder, or part of the point's name (newest finished attempt).

    Of a simulated point, which keeps no log, it is the `resolved.json`. Raises UsageError.
    """
    path = Path(name)
    if path.is_file():
        return path
    found = [path] if path.is_dir() else list(places.results().glob(f"*/*/*/points/*{name}*"))
    done = [marker.parent for folder in found for marker in folder.glob("**/DONE")]
    logs = [log for attempt in done if (log := _log(attempt))]
    if not logs:
        raise UsageError(f"No finished point is called {name!r}.", "Run its figure first; `ae plan FIGURE` has names.")
    return max(logs, key=lambda log: log.stat().st_mtime)


def _log(attempt: Path) -> Path | None:
    """What a replay of a finished attempt starts from; None for an external server's."""
    if (log := attempt / "events.jsonl").exists():
        return log
    resolved = attempt / "resolved.json"
    return resolved if resolved.exists() and "job" in json.loads(resolved.read_text()) else None


@lru_cache(maxsize=256)
def _load(file: Path, identifier: str) -> Figure:
    name = "_ae_figures_" + identifier.replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise UsageError(f"There is no figure file {file}.", "See `ae list`.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    spec.loader.exec_module(module)
    figure = getattr(module, "FIGURE", None)
    if not isinstance(figure, Figure):
        raise UsageError(f"{file} declares no FIGURE.", "Add `FIGURE = Figure(...)` (ae/figure.py says what of).")
    if figure.id != identifier:
        raise UsageError(f"{file} calls itself {figure.id!r}.", f"Set its id to {identifier!r}.")
    return figure


def _matches(selector: str, known: list[str]) -> list[str]:
    if selector == "all":
        return known
    found = [name for name in known if selector in {name, *name.split("/")}]
    if not found:
        names = {part for name in known for part in (name, *name.split("/"))}
        near = difflib.get_close_matches(selector, sorted(names), n=1)
        fix = f"Did you mean {near[0]}?" if near else "See `ae list`."
        raise UsageError(f"No figure is called {selector!r}.", fix)
    return found


def _reading_order(file: Path) -> tuple[str, str, int]:
    digits = "".join(c for c in file.stem if c.isdigit())
    return file.parent.name, file.stem.rstrip("0123456789"), int(digits or 0)
