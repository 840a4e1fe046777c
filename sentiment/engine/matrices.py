"""Matrices of whole vectors: the matrix product, and sums of rows.

In a library, the order of the sums in a matrix product depends on the processor, its caches and the number of cores.
This product sums over the depth from the first element to the last, on every machine.
"""

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from sentiment.engine.vectors import (
    FLOAT,
    FLOATS,
    INT,
    LANES,
    broadcast,
    compiled,
    compiled_callback,
    emit_broadcast,
    emit_function,
    internal,
    load,
    store,
)

_ZERO = np.float32(0)

# Rows and vectors of the product that are summed in registers at once. Each element has its own sum, so these numbers
# change the speed and no bits.
_FEATURES = numba.config.CPU_FEATURES or binding.get_host_cpu_features().flatten()
_ROWS, _WIDE = (8, 3) if "+avx512f" in _FEATURES.split(",") else (6, 1)


@intrinsic
def _tile(context, rows, wide, a, a_row, a_step, b, b_step, c, c_row, depth, onward):
    """``product`` for up to _ROWS rows and _WIDE vectors of c, whose sums stay in registers. Strides are in bytes.

    The order of the sums is part of the contract.

    ``onward`` is 1 for ``continue_product``, and otherwise 0.
    """

    def generate(context, builder, signature, arguments):
        rows, wide, *operands = arguments
        end, impossible = (builder.append_basic_block(name) for name in ("end", "impossible"))
        switch = builder.switch(builder.add(builder.mul(rows, INT(_WIDE + 1)), wide), impossible)
        with builder.goto_block(impossible):
            builder.unreachable()
        for n in range(1, _ROWS + 1):
            for m in range(1, _WIDE + 1):
                block = builder.append_basic_block(f"{n}x{m}")
                switch.add_case(INT(n * (_WIDE + 1) + m), block)
                builder.position_at_end(block)
                _generate_tile(builder, n, m, *operands)
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 11), generate


def _generate_tile(builder, rows, wide, a, a_row, a_step, b, b_step, c, c_row, depth, onward):
    multiply_add = emit_function(builder, "llvm.fma", 3)

    def at(address, kind):
        return builder.inttoptr(address, ir.PointerType(kind))

    def load(address, kind):
        return builder.load(at(address, kind), align=4)

    def lanes(address, v):
        return builder.add(address, INT(4 * LANES * v))

    onward = builder.icmp_signed("!=", onward, INT(0))
    zero, nothing = (ir.Constant(FLOATS, [number] * LANES) for number in (0.0, -0.0))  # x + -0 is x, of either sign
    starts, address = [], c
    for _ in range(rows):
        starts.append([builder.select(onward, load(lanes(address, v), FLOATS), zero) for v in range(wide)])
        address = builder.add(address, c_row)
    before, loop, after = builder.block, *(builder.append_basic_block(name) for name in ("loop", "after"))
    builder.branch(loop)
    builder.position_at_end(loop)
    k, left, right = (builder.phi(INT) for _ in range(3))
    sums = [[builder.phi(FLOATS) for _ in range(wide)] for _ in range(rows)]
    b_vectors = [load(lanes(right, v), FLOATS) for v in range(wide)]
    more, address = [], left
    for row in sums:
        number = emit_broadcast(builder, load(address, FLOAT))
        more.append([builder.call(multiply_add, (number, *pair)) for pair in zip(b_vectors, row, strict=True)])
        address = builder.add(address, a_row)
    for value, start, step in ((k, INT(0), INT(1)), (left, a, a_step), (right, b, b_step)):
        value.add_incoming(start, before)
        value.add_incoming(builder.add(value, step), loop)
    for row, row_starts, row_more in zip(sums, starts, more, strict=True):
        for total, start, next_total in zip(row, row_starts, row_more, strict=True):
            total.add_incoming(start, before)
            total.add_incoming(next_total, loop)
    builder.cbranch(builder.icmp_signed("<", builder.add(k, INT(1)), depth), loop, after)

    builder.position_at_end(after)
    for row in more:
        for v, total in enumerate(row):
            old = builder.select(onward, nothing, load(lanes(c, v), FLOATS))
            builder.store(builder.fadd(old, total), at(lanes(c, v), FLOATS), align=4)
        c = builder.add(c, c_row)


_ADDRESSES_AND_SIZES = types.void(*[types.int64] * 11)


@compiled_callback(_ADDRESSES_AND_SIZES)
def _product(a, a_row, a_step, b, b_step, c, c_row, rows, depth, columns, onward):
    for column in range(0, columns, LANES * _WIDE):
        wide = (columns - column) // LANES
        wide = wide if wide < _WIDE else _WIDE
        for row in range(0, rows, _ROWS):
            high = rows - row if rows - row < _ROWS else _ROWS
            _tile(
                high, wide, a + row * a_row, a_row, a_step, b + 4 * column, b_step,
                c + row * c_row + 4 * column, c_row, depth, onward,
            )  # fmt: skip


# Because it is called by name, it is compiled once, and not again into every function that calls it.
binding.add_symbol("sentiment_product", _product.address)
_call_product = types.ExternalFunction("sentiment_product", _ADDRESSES_AND_SIZES)


@compiled
def product(a, b, c):
    """Add a @ b to c. Each element is summed over the depth from zero, by fused multiply-adds, and then added.

    The order of the sums is part of the contract.

    Args:
        a: float32 [n, d] of any strides, d at least 1.
        b: float32 [d, m], rows contiguous, m whole vectors.
        c: float32 [n, m], rows contiguous.
    """
    _call_product(
        a.ctypes.data, a.strides[0], a.strides[1], b.ctypes.data, b.strides[0], c.ctypes.data, c.strides[0],
        a.shape[0], a.shape[1], c.shape[1], 0,
    )  # fmt: skip


@compiled
def continue_product(a, b, c):
    """Continue the sums c by a @ b: as ``product``, but each sum begins with the value in c and replaces it.

    The order of the sums is part of the contract. From zeros, the product of ``a1`` continued by that of ``a2`` is that
    of their columns side by side, bit for bit.
    """
    _call_product(
        a.ctypes.data, a.strides[0], a.strides[1], b.ctypes.data, b.strides[0], c.ctypes.data, c.strides[0],
        a.shape[0], a.shape[1], c.shape[1], 1,
    )  # fmt: skip


@internal
def clear(array):
    """Fill an array, float32 [n, whole vectors], with zeros."""
    for row in range(len(array)):
        for at in range(0, array.shape[1], LANES):
            store(array, (row, at), broadcast(_ZERO))


@compiled
def add_rows(rows, total):
    """Add the sum of rows, float32 [n, whole vectors], from the first to the last, to ``total``, [whole vectors].

    The order of the sums is part of the contract.
    """
    for at in range(0, len(total), LANES):
        part = broadcast(_ZERO)
        for row in range(len(rows)):
            part = part + load(rows, (row, at))
        store(total, (at,), load(total, (at,)) + part)


def sum_arrays(arrays: np.ndarray, total: np.ndarray) -> None:
    """Fill ``total``, float32 [...], with the sum of arrays, float32 [n, ...], from the first to the last.

    The order of the sums is part of the contract.
    """
    _sum_rows(arrays.reshape(len(arrays), -1), total.reshape(-1, copy=False))


@compiled
def _sum_rows(rows, total):
    """Fill ``total`` with the sum of rows. The order of the sums is part of the contract."""
    for at in range(len(total)):
        total[at] = _ZERO
    for row in rows:
        for at in range(len(total)):
            total[at] += row[at]
