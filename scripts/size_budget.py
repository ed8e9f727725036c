"""Print how large the code is, part by part, and fail where a reader's patience ends.

Hard limits: 400 lines a file, 60 lines a function, 14 visible entries at the root. The goals (files of 60 to
250 lines, functions of 10 lines at the median) are printed, not enforced.
"""

from __future__ import annotations

import ast
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PARTS = ("ae", "systems", "figures", "tests", "scripts", "benchmarks")
MAX_FILE, MAX_FUNCTION, MAX_ROOT = 400, 60, 14


@dataclass(frozen=True, slots=True)
class Function:
    """One function or method; `lines` counts from `def` to the end of its body."""

    name: str
    line: int
    lines: int


@dataclass(frozen=True, slots=True)
class File:
    """One Python file: its path from the root, its lines, its functions."""

    path: str
    lines: int
    functions: tuple[Function, ...]


def measure(root: Path, path: Path) -> File:
    """Parse one file. Raises SyntaxError for one that is not Python."""
    text = path.read_text(encoding="utf-8")
    found = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    functions = tuple(Function(n.name, n.lineno, (n.end_lineno or n.lineno) - n.lineno + 1) for n in found)
    return File(str(path.relative_to(root)), len(text.splitlines()), functions)


def root_entries(root: Path) -> list[str]:
    """Visible entries at the root that belong to the project: not hidden, not ignored by git."""
    names = sorted(p.name for p in root.iterdir() if not p.name.startswith("."))
    asked = subprocess.run(
        ["git", "-C", str(root), "check-ignore", "--stdin"],
        input="\n".join(names),
        capture_output=True,
        text=True,
        check=False,
    )
    ignored = set(asked.stdout.split("\n"))
    return [name for name in names if name not in ignored]


def violations(files: Sequence[File], root: Sequence[str]) -> Iterator[str]:
    """One line per hard limit that is broken."""
    for file in files:
        if file.lines > MAX_FILE:
            yield f"{file.path}: {file.lines} lines (limit {MAX_FILE})"
        for f in file.functions:
            if f.lines > MAX_FUNCTION:
                yield f"{file.path}:{f.line}: {f.name} has {f.lines} lines (limit {MAX_FUNCTION})"
    if len(root) > MAX_ROOT:
        yield f"{len(root)} visible entries at the root (limit {MAX_ROOT}): {', '.join(root)}"


def row(name: str, files: Sequence[File]) -> str:
    """One line of the table."""
    lines = sorted(f.lines for f in files) or [0]
    functions = sorted(f.lines for file in files for f in file.functions)
    count = len(functions)
    functions = functions or [0]
    p90 = functions[math.ceil(0.9 * len(functions)) - 1]
    return (
        f"{name:<12}{len(files):>6}{sum(lines):>8}{median(lines):>8.0f}{lines[-1]:>8}"
        f"{count:>11}{median(functions):>8.0f}{p90:>6}{functions[-1]:>9}"
    )


def main(argv: Sequence[str]) -> int:
    """Measure the tree at `argv[0]` (default: this repository). Returns 1 when a hard limit is broken."""
    root = Path(argv[0] if argv else Path(__file__).parent.parent).resolve()
    parts = {part: [measure(root, p) for p in sorted((root / part).rglob("*.py"))] for part in PARTS}
    files = [file for part in parts.values() for file in part]
    print(
        f"{'':<12}{'files':>6}{'lines':>8}{'median':>8}{'longest':>8}{'functions':>11}{'median':>8}{'p90':>6}{'longest':>9}"
    )
    for part, measured in parts.items():
        print(row(part, measured))
    print(row("all", files))
    entries = root_entries(root)
    print(f"root entries: {len(entries)} of {MAX_ROOT}: {' '.join(entries)}")
    broken = list(violations(files, entries))
    for line in broken:
        print(f"OVER: {line}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
