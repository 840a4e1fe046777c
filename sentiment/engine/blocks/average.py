"""Average over time, as ``keras.layers.GlobalAveragePooling1D``: rows of features -> one row per review.

A review's average includes the steps before its first word, which are steps of the padding review. Their sum up to each
step is computed once. In the backward pass, each step of the padding review gets the gradient of every review that
starts later.
"""

import numpy as np

from sentiment.engine.block import Block, Capacity, Shape, settings
from sentiment.engine.vectors import LANES, broadcast, compiled, load, store, zeros

_ZERO = np.float32(0)


class Average(Block):
    """The mean of a review's steps."""

    layers = ("GlobalAveragePooling1D",)
    takes_steps = True

    def __init__(self, layers: list[dict], takes: Shape):
        settings(layers[0])
        super().__init__(takes, Shape(0, takes.features))

    def allocate(self, capacity: Capacity, outputs, d_outputs):
        """As ``Block``."""
        super().allocate(capacity, outputs, d_outputs)
        # The sum of the padding review's steps before each step, and the gradient of that sum.
        self._sums, self._d_sums = (zeros(self.takes.steps + 1, outputs.shape[2]) for _ in range(2))

    def forward(self, group):
        """As ``Block``."""
        rows = self.groups.rows[group]
        if group:
            _average(rows, self.inputs[group], self._sums, self.outputs[group])
        else:
            _add_up(len(rows.active), self.inputs[0], self._sums)

    def backward(self, group):
        """As ``Block``."""
        rows = self.groups.rows[group]
        if group:
            _average_backward(rows, self.d_outputs[group], self.d_inputs[group])
        else:
            self._d_sums[...] = 0
            for other in range(1, len(self.groups)):
                starts = self.groups.rows[other].starts
                _add_starts(starts, self.takes.steps, self.d_outputs[other], self._d_sums)
            _add_up_backward(len(rows.active), self._d_sums, self.d_inputs[0])

    def exchanged_arrays(self, group):
        """As ``Block``."""
        return [self.d_outputs[group, : len(self.groups.rows[group].starts)]]


@compiled
def _add_up(steps, inputs, sums):
    """Fill ``sums``, float32 [steps + 1, F], with the sum of the ``inputs``, [steps, F], before each step.

    The order of the sums is part of the contract.
    """
    for f in range(0, sums.shape[1], LANES):
        total = broadcast(_ZERO)
        for step in range(steps):
            total = total + load(inputs, (step, f))
            store(sums, (step + 1, f), total)


@compiled
def _add_up_backward(steps, d_sums, d_inputs):
    """Fill ``d_inputs``, float32 [steps, F], with the sum of the gradients of all later sums, the last one first.

    The order of the sums is part of the contract.
    """
    for f in range(0, d_sums.shape[1], LANES):
        total = broadcast(_ZERO)
        for step in range(steps - 1, -1, -1):
            total = total + load(d_sums, (step + 1, f))
            store(d_inputs, (step, f), total)


@compiled
def _average(rows, inputs, sums, outputs):
    """Fill ``outputs``, float32 [reviews, F], with the mean of each review's steps.

    The order of the sums is part of the contract.
    """
    steps, base = broadcast(np.float32(len(rows.active))), 0
    for r in range(len(rows.starts)):
        for f in range(0, outputs.shape[1], LANES):
            store(outputs, (r, f), load(sums, (rows.starts[r], f)))
    for active in rows.active:
        for r in range(active):
            for f in range(0, outputs.shape[1], LANES):
                store(outputs, (r, f), load(outputs, (r, f)) + load(inputs, (base + r, f)))
        base += active
    for r in range(len(rows.starts)):
        for f in range(0, outputs.shape[1], LANES):
            store(outputs, (r, f), load(outputs, (r, f)) / steps)


@compiled
def _average_backward(rows, d_outputs, d_inputs):
    """Fill ``d_inputs``, float32 [rows, F], with each review's gradient divided by the number of steps."""
    steps, base = broadcast(np.float32(len(rows.active))), 0
    for active in rows.active:
        for r in range(active):
            for f in range(0, d_outputs.shape[1], LANES):
                store(d_inputs, (base + r, f), load(d_outputs, (r, f)) / steps)
        base += active


@compiled
def _add_starts(starts, steps, d_outputs, d_sums):
    """Add each review's gradient, divided by the number of steps, to the gradient of the sum that it started from.

    The order of the sums is part of the contract.
    """
    count = broadcast(np.float32(steps))
    for r in range(len(starts)):
        for f in range(0, d_outputs.shape[1], LANES):
            at = starts[r], f
            store(d_sums, at, load(d_sums, at) + load(d_outputs, (r, f)) / count)
