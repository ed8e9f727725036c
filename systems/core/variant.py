"""A variant: one named configuration of a system, as data.

The policy is named by a string and imported only when it is built, so that a measured point depends on
the code of its own policy and of no other.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

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
    """The policy of `variant`, with `extra` settings on top of its own. Raises UsageError as `check` does."""
    settings = check(variant, limits, extra)
    return cast("Policy", _policy(variant)(limits, blocks, estimator, settings))


def check(variant: Variant, limits: Limits, extra: dict[str, Scalar] | None = None) -> object:
    """The `Settings` of the policy of `variant`, with `extra` on top of its own.

    Raises UsageError for a name it does not have, for a value of another type than the field's, for a number that is
    negative or not finite (no setting of a scheduler is), for what `Settings` itself refuses, and for empty limits.
    """
    for name in ("max_batch", "max_tokens"):
        if getattr(limits, name) < 1:
            raise UsageError(f"{name} is {getattr(limits, name)}.", f"Give a {name} of at least 1.")
    cls = _policy(variant).Settings
    values = {**variant.settings, **(extra or {})}
    known = {f.name for f in fields(cls)}
    if unknown := sorted(set(values) - known):
        names = ", ".join(sorted(known)) or "none"
        raise UsageError(f"{variant.id} has no setting {', '.join(unknown)}.", f"Settings: {names}.")
    kinds = get_type_hints(cls)
    return cls(**{name: read(name, value, kinds[name]) for name, value in values.items()})


def _policy(variant: Variant) -> Any:
    module, _, name = variant.policy.partition(":")
    return getattr(importlib.import_module(module), name)


def read(name: str, value: Scalar, kind: object) -> Scalar:
    """`value` of the setting `name` as a `kind`, the annotation of a field: a whole number will do for a float.

    Raises UsageError, with what is allowed, for any other type, a number below 0, or one that is not finite.
    """
    if get_origin(kind) is Literal:
        allowed, fits = " or ".join(map(str, get_args(kind))), value in get_args(kind)
    elif kind is bool or kind is str:
        allowed, fits = "true or false" if kind is bool else "a text", type(value) is kind
    else:
        allowed = f"a {'whole ' if kind is int else ''}number that is not negative"
        fits = type(value) in ((int,) if kind is int else (int, float)) and 0 <= cast("float", value) < math.inf
    if not fits:
        raise UsageError(f"The setting {name} is {value!r}.", f"Give {allowed}.")
    return float(value) if kind is float else value
