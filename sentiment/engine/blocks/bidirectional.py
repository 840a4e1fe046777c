"""Two LSTMs, one of which reads the review backwards, as ``keras.layers.Bidirectional(LSTM)``: outputs side by side.

The LSTM that reads backwards begins at the last word and ends with the padding, in another state for each review. So
nothing is shared there: it gets all steps of all reviews, in reverse order, and is otherwise an ordinary LSTM.
"""

import numpy as np

from sentiment.engine.block import Block, Capacity, Shape, refusal, settings
from sentiment.engine.blocks.lstm import LSTM
from sentiment.engine.matrices import sum_arrays
from sentiment.engine.vectors import LANES, compiled, load, store


class Bidirectional(Block):
    """The forward LSTM's outputs, then the backward one's: of every step, or of the last that each of them reads."""

    layers = ("Bidirectional",)
    takes_steps = True

    def __init__(self, layers: list[dict], takes: Shape):
        layer, backward = settings(layers[0], "layer", "backward_layer", merge_mode="concat")
        if layer["class_name"] != "LSTM":
            raise refusal(layers[0], "layer", layer["class_name"], "LSTM")
        backward = backward | {"config": backward["config"] | {"go_backwards": False}}
        self.halves = self.onward, self.back = [LSTM([half], takes) for half in (layer, backward)]
        gives = Shape(self.onward.gives.steps, 2 * self.onward.units)
        super().__init__(takes, gives, self.onward.weights + self.back.weights)

    def allocate(self, capacity: Capacity, outputs, d_outputs):
        """As ``Block``; each half has its own outputs, and each group the gradient that it owes the padding review."""
        self.outputs, self.d_outputs = outputs, d_outputs
        for half in self.halves:
            half.allocate(capacity, capacity.rows(half.gives), capacity.gradient_rows(half.gives))
        self.inputs, self.d_inputs = self.onward.inputs, self.onward.d_inputs
        one, steps = capacity._replace(reviews=1), self.takes.steps
        self._owed_inputs, self._owed_outputs = map(one.gradient_rows, (self.takes, Shape(steps, self.onward.units)))

    def bind(self, vector, gradient):
        """As ``Block``."""
        for half, *pieces in zip(self.halves, np.split(vector, 2), np.split(gradient, 2), strict=True):
            half.bind(*pieces)

    def prepare(self, groups, draw):
        """As ``Block``."""
        self.groups, unshared = self.onward.prepare(groups, draw), self.back.prepare(groups.unshared(), draw)
        return unshared if self.gives.steps else groups

    def forward(self, group):
        """As ``Block``."""
        self.onward.forward(group)
        if not group:
            return
        rows, n, units = self.groups.rows[group], len(self.groups.rows[group].starts), self.onward.units
        outputs, onward, back = self.outputs[group], self.onward.outputs, self.back.outputs[group]
        _copy_every_step(rows, True, self.inputs[group], self.inputs[0], self.back.inputs[group])
        self.back.forward(group)
        if self.gives.steps:
            _copy_every_step(rows, False, onward[group], onward[0], outputs)
            outputs, back = (x[: len(rows.active) * n].reshape(len(rows.active), n, -1) for x in (outputs, back))
            outputs[..., units : 2 * units] = back[::-1, :, :units]
        else:
            outputs[:n, :units], outputs[:n, units : 2 * units] = onward[group, :n, :units], back[:n, :units]

    def backward(self, group):
        """As ``Block``."""
        rows, n, units = self.groups.rows[group], len(self.groups.rows[group].starts), self.onward.units
        d_outputs, d_onward, d_back = (x[group] for x in (self.d_outputs, self.onward.d_outputs, self.back.d_outputs))
        if group and self.gives.steps:
            d_onward[...] = 0
            _add_every_step(rows, False, units, d_outputs, d_onward, self._owed_outputs[group])
            d_outputs, d_back = (
                x[: len(rows.active) * n].reshape(len(rows.active), n, -1) for x in (d_outputs, d_back)
            )
            d_back[::-1, :, :units] = d_outputs[..., units : 2 * units]
        elif group:
            d_onward[:n, :units], d_back[:n, :units] = d_outputs[:n, :units], d_outputs[:n, units : 2 * units]
        elif self.gives.steps:
            sum_arrays(self._owed_outputs[1 : len(self.groups)], d_onward[: self.takes.steps])
        self.onward.backward(group)
        if group:
            self.back.backward(group)
            back, owed = self.back.d_inputs[group], self._owed_inputs[group]
            _add_every_step(rows, True, self.takes.features, back, self.d_inputs[group], owed)
        else:
            sum_arrays(self._owed_inputs[1 : len(self.groups)], self._owed_inputs[0])
            self.d_inputs[0, : self.takes.steps] += self._owed_inputs[0]

    def given(self, group):
        """As ``Block``; the LSTM that reads backwards owes nothing."""
        owed = [self._owed_inputs[group], self._owed_outputs[group]][: 2 if self.gives.steps else 1]
        return [*self.onward.given(group), self.back.parts[group], *owed]

    def finish(self):
        """As ``Block``."""
        for half in self.halves:
            half.finish()


@compiled
def _copy_every_step(rows, reverse, own, padding, every):
    """Fill ``every``, [steps * n, F], with ``own`` rows and, before a review starts, with ``padding``'s, [steps, F]."""
    row, n = 0, len(rows.starts)
    for step in range(len(rows.active)):
        to = n * (len(rows.active) - 1 - step if reverse else step)
        for r in range(n):
            started = rows.starts[r] <= step
            for f in range(0, own.shape[1], LANES):
                store(every, (to + r, f), load(own, (row, f)) if started else load(padding, (step, f)))
            row += started


@compiled
def _add_every_step(rows, reverse, features, d_every, d_own, d_padding):
    """The way back of ``_copy_every_step``: add to ``d_own`` and fill ``d_padding``, without the padded features."""
    row, n = 0, len(rows.starts)
    d_padding[:] = np.float32(0)
    for step in range(len(rows.active)):
        source = n * (len(rows.active) - 1 - step if reverse else step)
        for r in range(n):
            started = rows.starts[r] <= step
            for f in range(features):
                if started:
                    d_own[row, f] += d_every[source + r, f]
                else:
                    d_padding[step, f] += d_every[source + r, f]
            row += started
