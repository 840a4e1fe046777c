"""The CNN-LSTM's arithmetic, forward and backward, compiled.

The function is Keras's; the way to compute it is not:

- An embedding followed by a convolution is a sum of table rows, one per word in the window: table ``k`` holds the
  embedding of each word times the kernel's matrix ``k``. So the products grow with the number of different words, not
  with the text.
- Padding comes first in a review, so until its first word every review is in the same state. That chain of states is
  computed once, as if of a review of padding alone, and each review starts from the state it would have reached.
- Reviews come longest first, so those that have started are the first rows: a step's products have these and no
  others. Steps lie end to end in a ``Trace``, and ``base`` is where the rows of one begin.

Axes are padded with zeros to whole vectors where vectors run along them. In the shapes, padded: E numbers per word, F
filters, C units, 4C gates (Keras's i, f, c, o), H dense units; not padded: K taps, L places in a review.
"""

from typing import NamedTuple

import numpy as np

from sentiment.numerics import sigmoid, tanh
from sentiment.vectors import (
    LANES,
    compiled,
    first,
    fma,
    load,
    product,
    spread,
    sqrt,
    store,
    where_equal,
    where_greater,
)

DEPTH = 128
"""Rows, about, whose outer products are summed before they are added to a gradient: the error stays small."""

_ZERO, _ONE = np.float32(0), np.float32(1)


class Weights(NamedTuple):
    """The weights, or their gradient, as views of one padded vector."""

    embedding: np.ndarray  # float32 [vocabulary, E]
    kernel: np.ndarray  # float32 [K, E not padded, F]
    kernel_bias: np.ndarray  # float32 [F]
    gates: np.ndarray  # float32 [F + C, 4C]: for the inputs, then for the outputs of the step before
    gates_bias: np.ndarray  # float32 [4C]
    dense: np.ndarray  # float32 [C, H]
    dense_bias: np.ndarray  # float32 [H]
    output: np.ndarray  # float32 [H not padded]
    output_bias: np.ndarray  # float32 [1]


class Top(NamedTuple):
    """What some reviews add to the gradient of the weights above the convolution, as in ``Weights``."""

    gates: np.ndarray
    gates_bias: np.ndarray
    dense: np.ndarray
    dense_bias: np.ndarray
    output: np.ndarray
    output_bias: np.ndarray


class Trace(NamedTuple):
    """What the LSTM leaves behind for some reviews, n, and on the way back, in the ``into``, the gradients."""

    inputs: np.ndarray  # float32 [rows + n, F + C]: of each step, the pooled convolution and the outputs before
    cells: np.ndarray  # float32 [rows + n, C]: the state before each step
    raw: np.ndarray  # float32 [n, G + LANES]: the gates of the step at hand before sigmoid or tanh; G as in ``forward``
    gates: np.ndarray  # float32 [rows, 4C], after their sigmoid or tanh; on the way back, the gradient before it
    winners: np.ndarray  # float32 [rows, F]: the place in the pool that was the maximum, -1 where none was > 0
    into_inputs: np.ndarray  # float32 [rows + n, F + C]
    into_cells: np.ndarray  # float32 [n, C], of the step that is being gone back through
    into_start_output: np.ndarray  # float32 [n, C]: of the state that each review started from
    into_start_cells: np.ndarray  # float32 [n, C]


@compiled
def compact(ids, embedding, slots, vocabulary, words, gathered):
    """Number the words of a batch in the order they appear, after padding, which is 0, and gather their embeddings.

    Args:
        ids: Unsigned int [n, L].
        embedding: float32 [vocabulary, E].
        slots: int32 [vocabulary], of -1, before and after.
        vocabulary: int32 [U], filled with the ids of the words, U enough for all.
        words: int32 [n, L], filled with the words' numbers.
        gathered: float32 [U, E], filled with the words' embeddings.

    Returns:
        How many words there are.
    """
    slots[0] = vocabulary[0] = 0
    count = 1
    for r in range(len(ids)):
        for at in range(ids.shape[1]):
            word = ids[r, at]
            if slots[word] < 0:
                slots[word] = count
                vocabulary[count] = word
                count += 1
            words[r, at] = slots[word]
    for slot in range(count):
        word = vocabulary[slot]
        slots[word] = -1
        for e in range(0, embedding.shape[1], LANES):
            store(gathered, (slot, e), load(embedding, (word, e)))
    return count


