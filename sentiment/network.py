"""The CNN-LSTM: its sizes, its first weights and its arithmetic, forward and backward.

Embedding -> Conv1D(relu, same) -> MaxPooling1D -> LSTM -> Dropout -> Dense(sigmoid) -> Dense(1). The function is
Keras's; the way to compute it is not:

- An embedding followed by a convolution is a sum of ``kernel`` table rows, one per word in the window: table ``j``
  holds every word's embedding times the kernel's matrix ``j``. So the matrix products grow with the vocabulary, not
  with the text.
- The LSTM is TensorFlow's fused ``BlockLSTM``, which reads time first.
- Padding comes first in a review, so until the first word every review of a batch is in the same state. That chain
  of states is computed once, on one row; each shard of the batch, reviews of like length together, starts from the
  state of its longest review's first word.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sentiment.numerics import matmul_deep, matmul_tall, ordered_sum, orthogonal, tf


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
        """The weights' shapes in Keras's order; the flat vector of weights holds them end to end."""
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
    def parameters(self) -> int:
        """Numbers to train.

        >>> Sizes(100, 500, 32, 32, 5, 2, 50, 0.2, 25).parameters
        39053
        """
        return sum(self.counts)


class Weights(NamedTuple):
    """One tensor per weight, shaped and ordered as Keras has them; the LSTM's gates are i, f, c, o."""

    embedding: tf.Tensor
    kernel: tf.Tensor
    kernel_bias: tf.Tensor
    lstm: tf.Tensor
    recurrent: tf.Tensor
    lstm_bias: tf.Tensor
    dense: tf.Tensor
    dense_bias: tf.Tensor
    output: tf.Tensor
    output_bias: tf.Tensor


def unflatten(sizes: Sizes, flat: tf.Tensor) -> Weights:
    """Cut a flat float32 [parameters] into its weights."""
    return Weights(*map(tf.reshape, tf.split(flat, sizes.counts), sizes.shapes))


def flatten(weights: Weights) -> tf.Tensor:
    """The inverse of ``unflatten``: float32 [parameters]."""
    return tf.concat([tf.reshape(weight, [-1]) for weight in weights], axis=0)


def first_weights(sizes: Sizes, seed: int) -> np.ndarray:
    """Flat float32 [parameters] drawn as Keras's defaults draw them.

    Embedding uniform in +-0.05, kernels Glorot uniform (X. Glorot and Y. Bengio, 2010), the recurrent kernel
    orthogonal, biases 0 but the forget gate's, which are 1 (R. Jozefowicz et al., 2015).
    """
    random = np.random.default_rng(seed)

    def uniform(shape, limit):
        return random.uniform(-limit, limit, shape)

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


class Block(NamedTuple):
    """What the forward pass of some rows leaves for the backward pass. T steps, n rows, F filters, C units."""

    words: list[list[tf.Tensor]]  # [pool][kernel] of int32 [T, n]: the word under each tap of each pooled position
    candidates: list[tf.Tensor]  # [pool] of float32 [T, n, F]: what the pooling chooses from
    pooled: tf.Tensor  # float32 [T, n, F], after relu
    state: tuple[tf.Tensor, tf.Tensor]  # float32 [n, C] each: the LSTM's cell and output before its first step
    lstm: object  # BlockLSTM's outputs, each float32 [T, n, C]


class Forward(NamedTuple):
    """The forward pass of a batch up to the LSTM's last output, float32 [n, C], and what the backward pass needs."""

    last: tf.Tensor
    padding: Block
    shards: list[Block]
    bounds: list[tf.Tensor]
    starts: tf.Tensor
    weights: Weights
    taps: tf.Tensor
    gates: tuple[tf.Tensor, tf.Tensor]


