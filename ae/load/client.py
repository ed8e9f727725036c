"""The load generator, a process of its own: `python -m ae.load.client --url URL --schedule FILE --out FILE`.

Open loop: every request has its own timer, so a slow server or a late answer delays no other request. Closed
loop (`--concurrency`): so many clients, each sending its next request when the last one ends.
Ends with one JSON line (`ae.load.facts`); exit codes are those of `systems.core.errors`, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import aiohttp

from ae.load import http, punctual
from ae.load.facts import Facts, to_line
from ae.load.schedule import Planned, Schedule
from ae.load.stream import Stream
from ae.metrics import summarise
from systems.core.errors import AeError, UsageError
from systems.core.record import Record, Status, Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

# Between reading the schedule and the first send: long enough for the event loop to be idle again.
LEAD = 0.2
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run. `concurrency` 0 is the open loop; `requests` bounds the closed one (0: the whole schedule)."""

    url: str
    schedule: Path
    out: Path
    model: str = ""
    timeout: float = 600.0
    concurrency: int = 0
    requests: int = 0
    probe: bool = True


class Client:
    """Sends requests and keeps their records. Times are seconds from `zero` on the event loop's clock."""

    def __init__(self, web: aiohttp.ClientSession, settings: Settings, model: str, out: TextIO) -> None:
        self.web = web
        self.target = f"{settings.url}/v1/completions"
        self.timeout = settings.timeout
        self.model = model
        self.options: tuple[str, ...] = http.OPTIONS
        self.records: list[Record] = []
        self.guessed_wrong = 0
        self.prompt_wrong = 0
        self.zero = 0.0
        self._out = out
        self._clock = asyncio.get_running_loop().time

    async def open_loop(self, planned: Sequence[Planned]) -> None:
        """Send each request at its time; return when all have ended."""
        loop = asyncio.get_running_loop()
        bodies = [self._body(p) for p in planned]
        self.zero = loop.time() + LEAD - planned[0].at
        async with asyncio.TaskGroup() as tasks:
            left = asyncio.Event()
            for p, data in zip(planned, bodies, strict=True):
                loop.call_at(self.zero + p.at, self._start, tasks, p, data, left if p is planned[-1] else None)
            await left.wait()

    def _start(self, tasks: asyncio.TaskGroup, p: Planned, data: bytes, left: asyncio.Event | None) -> None:
        tasks.create_task(self._one(p, data, p.at))
        if left is not None:
            left.set()

    async def closed_loop(self, planned: Sequence[Planned], concurrency: int) -> None:
        """`concurrency` clients share `planned` in order; scheduled is then the moment of sending."""
        pairs = [(p, self._body(p)) for p in planned]
        queue = iter(pairs)

        async def client() -> None:
            for p, data in queue:
                await self._one(p, data, None)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(concurrency):
                tasks.create_task(client())

    def _body(self, p: Planned) -> bytes:
        return http.body(self.model, p.prompt, p.output, self.options)

    async def _one(self, p: Planned, data: bytes, scheduled: float | None) -> None:
        """Send one request and record it, whatever becomes of it."""
        sent = self._clock() - self.zero
        answer = Answer(p, sent if scheduled is None else scheduled, sent)
        try:
            async with self.web.post(self.target, data=data) as response:
                answer.first_byte = self._clock() - self.zero
                if response.status == 200:
                    await self._read(response, answer)
                else:
                    answer.fail(f"HTTP {response.status}: {await http.reason(response)}")
        except TimeoutError:
            answer.fail(f"no end within {self.timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            answer.fail(f"{type(error).__name__}: {error}")
        except asyncio.CancelledError:
            answer.status = "cancelled"
            raise
        finally:
            self._keep(answer)

    async def _read(self, response: aiohttp.ClientResponse, answer: Answer) -> None:
        stream, clock, zero = answer.stream, self._clock, self.zero
        content, tokens = response.content, answer.tokens
        while chunk := await content.readany():
            now = clock() - zero
            events, count = stream.feed(chunk)
            if count > 0:
                tokens.append(Tokens(now, count, 0.0, events))
            if stream.done and answer.end is None:
                answer.end = now
        if stream.error:
            answer.fail(stream.error)
        elif not (stream.done or stream.finish):
            answer.fail("the stream ended before its [DONE]")

    def _keep(self, answer: Answer) -> None:
        record = answer.record(self._clock() - self.zero)
        self.guessed_wrong += answer.stream.guessed_wrong
        self.prompt_wrong += answer.stream.prompt not in {None, record.prompt}
        self.records.append(record)
        self._out.write(record.to_json() + "\n")


class Answer:
    """One request on its way."""

    __slots__ = ("end", "error", "first_byte", "planned", "scheduled", "sent", "status", "stream", "tokens")

    def __init__(self, planned: Planned, scheduled: float, sent: float) -> None:
        self.planned = planned
        self.scheduled = scheduled
        self.sent = sent
        self.first_byte: float | None = None
        self.end: float | None = None
        self.status: Status = "ok"
        self.error = ""
        self.stream = Stream()
        self.tokens: list[Tokens] = []

    def fail(self, error: str) -> None:
        """Mark the request failed; what came before stays recorded."""
        self.status, self.error = "failed", error

    def record(self, now: float) -> Record:
        """Make the record of a request that is over at `now`, or was over when its last event came."""
        p = self.planned
        return Record(
            id=p.id,
            scheduled=self.scheduled,
            sent=self.sent,
            first_byte=self.first_byte,
            end=now if self.end is None else self.end,
            status=self.status,
            prompt=len(p.prompt),
            want=p.output,
            output=self.stream.output,
            tokens=tuple(self.tokens),
            error=self.error,
            finish=self.stream.finish,
            slo=p.slo,
            warmup=p.warmup,
        )


async def run(settings: Settings) -> str:
    """Run the schedule against the server; the summary line. Raises AeError, and CancelledError on a signal."""
    schedule = Schedule.read(settings.schedule)
    if not schedule.measured:
        raise UsageError(f"{settings.schedule} has no measured request.", "Ask for more requests or a longer time.")
    async with http.session(settings.timeout) as web:
        model = settings.model or await http.first_model(web, settings.url)
        # One line of buffer: a record is on disk when its request has ended, even if we are killed.
        with settings.out.open("w", buffering=1) as out:
            client = Client(web, settings, model, out)
            if settings.probe:
                client.options = await http.accepted(web, settings.url, model, schedule.requests[0])
            wall, cpu = await _measure(client, settings, schedule)
    facts = Facts(
        mode="closed" if settings.concurrency else "open",
        url=settings.url,
        model=model,
        options=client.options,
        wall=wall,
        cpu_share=cpu / wall,
        guessed_wrong=client.guessed_wrong,
        prompt_wrong=client.prompt_wrong,
        schedule_rate=schedule.rate,
        concurrency=settings.concurrency,
        schedule_sha256=schedule.sha256,
    )
    return to_line(summarise(client.records), facts)


async def _measure(client: Client, settings: Settings, schedule: Schedule) -> tuple[float, float]:
    """Run; (wall seconds, CPU seconds) of this process."""
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection of a million live objects would stop all timers for tens of ms
    start, cpu = time.monotonic(), time.process_time()
    if not settings.concurrency:
        await client.open_loop(schedule.requests)
    else:
        await client.closed_loop([p for p in schedule.requests if p.warmup], settings.concurrency)
        client.zero = asyncio.get_running_loop().time()
        start, cpu = time.monotonic(), time.process_time()
        wanted = itertools.islice(schedule.measured, settings.requests or None)
        await client.closed_loop(list(wanted), settings.concurrency)
    return time.monotonic() - start, time.process_time() - cpu


def _arguments(argv: Sequence[str] | None) -> tuple[Settings, bool]:
    parser = argparse.ArgumentParser(prog="python -m ae.load.client", description="Open- or closed-loop load generator")
    parser.add_argument("--url", required=True, help="of an OpenAI-compatible server, without /v1")
    parser.add_argument("--schedule", required=True, type=Path, help="schedule.jsonl to send")
    parser.add_argument("--out", required=True, type=Path, help="requests.jsonl to write")
    parser.add_argument("--model", default="", help="name to ask for (default: the server's first)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one answer")
    parser.add_argument("--concurrency", type=int, default=0, help="closed loop of so many clients")
    parser.add_argument("--requests", type=int, default=0, help="closed loop: stop after so many")
    parser.add_argument("--no-probe", dest="probe", action="store_false", help="take all request fields as supported")
    parser.add_argument("--watch-parent", action="store_true", help="stop when stdin reaches its end")
    given = vars(parser.parse_args(argv))
    watch = given.pop("watch_parent")
    given["url"] = given["url"].rstrip("/").removesuffix("/v1")
    return Settings(**given), watch


async def _until_signal(settings: Settings, *, watch: bool) -> str:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, task.cancel)
    if watch:
        loop.add_reader(0, lambda: os.read(0, 4096) or task.cancel())
    return await run(settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit code."""
    settings, watch = _arguments(argv)
    try:
        with asyncio.Runner(loop_factory=punctual.loop) as runner:
            line = runner.run(_until_signal(settings, watch=watch))
    except AeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except asyncio.CancelledError:
        sys.stderr.write("Interrupted; requests on their way are recorded as cancelled.\n")
        return INTERRUPTED
    sys.stdout.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
