"""`docs/protocol.md` names real fields, and lists as gaps only what is really missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from systems.core import compute, events, plan, policy, request
from systems.core.memory import blocks, layout

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
GAPS, WALK = PAGE.split("Rules that no type shows")
OPEN = GAPS[GAPS.index("| # |") :]
MODULES = (plan, events, request, policy, compute, layout, blocks)


def _class(name: str) -> type | None:
    return next((getattr(m, name) for m in MODULES if isinstance(getattr(m, name, None), type)), None)


def _has(cls: type, field: str) -> bool:
    return hasattr(cls, field) or field in getattr(cls, "__annotations__", {})


@pytest.mark.parametrize(("name", "field"), sorted(set(re.findall(r"`(?:Plan\.)?([A-Z]\w+)\.(\w+)", WALK))))
def test_each_field_of_the_walk_exists(name: str, field: str) -> None:
    cls = _class(name)
    assert cls is not None, f"{name} is no type of the protocol"
    assert _has(cls, field) or f"{name}.{field}" in GAPS


@pytest.mark.parametrize(("name", "field"), sorted(set(re.findall(r"`([A-Z]\w+)\.(\w+)`", OPEN))))
def test_each_gap_is_still_open(name: str, field: str) -> None:
    cls = _class(name)
    assert cls is not None
    assert not _has(cls, field), f"{name}.{field} exists: take it out of the gaps"