def first_steps(sizes: Sizes, ids: np.ndarray) -> np.ndarray:
    """The first LSTM step of each review that sees a word: int32 [n] for ids int [n, max_length].

    >>> first_steps(Sizes(8, 9, 1, 1, 3, 2, 1, 0.0, 1), np.array([[0] * 7 + [5], [0] * 4 + [5] * 4, [5] * 8]))
    array([3, 1, 0], dtype=int32)
    """
    first_word = (ids != 0).argmax(axis=1)
    first_step = (first_word - sizes.kernel // 2) // sizes.pool
    return np.clip(first_step, 0, sizes.steps - 1).astype(np.int32)


class Batch(NamedTuple):
    """Reviews in the order ``forward`` wants them, longest first."""

    ids: np.ndarray  # int32 [n, max_length]
    starts: np.ndarray  # int32 [shards]: the first step that sees a word in each shard
    order: np.ndarray  # int [n]: where each row was


def arrange(sizes: Sizes, ids: np.ndarray, shards: int) -> Batch:
    """Sort reviews, int [n, max_length], for ``forward``: reviews of like length share a shard, none is empty."""
    steps = first_steps(sizes, ids)
    order = np.argsort(steps, kind="stable")
    shards = min(shards, len(ids))
    heads = order[np.arange(shards) * len(ids) // shards]
    return Batch(ids[order].astype(np.int32), steps[heads], order)


def forward(sizes: Sizes, flat: tf.Tensor, ids: tf.Tensor, starts: tf.Tensor) -> Forward:
    """Run a batch up to the LSTM's last output.

    Args:
        sizes: The network.
        flat: float32 [parameters].
        ids: int32 [n, max_length], as in ``Batch``.
        starts: int32 [shards], as in ``Batch``. Shard ``i`` of ``s`` is rows ``n * i // s`` to ``n * (i + 1) // s``.
    """
    weights = unflatten(sizes, flat)
    taps, tables = _tables(sizes, weights)
    gates = _swap_gates(tf.concat([weights.lstm, weights.recurrent], 0)), _swap_gates(weights.lstm_bias)
    rows, shards = tf.shape(ids)[0], starts.shape[0]
    bounds = [rows * i // shards for i in range(shards + 1)]

    def block(ids, begin, end, state):
        words = _windows(sizes, ids, begin, end)
        candidates = [ordered_sum(map(tf.gather, tables, window)) for window in words]
        pooled = tf.nn.relu(functools.reduce(tf.maximum, candidates))
        return Block(words, candidates, pooled, state, _lstm(pooled, state, gates))

    nothing = tf.zeros([1, sizes.lstm])
    padding = block(tf.zeros([1, sizes.max_length], tf.int32), 0, starts[-1], (nothing, nothing))
    chains = [
        tf.concat([first[None], then], 0)
        for first, then in zip(padding.state, (padding.lstm.cs, padding.lstm.h), strict=True)
    ]
    blocks = []
    for start, (low, high) in zip(tf.unstack(starts), pairwise(bounds), strict=True):
        state = tuple(tf.broadcast_to(chain[start], [high - low, sizes.lstm]) for chain in chains)
        blocks.append(block(ids[low:high], start, sizes.steps, state))
    last = tf.concat([block.lstm.h[-1] for block in blocks], 0)
    return Forward(last, padding, blocks, bounds, starts, weights, taps, gates)


def head(weights: Weights, hidden: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The dense layer's activations, float32 [n, dense], and the logits, float32 [n], of LSTM outputs [n, C]."""
    dense = tf.sigmoid(hidden @ weights.dense + weights.dense_bias)
    return dense, (dense @ weights.output + weights.output_bias)[:, 0]


def positive(sizes: Sizes, flat: tf.Tensor, ids: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
    """The probability that each review of a batch is positive: float32 [n]. For the arguments see ``forward``."""
    run = forward(sizes, flat, ids, starts)
    return tf.sigmoid(head(run.weights, run.last)[1])


def predict(
    sizes: Sizes,
    weights: np.ndarray,
    ids: np.ndarray,
    *,
    batch: int,
    shards: int,
    progress: Callable[[int], None] = lambda reviews: None,
) -> np.ndarray:
    """The probability that each review is positive.

    Args:
        sizes: The network.
        weights: Flat float32 [parameters].
        ids: int [reviews, max_length]; a memory map is read batch by batch.
        batch: Reviews at a time.
        shards: Pieces of a batch that run side by side.
        progress: Called after each batch with the number of reviews in it.

    Returns:
        float32 [reviews].
    """
    flat = tf.constant(weights)
    probabilities = np.empty(len(ids), np.float32)
    for begin in range(0, len(ids), batch):
        rows, starts, order = arrange(sizes, ids[begin : begin + batch], shards)
        probabilities[begin + order] = _compiled_positive(sizes, len(starts))(flat, rows, starts)
        progress(len(rows))
    return probabilities


@functools.cache
def _compiled_positive(sizes: Sizes, shards: int) -> Callable:
    return tf.function(
        functools.partial(positive, sizes),
        input_signature=[tf.TensorSpec([sizes.parameters]), *batch_signature(sizes, shards)],
    )


def batch_signature(sizes: Sizes, shards: int) -> list[tf.TensorSpec]:
    """The ids and starts of a ``Batch`` of any number of rows: a function is compiled once per number of shards."""
    return [tf.TensorSpec([None, sizes.max_length], tf.int32), tf.TensorSpec([shards], tf.int32)]


def backward(sizes: Sizes, run: Forward, hidden, dense, keep, gradient: tf.Tensor) -> tf.Tensor:
    """The gradient of a loss in all weights.

    Args:
        sizes: The network.
        run: The forward pass.
        hidden: float32 [n, C], ``run.last * keep``.
        dense: float32 [n, dense], from ``head``.
        keep: float32 [n, C], the dropout factors.
        gradient: float32 [n], of the loss in the logits.

    Returns:
        float32 [parameters].
    """
    weights = run.weights
    into_output = gradient[:, None]
    into_dense = tf.matmul(into_output, weights.output, transpose_b=True) * dense * (1 - dense)
    into_last = tf.matmul(into_dense, weights.dense, transpose_b=True) * keep

    shards = []
    for block, (low, high) in zip(run.shards, pairwise(run.bounds), strict=True):
        steps = tf.shape(block.pooled)[0]
        outputs = tf.pad(into_last[None, low:high], [[steps - 1, 0], [0, 0], [0, 0]])
        shards.append(_lstm_gradient(block, run.gates, tf.zeros_like(outputs), outputs))
    # What reaches a shard's first state goes on, summed over its rows, into the padding's chain at that step.
    length = run.starts[-1] + 1

    def into_chain(gradients):
        return tf.math.unsorted_segment_sum(tf.stack(gradients), run.starts, length)[1:, None]

    cells = into_chain([tf.reduce_sum(shard.cs_prev_grad, 0) for shard in shards])
    outputs = into_chain([tf.reduce_sum(shard.h_prev_grad, 0) for shard in shards])
    lstms = [*shards, _lstm_gradient(run.padding, run.gates, cells, outputs)]
    into_gates = _swap_gates(ordered_sum(lstm.w_grad for lstm in lstms))

    # The padding's chain comes last and sees one word, so the shards' part need not wait for it.
    into_tables = tf.tensor_scatter_nd_add(
        _tables_gradient(sizes, run.shards, [shard.x_grad for shard in shards], sizes.vocabulary),
        [[0]],
        _tables_gradient(sizes, [run.padding], [lstms[-1].x_grad], 1),
    )
    return flatten(
        Weights(
            embedding=matmul_tall(into_tables, tf.transpose(run.taps)),
            kernel=_from_taps(sizes, matmul_deep(weights.embedding, into_tables)),
            kernel_bias=tf.reduce_sum(tf.split(into_tables, sizes.kernel, 1)[sizes.kernel // 2], 0),
            lstm=into_gates[: sizes.filters],
            recurrent=into_gates[sizes.filters :],
            lstm_bias=_swap_gates(ordered_sum(lstm.b_grad for lstm in lstms)),
            dense=tf.matmul(hidden, into_dense, transpose_a=True),
            dense_bias=tf.reduce_sum(into_dense, 0),
            output=tf.matmul(dense, into_output, transpose_a=True),
            output_bias=tf.reduce_sum(into_output, 0),
        )
    )


def _tables(sizes: Sizes, weights: Weights) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The kernel as [embedding, kernel * filters], and one table per tap: [vocabulary + 1, filters].

    The last row, of zeros, stands for what lies outside the review; the bias rides on the centre tap, which never
    does.
    """
    taps = tf.reshape(tf.transpose(weights.kernel, [1, 0, 2]), [sizes.embedding, sizes.kernel * sizes.filters])
    tables = tf.split(matmul_tall(weights.embedding, taps), sizes.kernel, axis=1)
    tables[sizes.kernel // 2] += weights.kernel_bias
    return taps, [tf.pad(table, [[0, 1], [0, 0]]) for table in tables]


def _from_taps(sizes: Sizes, taps: tf.Tensor) -> tf.Tensor:
    return tf.transpose(tf.reshape(taps, [sizes.embedding, sizes.kernel, sizes.filters]), [1, 0, 2])


def _windows(sizes: Sizes, ids: tf.Tensor, begin, end) -> list[list[tf.Tensor]]:
    """[pool][kernel] of int32 [end - begin, n]: the words each step sees, by place in the pool and tap."""
    side = sizes.kernel // 2
    words = tf.transpose(tf.pad(ids, [[0, 0], [side, side]], constant_values=sizes.vocabulary))
    return [
        [words[begin * sizes.pool + i : end * sizes.pool + i : sizes.pool] for i in range(j, j + sizes.kernel)]
        for j in range(sizes.pool)
    ]


def _tables_gradient(sizes: Sizes, blocks: list[Block], gradients: list[tf.Tensor], vocabulary: int) -> tf.Tensor:
    """The gradient in the tables' first rows, [vocabulary, kernel * filters]; what is beyond them is left out.

    The gradients, [T, n, F], are those in each block's ``pooled``.
    """
    into_candidates, words = [], [[] for _ in range(sizes.kernel)]
    for block, gradient in zip(blocks, gradients, strict=True):
        left = tf.where(block.pooled > 0, gradient, 0.0)
        for candidate, window in zip(block.candidates, block.words, strict=True):
            # The first candidate that reaches the maximum takes it all, as in Keras's pooling.
            taken = tf.where(candidate == block.pooled, left, 0.0)
            left -= taken
            into_candidates.append(tf.reshape(taken, [-1, sizes.filters]))
            for tap, ids in zip(words, window, strict=True):
                tap.append(tf.reshape(ids, [-1]))
    rows = tf.concat(into_candidates, 0)
    segments = [tf.minimum(tf.concat(ids, 0), vocabulary) for ids in words]
    tables = [tf.math.unsorted_segment_sum(rows, segment, vocabulary + 1) for segment in segments]
    return tf.concat([table[:vocabulary] for table in tables], 1)


def _lstm(inputs: tf.Tensor, state: tuple[tf.Tensor, tf.Tensor], gates: tuple[tf.Tensor, tf.Tensor]):
    return tf.raw_ops.BlockLSTM(**_lstm_arguments(inputs, state, gates), forget_bias=0.0, cell_clip=-1.0)


def _lstm_gradient(block: Block, gates: tuple[tf.Tensor, tf.Tensor], cells: tf.Tensor, outputs: tf.Tensor):
    """The gradient of the LSTM for gradients [T, n, C] in its cells and outputs after each step."""
    forward = block.lstm._asdict()
    return tf.raw_ops.BlockLSTMGrad(
        **_lstm_arguments(block.pooled, block.state, gates), **forward, cs_grad=cells, h_grad=outputs
    )


def _lstm_arguments(inputs, state, gates) -> dict:
    # Version 1 of the kernel: the registered gradient of BlockLSTMV2 is wrong.
    kernel, bias = gates
    cell, output = state
    peepholes = dict.fromkeys(("wci", "wcf", "wco"), tf.zeros_like(cell[0]))
    steps = tf.shape(inputs, tf.int64)[0]
    return dict(
        seq_len_max=steps, x=inputs, cs_prev=cell, h_prev=output, w=kernel, b=bias, use_peephole=False, **peepholes
    )


def _swap_gates(weight: tf.Tensor) -> tf.Tensor:
    """Keras's order of gates i, f, c, o to the kernel's i, c, f, o; also the way back."""
    i, first, second, o = tf.split(weight, 4, axis=-1)
    return tf.concat([i, second, first, o], axis=-1)
