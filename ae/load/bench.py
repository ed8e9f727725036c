"""One measurement by hand, against any OpenAI-compatible server: draw a schedule, run the client, judge, show."""

from __future__ import annotations

import json
import socket
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from ae.load import records, workload
from ae.load.arrivals import Arrivals, Kind
from ae.load.facts import OPTIONS, Settings
from ae.load.fit import Fit, describe
from ae.load.launch import run_once
from ae.load.schedule import Load, Schedule, build
from ae.load.workload import Lengths
from ae.metrics import SHARED, Spread, Summary, summarise
from ae.validity import Verdict, judge
from systems.core.errors import PrerequisiteError, UsageError

if TYPE_CHECKING:
    from ae.load.facts import Facts

FIXED = "fixed"
GRACE = 60.0  # seconds to start, to ask what the server is, and to sum up
REACH = 10.0  # seconds for a connection to be accepted


@dataclass(frozen=True, slots=True)
class Ask:
    """What to measure: an open loop of `rate` requests/s, or a closed one of `concurrency` clients.

    `workload` is a published one (lengths divided by `scale`) or "fixed" (`prompt` and `output` tokens each). It runs
    for `requests` or for `seconds`; `warmup` seconds before it are not measured (closed loop: a request per client).
    `vocab` bounds the random prompt ids: a small one is safe with every model.
    """

    url: str
    rate: float = 0.0
    concurrency: int = 0
    requests: int | None = None
    seconds: float | None = None
    workload: str = "sharegpt"
    prompt: int = 128
    output: int = 64
    scale: float = 1.0
    independent: bool = False
    arrivals: Kind = "poisson"
    cv: float = 1.0
    rescale: bool = False
    warmup: float = 1.0
    seed: int = 0
    vocab: int = 500
    max_model_len: int = 2048
    model: str = ""
    timeout: float = 600.0


@dataclass(frozen=True, slots=True)
class Benched:
    """What came of it. `line` is the client's JSON line with the verdict added; `str()` is for people."""

    summary: Summary
    verdict: Verdict
    facts: Facts
    fit: Fit
    line: str

    def __str__(self) -> str:
        s, f = self.summary, self.facts
        how = (
            f"{f.concurrency} clients, closed loop" if f.concurrency else f"{f.schedule_rate:.2f} requests/s, open loop"
        )
        missing = f"  not supported by the server: {', '.join(_missing(f))}" if _missing(f) else ""
        rows = [
            ("TTFT from schedule", s.ttft),
            ("TTFT from send", s.sent_ttft),
            ("TPOT (end-first)/(n-1)", s.tpot),
            ("ITL gaps of tokens", s.itl),
            ("end to end", s.e2e),
            ("per output token", s.normalized),
            ("lateness of sends", s.lateness),
        ]
        return "\n".join(
            [
                f"{f.url}  {f.model}  {how}{missing}",
                f"drawn: {self.fit}",
                f"{s.n} requests in {s.seconds:.2f} s: {s.ok} ok, {s.failed} failed, {s.cancelled} cancelled",
                _throughput(s),
                f"{'ms':24}" + "".join(f"{name:>10}" for name in ("mean", "p50", "p95", "p99")),
                *(_row(name, spread) for name, spread in rows),
                *_together(s),
                str(self.verdict),
            ]
        )


def _throughput(s: Summary) -> str:
    requests, output, total = s.request_throughput, s.output_throughput, s.total_throughput
    return f"{requests:.2f} requests/s, {output:.1f} output tokens/s, {total:.1f} tokens/s"


def _together(s: Summary) -> list[str]:
    """Say why there are no percentiles of ITL, and what it does to the rest: a TPOT of 0 looks like an error."""
    if s.shared <= SHARED:
        return []
    return [
        f"{s.shared:.0%} of the tokens came in one read with an earlier one: the server (or a busy machine) sent them",
        "together. A request that comes whole has its TTFT at its end and a TPOT of 0; prefer the end-to-end rows.",
    ]


def _missing(facts: Facts) -> list[str]:
    return [name for name in OPTIONS if name not in facts.options]


