"""The order in which live requests run, in the two shapes that policies need, and those that wait to be admitted.

`Sorted` is for policies whose order is one number, `Queues` for multi-level queues, where sinking and promotion of
whole cohorts are the common case and cost the same however many wait.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Protocol

Key = tuple[int, int]
"""A request's place; unique, and smaller runs first."""


class Order(Protocol):
    """Requests from the first to the last; `keys` compares any two."""

    keys: dict[int, Key]

    def __iter__(self) -> Iterator[int]:
        """From the first on."""

    def __reversed__(self) -> Iterator[int]:
        """From the last on."""

    def remove(self, request: int) -> None:
        """Take `request`, which has a place, out."""


class Sorted:
    """Requests by a number of their own; equal ones by id."""

    def __init__(self) -> None:
        self.keys: dict[int, Key] = {}
        self._sorted: list[Key] = []

    def __iter__(self) -> Iterator[int]:
        """From the first on."""
        return (request for _, request in self._sorted)

    def __reversed__(self) -> Iterator[int]:
        """From the last on."""
        return (request for _, request in reversed(self._sorted))

    def place(self, request: int, number: int) -> None:
        """Give a new `request` its place."""
        key = self.keys[request] = (number, request)
        insort(self._sorted, key)

    def replace(self, keys: dict[int, Key]) -> None:
        """Give many requests new places at once, each `keys[request] == (number, request)`."""
        rest = [key for key in self._sorted if key[1] not in keys]
        rest += sorted(keys.values())
        rest.sort()  # merges two sorted runs
        self._sorted = rest
        self.keys.update(keys)

    def remove(self, request: int) -> None:
        """Take `request`, which has a place, out."""
        del self._sorted[bisect_left(self._sorted, self.keys.pop(request))]


class Queues:
    """Queues one after the other, level 0 first; each in the order of joining, those put at its head before all."""

    def __init__(self) -> None:
        self.keys: dict[int, Key] = {}  # (level, place in the queue)
        self._tails: list[dict[int, None]] = [{}]
        self._heads: list[dict[int, None]] = [{}]  # the last one to come is the first
        self._places = 0

    def __iter__(self) -> Iterator[int]:
        """From the first on."""
        for head, tail in zip(self._heads, self._tails, strict=True):
            yield from reversed(head)
            yield from tail

    def __reversed__(self) -> Iterator[int]:
        """From the last on."""
        for head, tail in zip(reversed(self._heads), reversed(self._tails), strict=True):
            yield from reversed(tail)
            yield from head

    def enqueue(self, request: int, level: int, *, first: bool = False) -> None:
        """Put `request` at the tail of the queue of `level`, or at its head; it leaves the queue where it was."""
        if request in self.keys:
            self.remove(request)
        while level >= len(self._tails):
            self._tails.append({})
            self._heads.append({})
        self._places += 1
        self.keys[request] = (level, -self._places if first else self._places)
        (self._heads if first else self._tails)[level][request] = None

    def remove(self, request: int) -> None:
        """Take `request`, which has a place, out."""
        level, place = self.keys.pop(request)
        del (self._heads if place < 0 else self._tails)[level][request]

    def counts(self, levels: int) -> list[int]:
        """How many requests are on each of the first `levels` levels."""
        pairs = zip(self._heads[:levels], self._tails[:levels], strict=True)
        return [len(head) + len(tail) for head, tail in pairs]


class Outside:
    """Requests that hold no page, by how many they need to be admitted."""

    def __init__(self) -> None:
        self._by_need: dict[int, dict[int, None]] = {}
        self._need: dict[int, int] = {}

    def add(self, request: int, need: int) -> None:
        """`request` needs `need` pages."""
        self._need[request] = need
        self._by_need.setdefault(need, {})[request] = None

    def discard(self, request: int) -> None:
        """`request` was admitted or is over."""
        need = self._need.pop(request, None)
        if need is not None:
            del self._by_need[need][request]

    def below(self, need: int) -> Iterator[int]:
        """Those that need fewer than `need` pages, in no order."""
        for pages, requests in self._by_need.items():
            if pages < need:
                yield from requests
