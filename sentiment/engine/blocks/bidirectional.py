"""Two LSTMs, one of which reads the review backwards, as ``keras.layers.Bidirectional(LSTM)``.

The backward LSTM begins at the last word and reads the padding last, in a different state for each review. So it does
not use the padding review: it reads all steps of all reviews, in reverse order, as an ordinary LSTM.
"""

import numpy as np

from sentiment.engine.block import Block, Capacity, Shape, refusal, settings
from sentiment.engine.blocks.lstm import LSTM
from sentiment.engine.matrices import sum_arrays
from sentiment.engine.vectors import LANES, compiled, load, store


class Bidirectional(Block):
    """The outputs of the forward LSTM, then those of the backward one: of every step, or of the last step it reads."""

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
        """As ``Block``; also the outputs of each half, and the gradient of the padding review from each group."""
        self.outputs, self.d_outputs = outputs, d_outputs
        for half in self.halves:
            half.allocate(capacity, capacity.rows(half.gives), capacity.gradient_rows(half.gives))
        self.inputs, self.d_inputs = self.onward.inputs, self.onward.d_inputs
        one, steps = capacity._replace(reviews=1), self.takes.steps
        self._d_padding_inputs, self._d_padding_outputs = map(
            one.gradient_rows, (self.takes, Shape(steps, self.onward.units))
        )

    def bind(self, vector, gradient):
        """As ``Block``."""
        for half, *pieces in zip(self.halves, np.split(vector, 2), np.split(gradient, 2), strict=True):
            half.bind(*pieces)

    def prepare(self, groups, seed):
        """As ``Block``."""
        self.groups, unshared = self.onward.prepare(groups, seed), self.back.prepare(groups.unshared(), seed)
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
        """As ``Block``. The order of the sums is part of the contract."""
        rows, n, units = self.groups.rows[group], len(self.groups.rows[group].starts), self.onward.units
        d_outputs, d_onward, d_back = (x[group] for x in (self.d_outputs, self.onward.d_outputs, self.back.d_outputs))
        if group and self.gives.steps:
            d_onward[...] = 0
            _add_every_step(rows, False, units, d_outputs, d_onward, self._d_padding_outputs[group])
            d_outputs, d_back = (
                x[: len(rows.active) * n].reshape(len(rows.active), n, -1) for x in (d_outputs, d_back)
            )
            d_back[::-1, :, :units] = d_outputs[..., units : 2 * units]
        elif group:
            d_onward[:n, :units], d_back[:n, :units] = d_outputs[:n, :units], d_outputs[:n, units : 2 * units]
        elif self.gives.steps:
            sum_arrays(self._d_padding_outputs[1 : len(self.groups)], d_onward[: self.takes.steps])
        self.onward.backward(group)
        if group:
            self.back.backward(group)
            back, d_padding = self.back.d_inputs[group], self._d_padding_inputs[group]
            _add_every_step(rows, True, self.takes.features, back, self.d_inputs[group], d_padding)
        else:
            sum_arrays(self._d_padding_inputs[1 : len(self.groups)], self._d_padding_inputs[0])
            self.d_inputs[0, : self.takes.steps] += self._d_padding_inputs[0]

    def exchanged_arrays(self, group):
        """As ``Block``; the backward LSTM reads nothing of the padding review."""
        d_padding = [self._d_padding_inputs[group], self._d_padding_outputs[group]][: 2 if self.gives.steps else 1]
        return [*self.onward.exchanged_arrays(group), self.back.parts[group], *d_padding]

    def finish(self):
        """As ``Block``."""
        for half in self.halves:
            half.finish()


@compiled
def _copy_every_step(rows, reverse, values, padding, every):
    """Fill ``every``, [steps * n, F], with all steps of n reviews, in reverse order if ``reverse`` is true.

    The rows of a review are ``padding``, [steps, F], before it starts, and then its rows of ``values``, [rows, F].
    """
    row, n = 0, len(rows.starts)
    for step in range(len(rows.active)):
        to = n * (len(rows.active) - 1 - step if reverse else step)
        for r in range(n):
            started = rows.starts[r] <= step
            for f in range(0, values.shape[1], LANES):
                store(every, (to + r, f), load(values, (row, f)) if started else load(padding, (step, f)))
            row += started


@compiled
def _add_every_step(rows, reverse, features, d_every, d_values, d_padding):
    """Add the gradient of ``every``, [steps * n, F], to ``d_values``, and fill ``d_padding``; see ``_copy_every_step``.

    Only the features before the padded ones are added. The order of the sums is part of the contract.
    """
    row, n = 0, len(rows.starts)
    d_padding[:] = np.float32(0)
    for step in range(len(rows.active)):
        source = n * (len(rows.active) - 1 - step if reverse else step)
        for r in range(n):
            started = rows.starts[r] <= step
            for f in range(features):
                if started:
                    d_values[row, f] += d_every[source + r, f]
                else:
                    d_padding[step, f] += d_every[source + r, f]
            row += started