@compiled
def clear(array):
    """Fill a float32 [n, whole vectors] with zeros."""
    for row in range(len(array)):
        for at in range(0, array.shape[1], LANES):
            store(array, (row, at), spread(_ZERO))


@compiled
def add_rows(rows, total):
    """Add the sum of rows, float32 [n, whole vectors], from the first to the last, to ``total``, [whole vectors]."""
    for at in range(0, len(total), LANES):
        part = spread(_ZERO)
        for row in range(len(rows)):
            part = part + load(rows, (row, at))
        store(total, (at,), load(total, (at,)) + part)


@compiled
def fill_tables(embedding, kernel, tables):
    """Multiply embeddings, float32 [words, E], with the kernel of each tap into ``tables``, float32 [K, words, F]."""
    for tap in range(len(kernel)):
        table = tables[tap, : len(embedding)]
        clear(table)
        product(embedding[:, : kernel.shape[1]], kernel[tap], table)


@compiled
def convolve(tables, bias, words, review, step, pool, trace, row):
    """The pooled convolution of one review at one step, into a row of ``trace``'s inputs and winners.

    The first place that reaches the maximum wins, as in Keras's pooling.
    """
    taps = len(tables)
    for f in range(0, len(bias), LANES):
        pooled, winner = spread(_ZERO), spread(-_ONE)
        for place in range(pool):
            here, first_word = load(bias, (f,)), step * pool + place - taps // 2
            for tap in range(taps):
                at = first_word + tap
                if 0 <= at < words.shape[1]:
                    here = here + load(tables, (tap, words[review, at], f))
            winner = where_greater(here, pooled, spread(np.float32(place)), winner)
            pooled = where_greater(here, pooled, here, pooled)
        store(trace.inputs, (row, f), pooled)
        store(trace.winners, (row, f), winner)


@compiled
def forward(words, starts, steps, pool, units, tables, bias, gates, gates_bias, start_outputs, start_cells, trace):
    """Run some reviews through convolution, pooling and LSTM.

    Args:
        words: int32 [reviews, length], rows of the tables.
        starts: int32 [reviews], ascending: the first step of each.
        steps: Where to stop.
        pool: Places per step.
        units: The LSTM's, unpadded.
        tables: float32 [K, words, F].
        bias: ``Weights.kernel_bias``.
        gates: float32 [F + units, G], ``Weights.gates`` with the four side by side, padded only as a whole.
        gates_bias: float32 [G], likewise.
        start_outputs: float32 [steps, C]: the LSTM's output before each step for a review that starts there.
        start_cells: float32 [steps, C]: its cells.
        trace: ``Trace``, filled: with all steps where it has room for them, with the last one where it has not.

    Returns:
        The row from which on ``trace.inputs`` and ``trace.cells`` hold the state of each review after the last step.
    """
    filters, width = len(bias), trace.cells.shape[1]
    rows = 0
    for start in starts:
        rows += steps - start
    keep = rows <= len(trace.gates) and rows + len(starts) <= len(trace.inputs)
    active, base = 0, 0
    for step in range(steps):
        while active < len(starts) and starts[active] <= step:
            for u in range(0, width, LANES):
                store(trace.inputs, (base + active, filters + u), load(start_outputs, (step, u)))
                store(trace.cells, (base + active, u), load(start_cells, (step, u)))
            active += 1
        for r in range(active):
            convolve(tables, bias, words, r, step, pool, trace, base + r)
            for g in range(0, len(gates_bias), LANES):
                store(trace.raw, (r, g), load(gates_bias, (g,)))
        raw = trace.raw[:active, : len(gates_bias)]
        product(trace.inputs[base : base + active, : filters + units], gates, raw)
        after = base + active if keep else base
        for r in range(active):
            row = base + r
            for u in range(0, width, LANES):
                # Lanes beyond the units belong to the next gate: what comes of them is finite, and nothing reads it.
                i = sigmoid(load(trace.raw, (r, u)))
                f = sigmoid(load(trace.raw, (r, units + u)))
                c = tanh(load(trace.raw, (r, 2 * units + u)))
                o = sigmoid(load(trace.raw, (r, 3 * units + u)))
                cell = fma(f, load(trace.cells, (row, u)), i * c)
                store(trace.gates, (row, u), i)
                store(trace.gates, (row, width + u), f)
                store(trace.gates, (row, 2 * width + u), c)
                store(trace.gates, (row, 3 * width + u), o)
                store(trace.cells, (after + r, u), cell)
                store(trace.inputs, (after + r, filters + u), o * tanh(cell))
        base = after
    return base


