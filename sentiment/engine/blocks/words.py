"""Embedding, convolution and max pooling in one block: word ids -> rows of features.

The result is that of ``keras.layers.Embedding``, ``Conv1D`` (relu, same) and ``MaxPooling1D``, computed in another way.
An embedding followed by a convolution is a sum of table rows, one per word in the window: table k has the product of
each word's embedding and the kernel's matrix k. So the number of products depends on the number of different words in
the batch, and not on the length of the text.

In the shapes, E is the size of the embedding, K is the number of words in a window (the *taps* of the convolution), and
F is the number of filters. F is padded to whole vectors, and so is E if it is the last axis.
"""

from typing import NamedTuple

import numpy as np

from sentiment.data.padding import UNKNOWN
from sentiment.engine.block import Block, Capacity, Shape, refusal, settings
from sentiment.engine.matrices import add_rows, clear, product
from sentiment.engine.packing import Weight, constant, glorot, uniform
from sentiment.engine.shards import side_by_side
from sentiment.engine.vectors import LANES, broadcast, compiled, load, store, where_equal, where_greater, whole, zeros

CHUNK = 128
"""Number of rows whose outer products are summed before they are added to a gradient.

Summing in two levels keeps the rounding error small.
"""

_ZERO, _ONE = np.float32(0), np.float32(1)


class Batch(NamedTuple):
    """A batch of all groups, for compiled code; see ``groups.Groups``."""

    words: np.ndarray  # int32 [1 + reviews, length]: the table row of each word
    bounds: np.ndarray  # int64 [groups + 1]
    active: np.ndarray  # int64 [groups, steps]


class Changes(NamedTuple):
    """The effect of each word on the logit of its review; words outside the vocabulary are left out."""

    counts: np.ndarray  # int32 [reviews]: number of different words
    ids: np.ndarray  # int32 [reviews, length]: these words, ascending
    logits: np.ndarray  # float32 [reviews, length]: the logit less that of the review with the word made unknown


