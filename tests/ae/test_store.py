"""The result store: whole or not at all, never overwritten, cut-off attempts ignored."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ae import places
from ae.store import PointStore, canonical, locked, write_atomic
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

KEY = "0123456789abcdef"
OTHER = "fedcba9876543210"


@pytest.fixture
def store(tmp_path: Path) -> PointStore:
    return PointStore(tmp_path / "points")


def test_a_point_nobody_has_run_is_missing(store: PointStore) -> None:
    assert store.find(KEY).state == "missing"


def test_a_finished_attempt_is_found_by_key_whatever_its_readable_name(store: PointStore) -> None:
    attempt = store.begin("panel_a_x1", KEY)
    attempt.write("verdict.json", "{}")
    attempt.finish("DONE", "valid")
    found = store.find(KEY)
    assert (found.state, found.attempt, found.attempts) == ("done", attempt, 1)
    again = store.begin("panel_b_x1", KEY)
    assert again.path.parent == attempt.path.parent


def test_an_attempt_without_marker_was_cut_off_and_is_kept(store: PointStore) -> None:
    cut = store.begin("p", KEY)
    cut.write("requests.jsonl", "half")
    assert store.find(KEY).state == "interrupted"
    after = store.begin("p", KEY)
    assert (cut.number, after.number) == (1, 2)
    after.finish("DONE")
    assert store.find(KEY).attempt == after
    assert (cut.path / "requests.jsonl").read_text() == "half"


def test_done_wins_over_an_earlier_and_a_later_failure(store: PointStore) -> None:
    store.begin("p", KEY).finish("FAILED", "first")
    assert store.find(KEY).state == "failed"
    done = store.begin("p", KEY)
    done.finish("DONE")
    store.begin("p", KEY).finish("FAILED", "third")
    assert store.find(KEY).attempt == done


def test_the_last_resolved_of_a_place_ignores_its_own_key_and_cut_off_attempts(store: PointStore) -> None:
    old = store.begin("p", OTHER)
    old.write("resolved.json", "{}")
    assert store.last_resolved("p", but=KEY) is None
    old.finish("DONE")
    own = store.begin("p", KEY)
    own.write("resolved.json", "{}")
    own.finish("DONE")
    assert store.last_resolved("p", but=KEY) == old.path / "resolved.json"
    assert store.last_resolved("q", but=KEY) is None


def test_a_file_of_another_process_is_adopted_whole(store: PointStore) -> None:
    attempt = store.begin("p", KEY)
    attempt.temporary("requests.jsonl").write_text("all of it")
    assert attempt.adopt(attempt.temporary("requests.jsonl"), "requests.jsonl").read_text() == "all of it"
    assert [f.name for f in attempt.path.iterdir()] == ["requests.jsonl"]


def test_writing_leaves_no_temporary_file_and_replaces_at_once(tmp_path: Path) -> None:
    write_atomic(tmp_path / "deep" / "x.json", "1")
    write_atomic(tmp_path / "deep" / "x.json", "2")
    assert [(f.name, f.read_text()) for f in (tmp_path / "deep").iterdir()] == [("x.json", "2")]


def test_canonical_json_does_not_depend_on_order() -> None:
    assert canonical({"b": 1, "a": [1.5]}) == canonical({"a": [1.5], "b": 1}) == '{"a":[1.5],"b":1}'


HOLD = (
    "import sys,time\nfrom pathlib import Path\nfrom ae.store import locked\n"
    "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=places.REPOSITORY
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"pid {holder.pid}"), locked(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with locked(tmp_path):
        assert (tmp_path / ".lock").exists()


def test_a_lock_is_free_after_use(tmp_path: Path) -> None:
    with locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
