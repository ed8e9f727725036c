"""What an engine needs before it can start: its checkpoint and its measured profile, each made once.

Both are made in processes of their own, which may load torch; the harness never does.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ae import identity, places, processes
from ae.manifest import cpu_model, packages
from ae.store import canonical, write_atomic
from systems.core.config import EngineConfig
from systems.core.errors import ServerFailed, UsageError

if TYPE_CHECKING:
    from ae.launch import Tell

SYNTHETIC = "synthetic"
PROFILE_BATCH = 32  # every profile reaches this far, so that engines with different limits share one
_PROFILE_FIELDS = ("device", "dtype", "dummy_weights", "page_tokens", "fast_path", "threads", "max_model_len")


def prepared(engine: EngineConfig, folder: Path, tell: Tell) -> EngineConfig:
    """`engine` with the path of its checkpoint, and with a profile if it computes and has none. Raises AeError."""
    make_checkpoint(engine.model, folder)
    engine = engine.but(model=checkpoint_path(engine.model))
    if engine.profile or engine.model == SYNTHETIC:
        return engine
    return engine.but(profile=str(profile(engine, folder, tell)))


def checkpoint_path(name: str) -> str:
    """Where the checkpoint called `name` is kept; a directory of the user's own stays as it is."""
    if name == SYNTHETIC:
        return name
    return str(Path(name).resolve()) if os.sep in name else str(places.cache() / "checkpoints" / name)


def present(checkpoint: str) -> bool:
    """Whether the checkpoint at this path is there."""
    return checkpoint == SYNTHETIC or (Path(checkpoint) / "config.json").exists()


def make_checkpoint(name: str, folder: Path) -> None:
    """Make a tiny checkpoint if it is not there. Raises UsageError for a directory that holds none."""
    path = checkpoint_path(name)
    if name != SYNTHETIC and os.sep not in name:
        run_module(["systems.core.torch.checkpoint", name, path], folder, f"checkpoint {name}")
    elif not present(path):
        raise UsageError(f"{path} is no checkpoint directory: it has no config.json.", "Give a Hugging Face directory.")


def profile(engine: EngineConfig, folder: Path, tell: Tell) -> Path:
    """The measured profile that estimators read, made in `folder` if it is not there. Raises ServerFailed."""
    wanted = EngineConfig(model=engine.model, max_batch=max(PROFILE_BATCH, engine.max_batch))
    wanted = wanted.but(**{name: getattr(engine, name) for name in _PROFILE_FIELDS})
    code = dict(identity.code_of(("systems.core.profiler",)))
    software = [machine(), identity.lock_hash(), packages()]
    parts = [wanted.but(model="").to_json(), files_hash(engine.model), code, *software]
    file = folder / f"profile-{digest(canonical(parts).encode())[:16]}.json"
    if not file.exists():
        tell(f"profiling {Path(engine.model).name} on this machine")
        config = write_atomic(folder / "run" / f"{file.stem}.engine.json", wanted.to_json())
        part = file.with_suffix(".part")
        run_module(["systems.core.profiler", "--config", str(config), "--out", str(part)], folder, "profiler")
        part.replace(file)
    return file


def machine() -> str:
    """What makes a measured time a time of this machine: CPU model and count, interpreter."""
    return f"{cpu_model()} x{os.cpu_count()} {platform.machine()} Python {platform.python_version()}"


def files_hash(checkpoint: str) -> str:
    """Hash of a checkpoint's weights, configuration and tokenizer; the name alone for a synthetic model."""
    if checkpoint == SYNTHETIC:
        return SYNTHETIC
    files = sorted([*Path(checkpoint).glob("*.safetensors"), *Path(checkpoint).glob("*.json")])
    value = hashlib.sha256()
    for file in files:
        value.update(file.name.encode())
        with file.open("rb") as data:
            value.update(hashlib.file_digest(data, "sha256").digest())
    return value.hexdigest()


def digest(data: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def run_module(arguments: list[str], folder: Path, what: str) -> None:
    """Run a module to its end in a child that does not outlive us. Raises ServerFailed with its last words."""
    log, pids = folder / "run" / f"{what.replace(' ', '-')}.log", folder / "run" / "pids"
    log.unlink(missing_ok=True)
    process = processes.spawn([sys.executable, "-m", "ae.child", *arguments], log, pids, what, places.REPOSITORY)
    try:
        while process.poll() is None:
            time.sleep(0.02)
    finally:
        processes.stop(process, pids, grace=0.5)
    if process.returncode != 0:
        raise ServerFailed(f"The {what} failed:\n{processes.tail(log)}\n", f"The whole log: {log}")
