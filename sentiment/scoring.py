"""Metrics of probabilities by scikit-learn's definitions, rounded because processors may differ in the last bits."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sklearn import metrics
from sklearn.calibration import calibration_curve

from sentiment import InputError
from sentiment.training import DECIMALS, predicted_labels

THRESHOLD = 0.5  # the prediction is label 1 above it, as in Keras's binary accuracy
POINTS = 201  # maximum per curve: more are not visible on a screen, and make diffs long


class Metric(NamedTuple):
    """A metric: its range, and the function that computes it.

    The arguments of ``score(labels, positive, predicted)`` are the labels, uint8 [reviews], the probabilities of label
    1, float64 [reviews], and the predicted labels, bool [reviews].
    """

    lowest: float
    highest: float
    score: Callable[[np.ndarray, np.ndarray, np.ndarray], float]


METRICS = {
    "accuracy": Metric(0, 1, lambda labels, _, predicted: metrics.accuracy_score(labels, predicted)),
    "f1": Metric(0, 1, lambda labels, _, predicted: metrics.f1_score(labels, predicted)),
    "loss": Metric(0, np.inf, lambda labels, positive, _: metrics.log_loss(labels, positive)),  # mean cross-entropy
    "matthews": Metric(-1, 1, lambda labels, _, predicted: metrics.matthews_corrcoef(labels, predicted)),
    "precision": Metric(0, 1, lambda labels, _, predicted: metrics.precision_score(labels, predicted, zero_division=0)),
    "recall": Metric(0, 1, lambda labels, _, predicted: metrics.recall_score(labels, predicted)),
    "roc_auc": Metric(0, 1, lambda labels, positive, _: metrics.roc_auc_score(labels, positive)),
}
"""The metrics by name. A new row appears in metrics/*.json, in `make noise` and in the report."""


def figures(labels: np.ndarray, positive: np.ndarray) -> dict[str, float]:
    """All ``METRICS``, rounded to ``DECIMALS``.

    Args:
        labels: uint8 [reviews], 0 or 1, both present.
        positive: float32 [reviews], the probability of label 1.

    Raises:
        InputError: All labels are equal.

    >>> figures(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.7, 0.9]))["accuracy"]
    0.75
    """
    if len(np.unique(labels)) != 2:
        raise InputError(f"labels: expected both 0 and 1 to score, got only {np.unique(labels).tolist()}")
    arguments = labels, positive.astype(np.float64), positive > THRESHOLD
    return {name: round(float(metric.score(*arguments)), DECIMALS) for name, metric in METRICS.items()}


AVERAGES = ("f1", "precision", "recall", "roc_auc")
"""Metrics that are computed for each of several labels, and averaged over the labels without weights (macro)."""


def figures_of_several(labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """The metrics for more than two labels: those of ``METRICS``, and ``AVERAGES`` of each label, as ``recall/bad``.

    Args:
        labels: Unsigned int [reviews], from 0, each label at least once.
        probabilities: float32 [reviews, labels].
        names: Names of the labels.
    """
    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted, numbers = predicted_labels(probabilities), np.arange(len(names))
    metrics_by_name = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "loss": metrics.log_loss(labels, probabilities, labels=numbers),
        "matthews": metrics.matthews_corrcoef(labels, predicted),
    }
    of_each = dict(zip(
        ("precision", "recall", "f1"),
        metrics.precision_recall_fscore_support(labels, predicted, labels=numbers, zero_division=0)[:3],
        strict=True,
    ))  # fmt: skip
    of_each["roc_auc"] = [metrics.roc_auc_score(labels == number, probabilities[:, number]) for number in numbers]
    for metric in AVERAGES:
        metrics_by_name[metric] = np.mean(of_each[metric])
        metrics_by_name |= {f"{metric}/{name}": value for name, value in zip(names, of_each[metric], strict=True)}
    return {name: round(float(value), DECIMALS) for name, value in metrics_by_name.items()}


def chance(labels: np.ndarray, accuracy: float) -> dict[str, float]:
    """The accuracy of always predicting the commonest label, and the 95% interval of an accuracy on these reviews.

    The interval is E. Wilson's (Probable inference, the law of succession, and statistical inference, 1927).

    >>> chance(np.array([0, 0, 0, 1]), 0.75)
    {'accuracy_commonest': 0.75, 'accuracy_high': 0.954413, 'accuracy_low': 0.300642}
    """
    n, z = len(labels), 1.959964
    centre = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    commonest = np.bincount(labels).max() / n
    values = {"accuracy_commonest": commonest, "accuracy_high": centre + half, "accuracy_low": centre - half}
    return {name: round(float(value), DECIMALS) for name, value in values.items()}


def curves_of_several(
    labels: np.ndarray, probabilities: np.ndarray, calibration_bins: int, names: Sequence[str]
) -> dict[str, dict[str, np.ndarray]]:
    """As ``curves``, for more than two labels.

    ROC and precision-recall have the curves of all labels and a column ``label``. There is one calibration of all
    labels.

    Args:
        labels: As for ``figures_of_several``.
        probabilities: float32 [reviews, labels].
        calibration_bins: As for ``curves``.
        names: Names of the labels.
    """
    each = [curves(labels == number, probabilities[:, number], calibration_bins) for number in range(len(names))]
    tables = {}
    for curve in ("roc", "precision_recall"):
        lengths = [len(next(iter(tables[curve].values()))) for tables in each]
        columns = {name: np.concatenate([tables[curve][name] for tables in each]) for name in each[0][curve]}
        tables[curve] = columns | {"label": np.repeat(names, lengths)}
    is_label = labels[:, None] == np.arange(len(names))
    observed, predicted = calibration_curve(is_label.ravel(), probabilities.ravel(), n_bins=calibration_bins)
    tables["calibration"] = {"predicted": predicted.round(DECIMALS), "observed": observed.round(DECIMALS)}
    tables["confusion"] = _confusion(labels, predicted_labels(probabilities), names)
    return tables


def _confusion(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The number of reviews with each pair of an actual and a predicted label."""
    counts = metrics.confusion_matrix(labels, predicted, labels=np.arange(len(names)))
    named = np.array([*names])
    return {
        "actual": named.repeat(len(names)), "predicted": np.tile(named, len(names)), "reviews": counts.ravel(),
    }  # fmt: skip


def curves(
    labels: np.ndarray, positive: np.ndarray, calibration_bins: int, names: Sequence[str] = ("negative", "positive")
) -> dict[str, dict[str, np.ndarray]]:
    """The data of four plots, each a table of named columns.

    Args:
        labels: uint8 [reviews], 0 or 1, both present.
        positive: float32 [reviews], the probability of label 1.
        calibration_bins: Number of bins of equal width; an empty bin has no row.
        names: Names of the labels.

    Returns:
        ``roc`` and ``precision_recall`` (at most ``POINTS`` points of each curve), ``confusion`` (counts) and
        ``calibration`` (mean prediction and fraction of positive reviews per bin).
    """
    false_positive, true_positive, _ = metrics.roc_curve(labels, positive, drop_intermediate=False)
    precision, recall, _ = metrics.precision_recall_curve(labels, positive)
    observed, predicted = calibration_curve(labels, positive.astype(np.float64), n_bins=calibration_bins)
    return {
        "roc": _thin({"false_positive_rate": false_positive, "true_positive_rate": true_positive}),
        "precision_recall": _thin({"recall": recall[::-1], "precision": precision[::-1]}),
        "confusion": _confusion(labels, positive > THRESHOLD, names),
        "calibration": {"predicted": predicted.round(DECIMALS), "observed": observed.round(DECIMALS)},
    }


def _thin(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """At most ``POINTS`` rows, evenly spaced and rounded. The first and the last row are among them."""
    length = len(next(iter(columns.values())))
    rows = np.unique(np.linspace(0, length - 1, POINTS).round().astype(int))
    return {name: values[rows].round(DECIMALS) for name, values in columns.items()}
