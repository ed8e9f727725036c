"""What this machine has and lacks. Looks only: nothing is written, started or downloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ae import manifest, places

if TYPE_CHECKING:
    from pathlib import Path

    from ae.figure import Figure

MIN_PYTHON = (3, 11)
MIN_MEMORY = 4 << 30  # bytes: one server with torch and the harness beside it, with room
MIN_DISK = 2 << 30
MIN_CORES = 2  # the engine computes on one, client and front end share the other


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked for, found and wanted, and how to get it. Only `required` ones stop a run."""

    name: str
    ok: bool
    found: str
    wanted: str
    fix: str = ""
    required: bool = True


def examine() -> list[Check]:
    """Check everything that any figure may need."""
    return [
        _python(),
        *(_package(name) for name in manifest.PACKAGES),
        _torch_build(),
        _cores(),
        _memory(),
        *(_disk(name, folder) for name, folder in (("results", places.results()), ("cache", places.cache()))),
        _program("docker", "containers of later figures"),
        _program("ssh", "the paper's tier on other machines"),
        _gpu(),
    ]


def needs(figure: Figure) -> list[Check]:
    """Check what one figure asks for beyond that."""
    here = bool({"smoke", "sim"} & set(figure.tiers))
    found = ", ".join(figure.tiers)
    fix = "" if here else f"Its tiers need {figure.hardware}."
    return [Check(f"{figure.id} tiers", here, found, "smoke or sim (this machine is enough)", fix, required=False)]


def _python() -> Check:
    wanted = ".".join(map(str, MIN_PYTHON))
    ok = sys.version_info >= MIN_PYTHON
    return Check(
        "python", ok, manifest.this_machine().python, f">= {wanted}", f"Install python{wanted} and python{wanted}-venv."
    )


def _package(name: str) -> Check:
    found = manifest.packages().get(name, "")
    wanted = _pins().get(name, "any")
    # A local version (2.13.0+cpu) is the same release in another build.
    ok = bool(found) and wanted in {"any", found, found.partition("+")[0]}
    return Check(name, ok, found or "missing", wanted, "make install")


def _pins() -> dict[str, str]:
    file = places.lock_file()
    lines = file.read_text().splitlines() if file.exists() else []
    pairs = [line.partition("#")[0].partition(";")[0].strip().partition("==") for line in lines]
    return {name.lower(): version for name, _, version in pairs if version}


def _torch_build() -> Check:
    version = manifest.packages().get("torch", "")
    build = "CPU" if "+cpu" in version else "CUDA or the system's own" if version else "none"
    fix = "make install TORCH_INDEX=https://download.pytorch.org/whl/cpu takes the small CPU build."
    return Check("torch build", bool(version), build, "any (CPU is enough for smoke)", fix, required=False)


def _cores() -> Check:
    count = os.cpu_count() or 0
    fix = "Measurements will be noisy: engine and load generator share one core."
    return Check(
        "cores", count >= MIN_CORES, f"{count} ({manifest.cpu_model()})", f">= {MIN_CORES}", fix, required=False
    )


def _memory() -> Check:
    have = manifest.this_machine().memory_bytes
    fix = "Close other programs or use a larger machine."
    return Check("memory", have >= MIN_MEMORY, _gib(have), f">= {_gib(MIN_MEMORY)}", fix)


def _disk(name: str, folder: Path) -> Check:
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK)
    found = f"{_gib(free)} free in {existing}" + ("" if writable else ", not writable")
    variable = "AE_RESULTS" if name == "results" else "AE_CACHE"
    return Check(
        f"{name} disk",
        writable and free >= MIN_DISK,
        found,
        f">= {_gib(MIN_DISK)}",
        f"Set {variable} to another folder.",
    )


def _program(name: str, why: str) -> Check:
    path = shutil.which(name)
    return Check(name, path is not None, path or "missing", f"only for {why}", f"Install {name}.", required=False)


def _gpu() -> Check:
    found = _nvidia()
    return Check(
        "GPU", bool(found), found or "none", "only for the tiers gpu and paper", "Use --tier smoke.", required=False
    )


def _nvidia() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _gib(size: float) -> str:
    return f"{size / (1 << 30):.1f} GiB"
