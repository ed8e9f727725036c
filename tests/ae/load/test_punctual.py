from __future__ import annotations

import asyncio
import selectors
import socket
from contextlib import ExitStack

from ae.load import punctual
from ae.load.punctual import BATCH, InBatches


def pairs(stack: ExitStack, n: int) -> list[tuple[socket.socket, socket.socket]]:
    made = [socket.socketpair() for _ in range(n)]
    for one in made:
        for end in one:
            stack.enter_context(end)
    return made


def test_a_burst_comes_in_batches_and_nothing_is_lost() -> None:
    with ExitStack() as stack, InBatches() as selector:
        made = pairs(stack, 3 * BATCH + 1)
        for near, far in made:
            selector.register(near.fileno(), selectors.EVENT_READ)
            far.send(b"x")
        seen: list[int] = []
        sizes = []
        for _ in range(4):
            ready = selector.select(0)
            sizes.append(len(ready))
            seen += [key.fd for key, _ in ready]
        assert sizes == [BATCH, BATCH, BATCH, 1]
        assert sorted(seen) == sorted(near.fileno() for near, _ in made)


def test_a_socket_closed_while_it_waits_is_not_reported() -> None:
    with ExitStack() as stack, InBatches() as selector:
        made = pairs(stack, BATCH + 3)
        for near, far in made:
            selector.register(near.fileno(), selectors.EVENT_READ)
            far.send(b"x")
        first = {key.fd for key, _ in selector.select(0)}
        waiting = [near.fileno() for near, _ in made if near.fileno() not in first]
        selector.unregister(waiting[0])
        selector.unregister(waiting[1])
        selector.register(waiting[1], selectors.EVENT_READ, "another socket with the same number")
        assert [key.fd for key, _ in selector.select(0)] == waiting[2:]
        # Its new owner is not forgotten: it is ready, so it comes with a later answer of the system.
        later = {key.fd for _ in range(2) for key, _ in selector.select(0)}
        assert waiting[1] in later


def test_timers_get_their_turn_within_a_burst() -> None:
    order: list[str] = []

    def read(near: socket.socket) -> None:
        near.recv(1)
        order.append("read")
        if order.count("read") == 8 * BATCH:
            over.set()

    over = asyncio.Event()

    async def burst() -> None:
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            made = pairs(stack, 8 * BATCH)
            for near, far in made:
                loop.add_reader(near, read, near)
                far.send(b"x")
            loop.call_at(loop.time(), order.append, "timer")
            await over.wait()
            for near, _ in made:
                loop.remove_reader(near)

    with asyncio.Runner(loop_factory=punctual.loop) as runner:
        runner.run(burst())
    assert order.index("timer") <= 2 * BATCH
