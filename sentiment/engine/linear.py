"""Kernels of linear models on sparse features: sums and gradients of rows, in an order that is written down.

``begins`` int [rows + 1], ``columns`` int [values] and ``values`` are ``indptr``, ``indices`` and ``data`` of a
``scipy.sparse.csr_matrix``.
"""

import numpy as np

from sentiment.engine.functions import sigmoid
from sentiment.engine.vectors import LANES, compiled, load, store


def sums(begins: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The sum of each row, from its first value to its last: float64 [rows]."""
    totals = np.zeros(len(begins) - 1)
    _sum_rows(begins, values, totals)
    return totals


@compiled
def _sum_rows(begins, values, totals):
    for row in range(len(totals)):
        for at in range(begins[row], begins[row + 1]):
            totals[row] += values[at]


@compiled
def add_scores(begins, columns, values, rows, weights, scores):
    """Add the sum of value * weight of each of ``rows`` to ``scores``, from the row's first value to its last."""
    for n in range(len(rows)):
        for at in range(begins[rows[n]], begins[rows[n] + 1]):
            scores[n] += values[at] * weights[columns[at]]


@compiled
def add_gradient(begins, columns, values, rows, errors, gradient):
    """Add value * error of each of ``rows`` to the gradient of the weights, from the first row to the last."""
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
    """The sigmoid of whole vectors, in place."""
    for at in range(0, len(scores), LANES):
        store(scores, (at,), sigmoid(load(scores, (at,))))
