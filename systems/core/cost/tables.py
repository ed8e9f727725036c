"""The data files beside this module, and look-ups by name that say what was meant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from systems.core.errors import UsageError

_HERE = Path(__file__).parent


@cache
def read(name: str) -> Any:
    """The data file `name` (without its suffix), parsed once. Callers must not change it."""
    return yaml.safe_load((_HERE / f"{name}.yaml").read_text(encoding="utf-8"))


@cache
def digest() -> str:
    """A hash of what all data files say, for the key of a simulated point: comments and layout do not count."""
    said = {path.stem: read(path.stem) for path in sorted(_HERE.glob("*.yaml"))}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def names(name: str) -> tuple[str, ...]:
    """What the data file `name` has entries for, in its order."""
    return tuple(read(name))


def full_name(table: str, kind: str, wanted: str) -> str:
    """The name in the table that `wanted` means, whatever its case, or the only one that begins with it and a dash.

    So h100 is h100-80g, while a100 is two GPUs. Raises UsageError with the nearest names and all of them.
    """
    name, known = wanted.lower(), names(table)
    longer = [other for other in known if other.startswith(f"{name}-")]
    found = longer[0] if name not in known and len(longer) == 1 else name
    check_name(kind, found, known)
    return found


def row(table: str, name: str) -> dict[str, Any]:
    """The entry of a name that exists."""
    found: dict[str, Any] = read(table)[name]
    return found


def check_name(kind: str, wanted: str, known: Collection[str]) -> None:
    """Raise UsageError when `wanted` is not `known`: the nearest names first, then all."""
    if wanted in known:
        return
    near = get_close_matches(wanted, known, n=3, cutoff=0.5)
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    raise UsageError(f"There is no {kind} {wanted!r}.", f"{guess}Known: {', '.join(known)}.")
