"""A variant: one named configuration of a system, as data.

The policy is named by a string and imported only when it is built, so that a measured point depends on
the code of its own policy and of no other.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from systems.core.errors import UsageError
from systems.core.memory.blocks import PagedBlocks
from systems.core.policy import Estimator, Limits, Policy

Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Variant:
    """`policy` is "package.module:Class"; `settings` are fields of that class's `Settings`.

    `oracle` variants are told each request's output length; no other is.
    """

    system: str
    name: str
    policy: str
    about: str
    settings: dict[str, Scalar] = field(default_factory=dict)
    oracle: bool = False

    @property
    def id(self) -> str:
        """`system/name`, the form used on the command line and in results."""
        return f"{self.system}/{self.name}"


def find(name: str) -> Variant:
    """The variant called `system/name`, or a system's default (`fastserve`). Raises UsageError."""
    system, _, variant = name.partition("/")
    try:
        table = importlib.import_module(f"systems.{system}.variants").VARIANTS
    except ModuleNotFoundError as error:
        raise UsageError(f"There is no system called {system!r}.", f"Systems: {', '.join(systems())}.") from error
    known = cast("dict[str, Variant]", {v.name: v for v in table})
    if not variant:
        return next(iter(known.values()))
    if variant not in known:
        raise UsageError(f"{system} has no variant {variant!r}.", f"Variants: {', '.join(known)}.")
    return known[variant]


def systems() -> list[str]:
    """The names of the systems that are here: the folders beside this one that have a table of variants."""
    return sorted(table.parent.name for table in Path(__file__).parents[1].glob("*/variants.py"))


def build(
    variant: Variant, limits: Limits, blocks: PagedBlocks, estimator: Estimator, extra: dict[str, Scalar] | None = None
) -> Policy:
    """The policy of `variant`, with `extra` settings on top of its own. Raises UsageError for an unknown one."""
    module, _, name = variant.policy.partition(":")
    cls = getattr(importlib.import_module(module), name)
    values = {**variant.settings, **(extra or {})}
    known = {f.name for f in fields(cls.Settings)}
    if unknown := sorted(set(values) - known):
        raise UsageError(f"{variant.id} has no setting {', '.join(unknown)}.", f"Settings: {', '.join(sorted(known))}.")
    settings: Any = cls.Settings(**values)
    return cast("Policy", cls(limits, blocks, estimator, settings))
