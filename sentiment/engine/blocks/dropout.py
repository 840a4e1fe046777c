"""Dropout (N. Srivastava et al., 2014), as ``keras.layers.Dropout``: a row of features per review -> the same shape."""

import numpy as np

from sentiment.engine.block import Block, Capacity, Shape, settings
from sentiment.engine.vectors import whole, zeros


class Dropout(Block):
    """Sets a fraction of the features to 0 in training and scales the others up. In prediction it changes nothing."""

    layers = ("Dropout",)
    takes_steps = False

    def __init__(self, layers: list[dict], takes: Shape):
        (self.rate,) = settings(layers[0], "rate")
        super().__init__(takes, takes)

    def allocate(self, capacity: Capacity, outputs, d_outputs):
        """As ``Block``."""
        super().allocate(capacity, outputs, d_outputs)
        self.training = capacity.training
        self._factors = zeros(1 + (capacity.groups - 1) * capacity.reviews * self.training, whole(self.takes.features))

    def prepare(self, groups, seed):
        """As ``Block``; draws the factor of each feature, in the order of the groups' reviews."""
        if self.training:
            n, features = len(groups.order), self.takes.features
            self._factors[1 : 1 + n, :features] = factors(self.rate, (n, features), seed)
        return super().prepare(groups, seed)

    def forward(self, group):
        """As ``Block``."""
        n = len(self.groups.rows[group].starts)
        inputs, outputs = self.inputs[group, :n], self.outputs[group, :n]
        if self.training:
            np.multiply(inputs, self._factors[self.groups.reviews[group]], out=outputs)
        else:
            outputs[...] = inputs

    def backward(self, group):
        """As ``Block``."""
        n = len(self.groups.rows[group].starts)
        d_inputs, d_outputs = self.d_inputs[group, :n], self.d_outputs[group, :n]
        if self.training:
            np.multiply(d_outputs, self._factors[self.groups.reviews[group]], out=d_inputs)
        else:
            d_inputs[...] = d_outputs


def factors(rate: float, shape: tuple[int, int], seed) -> np.ndarray:
    """Factors of the inputs: float32 [shape], 0 with probability ``rate``, and otherwise 1 / (1 - rate)."""
    stays = np.random.default_rng(seed).random(shape, np.float32) >= np.float32(rate)
    return stays / np.float32(1 - rate)
