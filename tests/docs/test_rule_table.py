"""Every test that `docs/fastserve.md` names exists, and so does every variant."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from systems.core.variant import find

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "fastserve.md").read_text()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE))))
def test_each_named_test_exists(name: str) -> None:
    file, _, function = name.partition("::")
    tree = ast.parse((ROOT / file).read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:fastserve|vllm)/[\w-]+)`", PAGE))))
def test_each_named_variant_exists(name: str) -> None:
    assert find(name).id == name


def test_every_deviation_tag_is_in_the_artifact_variant() -> None:
    """The default follows the paper: a deviation in another policy must be written into the table first."""
    tagged = {p.name for p in (ROOT / "systems").rglob("*.py") if "DEVIATION" in p.read_text()}
    assert tagged == {"artifact.py"}


def test_every_trap_is_listed() -> None:
    listed = {
        trap
        for row in re.findall(r"^\| ([ST][^|]*)", PAGE, flags=re.MULTILINE)
        for trap in re.findall(r"\b[ST]\d+", row)
    }
    assert {f"S{i}" for i in range(1, 15)} | {f"T{i}" for i in range(1, 24)} <= listed
