"""Re-drives a recorded event log through a fresh policy object and compares every decision."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from systems.core.assemble import Memory, policy_of
from systems.core.config import EngineConfig
from systems.core.errors import UsageError
from systems.core.estimators import estimator_of
from systems.core.event_log import EventDecoder, encode_plan
from systems.core.plan import Plan, Pool
from systems.core.policy import Policy
from systems.core.variant import find


@dataclass(frozen=True, slots=True)
class Replayed:
    """One decision of a replay: when (ns), in words, and whether it equals the recorded one."""

    at: int
    words: str
    equal: bool


def replay(path: Path) -> Iterator[Replayed]:
    """The decisions of a log, in order, up to the first that differs. A last line cut short by a crash is left out.

    Raises UsageError when the log is missing, is not an event log of this schema, or has a damaged line.
    """
    try:
        lines = path.open()
    except OSError as error:
        raise UsageError(f"There is no event log at {path}.", "Run the point first: ae run FIGURE.") from error
    with lines:
        header = _header(next(lines, ""), path)
        policy = policy_from(header)
        decoder = EventDecoder()
        for number, line in enumerate(lines, 2):
            if not line.endswith("\n"):
                return
            try:
                decision = _row(json.loads(line), policy, decoder)
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(
                    f"{path}, line {number}, does not follow from the lines before it: {error!r}.",
                    "The log was changed or damaged; record it again: ae run FIGURE.",
                ) from error
            if decision:
                yield decision
                if not decision.equal:
                    return  # what follows answers plans that this policy did not make


def policy_from(header: dict[str, Any]) -> Policy:
    """The policy that a log was recorded from, fresh."""
    config = EngineConfig(**header["config"])
    policy, _ = policy_of(find(config.variant), config, Memory(**header["memory"]), estimator_of(header["profile"]))
    return policy


def _header(line: str, path: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads(line)
        if header["schema"] == 1:
            return header
    except (ValueError, KeyError, TypeError):
        pass
    raise UsageError(f"{path} is not an event log of schema 1.", "Record it again with this version: ae run FIGURE.")


def _row(row: list[Any], policy: Policy, decoder: EventDecoder) -> Replayed | None:
    now, event, *recorded = row
    if not recorded:
        policy.on(decoder.decode(event), now)
        return None
    plan = policy.plan(now)
    decoder.note(plan)
    ours = json.loads(json.dumps(encode_plan(plan)))
    return Replayed(now, explain(plan, policy), ours == recorded[0])


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
