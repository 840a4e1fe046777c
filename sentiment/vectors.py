"""Vectors of numbers for compiled code, and the matrix product made of them: the instructions themselves.

Numba compiles loops over numbers and leaves it to LLVM to find what can be done side by side. Here that is said: a
vector is ``LANES`` float32, its operations are IEEE 754's, each lane rounded on its own, and a processor whose vectors
are narrower uses several. No instruction may be reordered or merged: LLVM's fast-math flags are off.
"""

import functools
import hashlib
import operator
from pathlib import Path

import numba
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 16
"""Numbers in a vector. Every axis vectors run along is padded to whole ones."""

# Numba looks at the file of a function for what it compiled before, not at those it calls or at its own settings: so a
# folder for each version of all of them. Like Python's own bytecode, it lies in __pycache__.
_CODE = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("vectors", "numerics", "kernels")]
_SETTINGS = [str(getattr(numba.config, name)) for name in ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK")]
numba.config.CACHE_DIR = str(
    Path(__file__).parent / "__pycache__" / hashlib.sha256(b"".join(_CODE) + repr(_SETTINGS).encode()).hexdigest()
)

compiled = functools.partial(numba.njit, cache=True, nogil=True, error_model="numpy")
"""Compile a function; a division by zero is infinite, as in NumPy."""

# Results that a product keeps in registers: rows by vectors. Each is summed alone, so this is speed, not arithmetic.
_FEATURES = numba.config.CPU_FEATURES or binding.get_host_cpu_features().flatten()
_ROWS, _WIDE = (8, 3) if "+avx512f" in _FEATURES.split(",") else (6, 1)

_BITS, _INT, _FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
_FLOATS = ir.VectorType(_FLOAT, LANES)


class Vector(types.Type):
    """Numba's type of ``LANES`` float32."""

    def __init__(self):
        super().__init__("Vector")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _FLOATS)


vector = Vector()


def _arithmetic(symbol, instruction):
    @infer_global(symbol)
    class Typing(AbstractTemplate):
        def generic(self, arguments, _):
            return signature(vector, *arguments) if arguments == (vector, vector) else None

    @lower_builtin(symbol, vector, vector)
    def lower(context, builder, signature, arguments):
        return getattr(builder, instruction)(*arguments)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")


@intrinsic
def load(context, array, index):
    """The vector of a float32 array that begins at ``index``, a tuple of non-negative numbers."""

    def generate(context, builder, signature, arguments):
        return builder.load(_address(context, builder, signature, arguments), align=4)

    return vector(array, index), generate


