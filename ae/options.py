"""What a user can ask of a run, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from ae.figure import GridName, Series, Tier
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

TIERS: tuple[Tier, ...] = get_args(Tier)


@dataclass(frozen=True, slots=True)
class Options:
    """How to run. `external` are more series, servers of the user's own; `again` measures invalid points again."""

    tier: Tier = "smoke"
    grid: GridName = "quick"
    external: tuple[Series, ...] = ()
    again: bool = False


def options(name: str, *, full: bool = False, series: Sequence[str] = (), again: bool = False) -> Options:
    """Options from words of a command line; `series` are NAME=URL. Raises UsageError."""
    return Options(tier(name), "full" if full else "quick", tuple(external(text) for text in series), again)


def tier(name: str) -> Tier:
    """The tier called `name`. Raises UsageError."""
    if name not in TIERS:
        raise UsageError(f"There is no tier {name!r}.", f"Tiers: {', '.join(TIERS)} (--tier).")
    return name


def external(text: str) -> Series:
    """The series of a server somebody else runs, from NAME=URL. Raises UsageError."""
    name, _, url = text.partition("=")
    if not name or not url.startswith(("http://", "https://")):
        raise UsageError(f"{text!r} names no server.", "Write --series NAME=http://host:port")
    # A panel's batch limit and memory are not told to it: its picture must not claim them.
    label = f"{name} (own settings)"
    return Series(name=name, label=label, variant=url.rstrip("/").removesuffix("/v1"))
