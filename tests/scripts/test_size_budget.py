from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import size_budget

ROOT = Path(__file__).parents[2]


def _tree(root: Path, name: str, text: str) -> None:
    (root / "ae").mkdir(exist_ok=True)
    (root / "ae" / name).write_text(text)


def _function(lines: int) -> str:
    return "def f() -> None:\n" + "    pass\n" * (lines - 1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x = 1\n" * 400, ""),
        ("x = 1\n" * 401, "ae/a.py: 401 lines (limit 400)"),
        (_function(60), ""),
        (_function(61), "ae/a.py:1: f has 61 lines (limit 60)"),
        ("class C:\n" + "".join(f"    {line}\n" for line in _function(61).splitlines()), "ae/a.py:2: f has 61 lines"),
        ("async " + _function(61), "ae/a.py:1: f has 61 lines"),
    ],
)
def test_a_limit_is_broken_by_one_line_more(tmp_path: Path, text: str, found: str) -> None:
    _tree(tmp_path, "a.py", text)
    broken = list(size_budget.violations([size_budget.measure(tmp_path, tmp_path / "ae" / "a.py")], []))
    assert len(broken) == bool(found)
    assert not found or broken[0].startswith(found)


def test_root_entries_leave_out_what_git_ignores(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("*.egg-info/\n")
    for name in ("ae", "ae.egg-info", ".hidden"):
        (tmp_path / name).mkdir()
    assert size_budget.root_entries(tmp_path) == ["ae"]


def test_fifteen_root_entries_are_too_many() -> None:
    names = [f"entry{i}" for i in range(15)]
    assert list(size_budget.violations([], names[:14])) == []
    assert "15 visible entries" in next(size_budget.violations([], names))


def test_the_script_prints_its_table_and_fails_on_a_violation(tmp_path: Path) -> None:
    _tree(tmp_path, "long.py", "x = 1\n" * 500)
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "size_budget.py"), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "OVER: ae/long.py: 500 lines" in done.stdout
    assert done.stdout.splitlines()[1].split()[:3] == ["ae", "1", "500"]
