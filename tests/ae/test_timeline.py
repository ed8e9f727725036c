"""The timeline: every step of the log once, none over another, pages and requests as the memory manager counts them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from ae.timeline import LANES, LINKS, REQUESTS, trace, write
from systems.core.errors import UsageError
from systems.fastserve.variants import VARIANTS as FASTSERVE
from systems.vllm.variants import VARIANTS as VLLM
from tests.core import logged

ALL = [v.id for v in (*FASTSERVE, *VLLM)]
Json = dict[str, Any]


def traced(log: Path) -> list[Json]:
    file = log.with_suffix(".json")
    count = write(log, file)
    events: list[Json] = json.loads(file.read_text())["traceEvents"]
    assert len(events) == count
    return events


def lanes(events: list[Json]) -> list[Json]:
    return [e for e in events if e["ph"] == "X" and LANES <= e["tid"] < LINKS]


def assert_apart(events: list[Json]) -> None:
    """No two of one row overlap (ns)."""
    by_row: dict[int, list[tuple[int, int]]] = {}
    for event in events:
        begin = round(event["ts"] * 1000)
        by_row.setdefault(event["tid"], []).append((begin, begin + round(event["dur"] * 1000)))
    for spans in by_row.values():
        assert all(a[1] <= b[0] for a, b in pairwise(sorted(spans)))


@pytest.mark.parametrize("variant", ALL)
def test_every_step_of_the_log_is_there_once_and_none_overlap(variant: str, tmp_path: Path) -> None:
    logged.simulated(variant, tmp_path / "log")
    drawn = lanes(traced(tmp_path / "log"))
    ran = logged.ran(tmp_path / "log")
    assert len(drawn) == sum(len(event[2]) for event in ran)
    ends = sorted(end for event in ran for end in event[2])
    assert sorted(round((e["ts"] + e["dur"]) * 1000) for e in drawn) == ends
    assert_apart(drawn)


def test_a_row_says_what_ran(tmp_path: Path) -> None:
    logged.simulated("fastserve/fcfs", tmp_path / "log", [(0, 5, 3), (1, 6, 1)])
    events = traced(tmp_path / "log")
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert names == {REQUESTS: "requests", LANES: "lane 0"}
    drawn = [(e["name"], e["args"]["batch"], e["args"]["tokens"], e["args"]["context"]) for e in lanes(events)]
    assert drawn == [("1 prompt", 1, 5, 0), ("1 prompt + 1 decode", 2, 7, 5), ("1 decode", 1, 1, 6)]
    said = [e["name"] for e in events if e["ph"] == "i"]
    assert said == ["r0 arrives", "r1 arrives", "r1 ends", "r0 ends"]


def test_pages_and_requests_are_counted(tmp_path: Path) -> None:
    logged.simulated("fastserve/fcfs", tmp_path / "log", [(0, 5, 3)])
    counted = [e for e in traced(tmp_path / "log") if e["ph"] == "C"]
    pages = [e["args"] for e in counted if e["name"] == "pages in use"]
    assert pages == [{"device": 2, "host": 0}, {"device": 0, "host": 0}], "8 slots for 7 tokens, then nothing"
    requests = [e["args"] for e in counted if e["name"] == "requests"]
    assert requests == [{"live": 1, "waiting": 0}, {"live": 0, "waiting": 0}]


def test_transfers_have_a_row_for_each_way(tmp_path: Path) -> None:
    logged.simulated("fastserve/skip-join", tmp_path / "log")
    events = traced(tmp_path / "log")
    moved = [e for e in events if e["ph"] == "X" and e["tid"] >= LINKS]
    moves = [move for row in logged.rows_of(tmp_path / "log") if len(row) == 3 for move in row[2][1]]
    assert moves
    assert sorted(e["args"]["transfer"] for e in moved) == sorted(move[0] for move in moves)
    bytes_of = {move[0]: 1000 * len(move[2][2]) for move in moves}
    assert {e["args"]["transfer"]: e["args"]["bytes"] for e in moved} == bytes_of
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert {names[e["tid"]] for e in moved} == {"pcie out", "pcie in"}
    assert_apart(moved)
    counted = [e["args"] for e in events if e["name"] == "pages in use"]
    assert max(c["device"] for c in counted) <= logged.MEMORY.device_pages
    assert 0 < max(c["host"] for c in counted) <= logged.MEMORY.host_pages
    assert counted[-1] == {"device": 0, "host": 0}
    waiting = [e["args"]["waiting"] for e in events if e["name"] == "requests"]
    assert max(waiting) > 0
    assert waiting[-1] == 0


def test_a_served_log_gives_the_same_picture_as_the_simulated_one(tmp_path: Path) -> None:
    logged.served("vllm", tmp_path / "served")
    logged.simulated("vllm", tmp_path / "simulated")
    pictures = [
        [(e["ts"], e["dur"], e["name"], e["args"]["context"]) for e in lanes(traced(tmp_path / name))]
        for name in ("served", "simulated")
    ]
    assert pictures[0] == pictures[1]


def test_events_come_as_the_log_is_read(tmp_path: Path) -> None:
    logged.simulated("vllm", tmp_path / "log")
    read: list[str] = []

    def lines() -> Iterator[str]:
        for line in (tmp_path / "log").read_text().splitlines(keepends=True):
            read.append(line)
            yield line

    assert len(list(islice(trace(lines()), 6))) == 6
    assert len(read) < 10


def test_what_cannot_be_drawn_or_written_is_said_and_leaves_no_file(tmp_path: Path) -> None:
    logged.simulated("vllm", tmp_path / "log")
    with pytest.raises(UsageError, match="Cannot write the timeline"):
        write(tmp_path / "log", tmp_path / "none" / "t.json")
    (tmp_path / "bad").write_text((tmp_path / "log").read_text() + "[]\n")
    with pytest.raises(UsageError, match="does not follow"):
        write(tmp_path / "bad", tmp_path / "t.json")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad", "log"]
