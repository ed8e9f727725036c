from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "docs" / "map.md").read_text()


def _named() -> set[Path]:
    """What the first column of the table names; a bare name continues in the folder of the one before it."""
    found: set[Path] = set()
    for row in re.findall(r"^\| (`.+?) \|", MAP, flags=re.MULTILINE):
        folder = Path()
        for name in re.findall(r"`([^`]+)`", row):
            path = Path(name) if "/" in name else folder / name
            folder = path.parent
            found.update(ROOT.glob(str(path)) if "<" not in name else [ROOT / "figures"])
    return found


def test_the_map_fits_on_one_screen() -> None:
    assert len(MAP.splitlines()) <= 50


def test_every_name_in_the_map_exists() -> None:
    for row in re.findall(r"^\| (`.+?) \|", MAP, flags=re.MULTILINE):
        folder = Path()
        for name in (n for n in re.findall(r"`([^`]+)`", row) if "<" not in n):
            path = Path(name) if "/" in name else folder / name
            folder = path.parent
            assert list(ROOT.glob(str(path))) or name in {"results/", ".ci/"}, f"{path} is in the map but not here"


def test_every_package_is_in_the_map() -> None:
    named = _named()
    packages = [p.parent for top in ("ae", "systems") for p in (ROOT / top).rglob("__init__.py")]
    unnamed = [p for p in packages if p.name not in {"ae", "systems", "core"} and p not in named]
    assert not unnamed
