"""The training step and the epochs made of it: binary cross-entropy, Adam, dropout, the order of reviews.

Every random choice is a function of the seed and of where in the training it is made, so that training resumed after
any epoch goes on as if nothing had happened.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from sentiment import InputError, kernels
from sentiment.kernels import Top, Trace
from sentiment.network import (
    Batch,
    Sizes,
    arrange,
    first_weights,
    pad,
    predict,
    side_by_side_gates,
    trace,
    unpad,
    weights_in,
)
from sentiment.numerics import aligned, power, side_by_side

BETA_1, BETA_2, EPSILON = map(np.float32, (0.9, 0.999, 1e-7))  # Adam's, as in Keras; D. Kingma and J. Ba, 2015
ORDER, DROPOUT = 2, 3  # tell their random streams from each other's and the first weights'


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
        InputError: See ``split``; or the loss is no longer finite.
    """
    count, held = split(len(ids), validation_fraction)
    if state is None:
        first = first_weights(sizes, seed)
        state = State(0, first, np.zeros_like(first), np.zeros_like(first))
    step = Step(sizes, state, batch, shards)
    for epoch in range(state.epoch, epochs):
        order = np.random.default_rng([seed, ORDER, epoch]).permutation(count)
        logits, targets = np.empty(count, np.float32), np.empty(count, np.float32)
        for begin in range(0, count, batch):
            rows = np.sort(order[begin : begin + batch])  # a batch is a set; sorted, a memory map is read forwards
            arranged = arrange(sizes, ids[rows], shards)
            number = epoch * -(-count // batch) + begin // batch
            done = slice(begin, begin + len(rows))
            targets[done] = labels[rows][arranged.order]
            logits[done] = step.gradient(arranged, targets[done], dropout(sizes, seed, number, len(rows)))
            step.update(learning_rate, number)
            progress(len(rows))
        state = State(epoch + 1, *step.arrays())
        metrics = _measure(kernels.positive(logits), targets)
        if not math.isfinite(metrics["loss"]):
            raise InputError(
                f"train.learning_rate = {learning_rate}: the loss of epoch {epoch + 1} is {metrics['loss']}, expected a"
                " finite one; lower the rate"
            )
        if held:
            positive = predict(sizes, state.weights, ids[count:], batch=batch)
            metrics |= {f"val_{name}": value for name, value in _measure(positive, labels[count:]).items()}
        yield Epoch(state, metrics)


def dropout(sizes: Sizes, seed: int, number: int, reviews: int) -> np.ndarray:
    """The dropout factors of the training's ``number``-th update: float32 [reviews, lstm], 0 or 1 / (1 - dropout)."""
    drawn = np.random.default_rng([seed, DROPOUT, number]).random((reviews, sizes.lstm), np.float32)
    return (drawn >= np.float32(sizes.dropout)) / np.float32(1 - sizes.dropout)


class Step:
    """One update of the weights after another, by batches of up to ``batch`` reviews in up to ``shards`` shards.

    The reviews stand in groups: first the padding's chain, which is one review, then the shards.
    """

    def __init__(self, sizes: Sizes, state: State, batch: int, shards: int):
        self.sizes = sizes
        self._vectors = [pad(sizes, array) for array in state[1:]]
        self._gradient = aligned(len(self._vectors[0]))
        weights, self._into = weights_in(sizes, self._vectors[0]), weights_in(sizes, self._gradient)
        self._weights = weights
        (taps, _, filters), (width, dense) = weights.kernel.shape, weights.dense.shape
        embedding, rows = weights.embedding.shape[1], batch + 1
        count = min(sizes.vocabulary, batch * sizes.max_length + 1)
        groups, share = min(shards, batch) + 1, -(-batch // min(shards, batch))

        # What a step writes in passing stays for the next: memory is neither asked for nor cleared anew.
        self._slots, self._vocabulary = np.full(sizes.vocabulary, -1, np.int32), np.zeros(count, np.int32)
        self._words = np.zeros((rows, sizes.max_length), np.int32)
        self._embedding, self._into_embedding = aligned(count, embedding), aligned(count, embedding)
        self._tables, self._into_tables = aligned(taps, count, filters), aligned(taps, count, filters)
        self._kernel_back = aligned(taps, filters, embedding)
        self._gates_back = aligned(4 * width, filters + width)
        self._dense_back = aligned(dense, width)
        self._hidden, self._into_last = aligned(rows, width), aligned(rows, width)
        self._dense, self._into_dense = aligned(rows, dense), aligned(rows, dense)
        self._into_outputs, self._into_cells = aligned(sizes.steps + 1, width), aligned(sizes.steps + 1, width)
        self._keep, self._logits = aligned(rows, width), np.empty(rows, np.float32)
        self._traces = trace(sizes, share, share * sizes.steps, groups, back=True)
        self._parts = Top(*(aligned(groups, *weight.shape) for weight in weights[3:]))

    def gradient(self, batch: Batch, labels: np.ndarray, keep: np.ndarray) -> np.ndarray:
        """Find the gradient of the batch's mean binary cross-entropy.

        Args:
            batch: Reviews from ``network.arrange``.
            labels: float32 [n], 0 or 1, in the order of the batch.
            keep: float32 [n, lstm], the dropout factors: 0, or 1 / (1 - dropout) where an output is kept.

        Returns:
            The logits, float32 [n]; the gradient is kept for ``update``.
        """
        sizes, weights, into = self.sizes, self._weights, self._into
        pool, units, reviews = sizes.pool, sizes.lstm, len(labels)
        starts, bounds = np.append(np.int32(0), batch.starts), np.append(0, batch.bounds + 1)
        groups, chain = len(bounds) - 1, int(starts.max())
        steps = np.array([chain] + [sizes.steps] * (groups - 1))
        traces, parts = (
            [kind(*(array[group] for array in arrays)) for group in range(groups)]
            for kind, arrays in ((Trace, self._traces), (Top, self._parts))
        )
        self._keep[1 : reviews + 1, :units] = keep

        count = kernels.compact(
            batch.ids, weights.embedding, self._slots, self._vocabulary, self._words[1:], self._embedding
        )
        words = self._embedding[:count]
        kernels.fill_tables(words, weights.kernel, self._tables)
        self._kernel_back[:, :, : sizes.embedding] = weights.kernel.transpose(0, 2, 1)
        self._gates_back[...] = weights.gates.T
        self._dense_back[...] = weights.dense.T
        gates = side_by_side_gates(sizes, weights)
        states = self._traces.inputs[0, :, weights.kernel.shape[2] :], self._traces.cells[0]

        def forward(group):
            mine = slice(bounds[group], bounds[group + 1])
            return kernels.forward(
                self._words[mine], starts[mine], steps[group], pool, units, self._tables, weights.kernel_bias, *gates,
                *states, traces[group],
            )  # fmt: skip

        def backward(group, end, *sent):
            mine, part = slice(bounds[group], bounds[group + 1]), parts[group]
            part.gates[...], part.gates_bias[...] = 0, 0
            kernels.backward(
                starts[mine], steps[group], end, units, self._gates_back, self._into_last[mine], *sent,
                traces[group], part.gates, part.gates_bias,
            )  # fmt: skip

        def shard(number):
            group = number + 1
            mine, end = slice(bounds[group], bounds[group + 1]), forward(group)
            passed = [array[mine] for array in (self._hidden, self._dense, self._logits)]
            last = traces[group].inputs[end : end + mine.stop - mine.start]
            kernels.head(last, self._keep[mine], weights, units, *passed)
            kernels.head_backward(
                labels[mine.start - 1 : mine.stop - 1], reviews, self._keep[mine], weights, units, self._dense_back,
                *passed, self._into_dense[mine], self._into_last[mine], parts[group],
            )  # fmt: skip
            backward(group, end, self._into_outputs[:0], self._into_cells[:0])

        def tap(number):
            kernels.tap_backward(
                number, self._words, starts, bounds, steps, pool, self._traces.winners, self._traces.into_inputs,
                words, self._into_tables[number, :count], into.kernel, into.kernel_bias,
            )  # fmt: skip

        end = forward(0)
        side_by_side(shard, groups - 1)
        self._into_outputs[: chain + 1], self._into_cells[: chain + 1], self._into_last[0] = 0, 0, 0
        for group in range(1, groups):
            mine = slice(bounds[group], bounds[group + 1])
            kernels.add_starts(starts[mine], traces[group], self._into_outputs, self._into_cells)
        backward(0, end, self._into_outputs, self._into_cells)
        side_by_side(tap, sizes.kernel)
        kernels.embedding_backward(
            self._vocabulary[:count], self._into_tables, self._kernel_back, self._into_embedding[:count], into.embedding
        )
        for part, total in zip(self._parts, into[3:], strict=True):
            kernels.sum_parts(part[:groups].reshape(groups, -1), total.reshape(-1))
        return self._logits[1 : reviews + 1]

    def update(self, learning_rate: float, number: int) -> None:
        """Let Adam take its step along the gradient, the training's ``number``-th from 0."""
        first, second = (1 - power(float(beta), number + 1) for beta in (BETA_1, BETA_2))
        rate = learning_rate * math.sqrt(second) / first
        kernels.adam(*self._vectors, self._gradient, np.float32(rate), BETA_1, BETA_2, EPSILON)

    def arrays(self) -> list[np.ndarray]:
        """The weights and Adam's moments as they are now, each flat float32 [parameters]."""
        return [unpad(self.sizes, vector) for vector in self._vectors]

    def gradient_array(self) -> np.ndarray:
        """The last gradient: flat float32 [parameters]."""
        return unpad(self.sizes, self._gradient)


def _measure(positive: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Mean binary cross-entropy and accuracy of probabilities, float32 [n], against labels, [n] of 0 or 1."""
    likelihood = np.where(labels, positive, 1 - positive).astype(np.float64)
    return {
        "loss": float(-np.log(np.maximum(likelihood, EPSILON)).mean()),
        "accuracy": float(((positive > 0.5) == labels).mean()),
    }
