from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ae.load.bench import Ask, schedule_of
from ae.load.launch import null_server
from benchmarks.clients import STARTED, Seen, Setting, Trial, by_ae, by_both, by_vllm, report, trace_lines
from benchmarks.vllm_env import VllmEnv
from systems.core.errors import MeasurementInvalid

ASK = Ask("", rate=200, requests=20, workload="fixed", prompt=20, output=4, rescale=True, warmup=0, model="null")

# In the place of vLLM's client, which is too large for a test: says what it was told in the way vLLM's does.
CLIENT = """#!{python}
import json, sys
from pathlib import Path
given = dict(zip(sys.argv[1:], sys.argv[2:]))
rows = Path(given["--dataset-path"]).read_text().splitlines()
print("{started}...", flush=True)
row = {{"output_throughput": 2.0, "mean_ttft_ms": 3.0, "mean_tpot_ms": 4.0, "mean_itl_ms": 5.0}}
row |= {{"completed": len(rows) - {lost}, "failed": {lost}}}
Path(given["--result-filename"]).write_text(json.dumps(row))
"""


def _setting(folder: Path, lost: int = 0) -> Setting:
    program = folder / "vllm"
    program.write_text(CLIENT.format(python=sys.executable, started=STARTED, lost=lost))
    os.chmod(program, 0o755)  # noqa: PTH101 - Path.chmod is the same
    return Setting(VllmEnv(folder, "0"), folder, folder)


def test_the_trace_is_the_schedule_from_its_first_request_with_prompts_that_share_nothing() -> None:
    rows = [json.loads(line) for line in trace_lines(ASK)]
    planned = schedule_of(ASK).measured
    assert [row["timestamp"] for row in rows] == [one.at - planned[0].at for one in planned]
    assert {(row["input_length"], row["output_length"]) for row in rows} == {(20, 4)}
    hashes = [number for row in rows for number in row["hash_ids"]]
    assert len(hashes) == len(set(hashes)) == 20 * 2


def test_our_client_is_read_in_the_units_of_the_other() -> None:
    with null_server("--gap", "0.005") as url:
        seen = by_ae(replace(ASK, url=url))
    assert seen.throughput > 0
    assert seen.ttft > 0
    assert seen.tpot == pytest.approx(seen.itl, rel=0.1)
    assert seen.itl >= 4.0


def test_both_at_once(tmp_path: Path) -> None:
    with null_server() as url:
        ours, theirs = by_both(_setting(tmp_path), replace(ASK, url=url), replace(ASK, url=url, seed=1))
    assert ours.throughput > 0
    assert theirs == Seen(2.0, 3.0, 4.0, 5.0)


def test_lost_requests_are_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(MeasurementInvalid, match="3 requests failed"):
        by_vllm(_setting(tmp_path, lost=3), ASK)
    with null_server("--fault", "status", "--every", "4") as url, pytest.raises(MeasurementInvalid, match="of 20"):
        by_ae(replace(ASK, url=url))


def test_a_client_that_does_not_start_is_reported_with_its_log(tmp_path: Path) -> None:
    setting = _setting(tmp_path)
    (tmp_path / "vllm").write_text(f"#!{sys.executable}\nimport sys; sys.exit('no such option')\n")
    with pytest.raises(MeasurementInvalid, match=r"before its first request.*client\.log"):
        by_both(setting, ASK, ASK)
    with pytest.raises(MeasurementInvalid, match="failed"):
        by_vllm(setting, ASK)
    assert "no such option" in (tmp_path / "client.log").read_text()


def test_the_median_ratio_of_pairs_is_judged_and_the_closed_loop_is_not() -> None:
    def pair(factor: float, way: str = "open") -> Trial:
        return Trial("ours", "closed" if way == "closed" else "open", Seen(100, factor, 2, 2), Seen(100, 1, 2, 2))

    lines = report([pair(1.2), pair(1.04), pair(0.9), pair(1.5, "closed")])
    ttft, closed = (line for line in lines if " ttft " in line)
    assert ttft.split()[-6:] == ["1.040", "0.900", "1.200", "agree", "-0.04", "ms"]
    assert closed.split()[-3:] == ["1.500", "-0.50", "ms"]
    assert any("DIFFER" in line for line in report([pair(1.2), pair(1.1), pair(0.9)]))
