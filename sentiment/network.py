"""The CNN-LSTM: its sizes, its first weights, and its predictions.

Embedding -> Conv1D(relu, same) -> MaxPooling1D -> LSTM -> Dropout -> Dense(sigmoid) -> Dense(1). How each is computed,
forward and backward, is in ``kernels``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sentiment import InputError, kernels
from sentiment.kernels import Trace, Weights
from sentiment.numerics import aligned, orthogonal, side_by_side, whole
from sentiment.vectors import LANES

FIRST_WEIGHTS = 1  # tells their random stream from the others'

BLOCK = 32
"""Reviews scored together; the scores are the same for any number."""


@dataclass(frozen=True)
class Sizes:
    """The numbers that fix the network's shape, with the meaning they have in ``params.yaml``."""

    max_length: int
    vocabulary: int
    embedding: int
    filters: int
    kernel: int
    pool: int
    lstm: int
    dropout: float
    dense: int

    @property
    def steps(self) -> int:
        """Steps of the LSTM: whole pools in a review."""
        return self.max_length // self.pool

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The weights' shapes in Keras's order; a flat vector of weights holds them end to end."""
        gates = 4 * self.lstm
        return (
            (self.vocabulary, self.embedding),
            (self.kernel, self.embedding, self.filters),
            (self.filters,),
            (self.filters, gates),
            (self.lstm, gates),
            (gates,),
            (self.lstm, self.dense),
            (self.dense,),
            (self.dense, 1),
            (1,),
        )

    @property
    def counts(self) -> list[int]:
        """Numbers per weight, in the order of ``shapes``."""
        return [int(np.prod(shape)) for shape in self.shapes]

    @property
    def padded(self) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
        """For each weight, with the LSTM's gates apart, its shape and its shape padded for ``kernels``."""
        embedding, filters, lstm, dense = map(whole, (self.embedding, self.filters, self.lstm, self.dense))
        return (
            ((self.vocabulary, self.embedding), (self.vocabulary, embedding)),
            ((self.kernel, self.embedding, self.filters), (self.kernel, self.embedding, filters)),
            ((self.filters,), (filters,)),
            ((self.filters, 4, self.lstm), (filters, 4, lstm)),
            ((self.lstm, 4, self.lstm), (lstm, 4, lstm)),
            ((4, self.lstm), (4, lstm)),
            ((self.lstm, self.dense), (lstm, dense)),
            ((self.dense,), (dense,)),
            ((self.dense,), (self.dense,)),
            ((1,), (1,)),
        )

    @property
    def parameters(self) -> int:
        """Numbers to train.

        >>> Sizes(100, 500, 32, 32, 5, 2, 50, 0.2, 25).parameters
        39053
        """
        return sum(self.counts)


def pad(sizes: Sizes, flat: np.ndarray) -> np.ndarray:
    """Flat float32 [parameters] as the padded vector that ``kernels`` work on."""
    padded = aligned(whole(sum(int(np.prod(shape)) for _, shape in sizes.padded)))
    for piece, view in zip(np.split(flat, np.cumsum(sizes.counts)[:-1]), _views(sizes, padded), strict=True):
        view[...] = piece.reshape(view.shape)
    return padded


def unpad(sizes: Sizes, padded: np.ndarray) -> np.ndarray:
    """The inverse of ``pad``."""
    return np.concatenate([view.ravel() for view in _views(sizes, padded)])


def _views(sizes: Sizes, padded: np.ndarray) -> list[np.ndarray]:
    *pieces, _ = np.split(padded, np.cumsum([np.prod(shape) for _, shape in sizes.padded]))
    return [
        piece.reshape(shape)[tuple(map(slice, inside))]
        for piece, (inside, shape) in zip(pieces, sizes.padded, strict=True)
    ]