@compiled
def head(inputs, keep, weights, units, hidden, dense, logits):
    """The layers after the LSTM.

    Args:
        inputs: float32 [reviews, F + C], the last of ``Trace.inputs``.
        keep: float32 [reviews, C], the dropout factors: 0, or 1 / (1 - dropout) where an output is kept.
        weights: ``Weights``.
        units: The LSTM's, unpadded.
        hidden: float32 [reviews, C], filled: the LSTM's outputs times the factors.
        dense: float32 [reviews, H], filled: the dense layer's outputs.
        logits: float32 [reviews], filled.
    """
    filters = inputs.shape[1] - hidden.shape[1]
    for r in range(len(inputs)):
        for u in range(0, hidden.shape[1], LANES):
            store(hidden, (r, u), load(inputs, (r, filters + u)) * load(keep, (r, u)))
        for h in range(0, dense.shape[1], LANES):
            store(dense, (r, h), load(weights.dense_bias, (h,)))
    product(hidden[:, :units], weights.dense[:units], dense)
    for r in range(len(inputs)):
        for h in range(0, dense.shape[1], LANES):
            store(dense, (r, h), sigmoid(load(dense, (r, h))))
        logits[r] = weights.output_bias[0]
        for h in range(len(weights.output)):
            logits[r] += dense[r, h] * weights.output[h]


@compiled
def positive(logits):
    """The probabilities, float32 [n], of logits."""
    result = np.empty(len(logits), np.float32)
    for r in range(len(logits)):
        result[r] = first(sigmoid(spread(logits[r])))
    return result


@compiled
def head_backward(labels, reviews, keep, weights, units, dense_back, hidden, dense, logits, into_dense, into_last, top):
    """Go back through what ``head`` did, from the mean binary cross-entropy; its gradient in a logit is sigmoid(z) - y.

    Args:
        labels: float32 [n], 0 or 1.
        reviews: How many the mean is over.
        keep: As in ``head``, and so on; what it filled is read.
        weights: See ``keep``.
        units: See ``keep``.
        dense_back: float32 [H, C], the transpose of ``Weights.dense``.
        hidden: See ``keep``.
        dense: See ``keep``.
        logits: See ``keep``.
        into_dense: float32 [n, H], filled where it is not padding: before the sigmoid.
        into_last: float32 [n, C], filled: the gradient in the LSTM's last outputs.
        top: ``Top``, of which all but the gates are filled.
    """
    clear(top.dense)
    top.dense_bias[:] = _ZERO
    top.output[:] = _ZERO
    top.output_bias[:] = _ZERO
    for r in range(len(labels)):
        into_logit = (first(sigmoid(spread(logits[r]))) - labels[r]) / np.float32(reviews)
        top.output_bias[0] += into_logit
        for h in range(len(top.output)):
            top.output[h] += into_logit * dense[r, h]
            into_dense[r, h] = into_logit * weights.output[h] * (dense[r, h] * (_ONE - dense[r, h]))
    add_rows(into_dense, top.dense_bias)
    product(hidden[:, :units].T, into_dense, top.dense[:units])
    clear(into_last)
    product(into_dense, dense_back, into_last)
    for r in range(len(labels)):
        for u in range(0, into_last.shape[1], LANES):
            store(into_last, (r, u), load(into_last, (r, u)) * load(keep, (r, u)))


