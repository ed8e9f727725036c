from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
BUILD = {"setuptools"}  # installed first, with the same constraints


def _pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "scripts" / "constraints.txt").read_text().splitlines() if line]
    pins = [re.fullmatch(r"([a-z0-9-]+)==([\w.+!]+)", line) for line in lines if not line.startswith("#")]
    assert all(pins), "every line pins one exact version of one normalised name"
    return {pin[1]: pin[2] for pin in pins if pin}


def _direct() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(r) for r in [*project["dependencies"], *project["optional-dependencies"]["dev"]]]


def _closure() -> set[str]:
    """Everything that the installed versions of our requirements require here."""
    seen: set[str] = set()
    waiting = _direct()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        waiting.extend(Requirement(r) for r in importlib.metadata.requires(name) or ())
    return seen


def test_every_requirement_accepts_its_pin() -> None:
    pins = _pins()
    for requirement in _direct():
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), str(requirement)


def test_everything_that_gets_installed_is_pinned_to_what_is_installed() -> None:
    pins = _pins()
    installed = {name: Version(importlib.metadata.version(name)).public for name in _closure() - BUILD}
    assert installed == {name: pins.get(name) for name in installed}
