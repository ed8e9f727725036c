"""Requests on their way: what the engine emits, handed from the pipe's reader to the HTTP task that waits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import NamedTuple

from systems.core.errors import BadRequest, OutOfMemory, QueueFull, RequestRejected

_BY_STATUS: dict[int, type[RequestRejected]] = {400: BadRequest, 429: QueueFull, 503: OutOfMemory}


class Item(NamedTuple):
    """A token of one choice (`NO_TOKEN`: none), and why the choice ended (None: it goes on)."""

    choice: int
    token: int
    finish: str | None


class Mailbox:
    """Output of one HTTP request, in order.

    With `eager` the reader is woken by every hand-over, else only when a choice ends: an answer that is sent
    whole costs one wake-up.
    """

    __slots__ = ("_eager", "_failure", "_items", "_waiter")

    def __init__(self, *, eager: bool) -> None:
        self._eager = eager
        self._items: list[Item] = []
        self._failure: RequestRejected | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Item) -> None:
        """Hand one item over."""
        self._items.append(item)
        if self._eager or item.finish is not None:
            self._wake()

    def fail(self, status: int, reason: str) -> None:
        """End it: `take` raises once everything before was taken."""
        self._failure = _BY_STATUS.get(status, RequestRejected)(reason)
        self._wake()

    async def take(self) -> list[Item]:
        """Everything there is, waiting for at least one item. Raises RequestRejected when the engine refused."""
        while not self._items:
            if self._failure is not None:
                raise self._failure
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        items, self._items = self._items, []
        return items

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass(slots=True)
class Live:
    """One engine request: choice number `choice` of an HTTP request. Times in s of the monotonic clock."""

    mailbox: Mailbox
    choice: int
    began: float
    last: float | None = field(default=None)