def weights_in(sizes: Sizes, padded: np.ndarray) -> Weights:
    """A padded vector as ``kernels.Weights``, which share its memory."""
    shapes = [shape for _, shape in sizes.padded]
    filters, _, width = shapes[3]
    shapes = [*shapes[:3], (filters + width, 4 * width), (4 * width,), *shapes[6:]]
    *pieces, _ = np.split(padded, np.cumsum([np.prod(shape) for shape in shapes]))
    return Weights(*(piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)))


def side_by_side_gates(sizes: Sizes, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """The LSTM's weights and biases as ``kernels.forward`` wants them, the four gates without padding in between."""
    filters, units, width = len(weights.kernel_bias), sizes.lstm, whole(sizes.lstm)
    gates, bias = aligned(filters + units, whole(4 * units)), aligned(whole(4 * units))
    for array, padded in ((gates, weights.gates[: filters + units]), (bias, weights.gates_bias)):
        split = padded.reshape(*padded.shape[:-1], 4, width)[..., :units]
        array[..., : 4 * units] = split.reshape(*padded.shape[:-1], 4 * units)
    return gates, bias


def trace(sizes: Sizes, reviews: int, rows: int, *groups: int, back: bool) -> Trace:
    """Room for what the LSTM leaves behind of some reviews: ``rows`` steps in all, and the way back if there is one."""
    filters, width = whole(sizes.filters), whole(sizes.lstm)
    return Trace(
        inputs=aligned(*groups, rows + reviews, filters + width),
        cells=aligned(*groups, rows + reviews, width),
        raw=aligned(*groups, reviews, whole(4 * sizes.lstm) + LANES),
        gates=aligned(*groups, rows, 4 * width),
        winners=aligned(*groups, rows, filters),
        into_inputs=aligned(*groups, back * (rows + reviews), filters + width),
        into_cells=aligned(*groups, back * reviews, width),
        into_start_output=aligned(*groups, back * reviews, width),
        into_start_cells=aligned(*groups, back * reviews, width),
    )


def first_weights(sizes: Sizes, seed: int) -> np.ndarray:
    """Flat float32 [parameters] drawn as Keras's defaults draw them.

    Embedding uniform in +-0.05, kernels Glorot uniform (X. Glorot and Y. Bengio, 2010), the recurrent kernel
    orthogonal, biases 0 but the forget gate's, which are 1 (R. Jozefowicz et al., 2015).
    """
    random = np.random.default_rng([seed, FIRST_WEIGHTS])

    def uniform(shape, limit):
        return limit * (2 * random.random(shape) - 1)  # NumPy's own may be compiled to round twice or once

    def glorot(shape):
        field = np.prod(shape[:-2])
        return uniform(shape, np.sqrt(6 / (field * shape[-2] + field * shape[-1])))

    embedding, kernel, kernel_bias, lstm, recurrent, lstm_bias, dense, dense_bias, output, output_bias = sizes.shapes
    forget = np.repeat([0, 1, 0, 0], sizes.lstm)
    drawn = (
        uniform(embedding, 0.05),
        glorot(kernel),
        np.zeros(kernel_bias),
        glorot(lstm),
        orthogonal(random, *recurrent),
        forget.reshape(lstm_bias),
        glorot(dense),
        np.zeros(dense_bias),
        glorot(output),
        np.zeros(output_bias),
    )
    return np.concatenate([weight.ravel() for weight in drawn]).astype(np.float32)


def first_steps(sizes: Sizes, ids: np.ndarray) -> np.ndarray:
    """The first LSTM step of each review that sees a word: int32 [n] for ids int [n, max_length].

    >>> first_steps(Sizes(8, 9, 1, 1, 3, 2, 1, 0.0, 1), np.array([[0] * 7 + [5], [0] * 4 + [5] * 4, [5] * 8]))
    array([3, 1, 0], dtype=int32)
    """
    first_word = (ids != 0).argmax(axis=1)
    first_step = (first_word - sizes.kernel // 2) // sizes.pool
    return np.clip(first_step, 0, sizes.steps - 1).astype(np.int32)


class Batch(NamedTuple):
    """Reviews in the order ``kernels`` want them: shard by shard, longest first in each."""

    ids: np.ndarray  # int [n, max_length]
    starts: np.ndarray  # int32 [n]: the first step of each that sees a word
    bounds: np.ndarray  # int64 [shards + 1]: where each shard begins, and the end of the last
    order: np.ndarray  # int [n]: where each row was


def arrange(sizes: Sizes, ids: np.ndarray, shards: int) -> Batch:
    """Deal reviews, int [n, max_length], longest first, into shards that are alike; none is empty.

    Raises:
        InputError: The ids are not of the network's length and vocabulary; compiled code would not notice.
    """
    if ids.shape[1] != sizes.max_length or ids.min() < 0 or ids.max() >= sizes.vocabulary:
        raise InputError(
            f"ids: expected {sizes.max_length} per review, from 0 to {sizes.vocabulary - 1}, got {ids.shape[1]} from"
            f" {ids.min()} to {ids.max()}; `dvc repro` pads the reviews again"
        )
    steps = first_steps(sizes, ids)
    order = np.argsort(steps, kind="stable")
    hands = [order[shard::shards] for shard in range(min(shards, len(ids)))]
    order = np.concatenate(hands)
    bounds = np.cumsum([0, *map(len, hands)])
    return Batch(ids[order], steps[order], bounds, order)


def predict(
    sizes: Sizes,
    weights: np.ndarray,
    ids: np.ndarray,
    *,
    batch: int,
    progress: Callable[[int], None] = lambda reviews: None,
) -> np.ndarray:
    """The probability that each review is positive; it depends on no other review.

    Args:
        sizes: The network.
        weights: Flat float32 [parameters].
        ids: int [reviews, max_length]; a memory map is read batch by batch.
        batch: Reviews at a time.
        progress: Called after each batch with the number of reviews in it.

    Returns:
        float32 [reviews].
    """
    weights = weights_in(sizes, pad(sizes, weights))
    filters, width = whole(sizes.filters), whole(sizes.lstm)
    tables = aligned(sizes.kernel, sizes.vocabulary, filters)
    kernels.fill_tables(weights.embedding, weights.kernel, tables)
    chain = trace(sizes, 1, sizes.steps, back=False)
    states = chain.inputs[:, filters:], chain.cells
    padding = np.zeros((1, sizes.max_length), np.int32)
    gates = side_by_side_gates(sizes, weights)
    settings = sizes.steps, sizes.pool, sizes.lstm, tables, weights.kernel_bias, *gates, *states
    kernels.forward(padding, np.zeros(1, np.int32), *settings, chain)

    rooms = [trace(sizes, min(BLOCK, batch), min(BLOCK, batch), back=False) for _ in range(-(-batch // BLOCK))]
    keep = np.ones((BLOCK, width), np.float32)
    hidden, dense = aligned(batch, width), aligned(batch, whole(sizes.dense))
    probabilities, logits = np.empty(len(ids), np.float32), np.empty(batch, np.float32)
    for begin in range(0, len(ids), batch):
        rows = ids[begin : begin + batch]
        rows, starts, bounds, order = arrange(sizes, rows, -(-len(rows) // BLOCK))
        words = rows.astype(np.int32)

        def score(block, words=words, starts=starts, bounds=bounds):
            mine, room = slice(bounds[block], bounds[block + 1]), rooms[block]
            end = kernels.forward(words[mine], starts[mine], *settings, room)
            last = room.inputs[end : end + mine.stop - mine.start]
            kernels.head(last, keep, weights, sizes.lstm, hidden[mine], dense[mine], logits[mine])

        side_by_side(score, len(bounds) - 1)
        probabilities[begin + order] = kernels.positive(logits[: len(rows)])
        progress(len(rows))
    return probabilities
