"""A server that does nothing, fast: `python -m ae.load.null_server`, to measure and to test the load generator.

It has the shape of an OpenAI completions server (token ids in, server-sent events out) and makes up the text.
Like an engine it puts out one token of every live request per iteration, `--gap` seconds apart. It can be told to
refuse request fields and to fail every k-th request, in the ways in which real servers do. It speaks just enough
HTTP/1.1 for that, by hand, so that it is never the slower of the two.
Prints one JSON line {"ready": true, "port": N} when it can answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

Fault = Literal["none", "status", "close", "cut", "hang", "short", "error", "reset"]
FAULTS: tuple[Fault, ...] = ("none", "status", "close", "cut", "hang", "short", "error", "reset")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """`gap` seconds between iterations (0: as fast as possible), `per_event` tokens in an event.

    Every `every`-th request has `fault`: a 500 (status), a connection closed in the middle of the stream (close) or
    before any answer (reset), an answer that ends there as if it were whole (cut), no end (hang), one token too few
    (short), an error event (error). Requests that use a field in `refuse` get a 400.
    """

    gap: float = 0.0
    per_event: int = 1
    fault: Fault = "none"
    every: int = 1
    refuse: frozenset[str] = frozenset()


@dataclass(slots=True)
class Live:
    """A stream on its way: tokens still to come out, and how its usage is told."""

    port: Connection
    prompt: int
    want: int
    fault: Fault
    usage: bool
    continuous: bool
    out: int = 0


def chunk(data: bytes) -> bytes:
    """Frame `data` as one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Server:
    """Live streams and the iteration that feeds them."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.live: list[Live] = []
        self.seen = 0
        self._wake = asyncio.Event()

    def admit(self, port: Connection, body: dict[str, Any]) -> None:
        """Start to answer a completion request."""
        stream = body.get("stream_options") or {}
        if refused := sorted(self.behaviour.refuse & {*body, *stream}):
            port.refuse(400, f"unsupported field: {', '.join(refused)}")
            return
        self.seen += 1
        fault = self.behaviour.fault if self.seen % self.behaviour.every == 0 else "none"
        if fault == "status":
            port.refuse(500, "asked to fail")
        elif fault == "reset":
            port.transport.abort()
        else:
            options = (bool(stream.get("include_usage")), bool(stream.get("continuous_usage_stats")))
            port.transport.write(HEAD)
            self.live.append(Live(port, len(body["prompt"]), body["max_tokens"], fault, *options))
            self._wake.set()

    async def run(self) -> None:
        """One iteration after another, as long as the process lives."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            started = loop.time()
            self.live = [one for one in self.live if self._step(one)]
            if not self.live:
                self._wake.clear()
            await asyncio.sleep(max(0.0, started + self.behaviour.gap - loop.time()))

    def _step(self, one: Live) -> bool:
        """Put out one event; whether the stream goes on."""
        if one.port.transport.is_closing():
            return False
        half = one.out >= one.want // 2
        if half and one.fault == "hang":
            return True
        if half and one.fault == "close":
            one.port.transport.close()
            return False
        if half and one.fault == "cut":
            return one.port.end()
        if half and one.fault == "error":
            one.port.transport.write(chunk(b'data: {"error":{"message":"asked to fail"}}\n\n'))
            return one.port.end()
        one.out = min(one.want, one.out + self.behaviour.per_event)
        last = one.out >= one.want - (one.fault == "short")
        one.port.transport.write(chunk(_event(one, last=last)))
        return True if not last else self._finish(one)

    def _finish(self, one: Live) -> bool:
        tail = b'data: {"id":"cmpl-0","choices":[],"usage":%s}\n\n' % _usage(one) if one.usage else b""
        one.port.transport.write(chunk(tail + b"data: [DONE]\n\n"))
        return one.port.end()


def _event(one: Live, *, last: bool) -> bytes:
    finish = b'"length"' if last else b"null"
    usage = b',"usage":' + _usage(one) if one.continuous else b""
    return (
        b'data: {"id":"cmpl-0","object":"text_completion","created":0,"model":"null","choices":[{"index":0,'
        b'"text":" a","logprobs":null,"finish_reason":%s}]%s}\n\n' % (finish, usage)
    )


def _usage(one: Live) -> bytes:
    counts = (one.prompt, one.prompt + one.out, one.out)
    return b'{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}' % counts


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests are answered one at a time, as HTTP/1.1 clients send them."""

    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request once its head and body are whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            _, found, rest = head.partition(b"content-length:")
            size = int(rest.split(b"\r\n", 1)[0]) if found else 0
            if len(self._buffer) < end + 4 + size:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        if path == b"/v1/completions":
            self._server.admit(self, json.loads(body))
        elif path == b"/v1/models":
            self._reply(200, {"object": "list", "data": [{"id": "null", "object": "model"}]})
        elif path == b"/health":
            self._reply(200, {})
        else:
            self.refuse(404, f"no such path: {path.decode()}")

    def refuse(self, status: int, message: str) -> None:
        """Answer with an OpenAI-style error."""
        self._reply(status, {"error": {"message": message, "code": status}})

    def _reply(self, status: int, answer: object) -> None:
        data = json.dumps(answer).encode()
        head = b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, len(data)) + data)

    def end(self) -> bool:
        """End the chunked body; false, as the stream does not go on."""
        self.transport.write(b"0\r\n\r\n")
        return False


async def serve(behaviour: Behaviour, port: int, *, watch: bool) -> None:
    """Serve on loopback until cancelled, or until stdin ends when `watch`."""
    loop = asyncio.get_running_loop()
    state = Server(behaviour)
    listener = await loop.create_server(lambda: Connection(state), "127.0.0.1", port, backlog=4096)
    sys.stdout.write(json.dumps({"ready": True, "port": listener.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    work = asyncio.create_task(state.run())
    if watch:
        loop.add_reader(0, lambda: os.read(0, 4096) or work.cancel())
    await work


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m ae.load.null_server", description="A server that does nothing")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1 (0: any)")
    parser.add_argument("--gap", type=float, default=0.0, help="seconds between the tokens of a stream")
    parser.add_argument("--per-event", type=int, default=1, help="tokens in one event")
    parser.add_argument("--fault", choices=FAULTS, default="none", help="what goes wrong")
    parser.add_argument("--every", type=int, default=1, help="with every so many-th request")
    parser.add_argument("--refuse", nargs="*", default=[], help="request fields to answer with 400")
    parser.add_argument("--watch-parent", action="store_true", help="stop when stdin reaches its end")
    given = parser.parse_args(argv)
    behaviour = Behaviour(given.gap, given.per_event, given.fault, given.every, frozenset(given.refuse))
    try:
        asyncio.run(serve(behaviour, given.port, watch=given.watch_parent))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
