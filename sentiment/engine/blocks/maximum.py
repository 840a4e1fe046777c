"""Maximum over time, as ``keras.layers.GlobalMaxPooling1D``: rows of features -> one row per review.

A review's maximum includes the steps before its first word, which are steps of the padding review. Their maximum up to
each step is computed once. In the backward pass, as in Keras, the gradient of a maximum is divided equally among the
steps that have it.
"""

import numpy as np

from sentiment.engine.block import Block, Capacity, Shape, settings
from sentiment.engine.vectors import LANES, broadcast, compiled, inlined, load, store, where_equal, where_greater, zeros

_ZERO, _ONE, _LEAST = np.float32(0), np.float32(1), np.float32(-np.inf)


class Maximum(Block):
    """The maximum over a review's steps, for each feature."""

    layers = ("GlobalMaxPooling1D",)
    takes_steps = True

    def __init__(self, layers: list[dict], takes: Shape):
        settings(layers[0])
        super().__init__(takes, Shape(0, takes.features))

    def allocate(self, capacity: Capacity, outputs, d_outputs):
        """As ``Block``."""
        super().allocate(capacity, outputs, d_outputs)
        # The maximum of the padding review's steps before each step, the number of steps that have it, its gradient.
        self._largest, self._ties, self._d_largest = (zeros(self.takes.steps + 1, outputs.shape[2]) for _ in range(3))
        # The number of steps that have a review's maximum, the gradient of each of them, and the gradient of the
        # maximum that the review started from.
        self._counts = np.zeros_like(outputs)
        self._shares, self._d_starts = (np.zeros_like(d_outputs) for _ in range(2))

    def forward(self, group):
        """As ``Block``."""
        rows = self.groups.rows[group]
        if group:
            begin = self._largest, self._ties
            _maximum(rows, self.inputs[group], *begin, self.outputs[group], self._counts[group])
        else:
            _running_maximum(len(rows.active), self.inputs[0], self._largest, self._ties)

    def backward(self, group):
        """As ``Block``."""
        rows = self.groups.rows[group]
        if group:
            outputs, counts, shares = self.outputs[group], self._counts[group], self._shares[group]
            _share(rows.starts, outputs, counts, self._largest, self.d_outputs[group], shares, self._d_starts[group])
            _maximum_backward(rows, self.inputs[group], outputs, shares, self.d_inputs[group])
        else:
            self._d_largest[...] = 0
            for other in range(1, len(self.groups)):
                _add_starts(self.groups.rows[other].starts, self._d_starts[other], self._d_largest)
            _running_maximum_backward(
                len(rows.active), self.inputs[0], self._largest, self._d_largest, self.d_inputs[0]
            )

    def exchanged_arrays(self, group):
        """As ``Block``."""
        return [self._d_starts[group, : len(self.groups.rows[group].starts)]]


@compiled
def _running_maximum(steps, inputs, largest, ties):
    """Fill ``largest``, float32 [steps + 1, F], with the maximum of the ``inputs``, [steps, F], before each step.

    ``ties``, of the same shape, is filled with the number of steps that have the maximum.
    """
    for f in range(0, largest.shape[1], LANES):
        most, count = broadcast(_LEAST), broadcast(_ZERO)
        store(largest, (0, f), most)
        store(ties, (0, f), count)
        for step in range(steps):
            here = load(inputs, (step, f))
            count = _count(here, most, count)
            most = where_greater(here, most, here, most)
            store(largest, (step + 1, f), most)
            store(ties, (step + 1, f), count)


@inlined
def _count(here, most, count):
    """Number of steps that have the maximum, after one more step, ``here``.

    ``count`` earlier steps have the earlier maximum, ``most``.
    """
    one = broadcast(_ONE)
    return where_greater(here, most, one, where_equal(here, most, count + one, count))


@compiled
def _maximum(rows, inputs, largest, ties, outputs, counts):
    """Fill ``outputs``, float32 [reviews, F], with each review's maximum.

    ``counts``, of the same shape, is filled with the number of steps that have the maximum.
    """
    for r in range(len(rows.starts)):
        for f in range(0, outputs.shape[1], LANES):
            store(outputs, (r, f), load(largest, (rows.starts[r], f)))
            store(counts, (r, f), load(ties, (rows.starts[r], f)))
    base = 0
    for active in rows.active:
        for r in range(active):
            for f in range(0, outputs.shape[1], LANES):
                here, most = load(inputs, (base + r, f)), load(outputs, (r, f))
                store(counts, (r, f), _count(here, most, load(counts, (r, f))))
                store(outputs, (r, f), where_greater(here, most, here, most))
        base += active


@compiled
def _share(starts, outputs, counts, largest, d_outputs, shares, d_starts):
    """Fill ``shares``, float32 [reviews, F], with the gradient of each step that has a review's maximum.

    ``d_starts``, of the same shape, is filled with the gradient of each such step of the padding review, or with 0.
    """
    for r in range(len(starts)):
        for f in range(0, outputs.shape[1], LANES):
            at = r, f
            share, most = load(d_outputs, at) / load(counts, at), load(outputs, at)
            before = load(largest, (starts[r], f))
            store(shares, at, share)
            store(d_starts, at, where_equal(most, before, share, broadcast(_ZERO)))


@compiled
def _maximum_backward(rows, inputs, outputs, shares, d_inputs):
    """Fill ``d_inputs``, float32 [rows, F], with the review's share in steps that have its maximum, and 0 in others."""
    base = 0
    for active in rows.active:
        for r in range(active):
            for f in range(0, outputs.shape[1], LANES):
                here, most = load(inputs, (base + r, f)), load(outputs, (r, f))
                store(d_inputs, (base + r, f), where_equal(here, most, load(shares, (r, f)), broadcast(_ZERO)))
        base += active


@compiled
def _add_starts(starts, d_starts, d_largest):
    """Add ``d_starts`` of each review to the gradient of the maximum that it started from.

    The order of the sums is part of the contract.
    """
    for r in range(len(starts)):
        for f in range(0, d_starts.shape[1], LANES):
            at = starts[r], f
            store(d_largest, at, load(d_largest, at) + load(d_starts, (r, f)))


@compiled
def _running_maximum_backward(steps, inputs, largest, d_largest, d_inputs):
    """Fill ``d_inputs``, float32 [steps, F], with the sum of the gradients of all later maxima that equal the step.

    The order of the sums is part of the contract.
    """
    for f in range(0, largest.shape[1], LANES):
        nothing = broadcast(_ZERO)
        total, after = nothing, broadcast(_LEAST)
        for step in range(steps - 1, -1, -1):
            most = load(largest, (step + 1, f))
            total = where_equal(most, after, total, nothing) + load(d_largest, (step + 1, f))
            after = most
            store(d_inputs, (step, f), where_equal(load(inputs, (step, f)), most, total, nothing))
