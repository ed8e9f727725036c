"""Where and how a point was measured: machine, software, applied configuration. No secret can get in.

The environment is an allow-list: variables that change what a CPU run does, and nothing else.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ae import places

ENVIRONMENT = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "MKL_NUM_THREADS",
    "KMP_BLOCKTIME",
    "NUMBA_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "PYTHONHASHSEED",
    "LD_PRELOAD",
)
PACKAGES = ("torch", "transformers", "numba", "numpy", "aiohttp", "tokenizers", "safetensors")


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine a point ran on. `governor` is empty where the kernel does not tell."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    governor: str
    python: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One attempt. `applied` is the server's own account (`/ae/config`), `mismatches` what it did not honour.

    `neighbours` is how many cores other programs kept busy meanwhile, on average. `calibration` is what load and SLO
    are multiples of, with every burst that was measured for it and how the numbers follow.
    """

    point: str
    figure: str
    tier: str
    executor: str
    started: str
    ended: str
    seconds: float
    attempt: int
    arrival_seed: int
    engine_seed: int
    git_commit: str
    git_dirty: bool
    machine: Machine
    packages: dict[str, str]
    environment: dict[str, str]
    applied: dict[str, Any]
    mismatches: tuple[str, ...]
    retries: tuple[str, ...] = ()
    neighbours: float | None = None
    calibration: dict[str, Any] = field(default_factory=dict)
    schema: int = 1

    def to_json(self) -> str:
        """The contents of `manifest.json`."""
        return json.dumps(asdict(self), indent=1) + "\n"


def utc() -> str:
    """Now, in UTC, to the millisecond."""
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"


@cache
def this_machine() -> Machine:
    """The machine we run on."""
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return Machine(
        cpu=cpu_model(),
        cores=os.cpu_count() or 0,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        governor=governor.read_text().strip() if governor.exists() else "",
        python=platform.python_version(),
    )


@cache
def cpu_model() -> str:
    """The CPU's name as the kernel gives it, or its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@cache
def packages() -> dict[str, str]:
    """Versions of the packages that take part in a measurement."""
    return {name: metadata.version(name) for name in PACKAGES if _installed(name)}


@cache
def git() -> tuple[str, bool]:
    """Commit and whether tracked files differ from it; ("", False) outside a repository."""
    commit = _git("rev-parse", "HEAD")
    return (commit, bool(_git("status", "--porcelain", "--untracked-files=no"))) if commit else ("", False)


def environment() -> dict[str, str]:
    """The allow-listed variables that are set."""
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=places.REPOSITORY, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
