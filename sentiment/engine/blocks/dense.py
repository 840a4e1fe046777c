"""Dense layer, as ``keras.layers.Dense``: a row of features per review -> activation(row @ kernel + bias)."""

import numpy as np

from sentiment.engine.block import Block, Capacity, Shape, refusal, settings
from sentiment.engine.functions import sigmoid, tanh
from sentiment.engine.matrices import add_rows, clear, product
from sentiment.engine.packing import Weight, constant, glorot
from sentiment.engine.vectors import LANES, broadcast, compiled, load, store, where_greater, whole, zeros

ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh")
_LINEAR, _RELU, _SIGMOID, _TANH = range(4)
_ZERO, _ONE = np.float32(0), np.float32(1)


class Dense(Block):
    """Any number of units, with one of ``ACTIVATIONS``."""

    layers = ("Dense",)
    takes_steps = False

    def __init__(self, layers: list[dict], takes: Shape):
        units, activation = settings(layers[0], "units", "activation")
        if activation not in ACTIVATIONS:
            raise refusal(layers[0], "activation", repr(activation), " or ".join(ACTIVATIONS))
        self.activation, features = ACTIVATIONS.index(activation), takes.features
        padded = whole(features), whole(units)
        super().__init__(
            takes,
            Shape(0, units),
            [
                Weight("kernel", (features, units), padded, glorot(features, units)),
                Weight("bias", (units,), padded[1:], constant(np.zeros(units))),
            ],
        )

    def allocate(self, capacity: Capacity, outputs, d_outputs):
        """As ``Block``."""
        super().allocate(capacity, outputs, d_outputs)
        features, units = whole(self.takes.features), whole(self.gives.features)
        self._transposed = zeros(units, features)
        # The gradient of the sums before the activation.
        self._d_sums = zeros(capacity.groups, capacity.reviews * capacity.backward, units)

    def prepare(self, groups, seed):
        """As ``Block``."""
        self._transposed[...] = self.values[0].T
        return super().prepare(groups, seed)

    def forward(self, group):
        """As ``Block``."""
        n, features = len(self.groups.rows[group].starts), self.takes.features
        inputs, outputs, (kernel, bias) = self.inputs[group, :n], self.outputs[group, :n], self.values
        affine(inputs, kernel[:features], bias, outputs)
        _activation_forward(self.activation, outputs, self.gives.features)

    def backward(self, group):
        """As ``Block``."""
        n, features = len(self.groups.rows[group].starts), self.takes.features
        d_kernel, d_bias = self.d_values[group]
        d_sums = self._d_sums[group, :n]
        _activation_backward(self.activation, self.outputs[group, :n], self.d_outputs[group, :n], d_sums)
        affine_backward(self.inputs[group, :n], d_sums, d_kernel[:features], d_bias)
        self.d_inputs[group, :n] = 0
        product(d_sums, self._transposed, self.d_inputs[group, :n])


@compiled
def affine(inputs, kernel, bias, outputs):
    """Fill ``outputs``, float32 [n, units, padded], with bias + inputs @ kernel; inputs are [n, features, padded].

    The order of the sums is part of the contract.
    """
    for r in range(len(inputs)):
        for at in range(0, len(bias), LANES):
            store(outputs, (r, at), load(bias, (at,)))
    product(inputs[:, : len(kernel)], kernel, outputs)


@compiled
def _activation_forward(activation, outputs, units):
    """Replace ``outputs``, float32 [n, units, padded], by the activation of them."""
    for r in range(len(outputs)):
        for at in range(0, outputs.shape[1], LANES):
            x = load(outputs, (r, at))
            if activation == _RELU:
                x = where_greater(x, broadcast(_ZERO), x, broadcast(_ZERO))
            elif activation == _SIGMOID:
                x = sigmoid(x)
            elif activation == _TANH:
                x = tanh(x)
            store(outputs, (r, at), x)
        for at in range(units, outputs.shape[1]):
            outputs[r, at] = _ZERO  # sigmoid(0) is not 0


@compiled
def _activation_backward(activation, outputs, d_outputs, d_sums):
    """Fill ``d_sums``, float32 [n, units], with the gradient before the activation.

    The slope of each activation is a function of its output.
    """
    one = broadcast(_ONE)
    for r in range(len(outputs)):
        for at in range(0, outputs.shape[1], LANES):
            y, d_y = load(outputs, (r, at)), load(d_outputs, (r, at))
            if activation == _RELU:
                d_y = where_greater(y, broadcast(_ZERO), d_y, broadcast(_ZERO))
            elif activation == _SIGMOID:
                d_y = d_y * (y * (one - y))
            elif activation == _TANH:
                d_y = d_y * (one - y * y)
            store(d_sums, (r, at), d_y)


@compiled
def affine_backward(inputs, d_sums, d_kernel, d_bias):
    """Fill the gradient with respect to kernel, float32 [features, units], and bias, [units].

    The order of the sums is part of the contract.
    """
    d_bias[:] = _ZERO
    add_rows(d_sums, d_bias)
    clear(d_kernel)
    product(inputs[:, : len(d_kernel)].T, d_sums, d_kernel)
