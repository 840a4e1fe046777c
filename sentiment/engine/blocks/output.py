"""The last layer for two labels, ``Dense(1, activation="sigmoid")``, and its loss, the mean binary cross-entropy.

One block computes both, because the gradient of the loss with respect to the *logit*, the input of the sigmoid, is
simply the probability less the label.
"""

import numpy as np

from sentiment.engine.block import Block, Capacity, Shape, settings
from sentiment.engine.functions import sigmoid
from sentiment.engine.packing import Weight, constant, glorot
from sentiment.engine.vectors import broadcast, compiled, first_lane

_ZERO = np.float32(0)


class Output(Block):
    """A row of features per review -> one logit."""

    layers = ("Dense",)
    takes_steps = False
    ends = True
    activation = "sigmoid"

    def __init__(self, layers: list[dict], takes: Shape):
        settings(layers[0], units=1, activation="sigmoid")
        features = takes.features
        super().__init__(
            takes,
            Shape(0, 1),
            [
                Weight("kernel", (features, 1), (features,), glorot(features, 1), (features,)),
                Weight("bias", (1,), (1,), constant(np.zeros(1))),
            ],
        )

    def allocate(self, capacity: Capacity, outputs=None, d_outputs=None):
        """As ``Block``; the outputs, float32 [1 + reviews], are in the order of the groups' reviews."""
        super().allocate(capacity, outputs, d_outputs)
        reviews = 1 + (capacity.groups - 1) * capacity.reviews
        self.outputs, self.labels = np.zeros(reviews, np.float32), np.zeros(reviews, np.float32)

    def forward(self, group):
        """As ``Block``."""
        reviews = self.groups.reviews[group]
        _forward(self.inputs[group], *self.values, self.outputs[reviews])

    def backward(self, group):
        """As ``Block``; the mean is over the whole batch."""
        reviews, n = self.groups.reviews[group], len(self.groups.order)
        labelled = self.outputs[reviews], self.labels[reviews], n
        _backward(labelled, self.inputs[group], self.values[0], self.d_inputs[group], self.d_values[group])

    def logit_backward(self, group: int) -> None:
        """Compute ``d_inputs[group]``, the gradient of each review's logit instead of that of the loss."""
        self.d_inputs[group, : len(self.groups.rows[group].starts), : self.takes.features] = self.values[0]

    def exchanged_arrays(self, group):
        """As ``Block``; also the logits, which ``probabilities`` reads."""
        return [*super().exchanged_arrays(group), self.outputs[self.groups.reviews[group]]]

    def probabilities(self) -> np.ndarray:
        """The probability of 1 of each review, float32 [reviews], in the order of the groups' reviews."""
        return probabilities(self.logits())

    def logits(self) -> np.ndarray:
        """The logit of each review, float32 [reviews], in the order of the groups' reviews."""
        return self.outputs[1 : 1 + len(self.groups.order)]


def probabilities(logits: np.ndarray) -> np.ndarray:
    """The probability of 1 of each logit, float32 [n]."""
    positive = np.empty_like(logits)
    _probabilities(logits, positive)
    return positive


@compiled
def _forward(inputs, kernel, bias, logits):
    """Fill ``logits``, float32 [n], from ``inputs``, float32 [at least n, features].

    The order of the sums is part of the contract.
    """
    for r in range(len(logits)):
        logits[r] = bias[0]
        for at in range(len(kernel)):
            logits[r] += inputs[r, at] * kernel[at]


@compiled
def _backward(labelled, inputs, kernel, d_inputs, d_weights):
    """Fill the gradients with respect to ``inputs`` and to the weights.

    The order of the sums is part of the contract.

    Args:
        labelled: Logits and labels, float32 [n], and the number of reviews of the batch, for the mean.
        inputs: float32 [at least n, features].
        kernel: float32 [features].
        d_inputs: float32 [at least n, features], filled.
        d_weights: float32 [features] and [1], filled: of kernel and bias.
    """
    logits, labels, reviews = labelled
    d_kernel, d_bias = d_weights
    d_kernel[:] = _ZERO
    d_bias[:] = _ZERO
    for r in range(len(logits)):
        d_logit = (first_lane(sigmoid(broadcast(logits[r]))) - labels[r]) / np.float32(reviews)
        d_bias[0] += d_logit
        for at in range(len(kernel)):
            d_kernel[at] += d_logit * inputs[r, at]
            d_inputs[r, at] = d_logit * kernel[at]


@compiled
def _probabilities(logits, positive):
    """Fill ``positive``, float32 [n], with sigmoid(logits)."""
    for r in range(len(logits)):
        positive[r] = first_lane(sigmoid(broadcast(logits[r])))
