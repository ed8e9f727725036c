"""The metrics page: well-formed, under vLLM's names, and its histograms add up."""

from __future__ import annotations

import re

from systems.core.http.metrics import Histogram, Metrics
from systems.core.wire import Stats
from tests.core.http.under_test import serving

LINE = re.compile(
    r'^([a-z]+:[a-z_0-9]+)\{([a-z_]+="(?:[^"\\]|\\.)*"(?:,[a-z_]+="(?:[^"\\]|\\.)*")*)\} (-?[0-9.e+-]+|nan|inf)$'
)


def _parse(page: str) -> dict[str, list[tuple[str, float]]]:
    """Samples by metric name. Every line must be well-formed and come after the type of its metric."""
    samples: dict[str, list[tuple[str, float]]] = {}
    types: dict[str, str] = {}
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name not in types
            types[name] = kind
            continue
        found = LINE.match(line)
        assert found, line
        name = found[1]
        family = name if name in types else re.sub(r"_(bucket|sum|count)$", "", name)
        assert family in types, line
        samples.setdefault(name, []).append((found[2], float(found[3])))
    return samples


def test_buckets_are_cumulative_upper_bounds() -> None:
    histogram = Histogram((0.1, 1))
    for seconds in (0.05, 0.1, 0.5, 1, 7):
        histogram.see(seconds)
    lines = histogram.lines("ae:x", 'a="b"')
    assert lines[1:4] == [
        'ae:x_bucket{a="b",le="0.1"} 2',
        'ae:x_bucket{a="b",le="1"} 4',
        'ae:x_bucket{a="b",le="+Inf"} 5',
    ]
    assert lines[4:] == ['ae:x_sum{a="b"} 8.65', 'ae:x_count{a="b"} 5']


def test_page_of_a_server_without_requests() -> None:
    page = Metrics(engine=Stats(running=3, waiting=2, kv_usage=0.25, preemptions=7)).text('odd "name"\\', live=5)
    samples = _parse(page)
    assert samples["vllm:num_requests_running"] == [('engine="0",model_name="odd \\"name\\"\\\\"', 3.0)]
    assert samples["vllm:num_requests_waiting"][0][1] == 2
    assert samples["vllm:kv_cache_usage_perc"][0][1] == 0.25
    assert samples["vllm:num_preemptions_total"][0][1] == 7
    assert samples["ae:num_requests_live"][0][1] == 5


def test_page_after_requests() -> None:
    with serving() as server:
        for tokens in (1, 5, 9):
            assert server.complete(prompt=[1, 2], max_tokens=tokens)[0] == 200
        assert server.complete(prompt=[1], max_tokens=9, stop="t1 t1")[0] == 200
        samples = _parse(server.get("/metrics")[1])
    assert samples["vllm:prompt_tokens_total"][0][1] == 7
    generated = samples["vllm:generation_tokens_total"][0][1]
    assert generated == 17
    reasons = {labels.split('finished_reason="')[1][:-1]: n for labels, n in samples["vllm:request_success_total"]}
    assert reasons == {"stop": 1, "length": 3, "abort": 0, "error": 0}
    assert samples["vllm:time_to_first_token_seconds_count"][0][1] == 4
    assert samples["vllm:e2e_request_latency_seconds_count"][0][1] == 4
    assert samples["vllm:inter_token_latency_seconds_count"][0][1] == generated - 4
    buckets = [n for _, n in samples["vllm:inter_token_latency_seconds_bucket"]]
    assert buckets == sorted(buckets)
    assert buckets[-1] == generated - 4
