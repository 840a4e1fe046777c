"""Kernels of linear models on sparse features: sums and gradients of rows.

``begins``, int [rows + 1], ``columns``, int [values], and ``values`` are ``indptr``, ``indices`` and ``data`` of a
``scipy.sparse.csr_matrix``.
"""

import numpy as np

from sentiment.engine.functions import sigmoid
from sentiment.engine.vectors import LANES, compiled, load, store


def sums(begins: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The sum of each row, from its first value to its last: float64 [rows].

    The order of the sums is part of the contract.
    """
    totals = np.zeros(len(begins) - 1)
    _sum_rows(begins, values, totals)
    return totals


@compiled
def _sum_rows(begins, values, totals):
    """Add each row to ``totals``, float64 [rows]. The order of the sums is part of the contract."""
    for row in range(len(totals)):
        for at in range(begins[row], begins[row + 1]):
            totals[row] += values[at]


@compiled
def add_scores(begins, columns, values, rows, weights, scores):
    """Add the products of value and weight of each of ``rows`` to ``scores``, from the row's first value to its last.

    The order of the sums is part of the contract.
    """
    for n in range(len(rows)):
        for at in range(begins[rows[n]], begins[rows[n] + 1]):
            scores[n] += values[at] * weights[columns[at]]


@compiled
def add_gradient(begins, columns, values, rows, errors, gradient):
    """Add the products of value and error of each of ``rows`` to the gradient, from the first row to the last.

    The order of the sums is part of the contract.
    """
    for n in range(len(rows)):
        for at in range(begins[rows[n]], begins[rows[n] + 1]):
            gradient[columns[at]] += values[at] * errors[n]


@compiled
def clear_gradient(begins, columns, rows, gradient):
    """Set the gradient of the columns of ``rows`` to 0."""
    for row in rows:
        for at in range(begins[row], begins[row + 1]):
            gradient[columns[at]] = 0


@compiled
def sigmoids(scores):
    """Replace scores, float32 [whole vectors], by their sigmoids."""
    for at in range(0, len(scores), LANES):
        store(scores, (at,), sigmoid(load(scores, (at,))))
