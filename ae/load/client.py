"""The load generator, a process of its own: `python -m ae.load.client --url URL --schedule FILE --out FILE`.

Open loop: every request has its own timer, so a slow server or a late answer delays no other request. Closed
loop (`--concurrency`): so many clients, each sending its next request when the last one ends.
Ends with one JSON line (`ae.load.facts`); exit codes are those of `systems.core.errors`, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ae.load import http, punctual
from ae.load.facts import Facts, Settings, to_line
from ae.load.schedule import Schedule
from ae.load.sender import Client
from ae.metrics import summarise
from systems.core.errors import AeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
