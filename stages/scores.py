"""What the stages that read the test split, ``evaluate`` and ``score``, write of any kind of model."""

from pathlib import Path

import numpy as np

from sentiment import scoring
from sentiment.training import digest
from stages.common import write_array, write_csv, write_json


def write_scores(
    name: str, labels: np.ndarray, positive: np.ndarray, calibration_bins: int, weights: np.ndarray
) -> None:
    """Write metrics/<name>.json, the data of plots/<name>/, and the probabilities, data/<name>/predicted.npy; print.

    Args:
        name: Of the model.
        labels: uint8 [reviews], in the order of ``padding.orders``.
        positive: float32 [reviews], the probability of 1.
        calibration_bins: See ``scoring.curves``.
        weights: float32 [parameters].
    """
    figures = scoring.figures(labels, positive)
    for curve, columns in scoring.curves(labels, positive, calibration_bins).items():
        write_csv(Path("plots", name, f"{curve}.csv"), columns)
    write_array(Path("data", name, "predicted.npy"), positive)
    write_json(Path("metrics", f"{name}.json"), figures | {"parameters": len(weights), "weights": digest(weights)})
    print(" ".join(f"{figure} {value:.4f}" for figure, value in figures.items()))
