"""The load generator, a process of its own: `python -m ae.load.client`, told what to do on stdin.

Each line of stdin is one job (`facts.Settings`); it is run with an event loop and connections of its own and
answered by one line on stdout: its summary (`facts.to_line`) or {"error": {exit_code, what, fix}}. So the imports
are paid once, and between two points rather than within one. The end of stdin, or a signal, ends the job on its
way and the process, with exit code 130.

Open loop: every request has its own timer, so a slow server or a late answer delays no other request. Closed
loop (`concurrency`): so many clients, each sending its next request when the last one ends.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import time

from ae.load import http, punctual
from ae.load.facts import Facts, Settings, to_line
from ae.load.schedule import Schedule
from ae.load.sender import Client
from ae.metrics import summarise
from systems.core.errors import AeError, UsageError

INTERRUPTED = 130


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
            share = await _measure(client, settings, schedule)
    facts = Facts(
        mode="closed" if settings.concurrency else "open",
        url=settings.url,
        model=model,
        options=client.options,
        cpu_share=share,
        guessed_wrong=client.guessed_wrong,
        prompt_wrong=client.prompt_wrong,
        schedule_rate=schedule.rate,
        concurrency=settings.concurrency,
        schedule_sha256=schedule.sha256,
    )
    return to_line(summarise(client.records), facts)


async def _measure(client: Client, settings: Settings, schedule: Schedule) -> float:
    """Run; the CPU share of this process in its busiest second."""
    warmup = [(p, client.body(p)) for p in schedule.requests if p.warmup]
    wanted = schedule.measured[: settings.requests or None] if settings.concurrency else schedule.measured
    work = [(p, client.body(p)) for p in wanted]
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection of a million live objects would stop all timers for tens of ms
    load = CpuLoad()
    if settings.concurrency:
        await client.closed_loop(warmup, settings.concurrency)
        await client.closed_loop(work, settings.concurrency)
    else:
        await client.open_loop(warmup + work)
    return load.stop()


class CpuLoad:
    """CPU seconds per second of this process, second by second."""

    def __init__(self) -> None:
        self._peak = 0.0
        self._mark = (time.monotonic(), time.process_time())
        self._timer = asyncio.get_running_loop().call_later(1.0, self._sample)

    def _sample(self) -> None:
        wall, cpu = self._mark
        self._mark = (time.monotonic(), time.process_time())
        self._peak = max(self._peak, (self._mark[1] - cpu) / (self._mark[0] - wall))
        self._timer = asyncio.get_running_loop().call_later(1.0, self._sample)

    def stop(self) -> float:
        """Return the share in the busiest second (of all the time, when there was less)."""
        self._timer.cancel()
        if not self._peak:
            self._sample()
            self._timer.cancel()
        return self._peak


async def _until_signal(settings: Settings) -> str:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, task.cancel)
    loop.add_reader(0, lambda: os.read(0, 4096) or task.cancel())  # the next job comes only after this one's answer
    return await run(settings)


def answer(settings: Settings) -> str:
    """Run one job; the line that answers it. Raises CancelledError on a signal or at the end of stdin."""
    try:
        with asyncio.Runner(loop_factory=punctual.loop) as runner:
            return runner.run(_until_signal(settings))
    except AeError as error:
        return json.dumps({"error": {"exit_code": error.exit_code, "what": error.what, "fix": error.fix}})
    finally:
        gc.enable()
        gc.unfreeze()


def main() -> int:
    """Serve jobs until stdin ends; the exit code."""
    try:
        while line := sys.stdin.buffer.readline():
            sys.stdout.write(answer(Settings.from_line(line)) + "\n")
            sys.stdout.flush()
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.stderr.write("Interrupted; requests on their way are recorded as cancelled.\n")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