class Words(Block):
    """The first block, whose inputs are ids, ``groups.ids``. A step is a pool of successive positions in the review."""

    layers = ("Embedding", "Conv1D", "MaxPooling1D")
    takes_steps = True
    begins = True

    def __init__(self, layers: list[dict], takes: Shape):
        embedding, convolution, pooling = layers
        self.vocabulary, self.embedding = settings(embedding, "input_dim", "output_dim")
        filters, (self.taps,) = settings(
            convolution, "filters", "kernel_size",
            strides=[1], dilation_rate=[1], groups=1, padding="same", activation="relu",
        )  # fmt: skip
        (self.pool,), strides = settings(pooling, "pool_size", "strides", padding="valid")
        if self.taps % 2 == 0:
            raise refusal(convolution, "kernel_size", [self.taps], "odd sizes, which have a middle")
        if strides != [self.pool]:
            raise refusal(pooling, "strides", strides, f"pool_size, {[self.pool]}")
        self.length = takes.steps
        v, e, f, k = self.vocabulary, self.embedding, whole(filters), self.taps
        super().__init__(
            takes,
            Shape(self.length // self.pool, filters),
            [
                Weight("embeddings", (v, e), (v, whole(e)), uniform(0.05, v, e)),
                Weight("kernel", (k, e, filters), (k, e, f), glorot(k, e, filters)),
                Weight("bias", (filters,), (f,), constant(np.zeros(filters))),
            ],
        )

    def first_steps(self, ids: np.ndarray) -> np.ndarray:
        """The first step of each review that reads a word: int32 [n] for ids int [n, length]."""
        first_word = (ids != 0).argmax(axis=1)
        first_step = (first_word - self.taps // 2) // self.pool
        return np.minimum(np.maximum(first_step, 0), self.gives.steps - 1).astype(np.int32)

    def allocate(self, capacity: Capacity, outputs, d_outputs):
        """As ``Block``; in prediction the tables have the whole vocabulary, in training the words of a batch."""
        self.outputs, self.d_outputs, self.training = outputs, d_outputs, capacity.training
        reviews = 1 + (capacity.groups - 1) * capacity.reviews
        self.count = self.vocabulary
        if self.training:
            self.count = min(self.vocabulary, reviews * self.length + 1)
        e, f = whole(self.embedding), whole(self.gives.features)
        self._words = np.zeros((reviews, self.length), np.int32)
        self._tables, self._d_tables = zeros(self.taps, self.count, f), zeros(self.taps, self.count * self.training, f)
        self._embeddings, self._d_embeddings = (zeros(self.count * self.training, e) for _ in range(2))
        self._kernel_transposed = zeros(self.taps, f, e)
        self._row_of, self._ids = np.full(self.vocabulary, -1, np.int32), np.zeros(self.count, np.int32)
        self._winners = zeros(capacity.groups, outputs.shape[1] * self.training, f)

    def bind(self, vector, gradient):
        """As ``Block``; in prediction the weights do not change, so the tables are filled once."""
        super().bind(vector, gradient)
        if not self.training:
            embeddings, kernel, _ = self.values
            _fill_tables(embeddings, kernel, self._tables)

    def prepare(self, groups, seed):
        """As ``Block``; in training it numbers the words of the batch and fills a table row for each."""
        _, kernel, _ = self.values
        super().prepare(groups, seed)
        if self.training:
            self._number()
            _fill_tables(self._embeddings[: self._used], kernel, self._tables)
            self._kernel_transposed[..., : self.embedding] = kernel.transpose(0, 2, 1)
        else:
            self._words[: len(groups.ids)] = groups.ids
        return groups

    def _number(self):
        """Number the words of the reviews that this process has, and copy their embeddings in this order."""
        self._used = _number_words(self.groups.ids, self._row_of, self._ids, self._words)
        _gather(self.values[0], self._ids[: self._used], self._embeddings[: self._used])

    def forward(self, group):
        """As ``Block``."""
        words, rows = self._words[self.groups.reviews[group]], self.groups.rows[group]
        _, _, bias = self.values
        _convolve(words, rows, self.pool, self._tables, bias, self.outputs[group], self._winners[group])

    def changes(self, group: int, order: np.ndarray, changes: "Changes") -> None:
        """Estimate the effect of each word on the logit of its review, to first order in the outputs of this block.

        This works in prediction only, where the tables have the whole vocabulary. It computes the outputs without the
        word, and multiplies their difference with the gradient of the logit in ``d_outputs[group]``.

        Args:
            group: A shard, after its forward and backward pass.
            order: int [reviews, length]: the positions of each review, those of equal words next to each other.
            changes: Filled.
        """
        rows, words = self.groups.rows[group], self._words[self.groups.reviews[group]]
        begins = np.cumsum(rows.active) - rows.active
        made, lanes = (self.outputs[group], self.d_outputs[group]), np.empty(LANES, np.float32)
        _changes(words, order, begins, self.pool, self._tables, self.values[2], made, lanes, changes)

    def backward(self, group):
        """Do nothing. ``finish`` computes the gradient of all groups together, because they share the table rows."""

    def exchanged_arrays(self, group):
        """As ``Block``; ``finish`` reads the ids, the gradient and the winners, and no ``parts``."""
        rows = self.groups.rows[group]
        count = rows.active.sum()
        reviews, d_outputs, winners = self.groups.reviews[group], self.d_outputs[group], self._winners[group]
        return [self.groups.ids[reviews], d_outputs[:count], winners[:count]]

    def finish(self):
        """As ``Block``; the taps run in parallel, and each reads all groups in order."""
        if len(self.groups.here) < len(self.groups) - 1:
            self._number()  # again, with the words of the shards of other processes
        groups, used = self.groups, self._used
        batch = Batch(self._words, groups.bounds, groups.active)
        d_embeddings, d_kernel, d_bias = self.d_totals
        words = self._embeddings[:used]

        def go_back(tap):
            d_table = self._d_tables[tap, :used]
            # The middle tap is inside the review at every position, so its sums give the gradient of the bias.
            _scatter(tap - self.taps // 2, self.pool, batch, self._winners, self.d_outputs, d_table)
            _add_outer(words, d_table, d_kernel[tap], d_bias[: len(d_bias) * (tap == self.taps // 2)])

        side_by_side(go_back, self.taps)
        _embedding_backward(
            self._ids[:used], self._d_tables, self._kernel_transposed, self._d_embeddings[:used], d_embeddings
        )


@compiled
def _number_words(ids, row_of, used, words):
    """Number the words of a batch from 0 in the order in which they occur. Padding is the first and has number 0.

    Args:
        ids: Unsigned int [n, length]; the first id is 0.
        row_of: int32 [vocabulary], filled with -1 before and after the call.
        used: int32 [words or more], filled with the id of each number.
        words: int32 [n, length], filled with the numbers.

    Returns:
        Number of different words.
    """
    count = 0
    for r in range(len(ids)):
        for at in range(ids.shape[1]):
            word = ids[r, at]
            if row_of[word] < 0:
                row_of[word] = count
                used[count] = word
                count += 1
            words[r, at] = row_of[word]
    for row in range(count):
        row_of[used[row]] = -1
    return count


@compiled
def _gather(embeddings, ids, rows):
    """Copy the embedding of each of ``ids``, int32 [n], into ``rows``, float32 [n, E]."""
    for row in range(len(ids)):
        for e in range(0, rows.shape[1], LANES):
            store(rows, (row, e), load(embeddings, (ids[row], e)))


@compiled
def _fill_tables(embeddings, kernel, tables):
    """Fill ``tables``, [K, at least n, F], with the products of embeddings, float32 [n, E], and kernel, [K, E, F].

    The order of the sums is part of the contract.
    """
    for tap in range(len(kernel)):
        table = tables[tap, : len(embeddings)]
        clear(table)
        product(embeddings[:, : kernel.shape[1]], kernel[tap], table)


@compiled
def _convolve(words, rows, pool, tables, bias, outputs, winners):
    """Fill ``outputs`` with the maximum over each pool of relu(convolution), for all rows of a group.

    The order of the sums is part of the contract.

    In prediction, reviews that follow each other and have the same words here are computed once.

    Args:
        words: int32 [reviews, length], rows of the tables.
        rows: ``Rows``.
        pool: Positions per step.
        tables: float32 [K, words, F].
        bias: float32 [F].
        outputs: float32 [rows, F], filled.
        winners: float32 [rows, F], filled with the position in the pool that has the maximum: the first of several, as
            in Keras, and -1 if no value is above 0. Without rows in prediction.
    """
    taps, base = len(tables), 0
    for step, active in enumerate(rows.active):
        first, end = step * pool - taps // 2, (step + 1) * pool + taps // 2
        for r in range(active):
            same, at = r > 0 and not len(winners), first
            while same and at < end:
                same = not 0 <= at < words.shape[1] or words[r, at] == words[r - 1, at]
                at += 1
            if same:
                for f in range(0, len(bias), LANES):
                    store(outputs, (base + r, f), load(outputs, (base + r - 1, f)))
                continue
            for f in range(0, len(bias), LANES):
                largest, winner = broadcast(_ZERO), broadcast(-_ONE)
                for position in range(pool):
                    here, first_word = load(bias, (f,)), step * pool + position - taps // 2
                    for tap in range(taps):
                        at = first_word + tap
                        if 0 <= at < words.shape[1]:
                            here = here + load(tables, (tap, words[r, at], f))
                    winner = where_greater(here, largest, broadcast(np.float32(position)), winner)
                    largest = where_greater(here, largest, here, largest)
                store(outputs, (base + r, f), largest)
                if len(winners):
                    store(winners, (base + r, f), winner)
        base += active


@compiled
def _changes(words, order, begins, pool, tables, bias, made, lanes, changes):
    """Fill ``changes``; see ``Words.changes``.

    The order of the sums is part of the contract.

    Args:
        words: int32 [reviews, length], rows of the tables.
        order: int64 [reviews, length], as for ``Words.changes``.
        begins: int64 [steps]: the first row of each step.
        pool: Positions per step.
        tables: float32 [K, vocabulary, F].
        bias: float32 [F].
        made: The outputs of ``_convolve``, float32 [rows, F], and the gradient of the logit with respect to them.
        lanes: float32 [LANES], overwritten.
        changes: ``Changes``.
    """
    outputs, d_outputs = made
    taps, length = len(tables), words.shape[1]
    for r in range(len(words)):
        count, at = 0, 0
        while at < length:
            word, begin = words[r, order[r, at]], at
            while at < length and words[r, order[r, at]] == word:
                at += 1
            if word <= UNKNOWN:
                continue
            total, step = broadcast(_ZERO), 0
            for n in range(begin, at):
                step = max(step, max(order[r, n] - taps // 2, 0) // pool)
                while step < len(begins) and step * pool <= order[r, n] + taps // 2:
                    for f in range(0, len(bias), LANES):
                        largest = broadcast(_ZERO)
                        for position in range(step * pool - taps // 2, (step + 1) * pool - taps // 2):
                            here = load(bias, (f,))
                            for tap in range(max(-position, 0), min(length - position, taps)):
                                seen = words[r, position + tap]
                                here = here + load(tables, (tap, UNKNOWN if seen == word else seen, f))
                            largest = where_greater(here, largest, here, largest)
                        row = begins[step] + r, f
                        total = total + load(d_outputs, row) * (load(outputs, row) - largest)
                    step += 1
            store(lanes, (0,), total)
            change = _ZERO
            for lane in lanes:
                change += lane
            changes.ids[r, count], changes.logits[r, count] = word, change
            count += 1
        changes.counts[r] = count


@compiled
def _scatter(offset, pool, batch, winners, d_outputs, d_table):
    """Fill the gradient with respect to one tap's table. The row of a word is the sum over all positions that read it.

    The order of the sums is part of the contract.

    Args:
        offset: Position that the tap reads, relative to that of the filter.
        pool: Positions per step.
        batch: ``Batch``.
        winners: float32 [groups, rows, F], as in ``_convolve``.
        d_outputs: float32 [groups, rows, F].
        d_table: float32 [words, F], filled.
    """
    clear(d_table)
    for group in range(len(batch.active)):
        words = batch.words[batch.bounds[group] : batch.bounds[group + 1]]
        base = 0
        for step, active in enumerate(batch.active[group]):
            for r in range(active):
                for position in range(pool):
                    at = step * pool + position + offset
                    if 0 <= at < words.shape[1]:
                        word, number = words[r, at], broadcast(np.float32(position))
                        for f in range(0, d_table.shape[1], LANES):
                            here, row = (group, base + r, f), (word, f)
                            gradient = where_equal(load(winners, here), number, load(d_outputs, here), broadcast(_ZERO))
                            store(d_table, row, load(d_table, row) + gradient)
            base += active


@compiled
def _add_outer(words, d_table, d_kernel, d_bias):
    """Fill the gradient with respect to one tap's kernel, float32 [E, F], and to the bias, [F] or of no length.

    The order of the sums is part of the contract.
    """
    clear(d_kernel)
    d_bias[:] = _ZERO
    for low in range(0, len(d_table), CHUNK):
        rows = d_table[low : low + CHUNK]
        product(words[low : low + len(rows), : len(d_kernel)].T, rows, d_kernel)
        add_rows(rows, d_bias)


@compiled
def _embedding_backward(ids, d_tables, kernel_transposed, d_words, d_embeddings):
    """Fill the gradient with respect to the embeddings, from the gradient with respect to the tables.

    The order of the sums is part of the contract.

    Args:
        ids: int32 [words], the word of each table row.
        d_tables: float32 [K, at least words, F].
        kernel_transposed: float32 [K, F, E].
        d_words: float32 [words, E], filled.
        d_embeddings: float32 [vocabulary, E], filled; 0 for words that are not in the batch.
    """
    clear(d_words)
    for tap in range(len(kernel_transposed)):
        product(d_tables[tap, : len(ids)], kernel_transposed[tap], d_words)
    clear(d_embeddings)
    for row in range(len(ids)):
        for e in range(0, d_embeddings.shape[1], LANES):
            store(d_embeddings, (ids[row], e), load(d_words, (row, e)))
