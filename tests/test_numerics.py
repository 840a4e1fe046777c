import subprocess
import sys

import numpy as np
import pytest

from sentiment import numerics
from sentiment.numerics import CHUNK, tf


@pytest.mark.parametrize("rows", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_tall_and_deep_products_are_matrix_products(rows):
    random = np.random.default_rng(rows)
    a, b, c = (random.standard_normal(shape).astype("f4") for shape in ((rows, 5), (5, 3), (rows, 4)))
    np.testing.assert_allclose(numerics.matmul_tall(tf.constant(a), tf.constant(b)), a @ b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(numerics.matmul_deep(tf.constant(a), tf.constant(c)), a.T @ c, rtol=1e-4, atol=1e-4)


def test_orthogonal_is_the_q_of_a_qr_decomposition_with_positive_diagonal():
    drawn = np.random.default_rng(3).standard_normal((7, 28))
    q, r = np.linalg.qr(drawn.T)
    np.testing.assert_allclose(
        numerics.orthogonal(np.random.default_rng(3), 7, 28), (q * np.sign(np.diag(r))).T, atol=1e-6
    )


def test_orthogonal_rows_are_orthonormal_even_when_square():
    q = numerics.orthogonal(np.random.default_rng(0), 50, 50)
    np.testing.assert_allclose(q @ q.T, np.eye(50), atol=1e-6)


def test_more_orthogonal_rows_than_columns_are_refused():
    with pytest.raises(ValueError, match="rows = 3 must not exceed columns = 2"):
        numerics.orthogonal(np.random.default_rng(0), 3, 2)


def test_ordered_sum_goes_from_first_to_last():
    big, small = tf.constant(2.0**24), tf.constant(1.0)
    assert float(numerics.ordered_sum([big, small, small])) == 2.0**24  # each 1 is lost to rounding
    assert float(numerics.ordered_sum([small, small, big])) == 2.0**24 + 2


def test_tensorflow_imported_first_is_refused():
    code = "import tensorflow; import sentiment.numerics"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "before tensorflow" in run.stderr


def test_importing_numerics_says_nothing():
    run = subprocess.run(
        [sys.executable, "-c", "import sentiment.numerics"], capture_output=True, text=True, check=True
    )
    assert run.stdout + run.stderr == ""
