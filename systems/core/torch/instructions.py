"""What compiled kernels say to LLVM directly: fetch a cache line, multiply two small blocks held in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_WORD, _FLOAT = ir.IntType(64), ir.FloatType()
_WIDEST = 16  # numbers in a vector; LLVM splits it where the machine's are shorter
_SUMS = 8  # sums under way at a time: as many as registers hold
_CHAINS = 4  # a sum waits four cycles for its last addition, so fewer than this many leave the multipliers idle


def _data(context: Any, builder: Any, signature: Any, arguments: Any, number: int) -> Any:
    array_of: Any = make_array
    return array_of(signature.args[number])(context, builder, arguments[number]).data


def _prefetch(_context: Any, array: Any, _index: Any) -> Any:
    """Ask for the cache line of `array[index]` (one-dimensional, contiguous); it never faults."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        data = _data(context, builder, signature, arguments, 0)
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        call = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        builder.call(call, [address, word(0), word(3), word(1)])  # to read, keep, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


def _product(
    _context: Any, a: Any, _a_at: Any, _a_step: Any, b: Any, _b_at: Any, c: Any, _c_at: Any, _c_step: Any,
    rows: Any, inner: Any, columns: Any, add: Any,
) -> Any:  # fmt: skip
    """`C[rows, columns] = (C if add else 0) + A[rows, inner] @ B[inner, columns]`, float32, sizes known when compiled.

    A, B and C begin at `*_at` of one-dimensional contiguous arrays; rows of A and C are `*_step` apart, B is dense.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a_at, a_step, b_at, c_at, c_step = (arguments[number] for number in (1, 2, 4, 6, 7))
        a, b, c = (_data(context, builder, signature, arguments, number) for number in (0, 3, 5))
        count = rows.literal_value
        block = _Block(
            builder,
            [builder.gep(a, [builder.add(a_at, builder.mul(a_step, _WORD(row)))]) for row in range(count)],
            builder.gep(b, [b_at]),
            [builder.gep(c, [builder.add(c_at, builder.mul(c_step, _WORD(row)))]) for row in range(count)],
            columns.literal_value,
        )
        block.multiply(inner.literal_value, add=bool(add.literal_value))
        return context.get_dummy_value()

    at = types.intp
    return types.void(a, at, at, b, at, c, at, at, rows, inner, columns, add), generate


class _Block:
    """Writes the instructions of one product: row pointers of A and C, the pointer of B, the columns of B and C."""

    def __init__(self, builder: Any, a: list[Any], b: Any, c: list[Any], columns: int) -> None:
        self.builder, self.a, self.b, self.c, self.columns = builder, a, b, c, columns
        self.width = next(width for width in (_WIDEST, 8, 4, 2, 1) if columns % width == 0)
        self.vector = ir.VectorType(_FLOAT, self.width)
        get: Any = cgutils.get_or_insert_function
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self.fma = get(builder.module, kind, f"llvm.fmuladd.v{self.width}f32")

    def multiply(self, inner: int, *, add: bool) -> None:
        """All columns, as many at a time as there are registers for."""
        together = self.width * max(1, _SUMS // len(self.a))
        for first in range(0, self.columns, together):
            columns = range(first, min(first + together, self.columns), self.width)
            chains = max(1, min(inner, _CHAINS // (len(self.a) * len(columns))))
            sums = self._sums(inner, columns, chains)
            for row, target in enumerate(self.c):
                for column in columns:
                    total = sums[row, column, 0]
                    for chain in range(1, chains):
                        total = self.builder.fadd(total, sums[row, column, chain])
                    self._store(target, column, total, add=add)

    def _sums(self, inner: int, columns: range, chains: int) -> dict[tuple[int, int, int], Any]:
        zero = ir.Constant(self.vector, None)
        sums: dict[tuple[int, int, int], Any] = {}
        for k in range(inner):
            loaded = [self.builder.load(self._vector(self.b, k * self.columns + n), align=4) for n in columns]
            for row, numbers in enumerate(self.a):
                factor = self._everywhere(self.builder.load(self.builder.gep(numbers, [_WORD(k)]), align=4))
                for column, vector in zip(columns, loaded, strict=True):
                    place = (row, column, k % chains)
                    sums[place] = self.builder.call(self.fma, [factor, vector, sums.get(place, zero)])
        return sums

    def _store(self, target: Any, column: int, total: Any, *, add: bool) -> None:
        place = self._vector(target, column)
        if add:
            total = self.builder.fadd(total, self.builder.load(place, align=4))
        self.builder.store(total, place, align=4)

    def _vector(self, base: Any, offset: int) -> Any:
        return self.builder.bitcast(self.builder.gep(base, [_WORD(offset)]), self.vector.as_pointer())

    def _everywhere(self, number: Any) -> Any:
        empty = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(empty, number, ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.width), None)
        return self.builder.shuffle_vector(one, empty, lanes)


prefetch: Any = intrinsic(_prefetch)
product: Any = intrinsic(prefer_literal=True)(_product)