@intrinsic
def store(context, array, index, value):
    """Put a vector where ``load`` would take it."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], _address(context, builder, signature, arguments), align=4)
        return context.get_dummy_value()

    return types.void(array, index, vector), generate


def _address(context, builder, signature, arguments):
    kind, index_kind = signature.args[:2]
    array = context.make_array(kind)(context, builder, arguments[0])
    index = cgutils.unpack_tuple(builder, arguments[1], len(index_kind))
    index = [context.cast(builder, i, k, types.intp) for i, k in zip(index, index_kind, strict=True)]
    pointer = cgutils.get_item_pointer(context, builder, kind, array, index, wraparound=False)
    return builder.bitcast(pointer, ir.PointerType(_FLOATS))


@intrinsic
def spread(context, number):
    """A float32 in every lane."""

    def generate(context, builder, signature, arguments):
        return _spread(builder, *arguments)

    return vector(types.float32), generate


def _spread(builder, number):
    undefined = ir.Constant(_FLOATS, ir.Undefined)
    first = builder.insert_element(undefined, number, _BITS(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_BITS, LANES), None))


@intrinsic
def first(context, x):
    """The float32 in the first lane."""

    def generate(context, builder, signature, arguments):
        return builder.extract_element(*arguments, _BITS(0))

    return types.float32(vector), generate


@intrinsic
def fma(context, a, b, c):
    """a * b + c, rounded once."""

    def generate(context, builder, signature, arguments):
        return builder.call(_function(builder, "llvm.fma", 3), arguments)

    return vector(vector, vector, vector), generate


@intrinsic
def sqrt(context, x):
    """The square root."""

    def generate(context, builder, signature, arguments):
        return builder.call(_function(builder, "llvm.sqrt", 1), arguments)

    return vector(vector), generate


def _function(builder, name, operands):
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * operands)
    return cgutils.get_or_insert_function(builder.module, kind, f"{name}.v{LANES}f32")


@intrinsic
def where_greater(context, a, b, x, y):
    """``x`` where a > b, ``y`` elsewhere."""
    return _where(">")


@intrinsic
def where_equal(context, a, b, x, y):
    """``x`` where a == b, ``y`` elsewhere."""
    return _where("==")


def _where(comparison):
    def generate(context, builder, signature, arguments):
        a, b, x, y = arguments
        return builder.select(builder.fcmp_ordered(comparison, a, b), x, y)

    return vector(vector, vector, vector, vector), generate


@intrinsic
def as_exponent(context, x):
    """The float32 whose sign and exponent are the last nine bits of each lane, and whose fraction is 0."""

    def generate(context, builder, signature, arguments):
        bits = ir.VectorType(_BITS, LANES)
        shift = ir.Constant(bits, [23] * LANES)
        return builder.bitcast(builder.shl(builder.bitcast(arguments[0], bits), shift), _FLOATS)

    return vector(vector), generate


@intrinsic
def _tile(context, rows, wide, a, a_row, a_step, b, b_step, c, c_row, depth):
    """``product`` for up to _ROWS rows and _WIDE vectors of c, whose sums stay in registers. Strides are in bytes."""

    def generate(context, builder, signature, arguments):
        rows, wide, *operands = arguments
        end, impossible = (builder.append_basic_block(name) for name in ("end", "impossible"))
        switch = builder.switch(builder.add(builder.mul(rows, _INT(_WIDE + 1)), wide), impossible)
        with builder.goto_block(impossible):
            builder.unreachable()
        for n in range(1, _ROWS + 1):
            for m in range(1, _WIDE + 1):
                block = builder.append_basic_block(f"{n}x{m}")
                switch.add_case(_INT(n * (_WIDE + 1) + m), block)
                builder.position_at_end(block)
                _generate_tile(builder, n, m, *operands)
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 10), generate


def _generate_tile(builder, rows, wide, a, a_row, a_step, b, b_step, c, c_row, depth):
    multiply_add = _function(builder, "llvm.fma", 3)

    def at(address, kind):
        return builder.inttoptr(address, ir.PointerType(kind))

    def load(address, kind):
        return builder.load(at(address, kind), align=4)

    def lanes(address, v):
        return builder.add(address, _INT(4 * LANES * v))

    before, loop, after = builder.block, *(builder.append_basic_block(name) for name in ("loop", "after"))
    builder.branch(loop)
    builder.position_at_end(loop)
    k, left, right = (builder.phi(_INT) for _ in range(3))
    sums = [[builder.phi(_FLOATS) for _ in range(wide)] for _ in range(rows)]
    b_vectors = [load(lanes(right, v), _FLOATS) for v in range(wide)]
    more, address = [], left
    for row in sums:
        number = _spread(builder, load(address, _FLOAT))
        more.append([builder.call(multiply_add, (number, *pair)) for pair in zip(b_vectors, row, strict=True)])
        address = builder.add(address, a_row)
    for value, start, step in ((k, _INT(0), _INT(1)), (left, a, a_step), (right, b, b_step)):
        value.add_incoming(start, before)
        value.add_incoming(builder.add(value, step), loop)
    for row, row_more in zip(sums, more, strict=True):
        for total, next_total in zip(row, row_more, strict=True):
            total.add_incoming(ir.Constant(_FLOATS, None), before)
            total.add_incoming(next_total, loop)
    builder.cbranch(builder.icmp_signed("<", builder.add(k, _INT(1)), depth), loop, after)

    builder.position_at_end(after)
    for row in more:
        for v, total in enumerate(row):
            builder.store(builder.fadd(load(lanes(c, v), _FLOATS), total), at(lanes(c, v), _FLOATS), align=4)
        c = builder.add(c, c_row)


_ADDRESSES_AND_SIZES = types.void(*[types.int64] * 10)


@numba.cfunc(_ADDRESSES_AND_SIZES, cache=True)
def _product(a, a_row, a_step, b, b_step, c, c_row, rows, depth, columns):
    for column in range(0, columns, LANES * _WIDE):
        wide = min(_WIDE, (columns - column) // LANES)
        for row in range(0, rows, _ROWS):
            _tile(
                min(_ROWS, rows - row), wide, a + row * a_row, a_row, a_step, b + 4 * column, b_step,
                c + row * c_row + 4 * column, c_row, depth,
            )  # fmt: skip


# Called by name, it is compiled once and not again into every function that multiplies.
binding.add_symbol("sentiment_product", _product.address)
_call_product = types.ExternalFunction("sentiment_product", _ADDRESSES_AND_SIZES)


@compiled
def product(a, b, c):
    """c += a @ b: each result is summed over the depth in order, from zero, by fused multiply-adds, then added.

    Args:
        a: float32 [n, d] of any strides, d at least 1.
        b: float32 [d, m], rows contiguous, m whole vectors.
        c: float32 [n, m], rows contiguous.
    """
    _call_product(
        a.ctypes.data, a.strides[0], a.strides[1], b.ctypes.data, b.strides[0], c.ctypes.data, c.strides[0],
        a.shape[0], a.shape[1], c.shape[1],
    )  # fmt: skip
