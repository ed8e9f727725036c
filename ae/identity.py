"""What decides the result of a point, by name: code, software, settings; and in words, what of it has changed."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ae import manifest, places
from ae.codehash import ModuleHash, closure
from ae.store import canonical
from systems.core import variant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from systems.core.config import EngineConfig

# Modules started by name in processes of their own: no import leads to them, so they are roots.
SERVER = ("systems.core.serve", "systems.core.engine_process")
CLIENT = ("ae.load.client",)
# The client imports these, but what they decide is elsewhere: in the schedule's hash, or computed anew from records.
_NOT_MEASURING = frozenset({"ae/metrics.py", "ae/load/workload.py", "ae/load/arrivals.py"})
# Paths, ports and addresses say where something is on this machine, not what is measured.
_PLACES = frozenset({"model", "profile", "event_log", "host", "port", "settings", "variant"})


class Setting(NamedTuple):
    """A named part of what decides a result; the name is what a reason to rerun says."""

    name: str
    value: str | float | bool | None


def roots(name: str | None) -> tuple[str, ...]:
    """The modules that a point of the variant `name` depends on (None: of an external server)."""
    return CLIENT if name is None else (*SERVER, *CLIENT, policy_module(name))


@lru_cache(maxsize=64)
def code_of(modules: tuple[str, ...]) -> tuple[ModuleHash, ...]:
    """Hash the closure of `modules` in this repository, once per process (see `code_now`)."""
    return code_now(modules)


def code_now(modules: tuple[str, ...]) -> tuple[ModuleHash, ...]:
    """Hash the closure of `modules` as it is on disk at this moment."""
    return tuple(m for m in closure(modules, places.REPOSITORY) if m.path not in _NOT_MEASURING)


def policy_module(name: str) -> str:
    """The module of a variant's policy."""
    return variant.find(name).policy.partition(":")[0]


def software() -> list[Setting]:
    """Interpreter and packages as they are installed, and what was pinned."""
    installed = [Setting(f"package {name}", version) for name, version in manifest.packages().items()]
    return [Setting("python", platform.python_version()), Setting("lock file", lock_hash()), *installed]


def lock_hash() -> str:
    """Hash of the pinned versions; empty when there is no such file."""
    file = places.lock_file()
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.exists() else ""


def engine_settings(engine: EngineConfig) -> list[Setting]:
    """Engine fields, the variant's table entry as data, and its settings with the series' on top."""
    entry = variant.find(engine.variant)
    values = asdict(engine)
    out = [Setting(name, value) for name, value in values.items() if name not in _PLACES]
    out += [Setting("policy", entry.policy), Setting("oracle", entry.oracle)]
    out += [Setting(f"policy.{k}", v) for k, v in {**entry.settings, **engine.settings}.items()]
    return out


def key_of(settings: Sequence[Setting], code: Sequence[ModuleHash]) -> str:
    """Hex SHA-256 of everything that decides a result: the key of a point, measured or simulated."""
    return hashlib.sha256(canonical({"settings": dict(settings), "code": dict(code)}).encode()).hexdigest()


def differences(old: Path, code: Sequence[ModuleHash], settings: Sequence[Setting]) -> list[str]:
    """What differs between a stored `resolved.json` and `code` and `settings`, in words; modules first."""
    row = json.loads(old.read_text())
    had, has = row["code"], dict(code)
    words = [f"{path} changed" for path in has if path in had and had[path] != has[path]]
    words += [f"{path} is new" for path in has if path not in had]
    words += [f"{path} is gone" for path in had if path not in has]
    for name, value in settings:
        before = row["settings"].get(name)
        if before != value:
            words.append(f"{name} {_short(before)} -> {_short(value)}")
    return words


def _short(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 12 else text[:8] + "…"
