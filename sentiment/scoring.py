"""How good probabilities are: scikit-learn's definitions, rounded where processors may differ in the last bits."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn import metrics
from sklearn.calibration import calibration_curve

from sentiment import InputError
from sentiment.training import DECIMALS

THRESHOLD = 0.5  # a review is called positive above it, as in Keras's binary accuracy
POINTS = 201  # at most, per curve: more would be finer than a screen and heavier than a diff


class Metric(NamedTuple):
    """One figure of merit: its range, what it is, and how it is computed.

    ``score(labels, positive, called)`` takes uint8, float64 and bool [reviews]: the labels, the probabilities of 1, and
    which reviews are called positive.
    """

    lowest: float
    highest: float
    meaning: str
    score: Callable[[np.ndarray, np.ndarray, np.ndarray], float]


METRICS = {
    "accuracy": Metric(
        0, 1, "share of the reviews called right", lambda labels, _, called: metrics.accuracy_score(labels, called)
    ),
    "f1": Metric(
        0, 1, "harmonic mean of precision and recall", lambda labels, _, called: metrics.f1_score(labels, called)
    ),
    "loss": Metric(
        0, np.inf, "mean binary cross-entropy", lambda labels, positive, _: metrics.log_loss(labels, positive)
    ),
    "matthews": Metric(
        -1, 1, "correlation of calls and labels", lambda labels, _, called: metrics.matthews_corrcoef(labels, called)
    ),
    "precision": Metric(
        0, 1, "share of the positive calls that are right",
        lambda labels, _, called: metrics.precision_score(labels, called, zero_division=0),
    ),
    "recall": Metric(
        0, 1, "share of the positive reviews that are called so",
        lambda labels, _, called: metrics.recall_score(labels, called),
    ),
    "roc_auc": Metric(
        0, 1, "chance that a positive review scores above a negative one",
        lambda labels, positive, _: metrics.roc_auc_score(labels, positive),
    ),
}  # fmt: skip
"""The one place that names the metrics: a row more is one in metrics/*.json, in `make noise` and in the report."""


def figures(labels: np.ndarray, positive: np.ndarray) -> dict[str, float]:
    """Every one of ``METRICS``, rounded to ``DECIMALS``.

    Args:
        labels: uint8 [reviews], 0 or 1, both present.
        positive: float32 [reviews], the probability of 1.

    Raises:
        InputError: Only one kind of label.

    >>> figures(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.7, 0.9]))["accuracy"]
    0.75
    """
    if len(np.unique(labels)) != 2:
        raise InputError(f"labels: expected both 0 and 1 to score, got only {np.unique(labels).tolist()}")
    given = labels, positive.astype(np.float64), positive > THRESHOLD
    return {name: round(float(metric.score(*given)), DECIMALS) for name, metric in METRICS.items()}


def curves(labels: np.ndarray, positive: np.ndarray, calibration_bins: int) -> dict[str, dict[str, np.ndarray]]:
    """The data of four plots, each a table of named columns.

    Args:
        labels: uint8 [reviews], 0 or 1, both present.
        positive: float32 [reviews], the probability of 1.
        calibration_bins: Equal-width bins of probability; empty ones leave no row.

    Returns:
        ``roc``, ``precision_recall`` (at most ``POINTS`` of the curve's own points), ``confusion`` (counts) and
        ``calibration`` (mean prediction and share of positives per bin).
    """
    false_positive, true_positive, _ = metrics.roc_curve(labels, positive, drop_intermediate=False)
    precision, recall, _ = metrics.precision_recall_curve(labels, positive)
    observed, predicted = calibration_curve(labels, positive.astype(np.float64), n_bins=calibration_bins)
    confusion = metrics.confusion_matrix(labels, positive > THRESHOLD)
    names = np.array(["negative", "positive"])
    return {
        "roc": _thin({"false_positive_rate": false_positive, "true_positive_rate": true_positive}),
        "precision_recall": _thin({"recall": recall[::-1], "precision": precision[::-1]}),
        "confusion": {
            "actual": names.repeat(2),
            "predicted": np.tile(names, 2),
            "reviews": confusion.ravel(),
        },
        "calibration": {"predicted": predicted.round(DECIMALS), "observed": observed.round(DECIMALS)},
    }


def _thin(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """At most ``POINTS`` rows, evenly spaced, first and last among them, rounded."""
    length = len(next(iter(columns.values())))
    rows = np.unique(np.linspace(0, length - 1, POINTS).round().astype(int))
    return {name: values[rows].round(DECIMALS) for name, values in columns.items()}
