from __future__ import annotations

from dataclasses import replace

import pytest

from ae.load.facts import Facts
from ae.validity import Verdict, busiest_second, judge, rate_error
from systems.core.record import Record, Tokens

FACTS = Facts(mode="open", url="http://x", model="m", options=(), cpu_share=0.2)


def record(i: int, *, late: float = 0.001, rate: float = 10.0) -> Record:
    at = i / rate
    return Record(i, at, at + late, at + 0.1, at + 0.5, "ok", 8, 4, 4, (Tokens(at + 0.1, 4, 0.1),))


GOOD = [record(i) for i in range(100)]


def failed(verdict: Verdict) -> set[str]:
    return {c.code for c in verdict.checks if not c.ok}


def test_a_good_measurement_is_valid_and_needs_no_remedy() -> None:
    verdict = judge(GOOD, FACTS)
    assert verdict.valid
    assert verdict.why == ""
    assert all(not c.remedy for c in verdict.checks)
    codes = {"failures", "samples", "output_tokens", "rate", "lateness", "token_times", "client_events", "client_cpu"}
    assert {c.code for c in verdict.checks} == codes


@pytest.mark.parametrize("statistic", ["mean", "p95"])
def test_any_failure_invalidates_a_latency(statistic: str) -> None:
    # A request that timed out after minutes is the slowest of all and would be missing from the mean.
    many = [record(i) for i in range(1000)]
    bad = replace(many[0], status="failed", error="HTTP 500")
    verdict = judge([bad, *many[1:]], FACTS, statistic=statistic)
    assert failed(verdict) == {"failures"}
    assert "1 of 1000 requests (mostly: HTTP 500)" in verdict.why


def test_a_share_counts_failures_as_misses_up_to_one_in_a_hundred() -> None:
    bad = replace(GOOD[0], status="failed", error="HTTP 500")
    assert failed(judge([bad, *GOOD[1:]], FACTS, statistic="share")) == {"failures"}
    assert judge([bad, *GOOD[1:], record(100)], FACTS, statistic="share").valid


def test_cancelled_requests_count_as_failures() -> None:
    assert "failures" in failed(judge([replace(r, status="cancelled") for r in GOOD], FACTS))


def test_wrong_output_count() -> None:
    verdict = judge([replace(GOOD[0], output=3), *GOOD[1:]], FACTS)
    assert failed(verdict) == {"output_tokens"}
    assert "ignore_eos" in verdict.why


def test_late_median_but_right_rate() -> None:
    assert failed(judge([record(i, late=0.011) for i in range(100)], FACTS)) == {"lateness"}


def test_a_late_tail_that_the_median_does_not_show() -> None:
    tail = [record(i, late=0.06 if i % 10 == 9 else 0.001) for i in range(100)]
    assert failed(judge(tail, FACTS)) == {"lateness"}
    assert "p95 60.0 ms" in judge(tail, FACTS).why
    assert judge([record(i, late=0.04 if i % 10 == 9 else 0.001) for i in range(100)], FACTS).valid


def test_rate_not_reached() -> None:
    slow = [replace(r, sent=r.scheduled * 1.03) for r in GOOD]
    assert rate_error(slow) == pytest.approx(1 / 1.03 - 1)
    assert "rate" in failed(judge(slow, FACTS))
    near = [replace(r, sent=r.scheduled * 1.01 + 0.001) for r in GOOD]
    assert "rate" not in failed(judge(near, FACTS))


@pytest.mark.parametrize(("statistic", "enough"), [("mean", 20), ("share", 20), ("p95", 200), ("p99", 1000)])
def test_samples_needed_for_a_statistic(statistic: str, enough: int) -> None:
    records = [record(i) for i in range(enough)]
    assert judge(records, FACTS, statistic=statistic).valid
    assert failed(judge(records[1:], FACTS, statistic=statistic)) == {"samples"}


def test_warmup_is_not_judged() -> None:
    warm = [replace(r, warmup=True, status="failed") for r in GOOD]
    assert judge([*warm, *GOOD], FACTS).valid


def test_client_limits() -> None:
    burst = [replace(r, tokens=(Tokens(5.0, 4, 0.0, 250),)) for r in GOOD]
    assert busiest_second(burst) == 25_000
    assert failed(judge(burst, FACTS)) == {"client_events"}
    assert failed(judge(GOOD, replace(FACTS, cpu_share=0.95))) == {"client_cpu"}
    assert failed(judge(GOOD, replace(FACTS, guessed_wrong=1))) == {"token_times"}


def test_a_closed_loop_has_no_schedule_and_a_simulation_no_client() -> None:
    late = [record(i, late=1.0) for i in range(100)]
    assert judge(late, replace(FACTS, mode="closed")).valid
    assert {c.code for c in judge(late).checks} == {"failures", "samples", "output_tokens"}


def test_nothing_measured_is_invalid() -> None:
    assert failed(judge([], FACTS)) == {"samples"}


def test_json_and_text() -> None:
    verdict = judge([replace(GOOD[0], output=3), *GOOD[1:]], FACTS)
    assert Verdict.from_json(verdict.to_json()) == verdict
    lines = str(verdict).splitlines()
    assert lines[0] == "measurement INVALID"
    assert sum(line.lstrip().startswith("->") for line in lines) == 1
