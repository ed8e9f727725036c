from __future__ import annotations

import sys
from pathlib import Path

import pytest

from systems.core import profiler
from systems.core.config import EngineConfig
from systems.core.profile import Profile


def test_the_command_writes_a_profile_that_loads(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EngineConfig(str(checkpoints / "t-opt"), max_batch=4, max_model_len=530, device_pages=64)
    (tmp_path / "engine.json").write_text(config.to_json())
    monkeypatch.setattr(profiler, "CELL_NS", 1_000_000)
    arguments = ["--config", str(tmp_path / "engine.json"), "--out", str(tmp_path / "profile.json")]
    monkeypatch.setattr(sys, "argv", ["profiler", *arguments])
    assert profiler.main() == 0
    profile = Profile.load(tmp_path / "profile.json")
    profile.check_model("t-opt")
    assert [tokens for tokens, _ in profile.prefill] == [1, 16, 32, 64, 128, 256, 512, 530]
    assert [(batch, context) for batch, context, _ in profile.decode] == [
        (batch, batch * context) for batch in (1, 2, 4) for context in (16, 128)
    ]
    assert "1 thread" in profile.hardware


def test_a_missing_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["profiler", "--config", str(tmp_path / "none"), "--out", str(tmp_path / "x")])
    assert profiler.main() == 2
    assert "There is no file" in capsys.readouterr().err


def test_a_profile_that_is_not_sane_is_measured_again(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Profile("t-opt", "here", ((1, 100), (1000, 50)), ((1, 16, 10), (2, 32, 12)))
    good = Profile.synthetic()
    answers = [bad, bad, good]
    monkeypatch.setattr(profiler, "_measure", lambda _: answers.pop(0))
    config = EngineConfig(str(checkpoints / "t-opt"), max_batch=1, device_pages=8)
    assert profiler.measure(config) == good