@compiled
def backward(starts, steps, end, units, gates_back, last, into_outputs, into_cells, trace, into_gates, into_bias):
    """Go back through the LSTM, from after its last step.

    Args:
        starts: As in ``forward``, which has filled ``trace`` and returned ``end``.
        steps: As in ``forward``.
        end: See ``starts``.
        units: The LSTM's, unpadded.
        gates_back: float32 [4C, F + C], the transpose of ``Weights.gates``.
        last: float32 [reviews, C], the gradient in the last outputs.
        into_outputs: float32 [steps + 1, C], what else reaches the outputs before each step and after the last, of all
            reviews alike; or of no length.
        into_cells: float32 [steps + 1, C], the same for the cells.
        trace: ``Trace``.
        into_gates: float32 [F + C, 4C], to which the gradient is added.
        into_bias: float32 [4C], likewise.
    """
    width = len(into_bias) // 4
    filters, one = gates_back.shape[1] - width, spread(_ONE)
    active, base, high = len(starts), end, end
    clear(trace.into_cells[:active])
    for step in range(steps - 1, -1, -1):
        if active == 0:
            break
        after = base
        base -= active
        for r in range(active):
            row = base + r
            for u in range(0, width, LANES):
                if step == steps - 1:
                    into_output = load(last, (r, u))
                else:
                    into_output = load(trace.into_inputs, (after + r, filters + u))
                into_cell = load(trace.into_cells, (r, u))
                if len(into_outputs):
                    into_output = into_output + load(into_outputs, (step + 1, u))
                    into_cell = into_cell + load(into_cells, (step + 1, u))
                i, f = load(trace.gates, (row, u)), load(trace.gates, (row, width + u))
                c, o = load(trace.gates, (row, 2 * width + u)), load(trace.gates, (row, 3 * width + u))
                bent = tanh(load(trace.cells, (after + r, u)))
                into_cell = into_cell + into_output * o * (one - bent * bent)
                store(trace.gates, (row, u), into_cell * c * (i * (one - i)))
                store(trace.gates, (row, width + u), into_cell * load(trace.cells, (row, u)) * (f * (one - f)))
                store(trace.gates, (row, 2 * width + u), into_cell * i * (one - c * c))
                store(trace.gates, (row, 3 * width + u), into_output * bent * (o * (one - o)))
                store(trace.into_cells, (r, u), into_cell * f)
        clear(trace.into_inputs[base : base + active])
        for begin in range(0, 4 * width, width):
            gate = trace.gates[base : base + active, begin : begin + units]
            product(gate, gates_back[begin : begin + units], trace.into_inputs[base : base + active])
        if high - base >= DEPTH:
            _outer(trace, base, high, filters + units, into_gates, into_bias)
            high = base
        while active and starts[active - 1] == step:
            active -= 1
            for u in range(0, width, LANES):
                store(trace.into_start_output, (active, u), load(trace.into_inputs, (base + active, filters + u)))
                store(trace.into_start_cells, (active, u), load(trace.into_cells, (active, u)))
    if high > base:
        _outer(trace, base, high, filters + units, into_gates, into_bias)


@compiled
def _outer(trace, low, high, depth, into_gates, into_bias):
    product(trace.inputs[low:high, :depth].T, trace.gates[low:high], into_gates[:depth])
    add_rows(trace.gates[low:high], into_bias)


@compiled
def add_starts(starts, trace, into_outputs, into_cells):
    """Add what ``backward`` left of some reviews' first states to the gradient in the states, [steps + 1, C] each."""
    for r in range(len(starts)):
        for u in range(0, into_outputs.shape[1], LANES):
            at = starts[r], u
            store(into_outputs, at, load(into_outputs, at) + load(trace.into_start_output, (r, u)))
            store(into_cells, at, load(into_cells, at) + load(trace.into_start_cells, (r, u)))


