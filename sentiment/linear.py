"""Linear models of n-grams: a weight for each, whose sum over a review says how positive it is.

What reads the counts is pinned bit by bit, and so is ``adam``; ``logistic`` and ``svm`` are scikit-learn's, which is to
say LIBLINEAR's, whose C++ asks the C library for exp and log, and whose compiler may merge a product and a sum. They
alone import it, since who predicts needs none of it.
"""

import warnings
import zipfile
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from sentiment import InputError, ngrams
from sentiment.engine import promise
from sentiment.engine.functions import sigmoid
from sentiment.engine.optimizers import Adam
from sentiment.engine.vectors import LANES, compiled, load, store, whole, zeros
from sentiment.training import ORDER

ITERATIONS = 1000  # of LIBLINEAR, at most


class Features(NamedTuple):
    """How the counts of a review's n-grams become the numbers that weights are for.

    ``values`` is ``counts``; ``presence``, 1 for any count; ``tfidf``, counts times the n-gram's ``scale``, divided by
    the length of the vector of these; ``naive-bayes``, presence times ``scale``.
    """

    values: str
    scale: np.ndarray  # float32 [grams]

    @classmethod
    def learn(cls, values: str, counts: csr_matrix, labels: np.ndarray) -> "Features":
        """Find the scales in the training reviews: counts, int32 [reviews, grams], and labels, uint8 [reviews]."""
        if values == "tfidf":
            return cls(values, ngrams.inverse_document_frequency(counts))
        if values == "naive-bayes":
            return cls(values, ngrams.log_count_ratio(counts, labels))
        return cls(values, np.ones(counts.shape[1], np.float32))

    def compute(self, counts: csr_matrix) -> csr_matrix:
        """The features of counts, int32 [reviews, grams]: float64 of the same shape."""
        times = counts.data if self.values in ("counts", "tfidf") else 1
        data = times * self.scale[counts.indices].astype(np.float64)
        if self.values == "tfidf":
            lengths = np.sqrt(sums(counts.indptr, data * data))
            data /= np.repeat(lengths, np.diff(counts.indptr))
        return csr_matrix((data, counts.indices, counts.indptr), counts.shape)


class Model(NamedTuple):
    """The probability of a review is the sigmoid of ``bias`` and the sum of the ``weights`` times its features."""

    features: Features
    grams: np.ndarray  # int64 [grams], ascending, of ``ngrams``
    weights: np.ndarray  # float32 [grams]
    bias: float


def fit(
    features: Features, counts: csr_matrix, labels: np.ndarray, *, solver: str, **settings: float
) -> tuple[np.ndarray, float]:
    """The weights of features, float32 [grams], and a bias of that precision, by one of ``SOLVERS`` and its settings.

    Raises:
        InputError: Only one kind of label; or as the solver does.
    """
    if len(kinds := np.unique(labels)) != 2:
        raise InputError(f"labels: expected both 0 and 1 to fit, got only {kinds.tolist()}")
    weights, bias = SOLVERS[solver](features.compute(counts), labels, **settings)
    return weights.astype(np.float32), float(np.float32(bias))


def write(file: BinaryIO, model: Model) -> None:
    """Write a model as ``numpy.load`` reads it; the bytes are a function of the model alone."""
    arrays = {"grams": model.grams, "scale": model.features.scale, "weights": model.weights}
    np.savez(file, values=model.features.values, bias=np.float32(model.bias), **arrays)


def read(file: BinaryIO) -> Model:
    """The model that ``write`` wrote.

    Raises:
        InputError: It is none.
    """
    try:
        with np.load(file, allow_pickle=False) as saved:
            grams, scale, weights = (saved[name] for name in ("grams", "scale", "weights"))
            if not grams.shape == scale.shape == weights.shape == (len(grams),):
                raise ValueError(f"{grams.shape} n-grams, {scale.shape} scales, {weights.shape} weights")
            return Model(Features(str(saved["values"]), scale), grams, weights, float(saved["bias"]))
    except (ValueError, TypeError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"not a readable file of n-grams ({reason})") from None


