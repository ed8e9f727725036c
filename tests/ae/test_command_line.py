"""The command `ae`: exit codes, errors in one line, machine output. Nothing here starts a server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ae.cli import hands, out
from ae.cli.main import COMMANDS, execute
from systems.core.config import EngineConfig
from systems.core.errors import UsageError

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "tests" / "data" / "figures"


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AE_FIGURES", str(FIGURES))
    monkeypatch.setenv("AE_RESULTS", str(tmp_path))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "ae", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_help_names_every_command_and_exit_code_without_heavy_imports() -> None:
    code = "import sys; from ae.cli.main import execute; c = execute(['--help']); print(c, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    text, _, modules = done.stdout.rpartition("\n0 ")
    assert all(name in text for name in COMMANDS)
    assert "130 interrupted" in text
    assert not {"numpy", "yaml", "aiohttp", "matplotlib", "torch", "pandas"} & set(modules.split())


def test_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"{name}-9.9")
    assert execute(["--version"]) == 0
    assert capsys.readouterr().out == "ae ae-9.9\n"


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["run", "figur1"], "No figure is called 'figur1'.", "Did you mean figure1?"),
        (["plan", "all", "--tier", "smok"], "There is no tier 'smok'.", "Tiers: smoke"),
        (["plan", "all", "--tier", "paper"], "demo/figure1 has no tier 'paper'.", "Its tiers: smoke"),
        (["run", "all", "--budget", "soon"], "'soon' is not a time.", "Write --budget"),
        (["run", "all", "--budget", "-5"], "'-5' is not a time.", "Write --budget"),
        (["run", "all", "--budget", "0s"], "'0s' is not a time.", "Write --budget"),
        (["run", "all", "--budget", "nan"], "'nan' is not a time.", "Write --budget"),
        (["run", "all", "--budget", "infh"], "'infh' is not a time.", "Write --budget"),
        (["run", "all", "--series", "x"], "'x' names no server.", "Write --series"),
        (["plan", "all", "--series", "fcfs=http://127.0.0.1:1"], "already has a series called 'fcfs'", "another name"),
        (
            ["plan", "all", "--series", "mine=http://127.0.0.1:1", "--series", "mine=http://127.0.0.1:2"],
            "already has a series called 'mine'",
            "another name",
        ),
        (["check", "all"], "demo/figure1 has no results", "ae run demo/figure1"),
        (["check", "all", "--from", "reference"], "No reference runs are committed yet", "ae run demo/figure1"),
        (["plot", "all", "--from", "paaper"], "There is no source 'paaper'.", "Sources: results"),
        (["replay", "nothing"], "No finished point is called 'nothing'.", "Run its figure"),
        (["bench", "http://127.0.0.1:1", "--arrivals", "odd"], "There are no 'odd' arrivals.", "Arrivals: poisson"),
        (["bench", "http://127.0.0.1:1"], "Give either a rate", "Add --rate"),
        (["bench", "127.0.0.1:1", "--rate", "1"], "'127.0.0.1:1' is no URL", "Write http://host:port"),
        (["bench", "http://127.0.0.1:x", "--rate", "1"], "is no URL", "Write http://host:port"),
        (["serve", "fastserve", "--set", "max_batch"], "'max_batch' is no setting.", "Write --set"),
        (["serve", "fastserv"], "There is no system called 'fastserv'.", "Systems: fastserve"),
        (["serve", "fastserve/x"], "fastserve has no variant 'x'.", "Variants: skip-join"),
        (["serve", "fastserve", "--set", "alpha=1"], "fastserve/skip-join has no setting alpha.", "Settings: alpha_s"),
        (["serve", "fastserve", "--set", "keep=foo"], "The setting keep is 'foo'.", "proactive or reactive"),
        (["serve", "fastserve", "--set", "max_batch=0"], "max_batch is 0.", "from 1 to 65536"),
        (["serve", "fastserve", "--set", "dtype=float64"], "The setting dtype is 'float64'.", "float32 or bfloat16"),
        (["serve", "fastserve", "--model", "t-op"], "There is no model called 't-op'.", "Models: t-opt"),
        (["serve", "fastserve", "--model", "./none"], "is no checkpoint directory", "Hugging Face"),
        (["run"], "Missing argument", "ae run --help"),
        (["run", "--nonsense", "all"], "No such option: --nonsense", "ae run --help"),
        (["nonsense"], "No such command 'nonsense'", "ae --help"),
    ],
)
def test_a_wrong_word_is_one_error_with_its_fix_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], what: str, fix: str
) -> None:
    assert execute(arguments) == 2
    captured = capsys.readouterr()
    assert what in captured.err
    assert fix in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err.splitlines()) <= 2


@pytest.mark.parametrize(
    "arguments", [["bench", "{url}", "--rate", "10"], ["plan", "all", "--series", "mine={url}"]], ids=["bench", "plan"]
)
def test_a_server_of_the_users_own_that_is_not_there_is_a_missing_prerequisite(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with socket.socket() as probe:  # bound but not listening: nobody else can listen there meanwhile
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        assert execute([word.format(url=url) for word in arguments]) == 4
    err = capsys.readouterr().err
    assert url in err
    assert "correct" in err
    assert "Connection refused" in err
    assert len(err.splitlines()) == 2


def test_a_port_that_is_no_number_is_told_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["plan", "all", "--series", "mine=http://127.0.0.1:x"]) == 4
    assert "http://127.0.0.1:x" in capsys.readouterr().err


def test_the_bare_command_prints_its_help_and_no_error() -> None:
    done = run()
    assert done.returncode == 2
    assert "Usage: ae" in done.stdout + done.stderr
    assert "error:" not in done.stderr


def test_debug_shows_the_traceback_wherever_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["run", "figur1", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_internal_error_is_exit_code_1_and_hides_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "demo" / "figure1.py"
    broken.parent.mkdir()
    broken.write_text("1 / 0")
    monkeypatch.setenv("AE_FIGURES", str(tmp_path))
    assert execute(["list"]) == 1
    err = capsys.readouterr().err
    assert "internal: ZeroDivisionError" in err
    assert "--debug" in err
    assert "Traceback" not in err


def test_list_json_has_a_schema_and_what_a_reader_asks(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == out.SCHEMA
    assert found["figures"] == [
        {
            "id": "demo/figure1",
            "title": "Two schedulers on made-up tokens",
            "tiers": ["smoke"],
            "minutes": {"quick": None, "full": None},
            "hardware": "any",
            "state": "none",
        }
    ]


def test_plan_changes_nothing_and_says_what_it_would_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert execute(["plan", "all", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["points"]
    assert len(rows) == 4
    assert {row["why"] for row in rows} == {"not calibrated on this machine yet"}
    assert execute(["plan", "all", "--full"]) == 0
    assert "12 points, 0 done, 12 to run" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_doctor_checks_this_machine_and_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = execute(["doctor", "all", "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert code == (4 if any(c["required"] and not c["ok"] for c in checks) else 0)
    names = {check["name"] for check in checks}
    assert {"python", "torch", "cores", "memory", "results disk", "docker", "ssh", "GPU", "demo/figure1 tiers"} <= names
    assert all(check["fix"] for check in checks if not check["ok"])
    assert list(tmp_path.iterdir()) == []


def test_doctor_says_exit_code_4_when_a_package_has_another_version(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ae.manifest.packages", lambda: {"torch": "1.0+cpu"})
    assert execute(["doctor"]) == 4
    assert "fix torch: make install" in capsys.readouterr().out


def test_global_folders_replace_the_environment(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    empty = tmp_path / "none"
    empty.mkdir()
    assert execute(["--figures", str(empty), "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"] == []


def test_clean_asks_and_removes_only_what_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine, other = tmp_path / "smoke/demo/figure1/points", tmp_path / "smoke/demo/figure2/points"
    for folder in (mine, other, tmp_path / "smoke/demo/calibration"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    assert execute(["clean", "all"]) == 2
    assert "Add --yes" in capsys.readouterr().err
    assert execute(["clean", "all", "--yes"]) == 0
    assert not mine.parent.exists()
    assert other.exists()
    assert (tmp_path / "smoke/demo/calibration/file").exists()
    assert execute(["clean", "all", "--calibration", "--yes"]) == 0
    assert not (tmp_path / "smoke/demo/calibration").exists()


def test_a_reader_that_goes_away_is_no_failure() -> None:
    script = f"{sys.executable} -m ae plan all | true; echo code ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "code 0\n"
    assert "Broken" not in done.stderr


def test_python_minus_m_ae_is_the_command() -> None:
    assert run("list").stdout.startswith("figure ")


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["max_batch=8"], "max_batch", 8),
        (["link_bytes_per_s=100"], "link_bytes_per_s", 100.0),
        (["fast_path=false"], "fast_path", False),
        (["dtype=bfloat16"], "dtype", "bfloat16"),
        (["alpha=0.5", "keep=reactive"], "settings", {"alpha": 0.5, "keep": "reactive"}),
    ],
)
def test_set_reads_engine_fields_by_their_type_and_the_rest_as_policy_settings(
    words: list[str], field: str, value: object
) -> None:
    assert getattr(hands.configured(EngineConfig(model="m"), words), field) == value


def test_set_refuses_a_value_of_another_type() -> None:
    with pytest.raises(UsageError, match=r"max_batch is 'many'\. Give a whole number"):
        hands.configured(EngineConfig(model="m"), ["max_batch=many"])