@compiled
def tap_backward(tap, words, starts, bounds, steps, pool, winners, into_inputs, embedding, table, kernel, bias):
    """Go back through one tap of the pooled convolution of some groups of reviews.

    Args:
        tap: Which of the taps.
        words: int32 [n, L], all groups end to end.
        starts: int32 [n], ascending in each group.
        bounds: int64 [groups + 1]: where each group begins, and the end of the last.
        steps: int64 [groups].
        pool: Places per step.
        winners: float32 [groups, rows, F], as in ``Trace``.
        into_inputs: float32 [groups, rows, F + C], likewise.
        embedding: float32 [words, E].
        table: float32 [words, F], filled with the gradient in the tap's table.
        kernel: ``Weights.kernel``, of which the tap's is filled with the gradient.
        bias: ``Weights.kernel_bias``, filled with the gradient if the tap is the centre.
    """
    taps, filters = len(kernel), len(bias)
    clear(table)
    for group in range(len(steps)):
        reviews = words[bounds[group] : bounds[group + 1]]
        begins = starts[bounds[group] : bounds[group + 1]]
        active, base = 0, 0
        for step in range(steps[group]):
            while active < len(begins) and begins[active] <= step:
                active += 1
            for r in range(active):
                for place in range(pool):
                    at = step * pool + place + tap - taps // 2
                    if 0 <= at < words.shape[1]:
                        word, number = reviews[r, at], spread(np.float32(place))
                        for f in range(0, filters, LANES):
                            here, row = (group, base + r, f), (word, f)
                            gradient = where_equal(load(winners, here), number, load(into_inputs, here), spread(_ZERO))
                            store(table, row, load(table, row) + gradient)
            base += active

    centre = tap == taps // 2  # inside the review wherever the filter is, so the bias rides on it
    if centre:
        bias[:] = _ZERO
    clear(kernel[tap])
    for low in range(0, len(table), DEPTH):
        rows = table[low : low + DEPTH]
        product(embedding[low : low + len(rows), : kernel.shape[1]].T, rows, kernel[tap])
        if centre:
            add_rows(rows, bias)


@compiled
def embedding_backward(vocabulary, tables, kernel_back, gathered, embedding):
    """The gradient in the embeddings of a batch's words, from that in their tables.

    Args:
        vocabulary: int32 [words], as ``compact`` fills it.
        tables: float32 [K, at least words, F], from ``tap_backward``.
        kernel_back: float32 [K, F, E], the transpose of ``Weights.kernel``.
        gathered: float32 [words, E], used in passing.
        embedding: float32 [vocabulary, E], filled, with 0 for words the batch has not.
    """
    clear(gathered)
    for tap in range(len(kernel_back)):
        product(tables[tap, : len(vocabulary)], kernel_back[tap], gathered)
    clear(embedding)
    for slot in range(len(vocabulary)):
        for e in range(0, embedding.shape[1], LANES):
            store(embedding, (vocabulary[slot], e), load(gathered, (slot, e)))


@compiled
def sum_parts(parts, total):
    """Fill ``total``, float32 [n], with the sum of parts, float32 [m, n], from the first to the last."""
    for u in range(len(total)):
        total[u] = _ZERO
    for part in parts:
        for u in range(len(total)):
            total[u] += part[u]


@compiled
def adam(weights, momentum, velocity, gradient, rate, beta_1, beta_2, epsilon):
    """One update of Adam (D. Kingma and J. Ba, 2015) in place, as Keras writes it.

    Args:
        weights: float32 [whole vectors].
        momentum: float32 [whole vectors], the mean of gradients.
        velocity: float32 [whole vectors], the mean of their squares.
        gradient: float32 [whole vectors].
        rate: float32, with the correction of both means' start from 0 in it.
        beta_1: float32, what is kept of the first mean.
        beta_2: float32, of the second.
        epsilon: float32, added to the square root.
    """
    share_1, share_2 = spread(_ONE - beta_1), spread(_ONE - beta_2)
    for at in range(0, len(weights), LANES):
        slope, mean, square = load(gradient, (at,)), load(momentum, (at,)), load(velocity, (at,))
        mean = fma(slope - mean, share_1, mean)
        square = fma(slope * slope - square, share_2, square)
        store(momentum, (at,), mean)
        store(velocity, (at,), square)
        change = mean * spread(rate) / (sqrt(square) + spread(epsilon))
        store(weights, (at,), load(weights, (at,)) - change)
