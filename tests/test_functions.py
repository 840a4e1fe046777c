import numba
import numpy as np
import pytest

from sentiment.engine import functions
from sentiment.engine.blocks.softmax import _softmax
from sentiment.engine.vectors import LANES, load, store, whole, zeros


def each(function):
    """Apply a function of vectors to a float32 array of whole vectors."""

    @numba.njit
    def apply(x, out):
        for at in range(0, len(x), 16):
            store(out, (at,), function(load(x, (at,))))

    def applied(x):
        out = np.empty_like(x)
        apply(x, out)
        return out

    return applied


NUMBERS = np.concatenate(
    [
        np.linspace(-87, 87, 160_000),
        np.linspace(-9, 9, 160_000),
        np.geomspace(1e-30, 1, 16_000),
        -np.geomspace(1e-30, 1, 16_000),
    ]
).astype("f4")


@pytest.mark.parametrize(
    ("function", "oracle", "error"),
    [
        (functions.exp, np.exp, 2e-7),
        (functions.sigmoid, lambda x: 1 / (1 + np.exp(-x)), 4e-7),
        (functions.tanh, np.tanh, 4e-7),
    ],
    ids=["exp", "sigmoid", "tanh"],
)
def test_functions_are_as_exact_as_they_say(function, oracle, error):
    results, exact = each(function)(NUMBERS), oracle(NUMBERS.astype("f8"))
    np.testing.assert_allclose(results, exact, rtol=error, atol=0)
    if function is not functions.exp:
        assert np.abs(results).max() <= 1


@pytest.mark.parametrize("function", [functions.exp, functions.sigmoid, functions.tanh])
def test_functions_clip_large_numbers_and_return_nan_for_nan(function):
    x = np.resize(np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 500, -500, 0], "f4"), 16)
    results = each(function)(x)
    assert np.isnan(results[0])
    assert np.isfinite(results[1:8]).all()
    assert results[1] == results[3] == results[5] > results[7] > results[2] == results[4] == results[6]


@pytest.mark.parametrize("base", [0.9, 0.999])
def test_a_power_is_exact_to_ten_digits(base):
    for n in (0, 1, 2, 7, 1955, 200_000):
        np.testing.assert_allclose(functions.power(base, n), base**n, rtol=1e-10)


def test_orthogonal_is_the_q_of_a_qr_decomposition_with_positive_diagonal():
    drawn = np.random.default_rng(3).random((12, 7, 28)).sum(axis=0) - 6
    q, r = np.linalg.qr(drawn.T)
    np.testing.assert_allclose(
        functions.orthogonal(np.random.default_rng(3), 7, 28), (q * np.sign(np.diag(r))).T, atol=1e-6
    )


def test_orthogonal_rows_are_orthonormal_even_when_square():
    q = functions.orthogonal(np.random.default_rng(0), 50, 50)
    np.testing.assert_allclose(q @ q.T, np.eye(50), atol=1e-6)


def test_orthogonal_rows_are_orthonormal_though_the_drawn_ones_are_nearly_alike():
    """A single pass of orthogonalization would be exact to three digits only."""

    class Alike:
        def random(self, shape):
            drawn = np.random.default_rng(1).random(shape)
            drawn[:, 1:] = drawn[:, :1] + 1e-12 * drawn[:, 1:]
            return drawn

    rows = functions.orthogonal(Alike(), 4, 9).astype("f8")
    np.testing.assert_allclose(rows @ rows.T, np.eye(4), atol=1e-6)


def test_more_orthogonal_rows_than_columns_are_refused():
    with pytest.raises(ValueError, match="rows = 3 must not exceed columns = 2"):
        functions.orthogonal(np.random.default_rng(0), 3, 2)


@pytest.mark.parametrize("labels", [2, 3, LANES, LANES + 1])
def test_a_softmax_of_logits_of_any_size_is_that_of_float64(labels):
    """Without the largest logit subtracted, e ** 300 would be clipped, and with it all quotients."""
    logits = np.random.default_rng(labels).integers(-300, 300, (12, labels)).astype("f4")  # with exact differences
    logits[0], logits[1], logits[2] = 0, -300, 300 - np.arange(labels)
    outputs = zeros(12, whole(labels))
    outputs[:, :labels] = logits
    _softmax(outputs, labels)
    powers = np.exp(np.maximum(logits.astype("f8") - logits.max(axis=1, keepdims=True), -87))
    np.testing.assert_allclose(outputs[:, :labels], powers / powers.sum(axis=1, keepdims=True), rtol=2e-6)
    assert not outputs[:, labels:].any()
