"""How every kernel here is compiled: serial, without the interpreter's lock, cached on disk.

`parallel=True` is never used: beside torch it loads a second OpenMP runtime (351 ms per iteration, measured).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numba

_SOURCES = ("jit.py", "instructions.py", "kernels.py", "elementwise.py", "pages.py")


def cache_folder(here: Path) -> Path:
    """Where the compiled kernels of `here` belong: a folder named after their sources.

    Numba itself notices no change in a function that another file inlined. Where the package cannot be written to,
    the folder is in the temporary directory.
    """
    digest = hashlib.sha256(b"".join((here / name).read_bytes() for name in _SOURCES)).hexdigest()[:12]
    beside = here / "__pycache__"
    if os.access(beside if beside.exists() else here, os.W_OK):
        return beside / f"kernels-{digest}"
    return Path(tempfile.gettempdir()) / f"ae-numba-{os.getuid()}" / f"kernels-{digest}"


if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = str(cache_folder(Path(__file__).parent))  # type: ignore[attr-defined]


def compiled(function: Any) -> Any:
    """`function`, compiled on its first call for the types it is called with."""
    return numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")(function)


def inlined(function: Any) -> Any:
    """`function`, for use inside other kernels only."""
    return numba.njit(inline="always", fastmath=True, error_model="numpy")(function)
