"""An event log as a timeline: trace events that Perfetto (ui.perfetto.dev) and chrome://tracing open.

One row per lane with its iterations (a leap as its steps), one per link and direction with its transfers, arrivals and
ends as instants, pages and requests as counters. Pages are the memory manager's own count: the log is re-driven.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from systems.core.errors import UsageError
from systems.core.passes import Pass, Passes
from systems.core.replay import Redriven

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PROCESS = 1
REQUESTS = 1  # the row of arrivals and ends
LANES = 10  # the row of lane 0
LINKS = 2000  # the first row of a link: beyond all lanes


class TraceEvent(NamedTuple):
    """One trace event on `row`, at `at` ns of the log's clock.

    `phase`: X takes `takes` ns, i is an instant, C sets counters to `args`, M names a row (`args` has its name).
    """

    phase: Literal["X", "i", "C", "M"]
    name: str
    row: int
    at: int = 0
    takes: int = 0
    args: tuple[tuple[str, int | str], ...] = ()

    def to_json(self) -> str:
        """One object of `traceEvents`; its times are microseconds."""
        value: dict[str, Any] = {"ph": self.phase, "name": self.name, "pid": PROCESS, "tid": self.row}
        if self.phase != "M":
            value["ts"] = self.at / 1000
        if self.phase == "X":
            value["dur"] = self.takes / 1000
        if self.phase == "i":
            value["s"] = "t"  # as high as its row
        if self.args:
            value["args"] = dict(self.args)
        return json.dumps(value, separators=(",", ":"))


def trace(lines: Iterable[str], name: str = "the log") -> Iterator[TraceEvent]:
    """The events of a log's lines, as they are read; up to the first decision that this version would not make.

    Raises UsageError for what is not an event log, and for a damaged line; errors call the log `name`.
    """
    return _Timeline(Redriven(lines, name)).events()


def write(log: Path, file: Path) -> int:
    """Write the timeline of `log` to `file`, whole or not at all; how many events it has. Raises UsageError."""
    part = file.with_name(file.name + ".part")
    try:
        with log.open() as lines, part.open("w") as out:
            count = 0
            out.write('{"displayTimeUnit":"ms","traceEvents":[\n')
            for count, event in enumerate(trace(lines, str(log)), 1):
                out.write((",\n" if count > 1 else "") + event.to_json())
            out.write("\n]}\n")
        part.replace(file)
    except OSError as error:
        raise UsageError(f"Cannot write the timeline {file}: {error.strerror}.", "Name a file in a folder.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return count


class _Moving(NamedTuple):
    link: str
    way: str
    request: int
    pages: int
    issued: int


class _Timeline:
    """What has to be remembered between the lines: nothing of a request that is over."""

    def __init__(self, driven: Redriven) -> None:
        self._driven = driven
        self._passes = Passes()
        self._named: dict[int, str] = {}
        self._live: set[int] = set()
        self._moving: dict[int, _Moving] = {}
        self._landed: dict[str, int] = {}  # when the last transfer of a link ended
        self._counted: dict[str, tuple[tuple[str, int | str], ...]] = {}

    def events(self) -> Iterator[TraceEvent]:
        yield TraceEvent("M", "process_name", 0, args=(("name", self._driven.config.variant),))
        yield from self._row(REQUESTS, "requests")
        for row, plan, _ in self._driven.feed():
            now, event, *recorded = row
            for one in self._passes.feed(row):
                yield from self._pass(one)
            if plan is None:
                yield from self._happened(now, event)
                continue
            for number, request, source, target, _, _, link, _ in recorded[0][1]:
                self._moving[number] = _Moving(link, _way(source[0], target[0]), request, len(source[2]), now)
            yield from self._counters(now)

    def _happened(self, now: int, event: list[Any]) -> Iterator[TraceEvent]:
        if event[0] == "arrived":
            _, request, _, prompt, *_ = event
            self._live.add(request)
            yield TraceEvent("i", f"r{request} arrives", REQUESTS, now, args=(("prompt tokens", prompt),))
        elif event[0] == "cancelled":
            self._live.discard(event[1])
            yield TraceEvent("i", f"r{event[1]} is cancelled", REQUESTS, now)
        elif event[0] == "ran":
            for request, why, step in event[4]:
                self._live.discard(request)
                yield TraceEvent("i", f"r{request} ends", REQUESTS, event[2][step], args=(("reason", why),))
        elif event[0] == "moved":
            yield from self._transfer(now, event[1], event[2])

    def _pass(self, one: Pass) -> Iterator[TraceEvent]:
        yield from self._row(LANES + one.lane, f"lane {one.lane}")
        prompts = len(one.chunks)
        args = (
            ("iteration", one.id),
            ("batch", prompts + one.batch),
            ("tokens", sum(count for count, _ in one.chunks) + one.batch),
            ("context", sum(before for _, before in one.chunks) + one.context),
            ("waited for transfers, ns", one.waited),
        )
        words = [f"{n} {what}{'s' * (n > 1)}" for n, what in ((prompts, "prompt"), (one.batch, "decode")) if n]
        name = " + ".join(words) or "nothing"
        yield TraceEvent("X", name, LANES + one.lane, one.begin, one.end - one.begin, args)

    def _transfer(self, now: int, number: int, ok: int) -> Iterator[TraceEvent]:
        """A link takes its transfers one after the other; where two landings were noticed at once, the later has no length."""
        link, way, request, pages, issued = self._moving.pop(number)
        begin = max(issued, self._landed.get(link, 0))
        self._landed[link] = now
        name = f"{link} {way}"
        row = next((row for row, known in self._named.items() if known == name), LINKS + len(self._named))
        yield from self._row(row, name)
        args = (
            ("transfer", number),
            ("bytes", pages * self._driven.memory.page_bytes),
            ("queued, ns", begin - issued),
            ("ok", ok),
        )
        yield TraceEvent("X", f"r{request}, {pages} page{'s' * (pages > 1)}", row, begin, now - begin, args)

    def _row(self, row: int, name: str) -> Iterator[TraceEvent]:
        if row not in self._named:
            self._named[row] = name
            yield TraceEvent("M", "thread_name", row, args=(("name", name),))
            yield TraceEvent("M", "thread_sort_index", row, args=(("sort_index", row),))

    def _counters(self, now: int) -> Iterator[TraceEvent]:
        memory, blocks = self._driven.memory, self._driven.blocks
        waiting = self._live - self._passes.running()
        counts: dict[str, tuple[tuple[str, int | str], ...]] = {
            "pages in use": (
                ("device", memory.device_pages - blocks.device_free),
                ("host", memory.host_pages - blocks.host_free),
            ),
            "requests": (("live", len(self._live)), ("waiting", len(waiting))),
        }
        for name, values in counts.items():
            if self._counted.get(name) != values:
                self._counted[name] = values
                yield TraceEvent("C", name, 0, now, args=values)


def _way(source: str, target: str) -> str:
    known = {("device", "host"): "out", ("host", "device"): "in"}
    return known.get((source, target), f"{source} to {target}")
