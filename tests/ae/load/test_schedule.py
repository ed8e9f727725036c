from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from ae.figure import Workload
from ae.load.arrivals import Arrivals
from ae.load.schedule import Load, Schedule, build, draw
from ae.load.workload import fixed
from systems.core.errors import UsageError

SHAREGPT = Workload("sharegpt", scale=8)
LOAD = Load(rate=20, seconds=10, warmup=2, seed=5, vocab=512, max_model_len=256)


def test_same_seed_same_bytes_other_seed_other_bytes() -> None:
    one, two = draw(SHAREGPT, LOAD), draw(SHAREGPT, LOAD)
    assert one.text == two.text
    assert one.sha256 == two.sha256
    assert draw(SHAREGPT, dataclasses.replace(LOAD, seed=6)).sha256 != one.sha256


def test_global_random_state_is_neither_read_nor_touched() -> None:
    np.random.seed(1)  # noqa: NPY002 - the state under test
    before = draw(SHAREGPT, LOAD).sha256
    expected = np.random.RandomState(1).random()
    assert np.random.random() == expected  # noqa: NPY002
    assert draw(SHAREGPT, LOAD).sha256 == before


def test_written_schedule_reads_back_and_has_the_agreed_fields(tmp_path: Path) -> None:
    schedule = draw(SHAREGPT, LOAD)
    path = tmp_path / "schedule.jsonl"
    schedule.write(path)
    assert Schedule.read(path) == schedule
    assert Schedule.read(path).sha256 == schedule.sha256
    assert list(json.loads(path.read_text().splitlines()[0])) == ["id", "at", "prompt", "output", "warmup", "slo"]
    assert [p.name for p in tmp_path.iterdir()] == ["schedule.jsonl"]


@pytest.mark.parametrize("text", ["{", '{"id": 1}\n', "[]\n"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "schedule.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match="not a request schedule"):
        Schedule.read(path)


def test_warmup_is_before_zero_marked_and_has_other_prompts() -> None:
    schedule = draw(SHAREGPT, LOAD)
    warm = [r for r in schedule.requests if r.warmup]
    assert len(warm) > 10
    assert all(-2 <= r.at < 0 and r.id < 0 for r in warm)
    assert all(0 <= r.at < 10 and r.id >= 0 for r in schedule.measured)
    assert not {r.prompt for r in warm if len(r.prompt) > 4} & {r.prompt for r in schedule.measured}
    at = [r.at for r in schedule.requests]
    assert at == sorted(at)
    assert len({r.id for r in schedule.requests}) == len(at)


def test_measured_requests_depend_neither_on_warmup_nor_on_how_many_nor_on_the_rate() -> None:
    base = draw(SHAREGPT, LOAD).measured
    assert draw(SHAREGPT, dataclasses.replace(LOAD, warmup=0)).measured == base
    assert draw(SHAREGPT, dataclasses.replace(LOAD, seconds=5)).measured == base[: sum(r.at < 5 for r in base)]
    faster = draw(SHAREGPT, dataclasses.replace(LOAD, rate=40, seconds=5)).measured
    assert [(r.prompt, r.output) for r in faster] == [(r.prompt, r.output) for r in base]
    assert [2 * r.at for r in faster] == pytest.approx([r.at for r in base], abs=1e-8)


def test_prompts_avoid_reserved_and_special_ids_and_use_all_others() -> None:
    load = Load(rate=1, requests=50, vocab=32, special=(10, 31), reserved=3)
    schedule = build(fixed(64, 4), Arrivals(), load)
    assert {t for r in schedule.requests for t in r.prompt} == set(range(3, 31)) - {10}


def test_nothing_exceeds_the_context_window() -> None:
    schedule = draw(SHAREGPT, dataclasses.replace(LOAD, max_model_len=64))
    assert max(len(r.prompt) + r.output for r in schedule.requests) <= 64


def test_rate_is_the_one_really_drawn() -> None:
    schedule = build(fixed(4, 4), Arrivals("constant"), Load(rate=8, requests=17))
    assert schedule.rate == pytest.approx(8)
    assert schedule.requests[-1].at == 2.0


def test_a_vocabulary_without_ordinary_ids_is_refused() -> None:
    with pytest.raises(UsageError, match="vocabulary of 4"):
        build(fixed(4, 4), Arrivals(), Load(rate=1, requests=1, vocab=4))
