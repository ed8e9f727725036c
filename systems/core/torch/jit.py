"""How every kernel here is compiled: serial, without the interpreter's lock, cached on disk.

`parallel=True` is never used: beside torch it loads a second OpenMP runtime (351 ms per iteration, measured).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

Function = TypeVar("Function", bound="Callable[..., object]")


def _find_cache() -> None:
    """Numba caches beside the source; where that cannot be written, in the user's temporary directory."""
    beside = Path(__file__).parent / "__pycache__"
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    if not os.access(beside if beside.exists() else beside.parent, os.W_OK):
        os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"ae-numba-{os.getuid()}")


_find_cache()

import numba  # noqa: E402  the cache directory is read on import


def compiled(function: Function) -> Function:
    """`function`, compiled on its first call for the types it is called with."""
    return cast("Function", numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")(function))


def inlined(function: Function) -> Function:
    """`function`, for use inside other kernels only."""
    return cast("Function", numba.njit(inline="always", fastmath=True, error_model="numpy")(function))
