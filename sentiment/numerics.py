"""What pins the bits: arithmetic whose every rounding is written down.

Libraries choose the order of a sum by the processor, its caches and the cores, and have an exp and a tanh for each kind
of vector. Here the order is in the code, and the functions are these. All is made, in ``vectors``, of IEEE 754's own
operations: +, -, *, /, square root, comparison and the fused multiply-add, each rounded once, on any processor.
"""

import os
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from sentiment.vectors import LANES, as_exponent, compiled, fma, spread, where_greater

_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
_threads = ThreadPoolExecutor(_CORES)

_ONE = np.float32(1)
_LOG2_E = np.float32(1.44269504)
# Added to a small number it leaves no bits for a fraction: the sum ends in the nearest whole number, and in 127 more.
_WHOLE = np.float32(1.5 * 2**23 + 127)
_LN_2 = np.float32(0.693359375), np.float32(-2.12194440e-4)  # their sum; the first has few bits, so n times it is exact
# Fitted to the least largest relative error, 3e-9 and 2e-8 before rounding to float32.
_EXP = tuple(map(np.float32, (1, 1, 0.499999928, 0.166665204, 0.0416683935, 0.00836874712, 0.00138145043)))
_TANH = (
    tuple(map(np.float32, (0.999999979, 0.133797176, 3.49403418e-3, 2.05834750e-5, 1.33190640e-8))),
    tuple(map(np.float32, (1, 0.467130329, 0.0258710718, 3.28309221e-4, 7.76201603e-7))),
)
_LIMIT = np.float32(87)  # e to this and to its negative is finite and normal
_FLAT = np.float32(8.2)  # beyond it tanh is 1 to 2e-7, and the fit may exceed 1


def promise() -> str:
    """One line on whether the bits made here are those of other machines."""
    machine = platform.machine()
    if machine.lower() in ("x86_64", "amd64", "aarch64", "arm64"):
        return "the bits are those of every x86-64 and Arm processor"
    return f"the bits should be those of x86-64 and Arm processors, which has not been seen: this one is {machine}"


def side_by_side(run: Callable[[int], None], count: int) -> None:
    """Call ``run(0)`` to ``run(count - 1)`` on all cores, compiled functions that write to places of their own."""
    tasks = iter(range(count))

    def take():
        for task in tasks:
            run(task)

    others = [_threads.submit(take) for _ in range(min(count, _CORES) - 1)]
    try:
        take()
    finally:
        wait(others)  # nothing writes on when this has ended, however it has
    for other in others:
        other.result()


def power(base: float, n: int) -> float:
    """``base ** n`` by squaring; Python's own is the C library's, whose last bit differs between processors.

    >>> power(0.5, 10) == 0.5**10
    True
    """
    result = 1.0
    while n:
        if n % 2:
            result *= base
        base *= base
        n //= 2
    return result


def whole(n: int) -> int:
    """``n`` rounded up to whole vectors.

    >>> whole(1), whole(32), whole(50)
    (16, 32, 64)
    """
    return -(-n // LANES) * LANES


def aligned(*shape: int, dtype=np.float32) -> np.ndarray:
    """Zeros that begin where a vector may: at a multiple of 64 bytes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    space = np.zeros(size + 64, np.uint8)
    begin = -space.ctypes.data % 64
    return space[begin : begin + size].view(dtype).reshape(shape)


def orthogonal(random: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A random float32 [rows, columns], rows <= columns, with orthonormal rows, drawn uniformly.

    The Q of a QR decomposition of normal numbers whose R has a positive diagonal, as in
    ``keras.initializers.Orthogonal``. A normal number is the sum of twelve uniform ones, less 6: NumPy's own asks the C
    library for exp and log. LAPACK's QR rounds by the cache; this one is Gram-Schmidt, each row made orthogonal twice
    ("twice is enough", W. Kahan in B. Parlett, The Symmetric Eigenvalue Problem, 6-9), in float64 element by element.
    """
    if rows > columns:
        raise ValueError(f"rows = {rows} must not exceed columns = {columns}: they could not all be orthogonal")
    basis = random.random((12, rows, columns)).sum(axis=0) - 6
    for i, row in enumerate(basis):
        for _ in range(2):
            row -= (basis[:i] * (basis[:i] * row).sum(axis=1, keepdims=True)).sum(axis=0)
        row /= np.sqrt((row * row).sum())
    return basis.astype(np.float32)


@compiled(inline="always")
def _held(x, low, high):
    """``x`` within bounds; what is not a number stays so."""
    low, high = spread(low), spread(high)
    x = where_greater(low, x, low, x)
    return where_greater(x, high, high, x)


@compiled(inline="always")
def exp(x):
    """e ** x of a vector, to 2e-7 of itself; x is held within -87 and 87."""
    x = _held(x, -_LIMIT, _LIMIT)
    shifted = fma(x, spread(_LOG2_E), spread(_WHOLE))
    n = spread(_WHOLE) - shifted
    f = fma(n, spread(_LN_2[1]), fma(n, spread(_LN_2[0]), x))
    series = spread(_EXP[6])
    for i in range(5, -1, -1):
        series = fma(series, f, spread(_EXP[i]))
    return series * as_exponent(shifted)


@compiled(inline="always")
def sigmoid(x):
    """1 / (1 + e ** -x) of a vector, to 4e-7 of itself; x is held within -87 and 87."""
    return spread(_ONE) / (spread(_ONE) + exp(spread(np.float32(0)) - x))


@compiled(inline="always")
def tanh(x):
    """The hyperbolic tangent of a vector, to 4e-7 of itself."""
    x = _held(x, -_FLAT, _FLAT)
    y = x * x
    above, below = spread(_TANH[0][4]), spread(_TANH[1][4])
    for i in range(3, -1, -1):
        above, below = fma(above, y, spread(_TANH[0][i])), fma(below, y, spread(_TANH[1][i]))
    return x * above / below
