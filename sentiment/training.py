"""Epochs: the order of reviews, the held-out reviews, the history, and resuming an earlier training.

Every random choice is a function of the seed and of the step of the training, so that a training resumed after any
epoch has the same results as one without interruption.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from sentiment import InputError
from sentiment.data.padding import Reviews

DECIMALS = 6
"""Decimals of every tracked metric: NumPy's exp and log differ between instruction sets in the last bits."""

ORDER, WORDS = 2, 4  # numbers of the random streams of the order of reviews and of word dropout
SMALLEST = np.float32(1e-7)  # lower limit of a probability in the loss, as in Keras's binary cross-entropy


class Trainer(Protocol):
    """Trains a model, epoch by epoch."""

    promise: str  # one line that names the trainer and the machines on which the bits are the same
    epochs: int  # number of epochs to train

    def epoch(
        self, ids: Reviews, labels: np.ndarray, order: np.ndarray, epoch: int, progress: Callable[[int], None]
    ) -> dict[str, float]:
        """Train on each review once, in batches of ``order``, and return the epoch's ``loss`` and ``accuracy``.

        A model of several parts returns ``<part>_loss`` and ``<part>_accuracy`` of each part.

        Args:
            ids: Word ids of all reviews; a memory map is read batch by batch.
            labels: Unsigned int [reviews], from 0.
            order: int [n]: the reviews to train on.
            epoch: Number of earlier epochs.
            progress: Called after each batch with the number of reviews in it.
        """

    def predict(self, ids: Reviews) -> np.ndarray:
        """The probability of label 1 of each review, float32 [reviews]; of more labels, of each, [reviews, labels]."""

    def state(self) -> dict[str, np.ndarray]:
        """The state after an epoch: "weights", flat float32 in Keras's order, and further arrays of the trainer."""


class Epoch(NamedTuple):
    """One finished epoch: the state of the trainer after it, and its metrics, which are mean losses and fractions."""

    state: dict[str, np.ndarray]
    metrics: dict[str, float]


def digest(weights: np.ndarray) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of weights as little-endian float32."""
    return hashlib.sha256(weights.astype("<f4").tobytes()).hexdigest()[:16]


def split(reviews: int, validation_fraction: float) -> tuple[int, int]:
    """The number of reviews to train on, and the number of held-out reviews, which are the last ones, as in Keras.

    Raises:
        InputError: There is no review to train on, or the fraction is too small for one held-out review.

    >>> split(10, 0.25)
    (8, 2)
    """
    held = round(reviews * validation_fraction)
    if held == reviews or (validation_fraction and not held):
        raise InputError(
            f"train.validation_fraction = {validation_fraction} of {reviews} reviews leaves {reviews - held} to train"
            f" on and {held} to validate; at least one of each is needed"
        )
    return reviews - held, held


def fit(
    trainer: Trainer,
    ids: Reviews,
    labels: np.ndarray,
    *,
    epochs: range,
    validation_fraction: float = 0.0,
    seed: int,
    progress: Callable[[int], None] = lambda reviews: None,
) -> Iterator[Epoch]:
    """Train, and yield each epoch when it ends.

    Args:
        trainer: The trainer, in the state after the earlier epochs.
        ids: Word ids of the reviews.
        labels: Unsigned int [reviews], from 0.
        epochs: Numbers of the epochs to train, from 0.
        validation_fraction: Fraction of the reviews that is held out; see ``split``.
        seed: Seed of the order of reviews.
        progress: Called after each batch with the number of reviews in it.

    Raises:
        InputError: See ``split``; or the loss or a weight is not finite.
    """
    count, held = split(len(ids), validation_fraction)
    for epoch in epochs:
        order = np.random.default_rng([seed, ORDER, epoch]).permutation(count)
        metrics = trainer.epoch(ids, labels, order, epoch, progress)
        state = trainer.state()
        # Both are checked: relu of NaN is 0 here, so the loss can be finite although weights are NaN.
        losses = [value for name, value in metrics.items() if name.endswith("loss")]
        if not all(map(math.isfinite, losses)) or not np.isfinite(state["weights"]).all():
            raise InputError(
                f"train.learning_rate: after epoch {epoch + 1} the loss is {losses[-1]} and not every weight is"
                " finite; lower the rate"
            )
        if held:
            held_out = measure(trainer.predict(ids[count:]), labels[count:])
            metrics = metrics | {f"val_{name}": value for name, value in held_out.items()}
        yield Epoch(state, metrics)


def measure(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Mean cross-entropy and accuracy.

    Args:
        probabilities: float32 [n], the probability of label 1; or [n, labels], that of each label.
        labels: [n], from 0.
    """
    if probabilities.ndim == 2:
        likelihood = probabilities[np.arange(len(labels)), labels]
    else:
        likelihood = np.where(labels, probabilities, 1 - probabilities)
    return {
        "loss": float(-np.log(np.maximum(likelihood.astype(np.float64), SMALLEST)).mean()),
        "accuracy": float((predicted_labels(probabilities) == labels).mean()),
    }


def predicted_labels(probabilities: np.ndarray) -> np.ndarray:
    """The predicted label: the most probable one, the first of equals. With two labels, it is 1 above one half.

    Args:
        probabilities: As for ``measure``.

    >>> predicted_labels(np.array([0.5, 0.6])).tolist()
    [0, 1]
    >>> predicted_labels(np.array([[0.2, 0.3, 0.5], [0.4, 0.4, 0.2]])).tolist()
    [2, 0]
    """
    return probabilities.argmax(axis=1) if probabilities.ndim == 2 else (probabilities > 0.5).astype(np.uint8)
