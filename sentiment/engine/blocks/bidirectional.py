"""Two LSTMs, one of which reads the review backwards, as ``keras.layers.Bidirectional(LSTM)``: outputs side by side.

The LSTM that reads backwards begins at the last word and ends with the padding, in another state for each review. So
nothing is shared there: it gets all steps of all reviews, in reverse order, and is otherwise an ordinary LSTM.
"""

import numpy as np

from sentiment.engine.block import Block, Room, Shape, settings
from sentiment.engine.blocks.lstm import LSTM
from sentiment.engine.matrices import sum_rows
from sentiment.engine.vectors import LANES, compiled, load, store


class Bidirectional(Block):
    """The forward LSTM's outputs, then the backward one's: of every step, or of the last that each of them reads."""

    layers = ("Bidirectional",)
    takes_steps = True

    def __init__(self, layers: list[dict], takes: Shape):
        layer, backward = settings(layers[0], "layer", "backward_layer", merge_mode="concat")
        settings(backward, *backward["config"].keys() - {"go_backwards"}, go_backwards=True)
        backward = backward | {"config": backward["config"] | {"go_backwards": False}}
        self.halves = self.onward, self.back = [LSTM([half], takes) for half in (layer, backward)]
        steps, self.units = self.onward.gives
        super().__init__(takes, Shape(steps, 2 * self.units), self.onward.weights + self.back.weights)

    def allocate(self, room: Room, outputs, d_outputs):
        """As ``Block``; each half has outputs of its own."""
        self.outputs, self.d_outputs = outputs, d_outputs
        for half in self.halves:
            half.allocate(room, room.rows(half.gives), room.gradient_rows(half.gives))
        self.inputs, self.d_inputs = self.onward.inputs, self.onward.d_inputs
        # What each group finds of the gradient of the padding review's inputs and outputs, at every step.
        one = room._replace(reviews=1)
        self._owed_inputs = one.gradient_rows(self.takes)
        self._owed_outputs = one.gradient_rows(Shape(self.takes.steps, self.units))

    def bind(self, vector, gradient):
        """As ``Block``."""
        middle = len(vector) // 2
        for half, piece in zip(self.halves, (slice(middle), slice(middle, None)), strict=True):
            half.bind(vector[piece], gradient[piece])

    def prepare(self, groups, draw):
        """As ``Block``."""
        self.groups = self.onward.prepare(groups, draw)
        unshared = self.back.prepare(groups.unshared(), draw)
        return unshared if self.gives.steps else groups

    def forward(self, group):
        """As ``Block``."""
        self.onward.forward(group)
        if not group:
            return
        rows, n, units = self.groups.rows[group], len(self.groups.rows[group].starts), self.units
        _copy_every_step(rows, True, self.inputs[group], self.inputs[0], self.back.inputs[group])
        self.back.forward(group)
        outputs, onward, back = self.outputs[group], self.onward.outputs, self.back.outputs[group]
        if self.gives.steps:
            n *= rows.steps
            _copy_every_step(rows, False, onward[group], onward[0], outputs)
            back = back[:n].reshape(rows.steps, -1, back.shape[1])[::-1].reshape(n, -1)
        else:
            outputs[:n, :units] = onward[group, :n, :units]
        outputs[:n, units : 2 * units] = back[:n, :units]

    def backward(self, group):
        """As ``Block``."""
        onward, back, units = self.onward, self.back, self.units
        rows, n = self.groups.rows[group], len(self.groups.rows[group].starts)
        steps, others = self.takes.steps, len(self.groups) - 1
        if not group:
            if self.gives.steps:
                _sum_groups(self._owed_outputs[1 : 1 + others], onward.d_outputs[0, :steps])
            onward.backward(0)
            _sum_groups(self._owed_inputs[1 : 1 + others], self._owed_inputs[0])
            self.d_inputs[0, :steps] += self._owed_inputs[0]
            return
        d_outputs = self.d_outputs[group]
        if self.gives.steps:
            onward.d_outputs[group] = 0
            _add_every_step(rows, False, units, d_outputs, onward.d_outputs[group], self._owed_outputs[group])
            d_back = d_outputs[: n * steps].reshape(steps, n, -1)[::-1].reshape(n * steps, -1)
        else:
            onward.d_outputs[group, :n, :units] = d_outputs[:n, :units]
            d_back = d_outputs[:n]
        back.d_outputs[group, : len(d_back), :units] = d_back[:, units : 2 * units]
        onward.backward(group)
        back.backward(group)
        features = self.takes.features
        _add_every_step(rows, True, features, back.d_inputs[group], self.d_inputs[group], self._owed_inputs[group])

    def finish(self):
        """As ``Block``."""
        for half in self.halves:
            half.finish()


@compiled
def _copy_every_step(rows, reverse, own, padding, every):
    """Fill ``every``, float32 [steps * reviews, F], with a group's ``own`` rows and, before a review starts, ``padding``'s.

    Args:
        rows: ``Rows``.
        reverse: Whether the last step comes first.
        own: float32 [rows, F].
        padding: float32 [steps, F], of the padding review.
        every: See above.
    """
    n, active, base = len(rows.starts), 0, 0
    for step in range(rows.steps):
        while active < n and rows.starts[active] <= step:
            active += 1
        to = n * (rows.steps - 1 - step if reverse else step)
        for r in range(n):
            for f in range(0, own.shape[1], LANES):
                x = load(own, (base + r, f)) if r < active else load(padding, (step, f))
                store(every, (to + r, f), x)
        base += active


@compiled
def _add_every_step(rows, reverse, features, d_every, d_own, d_padding):
    """The way back of ``_copy_every_step``: add to ``d_own``, and fill ``d_padding``; both [.., features, padded]."""
    n, active, base = len(rows.starts), 0, 0
    d_padding[:] = np.float32(0)
    for step in range(rows.steps):
        while active < n and rows.starts[active] <= step:
            active += 1
        source = n * (rows.steps - 1 - step if reverse else step)
        for r in range(n):
            for f in range(features):
                if r < active:
                    d_own[base + r, f] += d_every[source + r, f]
                else:
                    d_padding[step, f] += d_every[source + r, f]
        base += active


def _sum_groups(found: np.ndarray, total: np.ndarray) -> None:
    """Fill ``total``, float32 [steps, F], with the sum of what groups found, [groups, steps, F], in their order."""
    sum_rows(found.reshape(len(found), -1), total.reshape(-1))
