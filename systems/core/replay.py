"""Re-drives a recorded event log through a fresh policy object and compares every decision."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from systems.core.assemble import Memory, policy_of
from systems.core.config import EngineConfig
from systems.core.cost.named import machine
from systems.core.cost.recorded import hardware_from
from systems.core.errors import UsageError
from systems.core.estimators import estimator_of
from systems.core.event_log import EventDecoder, encode_plan
from systems.core.plan import Plan, Pool
from systems.core.policy import Estimator, Policy
from systems.core.variant import find


@dataclass(frozen=True, slots=True)
class Replayed:
    """One decision of a replay: when (ns), in words, and whether it equals the recorded one."""

    at: int
    words: str
    equal: bool


class Fed(NamedTuple):
    """One line of a log as recorded, and the `plan` that the policy answered it with; None where it was told an event."""

    row: list[Any]
    plan: Plan | None
    equal: bool


def replay(path: Path) -> Iterator[Replayed]:
    """The decisions of a log, in order, up to the first that differs.

    Raises UsageError when the log is missing, is not an event log of this schema, or has a damaged line.
    """
    try:
        lines = path.open()
    except OSError as error:
        raise UsageError(f"There is no event log at {path}.", "Run the point first: ae run FIGURE.") from error
    with lines:
        driven = Redriven(lines, str(path))
        for row, plan, equal in driven.feed():
            if plan is not None:
                yield Replayed(row[0], explain(plan, driven.policy), equal)


class Redriven:
    """The policy that a log was recorded from, fresh, with its memory; `feed` tells it what it was told.

    `lines` are those of the log, header first; errors call it `name`. Raises UsageError.
    """

    def __init__(self, lines: Iterable[str], name: str) -> None:
        self._lines = iter(lines)
        self._name = name
        header = _header(next(self._lines, ""), name)
        self.config = EngineConfig(**header["config"])
        self.memory = Memory(**header["memory"])
        self.policy, self.blocks = policy_of(find(self.config.variant), self.config, self.memory, _estimator(header))

    def feed(self) -> Iterator[Fed]:
        """Every line up to the first decision that differs. A last line cut short by a crash is left out.

        Raises UsageError for a damaged line.
        """
        decoder = EventDecoder()
        for number, line in enumerate(self._lines, 2):
            if not line.endswith("\n"):
                return
            try:
                fed = _row(json.loads(line), self.policy, decoder)
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(
                    f"{self._name}, line {number}, does not follow from the lines before it: {error!r}.",
                    "The log was changed or damaged; record it again: ae run FIGURE.",
                ) from error
            yield fed
            if not fed.equal:
                return  # what follows answers plans that this policy did not make


def _estimator(header: dict[str, Any]) -> Estimator:
    """What predicted time: the cost model of the hardware in a simulation, a measured profile elsewhere."""
    if "hardware" in header:
        return machine(hardware_from(header["hardware"])).estimator
    return estimator_of(header["profile"])


def _header(line: str, name: str) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads(line)
        if header["schema"] == 1:
            return header
    except (ValueError, KeyError, TypeError):
        pass
    raise UsageError(f"{name} is not an event log of schema 1.", "Record it again with this version: ae run FIGURE.")


def _row(row: list[Any], policy: Policy, decoder: EventDecoder) -> Fed:
    now, event, *recorded = row
    if not recorded:
        policy.on(decoder.decode(event), now)
        return Fed(row, None, equal=True)
    plan = policy.plan(now)
    decoder.note(plan)
    return Fed(row, plan, equal=json.loads(json.dumps(encode_plan(plan))) == recorded[0])


def explain(plan: Plan, policy: Policy) -> str:
    """One plain line for a plan, with the policy's own words for the requests it touches."""
    parts: list[str] = []
    for iteration in plan.launch:
        parts.extend(
            f"{span.kind} {_who(policy, span.request)} tokens {span.start}..{span.start + span.count - 1}"
            for span in iteration.spans
        )
        parts.extend(f"preempt {_who(policy, request)}" for request in iteration.left)
        parts.extend(f"decode {_who(policy, span.request)}" for span in iteration.joined)
        parts.append(f"run iteration {iteration.id}")
    for move in plan.move:
        way = "swap out" if move.source.pool is Pool.DEVICE else "swap in"
        parts.append(f"{way} {_who(policy, move.request)} ({len(move.source_pages)} pages)")
    parts.extend(f"free r{request}" for request in plan.finished)
    return "; ".join(parts)


def _who(policy: Policy, request: int) -> str:
    words = policy.describe(request)
    return f"r{request} [{words}]" if words else f"r{request}"
