"""What code a measured point depends on: the first-party import closure of some modules, hashed by meaning.

A module's hash is taken over its syntax tree without docstrings, comments, formatting and function
annotations, so that an edit which cannot change a measurement reruns nothing. The closure is read from the
trees, function-level imports included and `TYPE_CHECKING` blocks left out. Modules named only by a string
(a variant's policy) are roots that the caller adds.
"""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FIRST_PARTY = ("ae", "systems")
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class ModuleHash(NamedTuple):
    """A source file (path from the repository's root, `/` separated) and the hex digest of its meaning."""

    path: str
    digest: str


def closure(modules: Iterable[str], root: Path) -> tuple[ModuleHash, ...]:
    """Every first-party module that importing `modules` can import, sorted by path.

    Raises UsageError when one of `modules` is not under `root`.
    """
    found: dict[Path, str] = {}
    waiting = list(modules)
    for name in waiting:
        if _file_of(name, root) is None:
            raise UsageError(f"There is no module {name} under {root}.", "Check the variant's `policy`.")
    while waiting:
        name = waiting.pop()
        file = _file_of(name, root)
        if file is None or file in found:
            continue
        tree = _tree(file)
        found[file] = tree.digest
        waiting.extend(_parents(name))
        for target in tree.imports:
            waiting.append(target.lstrip("."))
            if target.startswith("."):
                raise UsageError(f"{file} uses a relative import.", "Write it out, from the package's name on.")
    return tuple(sorted(ModuleHash(f.relative_to(root).as_posix(), d) for f, d in found.items()))


def meaning(source: str) -> str:
    """Hex digest of the syntax tree of `source` without docstrings and function annotations."""
    tree = _Strip().visit(ast.parse(source))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


class _Tree(NamedTuple):
    digest: str
    imports: tuple[str, ...]


def _tree(file: Path) -> _Tree:
    stat = file.stat()
    return _parse(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _parse(file: Path, _mtime: int, _size: int) -> _Tree:
    """The file's digest and imports; the time and the size make an edited file another entry."""
    source = file.read_text()
    return _Tree(meaning(source), tuple(sorted(set(_imports(ast.parse(source))))))


def _file_of(name: str, root: Path) -> Path | None:
    if name.partition(".")[0] not in FIRST_PARTY:
        return None
    base = root.joinpath(*name.split("."))
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


def _parents(name: str) -> Iterator[str]:
    """Packages above `name`: their `__init__` runs too."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _imports(node: ast.AST) -> Iterator[str]:
    """Names that may be modules: `from a import b` may mean the module a.b as well as a name in a."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = "." * child.level + (child.module or "")
            yield base
            yield from (f"{base}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and _is_type_checking(child.test):
            yield from (name for part in child.orelse for name in _imports(part))
        else:
            yield from _imports(child)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


class _Strip(ast.NodeTransformer):
    """Takes out what a reader needs and the interpreter does not."""

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, Documented):
            _drop_docstring(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        return super().generic_visit(node)


def _drop_docstring(node: Documented) -> None:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        # A body must not be empty: `pass` stands for "only a docstring was here".
        node.body = node.body[1:] or [ast.Pass()]
