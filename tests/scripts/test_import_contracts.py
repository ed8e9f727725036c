"""The import contracts have teeth: a tree with one violation of each breaks each."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE_VIOLATION = """
import aiohttp
import click
import matplotlib
import rich
import torch
import ae.cli
import systems.fastserve
"""


def _copy(root: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", root)
    for package in ("ae", "systems"):
        for path in (ROOT / package).rglob("__init__.py"):
            target = root / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    (root / "ae" / "__main__.py").write_text("import ae.cli\n")
    (root / "systems" / "vllm" / "variants.py").touch()


def _lint(root: Path) -> dict[str, str]:
    program = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([str(program), "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    found = dict(re.findall(r"^(.+?) (KEPT|BROKEN)", done.stdout, flags=re.MULTILINE))
    assert found, done.stdout + done.stderr
    return found


def test_each_contract_is_kept_by_a_clean_tree_and_broken_by_a_violation(tmp_path: Path) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    names = {contract["name"] for contract in contracts}
    _copy(tmp_path)
    assert _lint(tmp_path) == dict.fromkeys(names, "KEPT")
    (tmp_path / "systems" / "core" / "wrong.py").write_text(CORE_VIOLATION)
    (tmp_path / "systems" / "vllm" / "wrong.py").write_text("import systems.fastserve\n")
    (tmp_path / "ae" / "wrong.py").write_text("import systems.vllm\n")
    assert _lint(tmp_path) == dict.fromkeys(names, "BROKEN")


def test_every_system_is_in_the_contracts() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    independent = next(c["modules"] for c in contracts if c["type"] == "independence")
    folders = {f"systems.{p.parent.name}" for p in (ROOT / "systems").glob("*/__init__.py")} - {"systems.core"}
    assert set(independent) == folders
