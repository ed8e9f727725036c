"""The event log and its replay: every variant decides the same again, and a log that was changed is found out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from systems.core.assemble import Memory, instance_of, log_header
from systems.core.config import EngineConfig
from systems.core.errors import UsageError
from systems.core.event_log import EventDecoder, EventLog, encode_event, encode_plan
from systems.core.events import (
    Arrived,
    Cancelled,
    Ended,
    Event,
    Moved,
    Outcome,
    Ran,
    SpanOutcome,
    StopReason,
    Times,
    Woke,
)
from systems.core.plan import Iteration, Place, Plan, Pool, Transfer, TransferKind
from systems.core.profile import Profile, ProfileCost, ProfileEstimator
from systems.core.replay import Replayed, replay
from systems.core.request import Arrival, Slo
from systems.core.synthetic import SyntheticCompute
from systems.core.virtual.computed import Computed
from systems.core.virtual.fleet import serve
from systems.core.virtual.links import Link
from systems.fastserve.variants import VARIANTS as FASTSERVE
from systems.vllm.variants import VARIANTS as VLLM
from tests.core.toy import MS, requests_of

MEMORY = Memory(device_pages=14, host_pages=20, page_tokens=4, page_bytes=1000)
JOBS = [(n * 1.7 % 20, 3 + (n * 5) % 17, 2 + (n * 11) % 23) for n in range(25)]
Rows = list[Any]


def record(variant: str, path: Path) -> None:
    """Serve `JOBS` under memory pressure, with slow links and two clients that go away."""
    config = EngineConfig("synthetic", variant, max_batch=4, max_tokens=32)
    profile = Profile.synthetic()
    instance = instance_of(config, SyntheticCompute(), MEMORY, ProfileEstimator(profile))
    instance.start_log(EventLog(path, log_header(config, MEMORY, profile.to_dict())))
    links = {"pcie": Link(1000 * 1e9 / (MS // 3))}
    serve(Computed(instance, ProfileCost(profile)), requests_of(JOBS), links, [(7 * MS, 3), (15 * MS, 8)])
    instance.start_log(None)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    record("fastserve/skip-join", path)
    return path


def rows_of(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


def changed(tmp_path: Path, rows: Rows) -> list[Replayed]:
    path = tmp_path / "changed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(replay(path))


@pytest.mark.parametrize("variant", [v.id for v in (*FASTSERVE, *VLLM)])
def test_a_fresh_policy_decides_the_same(variant: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    record(variant, path)
    rows = rows_of(path)
    decisions = list(replay(path))
    assert decisions
    assert all(decision.equal for decision in decisions)
    assert len(decisions) == sum(len(row) == 3 for row in rows[1:])
    assert {row[1][0] for row in rows[1:] if len(row) == 2} >= {"arrived", "ran", "cancelled"}
    served = sum(len(row[2][2]) for row in rows[1:] if len(row) == 3)
    assert served == len(JOBS), "the whole run is in the log"


def test_decisions_are_told_in_the_words_of_the_policy(recorded: Path) -> None:
    words = [decision.words for decision in replay(recorded)]
    for piece in ("chunk r0 [Q", "decode r", "preempt r", "swap out r", "swap in r", "free r0", "run iteration 0"):
        assert any(piece in line for line in words), piece


def plan_rows(rows: Rows) -> list[int]:
    """Numbers of the rows with a plan that launches an iteration with spans."""
    return [i for i, row in enumerate(rows) if i and len(row) == 3 and row[2][0] and row[2][0][0][2]]


def test_a_changed_decision_is_found(recorded: Path, tmp_path: Path) -> None:
    rows = rows_of(recorded)
    at = plan_rows(rows)[3]
    rows[at][2][0][0][2][0][0] += 1  # another request in the first span
    decisions = changed(tmp_path, rows)
    assert not decisions[-1].equal
    assert decisions[-1].at == rows[at][0]
    assert all(decision.equal for decision in decisions[:-1])


def test_a_changed_block_table_is_found(recorded: Path, tmp_path: Path) -> None:
    rows = rows_of(recorded)
    rows[plan_rows(rows)[3]][2][0][0][2][0][5] ^= 1
    assert not changed(tmp_path, rows)[-1].equal


def test_a_changed_event_is_found_by_what_it_leads_to(recorded: Path, tmp_path: Path) -> None:
    rows = rows_of(recorded)
    arrival = next(row for row in rows[1:] if row[1] and row[1][0] == "arrived")
    arrival[1][3] += 9  # a longer prompt
    assert not changed(tmp_path, rows)[-1].equal


def test_the_replay_ends_at_the_first_difference(recorded: Path, tmp_path: Path) -> None:
    """What follows are answers to plans that were never made."""
    rows = rows_of(recorded)
    rows[0]["config"]["variant"] = "fastserve/fcfs"
    decisions = changed(tmp_path, rows)
    assert [decision.equal for decision in decisions].count(False) == 1
    assert not decisions[-1].equal


@pytest.mark.parametrize("damage", ["an event of an iteration that never was", "no event", "half a line"])
def test_a_damaged_line_is_named(damage: str, recorded: Path, tmp_path: Path) -> None:
    lines = recorded.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if '"ran"' in line)
    row = json.loads(lines[at])
    row[1][1] = 999
    lines[at] = {"no event": '[5,["slept"]]\n', "half a line": lines[at][:9] + "\n"}.get(damage, json.dumps(row) + "\n")
    path = tmp_path / "damaged.jsonl"
    path.write_text("".join(lines))
    with pytest.raises(UsageError, match=f"line {at + 1}"):
        list(replay(path))


def test_a_last_line_cut_short_is_left_out(recorded: Path, tmp_path: Path) -> None:
    text = recorded.read_text()
    path = tmp_path / "cut.jsonl"
    whole = len(list(replay(recorded)))
    path.write_text(text[:-3])
    decisions = list(replay(path))
    assert all(decision.equal for decision in decisions)
    assert len(decisions) == whole - 1


@pytest.mark.parametrize("header", ['{"schema": 2}', "{}", "[]", "3", "no json", ""])
def test_another_schema_is_refused(header: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(header + "\n")
    with pytest.raises(UsageError, match="schema 1"):
        list(replay(path))


def test_a_log_that_is_not_there_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ae run"):
        list(replay(tmp_path / "none.jsonl"))


# -- one event at a time ------------------------------------------------------------------------------------

ITERATION = Iteration(5)
TRANSFER = Transfer(3, TransferKind.KV, 1, Place(Pool.DEVICE), Place(Pool.HOST), (1, 2), (4, 5), 200)


@pytest.mark.parametrize(
    "event",
    [
        Arrived(Arrival(1, 2, 3, "m", 4, Slo("tight", 5, 6), output=7)),
        Arrived(Arrival(1, 2, 3)),
        Cancelled(9),
        Moved(TRANSFER),
        Moved(TRANSFER, ok=False),
        Ran(
            ITERATION,
            Outcome(
                (7, 9), (SpanOutcome(4, 1),), (Ended(1, StopReason.STOP), Ended(2, StopReason.ERROR, 1)), Times(1, 2, 3)
            ),
        ),
        Woke(),
    ],
)
def test_an_event_comes_back_from_json(event: Event) -> None:
    decoder = EventDecoder()
    decoder.note(Plan(launch=(ITERATION,), move=(TRANSFER,)))
    assert decoder.decode(json.loads(json.dumps(encode_event(event)))) == event


def test_plans_that_differ_are_encoded_differently() -> None:
    plans = [
        Plan(),
        Plan(launch=(ITERATION,)),
        Plan(launch=(Iteration(5, after=(1,)),)),
        Plan(launch=(Iteration(5, lane=1),)),
        Plan(move=(TRANSFER,)),
        Plan(finished=(1,)),
        Plan(wake_at=0),
    ]
    codes = [json.dumps(encode_plan(plan)) for plan in plans]
    assert len(set(codes)) == len(plans)
