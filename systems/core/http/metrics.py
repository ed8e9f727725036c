"""What the front end counts, and /metrics: Prometheus text under vLLM's metric names, and `ae:` for the rest.

Latencies are seen from the front end: from the moment a request's body was read to the moment a token came out
of the engine. Running and waiting, memory and time by part are the engine's own, at most a moment old.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from systems.core.wire import Stats

TTFT_BOUNDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160)
ITL_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2.5, 5, 10)
E2E_BOUNDS = (0.01, 0.03, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960)
NS = 1e9


class Histogram:
    """Counts of seconds by upper bound, as Prometheus has them."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def see(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def lines(self, name: str, labels: str) -> list[str]:
        """The exposition of this histogram; bucket counts are cumulative."""
        out, below = [f"# TYPE {name} histogram"], 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            below += count
            out.append(f'{name}_bucket{{{labels},le="{bound}"}} {below}')
        return [*out, f"{name}_sum{{{labels}}} {self.total}", f"{name}_count{{{labels}}} {below}"]


@dataclass(slots=True)
class Metrics:
    """Counters since the start or the last reset; `engine` is the engine's latest word."""

    engine: Stats = field(default_factory=Stats)
    prompt_tokens: int = 0
    generated_tokens: int = 0
    finished: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("stop", "length", "abort", "error"), 0))
    ttft: Histogram = field(default_factory=lambda: Histogram(TTFT_BOUNDS))
    itl: Histogram = field(default_factory=lambda: Histogram(ITL_BOUNDS))
    e2e: Histogram = field(default_factory=lambda: Histogram(E2E_BOUNDS))

    def text(self, model: str, live: int) -> str:
        """The whole page. `live` counts requests submitted and not over."""
        labels = f'engine="0",model_name="{_escape(model)}"'
        lines: list[str] = []
        for name, value in self._gauges(live).items():
            lines += [f"# TYPE {name} gauge", f"{name}{{{labels}}} {value}"]
        for name, count in self._counters().items():
            lines += [f"# TYPE {name} counter", f"{name}{{{labels}}} {count}"]
        lines.append("# TYPE vllm:request_success_total counter")
        for reason, count in self.finished.items():
            lines.append(f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} {count}')
        lines += self.ttft.lines("vllm:time_to_first_token_seconds", labels)
        lines += self.itl.lines("vllm:inter_token_latency_seconds", labels)
        lines += self.e2e.lines("vllm:e2e_request_latency_seconds", labels)
        return "\n".join(lines) + "\n"

    def _gauges(self, live: int) -> dict[str, float]:
        return {
            "vllm:num_requests_running": self.engine.running,
            "vllm:num_requests_waiting": self.engine.waiting,
            "vllm:kv_cache_usage_perc": self.engine.kv_usage,
            "ae:host_cache_usage_perc": self.engine.host_usage,
            "ae:num_requests_live": live,
        }

    def _counters(self) -> dict[str, float]:
        engine = self.engine
        return {
            "vllm:prompt_tokens_total": self.prompt_tokens,
            "vllm:generation_tokens_total": self.generated_tokens,
            "vllm:num_preemptions_total": engine.preemptions,
            "ae:iterations_total": engine.iterations,
            "ae:engine_prompt_tokens_total": engine.prompt_tokens,
            "ae:engine_generation_tokens_total": engine.generated_tokens,
            "ae:swapped_out_bytes_total": engine.swapped_out_bytes,
            "ae:swapped_in_bytes_total": engine.swapped_in_bytes,
            "ae:iteration_waiting_seconds_total": engine.waiting_ns / NS,
            "ae:iteration_compute_seconds_total": engine.compute_ns / NS,
            "ae:iteration_sampling_seconds_total": engine.sampling_ns / NS,
            "ae:policy_seconds_total": engine.policy_ns / NS,
        }


def _escape(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
