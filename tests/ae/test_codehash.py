"""The code a point depends on: by meaning, not by text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ae.codehash import closure, meaning
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = '''"""Words."""
import math

def area(r: float) -> float:
    """More words."""
    # even more
    return math.pi * r ** 2
'''


@pytest.mark.parametrize(
    "edited",
    [
        SOURCE.replace("# even more", "# other words entirely"),
        SOURCE.replace("More words.", "Other words."),
        SOURCE.replace('"""Words."""\n', ""),
        SOURCE.replace("math.pi * r ** 2", "(math.pi\n            * r ** 2)"),
        SOURCE.replace("r: float", "r: int"),
        "\n\n" + SOURCE,
    ],
)
def test_an_edit_that_changes_no_meaning_changes_no_hash(edited: str) -> None:
    assert edited != SOURCE
    assert meaning(edited) == meaning(SOURCE)


@pytest.mark.parametrize(
    "edited",
    [
        SOURCE.replace("** 2", "** 3"),
        SOURCE.replace("area", "areas"),
        SOURCE + "area(1)\n",
        SOURCE.replace("import math", "import cmath as math"),
    ],
)
def test_an_edit_of_the_meaning_changes_the_hash(edited: str) -> None:
    assert meaning(edited) != meaning(SOURCE)


def test_a_function_with_only_a_docstring_equals_an_empty_one() -> None:
    assert meaning('def f():\n    """Words."""\n') == meaning("def f():\n    pass\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "ae/__init__.py": "",
        "systems/__init__.py": "",
        "systems/a.py": "import json\nfrom systems import b\n",
        "systems/b.py": "def f():\n    from systems.deep.c import thing\n    return thing\n",
        "systems/deep/__init__.py": "",
        "systems/deep/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import systems.types_only\nthing = 1\n",
        "systems/types_only.py": "x = 1\n",
        "systems/other.py": "import systems.a\n",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def names(root: Path) -> list[str]:
    return [path for path, _ in closure(["systems.a"], root)]


def test_the_closure_follows_imports_in_functions_and_leaves_types_out(tree: Path) -> None:
    assert names(tree) == [
        "systems/__init__.py",
        "systems/a.py",
        "systems/b.py",
        "systems/deep/__init__.py",
        "systems/deep/c.py",
    ]


def test_only_the_edited_module_of_a_closure_changes(tree: Path) -> None:
    before = dict(closure(["systems.a"], tree))
    (tree / "systems/deep/c.py").write_text("thing = 2\n")
    (tree / "systems/other.py").write_text("x = 'not in the closure'\n")
    after = dict(closure(["systems.a"], tree))
    assert [path for path in after if after[path] != before[path]] == ["systems/deep/c.py"]


def test_an_import_cycle_ends(tree: Path) -> None:
    (tree / "systems/deep/c.py").write_text("import systems.a\nthing = 1\n")
    assert "systems/a.py" in names(tree)


def test_a_root_that_is_not_there_is_named(tree: Path) -> None:
    with pytest.raises(UsageError, match=r"systems\.gone"):
        closure(["systems.gone"], tree)


def test_a_relative_import_is_refused_because_it_would_be_missed(tree: Path) -> None:
    (tree / "systems/b.py").write_text("from . import other\n")
    with pytest.raises(UsageError, match="relative"):
        closure(["systems.a"], tree)
