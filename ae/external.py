"""Servers of the user's own as series of a figure: what they serve, and which of them a figure has points of.

A run without `--series` still draws what such a server was measured at, so the figure's folder remembers it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING

from ae import launch, places, slots
from ae.options import external
from ae.store import canonical, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ae.figure import Color, Figure, Marker, Series, Tier

# Grey and its cross last: published points without a series of ours are drawn so.
_LOOKS: tuple[tuple[Color, Marker], ...] = (("purple", "P"), ("sky", "v"), ("green", "D"), ("grey", "X"))


@dataclass(frozen=True, slots=True)
class External:
    """A server as a series; `models` is what it said it serves, part of the key of its points."""

    series: Series
    models: str

    @property
    def words(self) -> str:
        """NAME=URL, as on the command line."""
        return f"{self.series.name}={self.series.variant}"


def asked(series: Iterable[Series]) -> tuple[External, ...]:
    """Ask every server what it serves. Raises AeError for one that does not answer."""
    return tuple(External(one, served_models(one.variant)) for one in series)


def remembered(figure: Figure, tier: Tier) -> tuple[External, ...]:
    """Return the servers that the figure was measured with before; those whose name it now uses itself are left out."""
    file = _file(figure, tier)
    if not file.exists():
        return ()
    own = {series.name for series in figure.series}
    found = (External(external(words), models) for words, models in json.loads(file.read_text()))
    return tuple(one for one in found if one.series.name not in own)


def remember(figure: Figure, tier: Tier, servers: Iterable[External]) -> tuple[External, ...]:
    """Add `servers` to those remembered; one of the same name replaces the older. Returns all of them."""
    new = {one.series.name: one for one in servers}
    known = {one.series.name: one for one in remembered(figure, tier)} | new
    if new:
        value = [[one.words, one.models] for one in known.values()]
        write_atomic(_file(figure, tier), json.dumps(value, indent=1) + "\n")
    return tuple(known.values())


def extended(figure: Figure, servers: Iterable[External]) -> Figure:
    """Return `figure` with the servers as further series, each in a look that no series of its own has."""
    used = {series.marker for series in figure.series}
    looks = cycle([look for look in _LOOKS if look[1] not in used] or _LOOKS)
    added = [
        replace(one.series, color=color, marker=marker) for one, (color, marker) in zip(servers, looks, strict=False)
    ]
    return replace(figure, series=(*figure.series, *added))


def served_models(url: str) -> str:
    """Read what an external server serves, without what changes from call to call. Raises ServerFailed."""
    answer = json.loads(launch.get(f"{url}/v1/models"))
    models = [[m.get("id"), m.get("root"), m.get("max_model_len"), m.get("owned_by")] for m in answer.get("data", [])]
    return canonical(models)


def _file(figure: Figure, tier: Tier) -> Path:
    return places.figure(slots.home(figure), tier) / "external.json"
