"""How many streamed events a second the HTTP front end can send: `python benchmarks/front_end.py`.

The engine is real but its model is not (synthetic compute), so that the front end is what is measured: streamed events
per second of wall time, and per second of the front end's own CPU time, which other work on the machine hardly moves.
The client only counts: it shares the other core with the engine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPT = 128
TOKENS = 256
END = b"0\r\n\r\n"


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, in s."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


async def stream(port: int, requests: int) -> int:
    """Make `requests` streamed requests over one connection, one after the other; the events that came."""
    fields = {"prompt": [7] * PROMPT, "max_tokens": TOKENS, "stream": True, "ignore_eos": True}
    body = json.dumps(fields).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n" % len(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    events = 0
    for _ in range(requests):
        writer.write(head + body)
        tail = b""
        while not tail.endswith(END):
            data = await reader.read(1 << 18)
            if not data:
                sys.exit("The server closed the connection.")
            events += data.count(b"data: {")
            tail = (tail + data)[-len(END) :]
    writer.close()
    return events


async def drive(port: int, concurrency: int, requests: int) -> int:
    """All connections at once; the events that came."""
    return sum(await asyncio.gather(*(stream(port, requests) for _ in range(concurrency))))


def main() -> None:
    """Start a server, load it, print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--requests", type=int, default=12, help="per connection")
    args = parser.parse_args()
    config = {"model": "synthetic", "variant": "vllm", "max_batch": args.concurrency}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(config, file)
        file.flush()
        command = [sys.executable, "-m", "systems.core.serve", "--config", file.name, "--watch-parent"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            ready = json.loads(server.stdout.readline())
            asyncio.run(drive(ready["port"], 4, 1))
            front, engine, began = cpu_s(ready["pid"]), cpu_s(ready["engine_pid"]), time.perf_counter()
            events = asyncio.run(drive(ready["port"], args.concurrency, args.requests))
            wall = time.perf_counter() - began
            front, engine = cpu_s(ready["pid"]) - front, cpu_s(ready["engine_pid"]) - engine
            server.terminate()
    print(
        f"{events} events: {events / wall:,.0f}/s, {events / front:,.0f} per CPU second of the front end "
        f"({1e6 * front / events:.1f} us each), {1e6 * engine / events:.1f} us each in the engine"
    )


if __name__ == "__main__":
    main()
