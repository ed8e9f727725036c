from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from systems.core.errors import UsageError
from systems.core.torch.checkpoint import ensure, main, make_tiny
from systems.core.torch.recipes import RECIPES

FILES = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_the_standard_layout(checkpoints: Path) -> None:
    for name in ("t-opt", "t-llama"):
        files = {file.name: file for file in (checkpoints / name).iterdir()}
        assert set(files) == FILES
        assert all(file.stat().st_mode & 0o044 == 0o044 for file in files.values())
        settings = json.loads(files["config.json"].read_text())
        assert settings["vocab_size"] == RECIPES[name].vocab
        assert settings["max_position_embeddings"] >= 2048


def test_weights_are_wide_enough_to_say_different_things(checkpoints: Path) -> None:
    for name in ("t-opt", "t-llama"):
        weights = load_file(checkpoints / name / "model.safetensors")
        assert all(array.std() >= 0.1 for array in weights.values() if array.ndim > 1)


def test_every_id_decodes_and_text_survives(checkpoints: Path) -> None:
    from transformers import AutoTokenizer

    core = Tokenizer.from_file(str(checkpoints / "t-opt" / "tokenizer.json"))
    assert core.get_vocab_size() == 512
    assert all(core.id_to_token(i) for i in range(512))
    auto = AutoTokenizer.from_pretrained(checkpoints / "t-opt")
    text = "The scheduler preempts é 東京 a request.\n"
    assert auto.decode(auto.encode(text)) == core.decode(core.encode(text).ids) == text
    assert auto.eos_token_id == 2


def test_a_second_call_touches_nothing(checkpoints: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in (checkpoints / "t-opt").iterdir()}
    assert ensure("t-opt", checkpoints) == checkpoints / "t-opt"
    assert {file.name: file.stat().st_mtime_ns for file in (checkpoints / "t-opt").iterdir()} == before


def test_the_same_recipe_gives_the_same_weights(checkpoints: Path, tmp_path: Path) -> None:
    make_tiny("t-opt", tmp_path / "again")
    for file in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "again" / file).read_bytes() == (checkpoints / "t-opt" / file).read_bytes()


def test_an_older_recipe_is_replaced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    directory = ensure("t-opt-smoke", tmp_path)
    settings = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(settings | {"ae_recipe": "older"}))
    ensure("t-opt-smoke", tmp_path)
    assert json.loads((directory / "config.json").read_text()) == settings
    assert [entry.name for entry in tmp_path.iterdir()] == ["t-opt-smoke"]


def test_somebody_elses_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "t-opt").mkdir()
    (tmp_path / "t-opt" / "notes").write_text("mine")
    with pytest.raises(UsageError, match="no tiny checkpoint"):
        ensure("t-opt", tmp_path)
    assert (tmp_path / "t-opt" / "notes").read_text() == "mine"


def test_wrong_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Known: t-opt"):
        make_tiny("opt-13b", tmp_path / "x")
    with pytest.raises(UsageError, match="directory"):
        main(["t-opt"])


def test_the_command(checkpoints: Path) -> None:
    command = [sys.executable, "-m", "systems.core.torch.checkpoint"]
    subprocess.run([*command, "t-opt", str(checkpoints / "t-opt")], check=True)
    failed = subprocess.run([*command, "t-opp", "x"], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "no tiny checkpoint called 't-opp'" in failed.stderr
    assert "Traceback" not in failed.stderr
