"""What the load generator is told, what it says about itself, and the JSON line with which it ends.

The flat names and their definitions are those of `vllm bench serve` (latency from the send, in ms), so that
notebooks made for it read ours; what is ours (latency from the schedule, the client's own state) is in "ae".
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ae.metrics import Spread, Summary

Mode = Literal["open", "closed"]
SCHEMA = 1
# Request fields beyond the OpenAI standard; a server may lack some.
OPTIONS = ("continuous_usage_stats", "include_usage", "ignore_eos")


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run. `concurrency` 0 is the open loop; `requests` bounds the closed one (0: the whole schedule)."""

    url: str
    schedule: Path
    out: Path
    model: str = ""
    timeout: float = 600.0
    concurrency: int = 0
    requests: int = 0
    probe: bool = True

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_line(cls, line: str | bytes) -> Settings:
        """Read `to_line` back. Raises ValueError, KeyError or TypeError for another line."""
        row = json.loads(line)
        return cls(**{**row, "schedule": Path(row["schedule"]), "out": Path(row["out"])})


@dataclass(frozen=True, slots=True)
class Facts:
    """One run of the load generator.

    `options` are the request fields the server accepted. `cpu_share` is the client's CPU seconds
    in its busiest second.
    `guessed_wrong` counts requests whose tokens did not come one per event although no event said how many it held;
    `prompt_wrong` those whose prompt the server counted otherwise than we did (a tokenizer adding a BOS).
    """

    mode: Mode
    url: str
    model: str
    options: tuple[str, ...]
    cpu_share: float
    guessed_wrong: int = 0
    prompt_wrong: int = 0
    schedule_rate: float = 0.0
    concurrency: int = 0
    schedule_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The client's last line: its facts and the line itself, to be stored or shown."""

    facts: Facts
    line: str


def to_line(summary: Summary, facts: Facts) -> str:
    """One JSON object: vLLM's names, and everything of ours under "ae"."""
    flat: dict[str, object] = {
        "backend": "openai",
        "model_id": facts.model,
        "num_prompts": summary.n,
        "request_rate": facts.schedule_rate if facts.mode == "open" else "inf",
        "max_concurrency": facts.concurrency or None,
        "duration": summary.seconds,
        "completed": summary.ok,
        "failed": summary.failed,
        "total_input_tokens": summary.prompt_tokens,
        "total_output_tokens": summary.output_tokens,
        "request_throughput": summary.request_throughput,
        "output_throughput": summary.output_throughput,
        "total_token_throughput": summary.total_throughput,
    }
    columns = {"ttft": summary.sent_ttft, "tpot": summary.tpot, "itl": summary.itl, "e2el": summary.sent_e2e}
    for name, spread in columns.items():
        flat |= dict(_milliseconds(name, spread))
    ours = {"schema": SCHEMA, "facts": asdict(facts), "summary": asdict(summary)}
    return json.dumps({**flat, "ae": ours})


def _milliseconds(name: str, spread: Spread) -> Iterator[tuple[str, float | None]]:
    values = {"mean": spread.mean, "median": spread.p50, "std": spread.std, "p95": spread.p95, "p99": spread.p99}
    for statistic, seconds in values.items():
        yield f"{statistic}_{name}_ms", None if seconds is None else seconds * 1e3


def from_line(line: str) -> Outcome:
    """Read `to_line` back. Raises ValueError or KeyError for another line."""
    row = json.loads(line)["ae"]["facts"]
    known = {f.name for f in fields(Facts)}
    row = {name: value for name, value in row.items() if name in known}
    row["options"] = tuple(row["options"])
    return Outcome(Facts(**row), line)
