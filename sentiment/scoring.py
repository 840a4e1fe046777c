"""How good probabilities are: scikit-learn's definitions, rounded where processors may differ in the last bits."""

import numpy as np
from sklearn import metrics
from sklearn.calibration import calibration_curve

from sentiment import InputError

DECIMALS = 6  # NumPy's exp and log differ between instruction sets by some units in the last place
THRESHOLD = 0.5  # a review is called positive above it, as in Keras's binary accuracy
POINTS = 201  # at most, per curve: more would be finer than a screen and heavier than a diff


def figures(labels: np.ndarray, positive: np.ndarray) -> dict[str, float]:
    """Accuracy, loss (mean binary cross-entropy), precision, recall, f1 and roc_auc, as fractions.

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
    called = positive > THRESHOLD
    values = {
        "accuracy": metrics.accuracy_score(labels, called),
        "loss": metrics.log_loss(labels, positive.astype(np.float64)),
        "precision": metrics.precision_score(labels, called, zero_division=0),
        "recall": metrics.recall_score(labels, called),
        "f1": metrics.f1_score(labels, called),
        "roc_auc": metrics.roc_auc_score(labels, positive),
    }
    return {name: round(float(value), DECIMALS) for name, value in values.items()}


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
