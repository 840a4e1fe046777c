"""Vectors of numbers for compiled code, with an operation for each instruction.

A vector has ``LANES`` float32. Its operations are those of IEEE 754, and each lane is rounded separately. A processor
with shorter vectors uses several of them. No instruction may be reordered or merged: LLVM's fast-math flags are off.
With plain loops over numbers, which LLVM may or may not vectorize, training took up to 1.6 times as long
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

# At its start, Numba imports SciPy's linear algebra to check that it is installed: a quarter of the time of a first
# prediction. Nothing here needs it, and Numba repeats the check for a function that does.
_look, linalg.ensure_blas = linalg.ensure_blas, lambda: None
importlib.import_module("numba.np.arraymath")
linalg.ensure_blas = _look

LANES = 16
"""Number of float32 in a vector. Every axis that is read by vectors is padded with zeros to a multiple of it."""

_BITS, INT, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
FLOATS = ir.VectorType(FLOAT, LANES)
"""LLVM's type of a vector; ``INT`` is that of an address or size, and ``FLOAT`` that of a number."""


def compiled(function: Callable | None = None, **options: object) -> Callable:
    """Compile a function. ``options`` are further options of Numba.

    A division by zero is infinite, as in NumPy. The function must not allocate an array, which is an error of Numba,
    and must not return one. So Numba need not count references to arrays, and compiling takes a tenth less time. Numba
    compiles ``min``, ``max`` and ``sum`` like other functions, a tenth of a second each, so large kernels do without.
    """
    if function is None:
        return functools.partial(compiled, **options)
    dispatcher = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, _nrt=False, **options)(function)
    dispatcher._cache = Cache(function)
    return dispatcher


internal = compiled(no_cpython_wrapper=True)
"""Compile a function that only compiled functions call. Python cannot call it."""

inlined = compiled(no_cpython_wrapper=True, forceinline=True)
"""Compile a function of a few instructions into each function that calls it. Python cannot call it."""


def compiled_callback(signature: Signature) -> Callable[[Callable], CFunc]:
    """Compile a function of one signature, so that compiled code can call it by its address."""

    def compile(function):
        callback = CFunc(function, sigutils.normalize_signature(signature), locals={}, options={})
        callback._cache = Cache(function)
        callback.compile()
        return callback

    return compile


def whole(n: int) -> int:
    """``n`` rounded up to a multiple of ``LANES``.

    >>> whole(1), whole(32), whole(50)
    (16, 32, 64)
    """
    return -(-n // LANES) * LANES


def zeros(*shape: int) -> np.ndarray:
    """Zeros, float32 [shape], at a multiple of 64 bytes, from which vectors are read fastest."""
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
    """The vector at ``index``, a tuple of non-negative numbers, of a float32 array."""

    def generate(context, builder, signature, arguments):
        return builder.load(_address(context, builder, signature, arguments), align=4)

    return vector(array, index), generate


@intrinsic
def store(context, array, index, value):
    """Write a vector to a float32 array at ``index``; see ``load``."""

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
    """Emit LLVM code that copies a float32 to every lane."""
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
    """LLVM's function ``name`` of this number of vectors: ``llvm.fma`` or ``llvm.sqrt``."""
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
