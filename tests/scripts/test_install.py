"""What `make install` says when something is missing, and that it does nothing twice. Nothing is installed here."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/install", "scripts/constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def _install(checkout: Path, python: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(checkout / "scripts" / "install")],
        env={**os.environ, "PYTHON": python, "TORCH_INDEX": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _stub(checkout: Path, text: str) -> str:
    stub = checkout / "python-stub"
    stub.write_text(f"#!/bin/sh\n{text}\n")
    stub.chmod(0o755)
    return str(stub)


def _installed(checkout: Path) -> Path:
    """A .venv that looks complete."""
    programs = checkout / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(shutil.which("true") or "/bin/true")
    key = hashlib.sha256(
        (checkout / "pyproject.toml").read_bytes() + (checkout / "scripts" / "constraints.txt").read_bytes()
    ).hexdigest()
    stamp = checkout / ".venv" / "installed.sha256"
    stamp.write_text(key + "\n")
    return stamp


def test_no_python_names_its_package(checkout: Path) -> None:
    done = _install(checkout, "no-such-python")
    assert done.returncode == 4
    assert "There is no no-such-python here." in done.stderr
    assert "apt install python3" in done.stderr


def test_an_old_python_is_named_with_what_is_needed(checkout: Path) -> None:
    old = _stub(checkout, 'case "$1" in -V) echo Python 3.9.2;; *) exit 1;; esac')
    done = _install(checkout, old)
    assert done.returncode == 4
    assert "Python 3.9.2; Python 3.11 or later is needed" in done.stderr
    assert "python3.11-venv" in done.stderr


def test_a_missing_venv_module_names_its_package(checkout: Path) -> None:
    bare = _stub(checkout, 'case "$2" in *ensurepip*) exit 1;; *print*) echo python3.12-venv;; esac; exit 0')
    done = _install(checkout, bare)
    assert done.returncode == 4
    assert "sudo apt install python3.12-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_second_call_does_nothing(checkout: Path) -> None:
    _installed(checkout)
    done = _install(checkout, "no-such-python")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("changed", ["pyproject.toml", "scripts/constraints.txt"])
def test_a_changed_requirement_installs_again(checkout: Path, changed: str) -> None:
    _installed(checkout)
    with (checkout / changed).open("a") as file:
        file.write("# changed\n")
    assert _install(checkout, "no-such-python").returncode == 4


def test_an_unfinished_environment_is_not_believed(checkout: Path) -> None:
    _installed(checkout).unlink()
    assert _install(checkout, "no-such-python").returncode == 4
