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
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "ae", "run", "demo/figure1", "--full"]
POINTS = 12
SETTLE = 15.0  # seconds that orphans get to notice that their parent is gone
LIMIT = 300.0


def main() -> int:
    """Run the trial; 0 when everything held, an AssertionError that says what did not otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int, help="how many times to kill")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ae-kill-") as folder:
        tree = Path(folder) / "tree"
        for part in ("ae", "systems", "scripts", "tests/data"):  # a copy: nobody edits it while we run
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        trial(Harness(tree), given.kills, random.Random(given.seed), Path(folder))  # noqa: S311 (moments, not secrets)
    return 0


def trial(harness: Harness, kills: int, moments: random.Random, folder: Path) -> None:
    """Kill `kills` times, then let it finish. Prints one line per kill and a last line."""
    begun = time.monotonic()
    finished = harness.run_to_end(folder / "whole")
    length = time.monotonic() - begun
    print(f"an undisturbed run takes {length:.1f} s and leaves {len(points(finished))} finished points")
    results, known = folder / "killed", set[str]()
    for number in range(kills):
        if len(points(known)) == POINTS:  # begin anew: there would be nothing left to kill
            results, known = folder / f"killed-{number}", set()
        # A share of the work that is left, so that kills fall into every phase and not only into the first.
        wait = moments.uniform(0.2, max(1.0, length * (1 - len(points(known)) / POINTS)))
        ended = harness.killed_after(wait, results)
        after = done(results)
        check_kept(known, after)
        check_nothing_runs(results)
        note = " (the run had ended)" if ended else ""
        print(f"kill {number + 1}/{kills} after {wait:5.2f} s: {len(points(after))} points finished{note}")
        known = after
    final = harness.run_to_end(results)
    check_kept(known, final)
    check_whole(results)
    check_nothing_runs(results)
    assert "nothing to run" in harness.run(results), "a complete run runs something again"
    print(f"kill_resume: ok ({kills} kills)")


@dataclass(frozen=True)
class Harness:
    """The command under test, run from a copy of the repository."""

    tree: Path

    def run(self, results: Path) -> str:
        """Let the command finish; what it prints. An invalid measurement (5) is a finished one."""
        run = subprocess.run(
            COMMAND,
            env=self._environment(results),
            cwd=self.tree,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert run.returncode in {0, 5}, f"exit code {run.returncode}\n{run.stdout}\n{run.stderr}"
        return run.stdout

    def run_to_end(self, results: Path) -> set[str]:
        """Let the command finish; the attempts it leaves, one or more of every point."""
        self.run(results)
        assert len(points(done(results))) == POINTS, sorted(done(results))
        return done(results)

    def killed_after(self, seconds: float, results: Path) -> bool:
        """Start the command and kill it; whether it had ended before."""
        log = results.parent / "command.log"
        environment = self._environment(results)
        with (
            log.open("w") as out,
            subprocess.Popen(COMMAND, env=environment, cwd=self.tree, stdout=out, stderr=out) as run,
        ):
            try:
                run.wait(seconds)
            except subprocess.TimeoutExpired:
                os.kill(run.pid, signal.SIGKILL)
                run.wait()
                return False
        assert run.returncode in {0, 5}, log.read_text()
        return True

    def _environment(self, results: Path) -> dict[str, str]:
        figures = str(self.tree / "tests" / "data" / "figures")
        return {**os.environ, "AE_FIGURES": figures, "AE_RESULTS": str(results), "PYTHONPATH": str(self.tree)}


def done(results: Path) -> set[str]:
    """The attempts with a DONE marker, and when it was written: neither may change later."""
    return {f"{marker.parent} {marker.stat().st_mtime_ns}" for marker in results.glob("**/attempt-*/DONE")}


def points(attempts: set[str]) -> set[Path]:
    """The points that `done` has attempts of."""
    return {Path(line.rsplit(" ", 1)[0]).parent for line in attempts}


def check_kept(before: set[str], after: set[str]) -> None:
    """A finished attempt stays as it is, and its point is not measured again."""
    assert before <= after, f"lost or rewritten: {before - after}"
    again = points(before) & points(after - before)
    repeated = [point for point in again if not _was_disturbed(point)]
    assert not repeated, f"measured again: {repeated}"


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
