import numba
import numpy as np
import pytest

from sentiment.engine import matrices, vectors
from sentiment.engine.vectors import (
    LANES,
    as_exponent,
    broadcast,
    first_lane,
    fma,
    load,
    same_bits,
    sqrt,
    store,
    where_equal,
    where_greater,
)


def lanes(*values):
    """The values, repeated to a whole vector, as float32."""
    return np.resize(np.array(values, "f4"), LANES)


def operation(code):
    """Apply a function of vectors to arrays of LANES numbers."""
    compiled = numba.njit(code)
    count = code.__code__.co_argcount

    @numba.njit
    def one(a, b, c, out):
        store(out, (0,), compiled(load(a, (0,))))

    @numba.njit
    def two(a, b, c, out):
        store(out, (0,), compiled(load(a, (0,)), load(b, (0,))))

    @numba.njit
    def three(a, b, c, out):
        store(out, (0,), compiled(load(a, (0,)), load(b, (0,)), load(c, (0,))))

    def apply(*arrays):
        out = np.full(LANES, np.nan, "f4")
        {1: one, 2: two, 3: three}[count](*(arrays * 3)[:3], out)
        return out

    return apply


A, B, C = lanes(1.5, -2.25, 3e-3, 7), lanes(2, 2, -5, 0.1), lanes(-3, 4.5, 0.015, 1e-9)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (lambda a, b: a + b, A + B),
        (lambda a, b: a - b, A - B),
        (lambda a, b: a * b, A * B),
        (lambda a, b: a / b, A / B),
        (lambda a, b: where_greater(a, b, a, b), np.maximum(A, B)),
        (lambda a, b, c: where_equal(a, a, b, c), B),
        (lambda a, b, c: where_equal(a, b, b, c), C),
        (lambda a: sqrt(a * a), np.abs(A)),
        (lambda a: broadcast(first_lane(a)), lanes(1.5)),
        (lambda a: as_exponent(a), (A.view("u4") << np.uint32(23)).view("f4")),
    ],
)
def test_operations_are_those_of_numpy_bit_for_bit(code, expected):
    results = operation(code)(*[A, B, C][: code.__code__.co_argcount])
    assert results.tobytes() == expected.astype("f4").tobytes()


def test_the_fused_multiply_add_rounds_once():
    near = np.float32(1 + 2**-12)
    results = operation(lambda a, b, c: fma(a, b, c))(lanes(near), lanes(near), lanes(-1))
    exact = float(near) ** 2 - 1  # a float32, but the square is none: it has 25 bits
    assert results[0] == np.float32(exact) != near * near - np.float32(1)


@pytest.mark.parametrize("rows", [1, 5, 6, 8, 9, 17])
@pytest.mark.parametrize("wide", [1, 2, 3, 4, 7])
def test_a_product_is_a_sum_in_order_added_to_what_was_there(rows, wide):
    """For any rows and vectors: the fused multiply-adds are done one by one in float64, which rounds no product."""
    random = np.random.default_rng(rows * 10 + wide)
    a, b = random.standard_normal((rows, 6), "f4"), random.standard_normal((6, wide * LANES), "f4")
    c = random.standard_normal((rows, wide * LANES), "f4")
    total = np.zeros_like(c)
    for k in range(6):
        total = (a[:, k, None].astype("f8") * b[k] + total).astype("f4")
    out = c.copy()
    matrices.product(a, b, out)
    np.testing.assert_allclose(out, c + a.astype("f8") @ b, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_max_ulp(out, c + total, 1)


@pytest.mark.parametrize("rows", [1, 5, 6, 8, 9, 17])
@pytest.mark.parametrize("wide", [1, 2, 3, 4, 7])
def test_a_continued_product_has_the_bits_of_the_whole_one(rows, wide):
    random = np.random.default_rng(rows * 10 + wide)
    a, b = random.standard_normal((rows, 9), "f4"), random.standard_normal((9, wide * LANES), "f4")
    b[:, 0] = -1e-30  # so small that with the next line sums of it are -0
    a[0] = 1e-30
    expected, pieces = (np.zeros((rows, wide * LANES), "f4") for _ in range(2))
    for k in range(9):
        matrices.product(a[:, k : k + 1], b[k : k + 1], expected)
    whole = np.zeros_like(expected)
    matrices.continue_product(a, b, whole)
    matrices.continue_product(a[:, :4], b[:4], pieces)
    matrices.continue_product(a[:, 4:], b[4:], pieces)
    assert pieces.tobytes() == whole.tobytes()
    np.testing.assert_allclose(pieces, expected, rtol=1e-4, atol=1e-5)
    added = np.zeros_like(expected)
    matrices.product(a, b, added)
    np.testing.assert_array_equal(added, whole)


@pytest.mark.parametrize("lane", [0, 7, LANES - 1])
def test_vectors_are_the_same_if_all_their_bits_are(lane):
    @numba.njit
    def same(a, b):
        return same_bits(load(a, (0,)), load(b, (0,)))

    other = np.zeros(LANES, "f4")
    assert same(A, A.copy())
    assert same(other, other)
    other[lane] = -0.0
    assert not same(other, np.zeros(LANES, "f4"))


@pytest.mark.parametrize("layout", ["C", "F"])
def test_a_product_accepts_slices_and_transposes(layout):
    random = np.random.default_rng(0)
    a = np.asarray(random.standard_normal((9, 20), "f4"), order=layout)[1:, 3:11]
    b = random.standard_normal((12, 64), "f4")[2:10, 16:48]
    whole = np.zeros((10, 64), "f4")
    matrices.product(a, b, whole[1:9, 16:48])
    np.testing.assert_allclose(whole[1:9, 16:48], a @ b, rtol=1e-4, atol=1e-5)
    whole[1:9, 16:48] = 0
    assert not whole.any()


def test_rows_are_summed_in_their_order():
    rows = np.random.default_rng(0).standard_normal((7, 20), "f4") * 10 ** np.arange(7, dtype="f4")[:, None]
    expected = np.zeros(20, "f4")
    for row in rows:
        expected = expected + row
    total = np.full(20, np.nan, "f4")
    matrices.sum_arrays(rows.reshape(7, 4, 5), total.reshape(4, 5))
    np.testing.assert_array_equal(total, expected)
    total = np.ones(16, "f4")
    matrices.add_rows(np.ascontiguousarray(rows[:, :16]), total)
    np.testing.assert_array_equal(total, 1 + expected[:16])


def test_vectors_are_whole_and_aligned_to_64_bytes():
    assert [vectors.whole(n) for n in (0, 1, 16, 17)] == [0, 16, 16, 32]
    array = vectors.zeros(3, 5)
    assert array.shape == (3, 5)
    assert array.dtype == np.float32
    assert array.ctypes.data % 64 == 0
    assert not array.any()


def test_a_kernel_that_allocates_an_array_is_not_compiled():
    @vectors.compiled
    def kernel(n):
        return np.empty(n, np.float32)[0]

    with pytest.raises(numba.TypingError, match="Only accept returning of array"):
        kernel(3)
