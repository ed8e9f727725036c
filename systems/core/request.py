"""Requests: what a client asked for, and the part of it that a policy may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Slo:
    """A request's class and latency targets in nanoseconds (0: no target)."""

    name: str = ""
    ttft: int = 0
    tpot: int = 0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How output tokens are drawn and when they end.

    `temperature` 0 is greedy. `seed` and the position key the random draw, so it survives
    preemption, migration and a change of batch.
    """

    max_tokens: int = 16
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the shell holds it: token ids (of a simulated one only how many), limits, arrival in ns."""

    id: int
    prompt: Sequence[int]
    sampling: Sampling
    arrival: int = 0
    model: str = ""
    priority: int = 0
    slo: Slo = field(default_factory=Slo)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a policy sees of a request: token counts and prefix hashes, never text or token ids.

    `output` is the true output length; it is set for variants named `oracle` and for no others. `emitted` counts
    the tokens that a request from another instance has put out already.
    """

    request: int
    at: int
    prompt: int
    model: str = ""
    priority: int = 0
    slo: Slo = field(default_factory=Slo)
    prefix: tuple[int, ...] = ()
    output: int | None = None
    emitted: int = 0

    @classmethod
    def of(cls, request: Request, *, oracle: bool = False) -> Arrival:
        """The policy's view of `request`; the output length only when `oracle`."""
        return cls(
            request=request.id,
            at=request.arrival,
            prompt=len(request.prompt),
            model=request.model,
            priority=request.priority,
            slo=request.slo,
            output=request.sampling.max_tokens if oracle else None,
        )
