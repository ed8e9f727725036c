"""How every kernel here is compiled: serial, without the interpreter's lock, cached on disk.

`parallel=True` is never used: beside torch it loads a second OpenMP runtime (351 ms per iteration, measured).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba

_SOURCES = ("jit.py", "instructions.py", "kernels.py", "elementwise.py", "pages.py")


def cache_folder(here: Path) -> Path:
    """Where the compiled kernels of `here` belong: a folder named after their sources and numba's release.

    Numba itself notices no change in a function that another file inlined. Where the package cannot be written to,
    the folder is in the temporary directory.
    """
    sources = [numba.__version__.encode(), *((here / name).read_bytes() for name in _SOURCES)]
    digest = hashlib.sha256(b"".join(sources)).hexdigest()[:12]
    beside = here / "__pycache__"
    if os.access(beside if beside.exists() else here, os.W_OK):
        return beside / f"kernels-{digest}"
    return Path(tempfile.gettempdir()) / f"ae-numba-{os.getuid()}" / f"kernels-{digest}"


if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = str(cache_folder(Path(__file__).parent))  # type: ignore[attr-defined]


def compiled(function: Any) -> Any:
    """`function`, compiled on its first call for the types it is called with."""
    return numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")(function)


def helper(function: Any) -> Any:
    """`function`, for use inside other kernels only: compiled by itself, then put in place by LLVM. Compiles fast."""
    return numba.njit(forceinline=True, fastmath=True, error_model="numpy")(function)


def inlined(function: Any) -> Any:
    """`function`, for use inside other kernels only: its source is put in place.

    So it is compiled for the sizes that are constants in the kernel; numba takes its time to copy sources about.
    """
    return numba.njit(inline="always", fastmath=True, error_model="numpy")(function)


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Of all processes that share the cache, one goes on: the first compiles, the others find what it compiled.

    Numba's own index of a cached function loses entries, or names the wrong file, when two processes write it at once.
    Where files cannot be locked nobody waits.
    """
    folder = Path(numba.config.CACHE_DIR)  # type: ignore[attr-defined]
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((folder / "lock").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
