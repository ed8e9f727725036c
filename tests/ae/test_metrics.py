from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ae import metrics
from ae.figure import Metric
from ae.metrics import Targets, Window, metric, percentile, summarise
from systems.core.record import Record, Tokens

# Scheduled at 1 s, sent 0.5 s late; tokens at 2, 3, 3 (one read) and 5 s; the stream ends at 6 s.
ONE = Record(
    id=0,
    scheduled=1.0,
    sent=1.5,
    first_byte=1.75,
    end=6.0,
    status="ok",
    prompt=6,
    want=4,
    output=4,
    tokens=(Tokens(2.0, 1), Tokens(3.0, 2, 0.0, 2), Tokens(5.0, 1)),
)
FAILED = replace(ONE, id=1, status="failed", output=0, tokens=(), error="no")
SINGLE = replace(ONE, id=2, output=1, want=1, tokens=(Tokens(2.0, 1),), end=2.0)


def simple(i: int, latency: float, output: int = 10) -> Record:
    run = Tokens(i + latency / 2, output, latency / 2 / (output - 1))
    return Record(i, float(i), float(i), float(i), i + latency, "ok", 5, output, output, (run,))


def test_each_metric_by_hand() -> None:
    assert metrics.ttft(ONE) == 1.0
    assert metrics.ttft(ONE, "sent") == 0.5
    assert metrics.tpot(ONE) == pytest.approx(4 / 3)
    assert metrics.e2e(ONE) == 5.0
    assert metrics.normalized_latency(ONE) == 1.25
    assert metrics.normalized_latency(ONE, "sent") == 4.5 / 4
    assert metrics.latency_per_token(ONE) == 0.5
    assert metrics.itl(ONE).tolist() == [1, 0, 2]


def test_one_token_has_no_tpot_but_a_ttft() -> None:
    assert metrics.tpot(SINGLE) is None
    assert metrics.ttft(SINGLE) == 1.0
    assert metrics.itl(SINGLE).tolist() == []


def test_no_token_has_no_latency() -> None:
    assert metrics.ttft(FAILED) is None
    assert metrics.normalized_latency(FAILED) is None


def test_a_simulated_decode_is_one_run() -> None:
    record = replace(ONE, output=5, tokens=(Tokens(2.0, 5, 0.25),), end=3.0)
    assert metrics.itl(record).tolist() == [0.25] * 4
    assert metrics.tpot(record) == 0.25


def test_slo_needs_every_target_and_counts_failures_as_misses() -> None:
    assert metrics.meets(ONE, Targets(normalized=1.25, ttft=1.0))
    assert not metrics.meets(ONE, Targets(normalized=1.24, ttft=1.0))
    assert not metrics.meets(ONE, Targets(normalized=1.25, ttft=0.99))
    assert metrics.meets(ONE, Targets(normalized=1.24, ttft=0.99), since="sent")
    assert not metrics.meets(ONE, Targets(tpot=1.3))
    assert metrics.meets(SINGLE, Targets(tpot=0.001))  # undefined, so not missed
    assert not metrics.meets(FAILED, Targets())
    assert metrics.slo_attainment([ONE, FAILED], Targets(normalized=2)) == 0.5
    assert metrics.slo_attainment([replace(ONE, status="cancelled")], Targets()) == 0
    assert math.isnan(metrics.slo_attainment([], Targets()))


def test_goodput_divides_by_the_window() -> None:
    records = [simple(i, 0.5) for i in range(10)] + [replace(FAILED, scheduled=3.5)]
    assert metrics.goodput(records, Targets(normalized=1), Window(0, 5)) == pytest.approx(1.0)
    assert metrics.goodput(records, Targets(normalized=0.01), Window(0, 5)) == 0


def test_warmup_is_in_no_metric() -> None:
    warm = replace(simple(0, 100.0), warmup=True)
    records = [simple(i, 1.0) for i in range(5)]
    assert summarise([warm, *records]) == summarise(records)
    assert metric("normalized_latency_mean", [warm, *records]) == pytest.approx(0.1)


