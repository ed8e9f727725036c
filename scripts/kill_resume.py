"""Kill the harness with `kill -9` at N random moments of a run, repeat the same command, and check what is left.

    python scripts/kill_resume.py N [--seed S]

It runs a figure on synthetic compute into a folder of its own. After every kill, and at the end: no process is
left over, no finished point is measured again, no half-written file is read, and the last run completes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "ae", "run", "demo/figure1", "--full"]
POINTS = 12
SETTLE = 15.0  # seconds that orphans get to notice that their parent is gone
LIMIT = 300.0


def main() -> int:
    """Run the trial; 0 when everything held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int, help="how many times to kill")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ae-kill-") as folder:
        return trial(given.kills, random.Random(given.seed), Path(folder))  # noqa: S311 (moments, not secrets)


def trial(kills: int, moments: random.Random, folder: Path) -> int:
    """Kill `kills` times, then let it finish. Prints one line per kill and a last line."""
    begun = time.monotonic()
    finished = run_to_end(folder / "whole")
    length = time.monotonic() - begun
    print(f"an undisturbed run takes {length:.1f} s and leaves {len(finished)} finished points")
    assert len(finished) == POINTS, finished
    results, known = folder / "killed", set[str]()
    for number in range(kills):
        # Each run gets a like share of the work left, so that kills fall into every phase and not only into the first.
        wait = moments.uniform(0.2, max(1.0, length * (1 - len(known) / POINTS)))
        ended = killed_after(wait, results)
        after = done(results)
        check_kept(known, after)
        check_nothing_runs(results)
        print(
            f"kill {number + 1}/{kills} after {wait:5.2f} s: {len(after)} points finished{' (run had ended)' * ended}"
        )
        known = set(after)
        if len(known) == POINTS:
            results, known = folder / f"killed-{number}", set()
    final = run_to_end(results)
    check_kept(known, final)
    assert len(final) == POINTS, final
    check_whole(results)
    check_nothing_runs(results)
    again = subprocess.run(COMMAND, env=environment(results), cwd=ROOT, capture_output=True, text=True, check=False)
    assert "nothing to run" in again.stdout, again.stdout
    print(f"kill_resume: ok ({kills} kills, {len(final)} points)")
    return 0


def environment(results: Path) -> dict[str, str]:
    """Point the command at the test figures and at a folder of results of its own."""
    figures = ROOT / "tests" / "data" / "figures"
    return {**os.environ, "AE_FIGURES": str(figures), "AE_RESULTS": str(results), "PYTHONPATH": str(ROOT)}


def run_to_end(results: Path) -> list[str]:
    """Let the command finish; the points it leaves. An invalid measurement (5) is a finished one."""
    run = subprocess.run(
        COMMAND, env=environment(results), cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert run.returncode in {0, 5}, f"exit code {run.returncode}\n{run.stdout}\n{run.stderr}"
    return done(results)


def killed_after(seconds: float, results: Path) -> bool:
    """Start the command and kill it; whether it had ended before."""
    log = results.parent / "command.log"
    with (
        log.open("w") as out,
        subprocess.Popen(COMMAND, env=environment(results), cwd=ROOT, stdout=out, stderr=out) as run,
    ):
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(run.pid, signal.SIGKILL)
            run.wait()
            return False
    assert run.returncode in {0, 5}, log.read_text()
    return True


def done(results: Path) -> list[str]:
    """The attempts with a DONE marker, and when it was written: neither may change later."""
    return sorted(f"{marker.parent} {marker.stat().st_mtime_ns}" for marker in results.glob("**/attempt-*/DONE"))


def check_kept(before: set[str], after: list[str]) -> None:
    """A finished attempt stays as it is, and its point is not measured again."""
    assert before <= set(after), f"lost or rewritten: {before - set(after)}"
    folders = [str(Path(line.rsplit(" ", 1)[0]).parent) for line in after]
    disturbed = [f for f in set(folders) if folders.count(f) > 1 and not _was_disturbed(Path(f))]
    assert not disturbed, f"measured again: {disturbed}"


def _was_disturbed(point: Path) -> bool:
    """Whether the harness itself repeated the point, because the load generator could not keep its schedule."""
    manifests = [json.loads(file.read_text()) for file in point.glob("attempt-*/manifest.json")]
    return any("disturbed" in reason for manifest in manifests for reason in manifest["retries"])


def check_whole(results: Path) -> None:
    """Every file of every finished attempt is whole, and the table has every point."""
    for marker in results.glob("**/attempt-*/DONE"):
        for name in ("manifest.json", "resolved.json", "verdict.json", "client.json"):
            json.loads((marker.parent / name).read_text())
        schedule = (marker.parent / "schedule.jsonl").read_text().splitlines()
        records = (marker.parent / "requests.jsonl").read_text().splitlines()
        ids = [sorted(json.loads(line)["id"] for line in lines) for lines in (schedule, records)]
        assert ids[0] == ids[1], f"{marker.parent}: requests are missing or twice there"
        assert not list(marker.parent.glob("*.part")), f"{marker.parent}: a temporary file is left"
    table = next(results.glob("**/figure1.csv")).read_text().splitlines()
    assert len(table) == POINTS + 1, table


def check_nothing_runs(results: Path) -> None:
    """No process that names our results folder, or serves from it, is left."""
    deadline = time.monotonic() + SETTLE
    while left := processes_of(results):
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.1)


def processes_of(results: Path) -> list[str]:
    """Command lines of living processes whose environment names `results` (every child inherits it)."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            mine = entry.name.isdigit() and str(results).encode() + b"\0" in (entry / "environ").read_bytes() + b"\0"
            alive = mine and (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
            if alive:
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # ended while we looked, or not ours to look at
    return found


if __name__ == "__main__":
    sys.exit(main())
