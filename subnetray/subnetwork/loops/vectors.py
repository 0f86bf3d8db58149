"""Vectors in compiled loops, as wide as registers are: numba does not make such of loops over arrays by itself."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

VECTOR = 64  # bytes that are compared or moved at once: the widest registers there are


class Vectors:
    """What intrinsics are made of: vectors of ``lanes`` numbers of an array's dtype, and of flags."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self._context, self.builder = context, builder
        self.width = context.get_data_type(dtype).width
        self.lanes = 8 * VECTOR // self.width
        self.numbers, self.flags = self._of(self.width), self._of(8)
        self.chosen = self._of(1)

    def pointer(self, kind: Any, array: Any, index: Any, vector: Any) -> Any:
        """Address of the vector that begins at an index of an array."""
        return self.builder.bitcast(self.address(kind, array, index), vector.as_pointer())

    def address(self, kind: Any, array: Any, index: Any) -> Any:
        """Address of an element of an array."""
        data = cgutils.create_struct_proxy(kind)(self._context, self.builder, array).data
        return self.builder.gep(data, [index])

    def load(self, kind: Any, array: Any, index: Any, vector: Any) -> Any:
        return self.builder.load(self.pointer(kind, array, index, vector), align=1)

    def load_chosen(self, kind: Any, array: Any, index: Any) -> Any:
        """One bit a lane: whether the flag there is set."""
        flags = self.load(kind, array, index, self.flags)
        return self.builder.icmp_unsigned("!=", flags, ir.Constant(self.flags, [0] * self.lanes))

    def store(self, vector: Any, kind: Any, array: Any, index: Any) -> None:
        self.builder.store(vector, self.pointer(kind, array, index, vector.type), align=1)

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def filled(self, value: Any) -> Any:
        """A vector of one number."""
        undefined, index = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined), ir.IntType(32)
        first = self.builder.insert_element(undefined, value, index(0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(index, self.lanes), None))

    def compare(self, old: Any, new: Any, exponent: Any) -> tuple[Any, Any, Any]:
        """Where two vectors differ, where that is visible, and where either is NaN or infinite."""
        builder = self.builder
        magnitude = self.filled(ir.IntType(self.width)((1 << (self.width - 1)) - 1))
        one, two = builder.and_(old, magnitude), builder.and_(new, magnitude)
        differing = builder.icmp_unsigned("!=", old, new)
        nonzero = builder.icmp_unsigned("!=", builder.or_(one, two), ir.Constant(self.numbers, None))
        infinity = self.filled(exponent)
        odd = [builder.icmp_unsigned(">=", each, infinity) for each in (one, two)]
        return differing, builder.and_(differing, nonzero), builder.or_(*odd)

    def compress(self, vector: Any, chosen: Any) -> Any:
        """The chosen numbers first: one instruction where there is AVX-512, and a short loop elsewhere."""
        name = f"llvm.experimental.vector.compress.v{self.lanes}i{self.width}"
        return self.call(name, self.numbers, vector, chosen, ir.Constant(self.numbers, ir.Undefined))

    def spread(self, kind: Any, array: Any, index: Any, chosen: Any, others: Any) -> Any:
        """The numbers that begin at an index of an array in the chosen lanes, ``others`` in the rest."""
        name = f"llvm.masked.expandload.v{self.lanes}i{self.width}"
        first = self.pointer(kind, array, index, ir.IntType(self.width))
        return self.call(name, self.numbers, first, chosen, others)

    def word(self, chosen: Any) -> Any:
        """One bit a lane, the first lane's the lowest."""
        return self.builder.bitcast(chosen, ir.IntType(self.lanes))

    def count(self, chosen: Any) -> Any:
        word = self.word(chosen)
        population = self.call(f"llvm.ctpop.i{self.lanes}", word.type, word)
        return self.builder.zext(population, ir.IntType(64))

    def _of(self, width: int) -> Any:
        return ir.VectorType(ir.IntType(width), self.lanes)
