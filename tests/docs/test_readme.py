"""README says what is true: its commands parse or run, its paths and figures exist, its length is one sitting."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from ae.cli.main import app, execute

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
GUIDES = ("README.md", "CONTRIBUTING.md", "docs/map.md", "docs/protocol.md", "docs/fastserve.md")
MADE = {"results/reference/"}  # exists once somebody has put a reference there


def _commands(program: str) -> list[list[str]]:
    fences = re.findall(r"^```\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    lines = [line.partition("#")[0] for fence in fences for line in fence.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(f"{program} ")]


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("words", _commands("ae"), ids=" ".join)
def test_each_ae_command_exists_with_its_options(words: list[str]) -> None:
    group = typer.main.get_command(app)
    command = group.commands[words[1]]  # type: ignore[attr-defined]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("words", [words for words in _commands("ae") if words[1] == "bench"], ids=" ".join)
def test_bench_as_written_lacks_nothing_but_the_server(words: list[str]) -> None:
    with socket.socket() as probe:  # bound but not listening
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        assert execute(["bench", url, *words[3:]]) == 4


@pytest.mark.parametrize("words", _commands("make"), ids=" ".join)
def test_each_make_target_exists(words: list[str]) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert words[1] in targets
    done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["list", "doctor"])
def test_the_commands_that_only_look_run(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "ae", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 4}, done.stderr  # 4: doctor found something missing, which is its job
    assert done.stdout.strip()


def test_the_table_names_every_figure_once() -> None:
    named = re.findall(r"^\| `(\w+/figure\d+)` \|", README, flags=re.MULTILINE)
    files = sorted(f"{p.parent.name}/{p.stem}" for p in (ROOT / "figures").glob("*/figure*.py"))
    assert named == files


@pytest.mark.parametrize("guide", GUIDES)
def test_every_path_exists(guide: str) -> None:
    text = (ROOT / guide).read_text()
    paths = set(re.findall(r"`((?:[\w.]+/)+[\w.]*)`", text)) - MADE
    starts = {p.name for p in ROOT.iterdir()}
    missing = [p for p in paths if p.split("/")[0] in starts and not (ROOT / p).exists()]
    assert not missing