def test_percentiles_of_99_and_above_need_a_thousand_samples() -> None:
    assert percentile(range(999), 99) is None
    assert percentile(range(1000), 99) == pytest.approx(989.01)
    assert percentile(range(999), 95) == pytest.approx(948.1)
    assert percentile([], 50) is None
    assert summarise([simple(i, 1.0) for i in range(999)]).ttft.p99 is None
    assert summarise([simple(i, 1.0) for i in range(1000)]).ttft.p99 == pytest.approx(0.5)


def test_summary_counts_populations_apart_and_averages_the_good_ones() -> None:
    cancelled = replace(FAILED, id=3, status="cancelled")
    s = summarise([simple(0, 1.0), simple(1, 3.0), FAILED, cancelled])
    assert (s.n, s.ok, s.failed, s.cancelled) == (4, 2, 1, 1)
    assert s.normalized.mean == pytest.approx(0.2)
    assert s.normalized.n == 2
    assert s.e2e.p50 == pytest.approx(2.0)
    assert s.seconds == 6.0  # from 0 (first scheduled) to the failed ones' end
    assert s.output_throughput == pytest.approx(20 / 6)
    assert s.total_throughput == pytest.approx(30 / 6)
    assert s.request_throughput == pytest.approx(2 / 6)
    assert s.lateness.mean == pytest.approx(0.25)


def test_window_selects_by_schedule_and_counts_what_ended_inside() -> None:
    s = summarise([simple(i, 1.5) for i in range(10)], Window(2.0, 6.0))
    assert s.n == 4
    assert s.seconds == 4.0
    assert s.request_throughput == pytest.approx(3 / 4)  # the one scheduled at 5 s ends at 6.5 s


def test_headline_runs_from_the_schedule_and_the_second_column_from_the_send() -> None:
    late = replace(simple(0, 1.0), scheduled=-1.0)
    s = summarise([late])
    assert (s.ttft.mean, s.sent_ttft.mean) == (1.5, 0.5)
    assert (s.e2e.mean, s.sent_e2e.mean) == (2.0, 1.0)
    assert s.normalized.mean == pytest.approx(0.2)
    assert s.sent_normalized.mean == pytest.approx(0.1)


def test_itl_percentiles_are_refused_when_tokens_share_reads() -> None:
    alone = replace(ONE, tokens=tuple(Tokens(float(t), 1) for t in (2, 3, 4, 5)))
    assert summarise([alone]).itl.p50 == 1.0
    together = summarise([ONE])
    assert together.shared == 0.25
    assert together.itl.p50 is None
    assert together.itl.mean == 1.0


@pytest.mark.parametrize(
    ("name", "value"),
    [("normalized_latency_mean", 0.3), ("normalized_latency_p95", 0.48), ("latency_per_token_mean", 0.2)],
)
def test_figure_metrics(name: Metric, value: float) -> None:
    records = [simple(i, latency) for i, latency in enumerate((1.0, 2.0, 3.0, 4.0, 5.0))]
    assert metric(name, records) == pytest.approx(value)
    assert metric(name, [*records, FAILED]) == pytest.approx(value)
    assert math.isnan(metric(name, [FAILED]))


def test_figure_metric_slo_attainment() -> None:
    records = [simple(i, latency) for i, latency in enumerate((1.0, 2.0, 3.0, 4.0))]
    assert metric("slo_attainment", [*records, FAILED], Targets(normalized=0.25)) == pytest.approx(0.4)


def test_nothing_measured_is_an_empty_summary() -> None:
    s = summarise([])
    assert (s.n, s.seconds, s.request_throughput, s.ttft.mean) == (0, 0, 0, None)


def test_percentile_matches_numpy() -> None:
    values = np.random.default_rng(0).random(1500)
    assert percentile(values, 99) == pytest.approx(float(np.quantile(values, 0.99)))
