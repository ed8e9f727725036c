"""Sending requests and keeping their records: the open and the closed loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TextIO

import aiohttp

from ae.load import http
from ae.load.facts import OPTIONS
from ae.load.stream import Stream
from systems.core.record import Record, Status, Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ae.load.facts import Settings
    from ae.load.schedule import Planned

# Between handing over the schedule and its first send: long enough for the event loop to be idle again.
LEAD = 0.2


class Client:
    """Sends requests and keeps their records. Times are seconds from `zero` on the event loop's clock."""

    def __init__(self, web: aiohttp.ClientSession, settings: Settings, model: str, out: TextIO) -> None:
        self.web = web
        self.target = f"{settings.url}/v1/completions"
        self.timeout = settings.timeout
        self.model = model
        self.options: tuple[str, ...] = OPTIONS
        self.records: list[Record] = []
        self.guessed_wrong = 0
        self.prompt_wrong = 0
        self.zero = 0.0
        self._out = out
        self._clock = asyncio.get_running_loop().time

    def body(self, p: Planned) -> bytes:
        """Encode a request; done for all of them before the first is sent."""
        return http.body(self.model, p.prompt, p.output, self.options)

    async def open_loop(self, work: Sequence[tuple[Planned, bytes]]) -> None:
        """Send each request at its time; return when all have ended."""
        loop = asyncio.get_running_loop()
        self.zero = loop.time() + LEAD - work[0][0].at
        sent = asyncio.Event()
        timers: list[asyncio.TimerHandle] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                for p, data in work:
                    timers.append(loop.call_at(self.zero + p.at, self._start, tasks, p, data))
                timers.append(loop.call_at(self.zero + work[-1][0].at, sent.set))
                await sent.wait()
        finally:
            for timer in timers:
                timer.cancel()

    def _start(self, tasks: asyncio.TaskGroup, p: Planned, data: bytes) -> None:
        tasks.create_task(self._one(p, data, p.at))

    async def closed_loop(self, work: Sequence[tuple[Planned, bytes]], concurrency: int) -> None:
        """`concurrency` clients share `work` in order; scheduled is then the moment of sending."""
        self.zero = asyncio.get_running_loop().time()
        queue = iter(work)

        async def client() -> None:
            for p, data in queue:
                await self._one(p, data, None)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(concurrency):
                tasks.create_task(client())

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
