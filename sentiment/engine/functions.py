"""exp, log, sigmoid, tanh, integer powers and random orthogonal matrices, with every rounding written down.

A library has a different exp and tanh for each instruction set, and their last bits differ. The functions here use only
operations that IEEE 754 defines: +, -, *, /, square root, comparison and fused multiply-add. Each operation is rounded
once, on any processor.
"""

import numpy as np

from sentiment.engine.vectors import as_exponent, broadcast, fma, inlined, where_greater

_ONE = np.float32(1)
_LOG2_E = np.float32(1.44269504)
# The sum of a small number and this one has no bits for a fraction: its last bits are the nearest integer plus 127.
_WHOLE = np.float32(1.5 * 2**23 + 127)
_LN_2_EXACT = 0.6931471805599453  # as a float64
_LN_2 = np.float32(0.693359375), np.float32(-2.12194440e-4)  # the sum is ln 2; n times the first is exact
# Minimax fits: the largest relative errors are 3e-9 and 2e-8 before rounding to float32.
_EXP = tuple(map(np.float32, (1, 1, 0.499999928, 0.166665204, 0.0416683935, 0.00836874712, 0.00138145043)))
_TANH = (
    tuple(map(np.float32, (0.999999979, 0.133797176, 3.49403418e-3, 2.05834750e-5, 1.33190640e-8))),
    tuple(map(np.float32, (1, 0.467130329, 0.0258710718, 3.28309221e-4, 7.76201603e-7))),
)
_LIMIT = np.float32(87)  # e ** 87 and e ** -87 are finite and normal
_FLAT = np.float32(8.2)  # above it tanh differs from 1 by less than 2e-7, and the fit may exceed 1


def power(base: float, n: int) -> float:
    """``base ** n`` by squaring. Python's ``**`` calls the C library, whose last bit differs between processors.

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


def log(x: np.ndarray) -> np.ndarray:
    """The natural logarithm of positive, finite numbers, float64 of any shape.

    The error is at most 4e-16: an absolute error for results up to 1, and a relative error for larger ones. NumPy's
    logarithm differs between processors. Here x = m * 2 ** n with m near 1, and log m = 2 artanh((m - 1) / (m + 1)) is
    a series. The terms that are left out are smaller than the last bit. The order of the sums is part of the contract.

    >>> log(np.array([0.5, 1.0, 2.0])).round(6).tolist()
    [-0.693147, 0.0, 0.693147]
    """
    m, n = np.frexp(x)
    low = m < np.sqrt(0.5)
    m, n = np.where(low, 2 * m, m), n - low
    y = (m - 1) / (m + 1)
    square, series = y * y, np.zeros_like(y)
    for k in range(23, 0, -2):
        series = series * square + 1 / k
    return n * _LN_2_EXACT + 2 * y * series


def orthogonal(random: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A random float32 [rows, columns], rows <= columns, with orthonormal rows, drawn uniformly.

    It is the Q of a QR decomposition of normal numbers whose R has a positive diagonal, as in
    ``keras.initializers.Orthogonal``. A normal number is the sum of twelve uniform numbers, less 6, because
    ``Generator.normal`` calls exp and log of the C library. LAPACK's QR has roundings that depend on the cache. This QR
    is Gram-Schmidt in float64, and each row is made orthogonal twice ("twice is enough", W. Kahan in B. Parlett, The
    Symmetric Eigenvalue Problem, 6-9). The order of the sums is part of the contract.
    """
    if rows > columns:
        raise ValueError(f"rows = {rows} must not exceed columns = {columns}: they could not all be orthogonal")
    basis = random.random((12, rows, columns)).sum(axis=0) - 6
    for i, row in enumerate(basis):
        for _ in range(2):
            row -= (basis[:i] * (basis[:i] * row).sum(axis=1, keepdims=True)).sum(axis=0)
        row /= np.sqrt((row * row).sum())
    return basis.astype(np.float32)


@inlined
def _clip(x, low, high):
    """``x`` clipped to bounds; NaN stays NaN."""
    low, high = broadcast(low), broadcast(high)
    x = where_greater(low, x, low, x)
    return where_greater(x, high, high, x)


@inlined
def exp(x):
    """e ** x of a vector, with a relative error of at most 2e-7; x is clipped to -87 and 87.

    The order of the sums is part of the contract.
    """
    x = _clip(x, -_LIMIT, _LIMIT)
    shifted = fma(x, broadcast(_LOG2_E), broadcast(_WHOLE))
    n = broadcast(_WHOLE) - shifted
    f = fma(n, broadcast(_LN_2[1]), fma(n, broadcast(_LN_2[0]), x))
    series = broadcast(_EXP[6])
    for i in range(5, -1, -1):
        series = fma(series, f, broadcast(_EXP[i]))
    return series * as_exponent(shifted)


@inlined
def sigmoid(x):
    """1 / (1 + e ** -x) of a vector, with a relative error of at most 4e-7; x is clipped to -87 and 87."""
    return broadcast(_ONE) / (broadcast(_ONE) + exp(broadcast(np.float32(0)) - x))


@inlined
def tanh(x):
    """The hyperbolic tangent of a vector, with a relative error of at most 4e-7.

    The order of the sums is part of the contract.
    """
    x = _clip(x, -_FLAT, _FLAT)
    y = x * x
    above, below = broadcast(_TANH[0][4]), broadcast(_TANH[1][4])
    for i in range(3, -1, -1):
        above, below = fma(above, y, broadcast(_TANH[0][i])), fma(below, y, broadcast(_TANH[1][i]))
    return x * above / below
