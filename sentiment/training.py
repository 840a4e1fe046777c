"""The training step and the epochs made of it: binary cross-entropy, Adam, dropout, the order of reviews.

Every random choice is a function of the seed and of where in the training it is made, so that training resumed after
any epoch goes on as if nothing had happened.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from sentiment import InputError
from sentiment.network import Batch, Sizes, arrange, backward, batch_signature, first_weights, forward, head, predict
from sentiment.numerics import tf

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7  # Adam's, as in Keras; D. Kingma and J. Ba, 2015


class State(NamedTuple):
    """All that training carries from one epoch to the next; arrays are flat float32 [parameters]."""

    epoch: int  # epochs finished
    weights: np.ndarray
    momentum: np.ndarray  # Adam's first moment
    velocity: np.ndarray  # Adam's second moment


class Epoch(NamedTuple):
    """One finished epoch: the state after it and the figures of it, fractions and mean losses."""

    state: State
    metrics: dict[str, float]


def loss_and_gradient(sizes: Sizes, flat, ids, labels, starts, keep) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mean binary cross-entropy of a batch, its gradient, and the number of reviews it gets right.

    The gradient in the logits is written out, sigmoid(z) - y: that of ``log`` would divide by an approximate
    instruction that differs between processor makers.

    Args:
        sizes: The network.
        flat: float32 [parameters].
        ids: int32 [n, max_length], with ``starts``, int32 [shards], as ``network.arrange`` makes them.
        labels: float32 [n], 0 or 1, in the order of ``ids``.
        starts: See ``ids``.
        keep: float32 [n, lstm], the dropout factors: 0, or 1 / (1 - dropout) where an output is kept.

    Returns:
        The loss (scalar), the gradient (float32 [parameters]) and the count (float32 scalar).
    """
    run = forward(sizes, flat, ids, starts)
    hidden = run.last * keep
    dense, logits = head(run.weights, hidden)
    reviews = tf.cast(tf.size(labels), tf.float32)
    losses = tf.maximum(logits, 0.0) - logits * labels + tf.math.log1p(tf.exp(-tf.abs(logits)))
    correct = tf.cast(tf.equal(logits > 0, labels > 0.5), tf.float32)
    gradient = backward(sizes, run, hidden, dense, keep, (tf.sigmoid(logits) - labels) / reviews)
    return tf.reduce_sum(losses) / reviews, gradient, tf.reduce_sum(correct)


def split(reviews: int, validation_fraction: float) -> tuple[int, int]:
    """How many reviews, the first ones, are trained on, and how many, the last ones as in Keras, are held out.

    Raises:
        InputError: The fraction leaves none to train on, or is too small to hold one out.

    >>> split(10, 0.25)
    (8, 2)
    """
    held = round(reviews * validation_fraction)
    if held == reviews or (validation_fraction and not held):
        raise InputError(
            f"train.validation_fraction = {validation_fraction} of {reviews} reviews leaves {reviews - held} to train"
            f" on and {held} to watch; at least one of each is needed"
        )
    return reviews - held, held


def fit(
    sizes: Sizes,
    ids: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int,
    batch: int,
    shards: int,
    learning_rate: float,
    validation_fraction: float,
    seed: int,
    state: State | None = None,
    progress: Callable[[int], None] = lambda reviews: None,
) -> Iterator[Epoch]:
    """Train, giving each epoch as it ends.

    Args:
        sizes: The network.
        ids: Unsigned int [reviews, max_length]; a memory map is read batch by batch.
        labels: uint8 [reviews], 0 or 1.
        epochs: Passes over the reviews, those that ``state`` has behind it included.
        batch: Reviews per update; the last batch of an epoch has what is left.
        shards: Pieces a batch is cut into; they run side by side, and their number is part of the arithmetic.
        learning_rate: Adam's.
        validation_fraction: The share of the reviews that is only ever measured; see ``split``.
        seed: Of the first weights, the order and the dropout.
        state: Where an earlier training stopped; ``None`` starts afresh.
        progress: Called with the number of reviews each batch adds.

    Raises:
        InputError: See ``split``.
    """
    count, held = split(len(ids), validation_fraction)
    if state is None:
        first = first_weights(sizes, seed)
        state = State(0, first, np.zeros_like(first), np.zeros_like(first))
    step = Step(sizes, state, learning_rate, seed)
    for epoch in range(state.epoch, epochs):
        order = np.random.default_rng([seed, epoch]).permutation(count)
        loss = correct = 0.0
        for begin in range(0, count, batch):
            rows = np.sort(order[begin : begin + batch])  # a batch is a set; sorted, a memory map is read forwards
            arranged = arrange(sizes, ids[rows], shards)
            number = epoch * -(-count // batch) + begin // batch
            batch_loss, batch_correct = step(arranged, labels[rows][arranged.order], number)
            loss += float(batch_loss) * len(rows)
            correct += float(batch_correct)
            progress(len(rows))
        state = State(epoch + 1, *step.arrays())
        metrics = {"loss": loss / count, "accuracy": correct / count}
        if held:
            positive = predict(sizes, state.weights, ids[count:], batch=batch, shards=shards)
            metrics |= {f"val_{name}": value for name, value in _measure(positive, labels[count:]).items()}
        yield Epoch(state, metrics)


class Step:
    """One update of the weights by Adam, compiled for batches of any size."""

    def __init__(self, sizes: Sizes, state: State, learning_rate: float, seed: int):
        weights, momentum, velocity = self._variables = [tf.Variable(array) for array in state[1:]]
        self._learning_rate = learning_rate

        def update(ids, starts, labels, number, rate):
            shape = [tf.shape(ids)[0], sizes.lstm]
            drawn = tf.random.stateless_uniform(shape, [seed, number], alg="philox")
            keep = tf.cast(drawn >= sizes.dropout, tf.float32) / (1 - sizes.dropout)
            loss, gradient, correct = loss_and_gradient(sizes, weights, ids, labels, starts, keep)
            tf.raw_ops.ResourceApplyAdam(
                var=weights.handle,
                m=momentum.handle,
                v=velocity.handle,
                beta1_power=0.0,  # the bias correction is in `rate`
                beta2_power=0.0,
                lr=rate,
                beta1=BETA_1,
                beta2=BETA_2,
                epsilon=EPSILON,
                grad=gradient,
            )
            return loss, correct

        @functools.cache
        def compiled(shards):
            more = tf.TensorSpec([None]), tf.TensorSpec([], tf.int32), tf.TensorSpec([])
            return tf.function(update, input_signature=[*batch_signature(sizes, shards), *more])

        self.compiled = compiled

    def __call__(self, batch: Batch, labels: np.ndarray, number: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Update with one batch, the training's ``number``-th from 0; its mean loss and how many were right."""
        corrected = self._learning_rate * (1 - BETA_2 ** (number + 1)) ** 0.5 / (1 - BETA_1 ** (number + 1))
        update = self.compiled(len(batch.starts))
        return update(batch.ids, batch.starts, labels.astype(np.float32), number, corrected)

    def arrays(self) -> list[np.ndarray]:
        """The weights and Adam's moments as they are now."""
        return [variable.numpy() for variable in self._variables]


def _measure(positive: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Mean binary cross-entropy and accuracy of probabilities, float32 [n], against labels, uint8 [n]."""
    likelihood = np.where(labels, positive, 1 - positive).astype(np.float64)
    return {
        "loss": float(-np.log(np.maximum(likelihood, EPSILON)).mean()),
        "accuracy": float(((positive > 0.5) == labels).mean()),
    }