def logistic(features: csr_matrix, labels: np.ndarray, *, c: float, seed: int) -> tuple[np.ndarray, float]:
    """The weights of logistic regression, by dual coordinate descent (LIBLINEAR's solver 7).

    They make least half the sum of their own squares, the bias's among them, plus ``c`` times the summed cross-entropy.

    Args:
        features: float64 [reviews, grams].
        labels: uint8 [reviews], 0 or 1, both present.
        c: Above 0; a smaller one holds the weights down more.
        seed: Of the order in which the reviews are gone through.

    Returns:
        The weights, float [grams], and the bias.

    Raises:
        InputError: Not found in ``ITERATIONS``.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(solver="liblinear", dual=True, C=c, max_iter=ITERATIONS, random_state=seed)
    return _liblinear(model, features, labels)


def svm(
    features: csr_matrix, labels: np.ndarray, *, c: float, interpolation: float, seed: int
) -> tuple[np.ndarray, float]:
    """The weights of a support vector machine, with the squared hinge loss (LIBLINEAR's solver 1); see ``logistic``.

    Each is then moved towards the mean of their magnitudes, and ``interpolation`` of its own is left: on features of
    ``naive-bayes``, 0 is naive Bayes, 1 the machine, and between them is NB-SVM (Wang and Manning, 2012, section 2.3).
    """
    from sklearn.svm import LinearSVC

    weights, bias = _liblinear(LinearSVC(C=c, max_iter=ITERATIONS, random_state=seed), features, labels)
    return (1 - interpolation) * np.abs(weights).mean() + interpolation * weights, bias


def _liblinear(model, features: csr_matrix, labels: np.ndarray) -> tuple[np.ndarray, float]:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(features, labels)
        except ConvergenceWarning:
            raise InputError(f"fit.c = {model.C}: not fitted in {ITERATIONS} iterations; lower it") from None
    return model.coef_[0], float(model.intercept_[0])


def adam(
    features: csr_matrix, labels: np.ndarray, *, epochs: int, batch: int, learning_rate: float, seed: int
) -> tuple[np.ndarray, float]:
    """The weights by gradient, with no bias: a ``keras.layers.Embedding(grams, 1)`` of zeros, times the features,
    summed, in a sigmoid; binary cross-entropy; ``keras.optimizers.Adam``.

    Every weight moves at every update, as in Keras, and not only those of the batch's n-grams: Adam's means go on.

    Args:
        features: float64 [reviews, grams].
        labels: uint8 [reviews], 0 or 1.
        epochs: Passes over the reviews.
        batch: Reviews per update.
        learning_rate: Adam's.
        seed: Of the order of reviews.

    Returns:
        The weights, float32 [grams], and 0.

    Raises:
        InputError: They are no longer finite.
    """
    begins, columns, values = features.indptr, features.indices, features.data.astype(np.float32)
    grams, optimizer, step = features.shape[1], Adam(), 0
    weights, gradient = zeros(whole(grams)), zeros(whole(grams))
    slots = {name: zeros(whole(grams)) for name in optimizer.slots}
    labels = labels.astype(np.float32)
    for epoch in range(epochs):
        order = np.random.default_rng([seed, ORDER, epoch]).permutation(len(labels))
        for rows in (np.sort(order[begin : begin + batch]) for begin in range(0, len(order), batch)):
            scores = zeros(whole(len(rows)))
            _score(begins, columns, values, rows, weights, scores)
            _sigmoids(scores)
            errors = (scores[: len(rows)] - labels[rows]) / np.float32(len(rows))
            _add_slopes(begins, columns, values, rows, errors, gradient)
            optimizer.update(weights, slots, gradient, step, learning_rate)
            _forget(begins, columns, rows, gradient)
            step += 1
    if not np.isfinite(weights).all():
        raise InputError(f"fit.learning_rate = {learning_rate}: not every weight is finite; lower the rate")
    return weights[:grams], 0.0


SOLVERS: dict[str, Callable[..., tuple[np.ndarray, float]]] = {"logistic": logistic, "svm": svm, "adam": adam}
"""By their names in ``params.yaml``."""

PROMISES = {
    "logistic": "LIBLINEAR by scikit-learn: the bits are this machine's; elsewhere the last digits may differ",
    "svm": "LIBLINEAR by scikit-learn: the bits are this machine's; elsewhere the last digits may differ",
    "adam": promise(),
}
"""One line for each, on what computes, and whether the bits are those of other machines."""


def predict(model: Model, counts: csr_matrix) -> np.ndarray:
    """The probability that each review is positive, float32 [reviews], from counts, int32 [reviews, grams].

    An SVM's is the sigmoid of its margin: its order and its side of 0.5 mean something, its size does not.
    """
    data = model.features.compute(counts).data * model.weights[counts.indices]
    positive = zeros(whole(counts.shape[0]))
    positive[: counts.shape[0]] = sums(counts.indptr, data) + model.bias
    _sigmoids(positive)
    return positive[: counts.shape[0]]


def sums(begins: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The sum of each row, from first to last: float64 [rows]; ``begins``, [rows + 1], as in a ``csr_matrix``."""
    totals = np.zeros(len(begins) - 1)
    _sum_rows(begins, values, totals)
    return totals


@compiled
def _sum_rows(begins, values, totals):
    for row in range(len(totals)):
        for at in range(begins[row], begins[row + 1]):
            totals[row] += values[at]


@compiled
def _score(begins, columns, values, rows, weights, scores):
    """The sum of value * weight of each review in ``rows``, from its first n-gram to its last."""
    for n in range(len(rows)):
        for at in range(begins[rows[n]], begins[rows[n] + 1]):
            scores[n] += values[at] * weights[columns[at]]


@compiled
def _add_slopes(begins, columns, values, rows, errors, gradient):
    """Add what each review gives to the gradient of the weights, from the first review to the last."""
    for n in range(len(rows)):
        for at in range(begins[rows[n]], begins[rows[n] + 1]):
            gradient[columns[at]] += values[at] * errors[n]


@compiled
def _forget(begins, columns, rows, gradient):
    """Set the gradient of the n-grams of reviews back to 0."""
    for row in rows:
        for at in range(begins[row], begins[row + 1]):
            gradient[columns[at]] = 0


@compiled
def _sigmoids(scores):
    """The sigmoid of whole vectors, in place."""
    for at in range(0, len(scores), LANES):
        store(scores, (at,), sigmoid(load(scores, (at,))))
