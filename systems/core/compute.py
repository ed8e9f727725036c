"""The executor seam: what runs (or makes up) a forward pass, with no idea of time; and how long one takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from systems.core.plan import Iteration, Transfer
from systems.core.request import Request


@dataclass(frozen=True, slots=True)
class Step:
    """What one forward pass put out: parallel arrays of request ids and the token each got.

    Requests of spans that emit come first, in span order, then the lane's decode members in batch order.
    `failed` names requests whose computation failed (with the reason); they have no token.
    """

    requests: list[int]
    tokens: list[int]
    failed: tuple[tuple[int, str], ...] = ()


class Compute(Protocol):
    """Torch or synthetic compute. Keeps each lane's decode batch between iterations."""

    def admit(self, request: Request) -> None:
        """A request that iterations may name from now on."""

    def forget(self, request: int) -> None:
        """A request that no later iteration names. It is never in a running batch."""

    def step(self, iteration: Iteration) -> Step:
        """Run one forward pass and sample; members then have one more token each."""

    def copy(self, transfer: Transfer) -> None:
        """Start copying the pages of a transfer; no iteration touches them until it has ended."""

    def copied(self, transfer: int) -> bool:
        """Whether that transfer's bytes have arrived; once true, it is forgotten."""


class CostModel(Protocol):
    """How long an iteration takes, where the clock is modeled."""

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], decode_batch: int, decode_context: int) -> int:
        """Ns for `chunks` (tokens, context before them) and `decode_batch` decodes over `decode_context` tokens in all."""