def _row(name: str, spread: Spread) -> str:
    values = (spread.mean, spread.p50, spread.p95, spread.p99)
    return f"{name:24}" + "".join(f"{'-' if v is None else f'{v * 1e3:.2f}':>10}" for v in values)


def schedule_of(ask: Ask) -> Schedule:
    """Draw the schedule for `ask`. Raises UsageError."""
    if (ask.rate > 0) == (ask.concurrency > 0):
        raise UsageError("Give either a rate (open loop) or a concurrency (closed loop).", "Add --rate 10.")
    if ask.concurrency and ask.requests is None:
        raise UsageError("A closed loop needs a number of requests.", "Add --requests 400.")
    if ask.workload == FIXED:
        source = workload.fixed(ask.prompt, ask.output)
    else:
        source = workload.drawn(ask.workload, scale=ask.scale, independent=ask.independent)
    process = Arrivals(ask.arrivals, ask.cv, rescale=ask.rescale)
    load = Load(
        # In a closed loop times mean nothing; one second of "warm-up" then is one request for each client.
        rate=ask.rate or float(ask.concurrency),
        seconds=ask.seconds,
        requests=ask.requests,
        warmup=ask.warmup if ask.rate else min(1.0, ask.warmup),
        seed=ask.seed,
        vocab=ask.vocab,
        max_model_len=ask.max_model_len,
    )
    return build(source, process if ask.rate else Arrivals("constant"), load)


def bench(ask: Ask, folder: Path | None = None) -> Benched:
    """Measure; `schedule.jsonl`, `requests.jsonl`, `client.log` and `summary.json` stay in `folder` if one is given.

    Raises UsageError for a request that cannot be drawn, PrerequisiteError when nothing listens at the URL, and
    ServerFailed for a server that does not answer as it should. A measurement that cannot be believed is no error
    here: its verdict says so.
    """
    schedule = schedule_of(ask)
    _reach(ask.url)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        return _measure(ask, schedule, folder)
    with tempfile.TemporaryDirectory(prefix="ae-bench-") as temporary:
        return _measure(ask, schedule, Path(temporary))


def _reach(url: str) -> None:
    """Raise UsageError for what is no URL, PrerequisiteError when nothing accepts a connection there."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL ({error}).", "Write http://host:port.") from error
    if not host or parts.scheme not in {"http", "https"}:
        raise UsageError(f"{url!r} is no URL of a server.", "Write http://host:port.")
    try:
        socket.create_connection((host, port), timeout=REACH).close()
    except (OSError, UnicodeError) as error:
        fix = "Start one (ae serve fastserve), or correct the URL."
        raise PrerequisiteError(f"No server listens at {url} ({error}).", fix) from error


def _measure(ask: Ask, schedule: Schedule, folder: Path) -> Benched:
    schedule.write(folder / "schedule.jsonl")
    out = folder / "requests.jsonl"
    settings = Settings(
        url=ask.url.rstrip("/").removesuffix("/v1"),
        schedule=folder / "schedule.jsonl",
        out=out,
        model=ask.model,
        timeout=ask.timeout,
        concurrency=ask.concurrency,
    )
    outcome = run_once(settings, folder / "client.log", limit=_limit(ask, schedule))
    found = records.read(out)
    verdict = judge(found, outcome.facts)
    row: dict[str, Any] = json.loads(outcome.line)
    row["ae"] |= {"ask": asdict(ask), "verdict": json.loads(verdict.to_json())}
    line = json.dumps(row)
    (folder / "summary.json").write_text(line + "\n")
    return Benched(summarise(found), verdict, outcome.facts, describe(_lengths(schedule)), line)


def _limit(ask: Ask, schedule: Schedule) -> float:
    """Seconds after which the load generator counts as stuck: every request may use up its time."""
    if not schedule.requests:
        return GRACE
    waves = -(-len(schedule.requests) // ask.concurrency) + 1 if ask.concurrency else 1
    window = 0.0 if ask.concurrency else schedule.requests[-1].at - schedule.requests[0].at
    return window + waves * ask.timeout + GRACE


def _lengths(schedule: Schedule) -> Lengths:
    counts = np.array([(len(p.prompt), p.output) for p in schedule.measured], np.int64).reshape(-1, 2)
    return Lengths(counts[:, 0], counts[:, 1])
