"""How every kernel here is compiled: serial, without the interpreter's lock, cached on disk.

`parallel=True` is never used: beside torch it loads a second OpenMP runtime (351 ms per iteration, measured).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any


def _find_cache() -> None:
    """Numba caches beside the source; where that cannot be written, in the user's temporary directory."""
    beside = Path(__file__).parent / "__pycache__"
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    if not os.access(beside if beside.exists() else beside.parent, os.W_OK):
        os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"ae-numba-{os.getuid()}")


_find_cache()

import numba  # noqa: E402  the cache directory is read on import
from llvmlite import ir  # type: ignore[import-untyped]  # noqa: E402
from numba.core import types  # noqa: E402
from numba.extending import intrinsic  # noqa: E402
from numba.np.arrayobj import make_array  # noqa: E402


def compiled(function: Any) -> Any:
    """`function`, compiled on its first call for the types it is called with."""
    return numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")(function)


def inlined(function: Any) -> Any:
    """`function`, for use inside other kernels only."""
    return numba.njit(inline="always", fastmath=True, error_model="numpy")(function)


def _prefetch(_context: Any, array: Any, _index: Any) -> Any:
    """Ask for the cache line of `array[index]` (one-dimensional, contiguous); it never faults."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_of: Any = make_array
        data = array_of(signature.args[0])(context, builder, arguments[0]).data
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        call = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        builder.call(call, [address, word(0), word(3), word(1)])  # to read, keep, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


prefetch: Any = intrinsic(_prefetch)
