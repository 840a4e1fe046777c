"""Vectors of numbers for compiled code: the instructions themselves.

A vector is ``LANES`` float32. Its operations are IEEE 754's, each lane rounded on its own; a processor whose vectors
are narrower uses several. No instruction may be reordered or merged: LLVM's fast-math flags are off. With plain loops
over numbers, which LLVM may turn into vectors or not, training took up to 1.6 times as long
(``benchmarks/README.md``).
"""

import functools
import importlib
import operator
from collections.abc import Callable

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, sigutils
from numba.core.ccallback import CFunc
from numba.core.typing.templates import AbstractTemplate, Signature, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model
from numba.np import linalg

from sentiment.engine.cache import Cache

# Numba imports SciPy's linear algebra as it starts, a quarter of the time of a first prediction, to see if it is there.
# Nothing here calls it, and where another function does, Numba looks again.
_look, linalg.ensure_blas = linalg.ensure_blas, lambda: None
importlib.import_module("numba.np.arraymath")
linalg.ensure_blas = _look

LANES = 16
"""Numbers in a vector. Every axis that vectors run along is padded with zeros to whole ones."""

_BITS, INT, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
FLOATS = ir.VectorType(FLOAT, LANES)
"""LLVM's types of an address or size, of a number, and of a vector of numbers."""


def compiled(function: Callable | None = None, **options: object) -> Callable:
    """Compile a function; a division by zero is infinite, as in NumPy. ``options`` are Numba's others."""
    if function is None:
        return functools.partial(compiled, **options)
    dispatcher = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function)
    dispatcher._cache = Cache(function)
    return dispatcher


inlined = compiled(no_cpython_wrapper=True, forceinline=True)
"""Compiles a function of a few instructions on vectors, which Python has not, into each function that calls it."""


def compiled_callback(signature: Signature) -> Callable[[Callable], CFunc]:
    """Compile a function of one signature to what compiled code can call by its address."""

    def compile(function):
        callback = CFunc(function, sigutils.normalize_signature(signature), locals={}, options={})
        callback._cache = Cache(function)
        callback.compile()
        return callback

    return compile


def whole(n: int) -> int:
    """``n`` rounded up to whole vectors.

    >>> whole(1), whole(32), whole(50)
    (16, 32, 64)
    """
    return -(-n // LANES) * LANES


def zeros(*shape: int) -> np.ndarray:
    """Zeros, float32 [shape], that begin where a vector is read fastest: at a multiple of 64 bytes."""
    size = 4 * int(np.prod(shape))
    space = np.zeros(size + 64, np.uint8)
    begin = -space.ctypes.data % 64
    return space[begin : begin + size].view(np.float32).reshape(shape)


class Vector(types.Type):
    """Numba's type of ``LANES`` float32."""

    def __init__(self):
        super().__init__("Vector")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, FLOATS)


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
    return builder.bitcast(pointer, ir.PointerType(FLOATS))


@intrinsic
def broadcast(context, number):
    """A float32 in every lane."""

    def generate(context, builder, signature, arguments):
        return emit_broadcast(builder, *arguments)

    return vector(types.float32), generate


def emit_broadcast(builder, number):
    """Write, in LLVM's language, a float32 into every lane."""
    undefined = ir.Constant(FLOATS, ir.Undefined)
    first = builder.insert_element(undefined, number, _BITS(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_BITS, LANES), None))


@intrinsic
def first_lane(context, x):
    """The float32 in the first lane."""

    def generate(context, builder, signature, arguments):
        return builder.extract_element(*arguments, _BITS(0))

    return types.float32(vector), generate


@intrinsic
def fma(context, a, b, c):
    """a * b + c, rounded once."""

    def generate(context, builder, signature, arguments):
        return builder.call(emit_function(builder, "llvm.fma", 3), arguments)

    return vector(vector, vector, vector), generate


@intrinsic
def sqrt(context, x):
    """The square root."""

    def generate(context, builder, signature, arguments):
        return builder.call(emit_function(builder, "llvm.sqrt", 1), arguments)

    return vector(vector), generate


def emit_function(builder, name, operands):
    """LLVM's function of so many vectors, ``llvm.fma`` or ``llvm.sqrt``."""
    kind = ir.FunctionType(FLOATS, [FLOATS] * operands)
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
def same_bits(context, x, y):
    """True if all bits of two vectors are the same."""

    def generate(context, builder, signature, arguments):
        bits = ir.VectorType(_BITS, LANES)
        same = builder.icmp_signed("==", *(builder.bitcast(argument, bits) for argument in arguments))
        return builder.icmp_signed("==", builder.bitcast(same, ir.IntType(LANES)), ir.IntType(LANES)(-1))

    return types.boolean(vector, vector), generate


@intrinsic
def as_exponent(context, x):
    """The float32 whose sign and exponent are the last nine bits of each lane, and whose fraction is 0."""

    def generate(context, builder, signature, arguments):
        bits = ir.VectorType(_BITS, LANES)
        shift = ir.Constant(bits, [23] * LANES)
        return builder.bitcast(builder.shl(builder.bitcast(arguments[0], bits), shift), FLOATS)

    return vector(vector), generate
