"""Sums along the rows of a sparse matrix, each from its first column to its last: the arithmetic of linear models.

As in SciPy's ``csr_matrix``, row n has ``values[begins[n]:begins[n + 1]]`` in these ``columns``.
"""

from sentiment.engine.functions import sigmoid
from sentiment.engine.vectors import LANES, compiled, load, store


@compiled
def sum_rows(begins, values, totals):
    """Add the values of each row."""
    for row in range(len(totals)):
        for at in range(begins[row], begins[row + 1]):
            totals[row] += values[at]


@compiled
def weigh(begins, columns, values, rows, weights, scores):
    """The sum of value * weight of each review in ``rows``, from its first n-gram to its last."""
    for n in range(len(rows)):
        for at in range(begins[rows[n]], begins[rows[n] + 1]):
            scores[n] += values[at] * weights[columns[at]]


@compiled
def add_slopes(begins, columns, values, rows, errors, gradient):
    """Add what each review gives to the gradient of the weights, from the first review to the last."""
    for n in range(len(rows)):
        for at in range(begins[rows[n]], begins[rows[n] + 1]):
            gradient[columns[at]] += values[at] * errors[n]


@compiled
def forget(begins, columns, rows, gradient):
    """Set the gradient of the n-grams of reviews back to 0."""
    for row in rows:
        for at in range(begins[row], begins[row + 1]):
            gradient[columns[at]] = 0


@compiled
def sigmoids(scores):
    """The sigmoid of whole vectors, in place."""
    for at in range(0, len(scores), LANES):
        store(scores, (at,), sigmoid(load(scores, (at,))))
