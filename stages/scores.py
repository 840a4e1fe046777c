"""What the stages that read the test split, ``evaluate`` and ``score``, write of any kind of model."""

import hashlib
from pathlib import Path

import numpy as np

from sentiment import scoring
from stages.common import replacing, write_csv, write_json


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
    with replacing(Path("data", name, "predicted.npy")) as path, path.open("wb") as file:
        np.save(file, positive)
    write_json(Path("metrics", f"{name}.json"), figures | {"parameters": len(weights), "weights": digest(weights)})
    print(" ".join(f"{figure} {value:.4f}" for figure, value in figures.items()))


def digest(weights: np.ndarray) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of weights as little-endian float32."""
    return hashlib.sha256(weights.astype("<f4").tobytes()).hexdigest()[:16]
