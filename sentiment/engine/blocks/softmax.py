"""The last layer for more than two labels, ``Dense(labels, activation="softmax")``, and its loss.

The loss is the mean categorical cross-entropy. One block computes both, because the gradient of the loss with respect
to the *logits*, the inputs of the softmax, is simply the probabilities, less 1 for the review's label.
"""

import numpy as np

from sentiment.engine.block import Block, Capacity, Shape, refusal, settings
from sentiment.engine.blocks.dense import affine, affine_backward
from sentiment.engine.functions import exp, log
from sentiment.engine.matrices import product
from sentiment.engine.packing import Weight, constant, glorot
from sentiment.engine.vectors import LANES, broadcast, compiled, load, store, whole, zeros

_ZERO, _ONE = np.float32(0), np.float32(1)
LEAST = np.float32(1e-30)
"""Lower limit of the probability of all other labels when it is a divisor."""


class Softmax(Block):
    """A row of features per review -> the probability of each label."""

    layers = ("Dense",)
    takes_steps = False
    ends = True
    activation = "softmax"

    def __init__(self, layers: list[dict], takes: Shape):
        (labels,) = settings(layers[0], "units", activation="softmax")
        if labels < 2:
            raise refusal(layers[0], "units", labels, "2 or more with softmax")
        features = takes.features
        padded = whole(features), whole(labels)
        super().__init__(
            takes,
            Shape(0, labels),
            [
                Weight("kernel", (features, labels), padded, glorot(features, labels)),
                Weight("bias", (labels,), padded[1:], constant(np.zeros(labels))),
            ],
        )

    def allocate(self, capacity: Capacity, outputs=None, d_outputs=None):
        """As ``Block``; the outputs, float32 [1 + reviews, labels, padded], are in the order of the groups' reviews."""
        super().allocate(capacity, outputs, d_outputs)
        reviews, labels = 1 + (capacity.groups - 1) * capacity.reviews, whole(self.gives.features)
        self.outputs, self.labels = zeros(reviews, labels), np.zeros(reviews, np.int64)
        self._d_logits = zeros(reviews * capacity.backward, labels)
        self._transposed = zeros(labels, whole(self.takes.features))

    def prepare(self, groups, seed):
        """As ``Block``."""
        self._transposed[...] = self.values[0].T
        return super().prepare(groups, seed)

    def forward(self, group):
        """As ``Block``."""
        outputs, (kernel, bias) = self.outputs[self.groups.reviews[group]], self.values
        affine(self.inputs[group, : len(outputs)], kernel[: self.takes.features], bias, outputs)
        _softmax(outputs, self.gives.features)

    def backward(self, group):
        """As ``Block``; the mean is over the whole batch."""
        reviews, features = self.groups.reviews[group], self.takes.features
        d_logits, (d_kernel, d_bias) = self._d_logits[reviews], self.d_values[group]
        _loss_backward(self.outputs[reviews], self.labels[reviews], len(self.groups.order), d_logits)
        affine_backward(self.inputs[group, : len(d_logits)], d_logits, d_kernel[:features], d_bias)
        self._inputs_backward(group, d_logits)

    def logit_backward(self, group):
        """As ``Output``: the gradient of the log-odds of each review's most probable label."""
        reviews = self.groups.reviews[group]
        _log_odds_backward(self.outputs[reviews], self.gives.features, self._d_logits[reviews])
        self._inputs_backward(group, self._d_logits[reviews])

    def _inputs_backward(self, group, d_logits):
        d_inputs = self.d_inputs[group, : len(d_logits)]
        d_inputs[...] = 0
        product(d_logits, self._transposed, d_inputs)

    def exchanged_arrays(self, group):
        """As ``Block``; also the outputs, which ``probabilities`` reads."""
        return [*super().exchanged_arrays(group), self.outputs[self.groups.reviews[group]]]

    def probabilities(self) -> np.ndarray:
        """The probability of each label, float32 [reviews, labels], in the order of the groups' reviews."""
        return self.outputs[1 : 1 + len(self.groups.order), : self.gives.features].copy()

    def logits(self) -> np.ndarray:
        """The log-odds of the most probable label, float32 [reviews], in the order of the groups' reviews.

        The order of the sums is part of the contract.
        """
        ascending = np.sort(self.probabilities(), axis=1).astype(np.float64)
        others = np.maximum(ascending[:, :-1].sum(axis=1), LEAST)
        return (log(ascending[:, -1]) - log(others)).astype(np.float32)


@compiled
def _softmax(outputs, labels):
    """Replace logits, float32 [n, labels, padded], by their softmax.

    The largest logit is subtracted first, which keeps exp finite and changes no quotient. The sum is from the first
    label to the last. The order of the sums is part of the contract.
    """
    for r in range(len(outputs)):
        largest = outputs[r, 0]
        for label in range(1, labels):
            if outputs[r, label] > largest:
                largest = outputs[r, label]
        for at in range(0, outputs.shape[1], LANES):
            store(outputs, (r, at), exp(load(outputs, (r, at)) - broadcast(largest)))
        total = _ZERO
        for label in range(labels):
            total += outputs[r, label]
        for at in range(0, outputs.shape[1], LANES):
            store(outputs, (r, at), load(outputs, (r, at)) / broadcast(total))
        for label in range(labels, outputs.shape[1]):
            outputs[r, label] = _ZERO


@compiled
def _loss_backward(probabilities, labels, reviews, d_logits):
    """Fill ``d_logits``, float32 [n, labels, padded], from probabilities, of the same shape, and labels, int64 [n].

    ``reviews`` is the number of reviews of the batch, for the mean.
    """
    for r in range(len(labels)):
        for at in range(0, d_logits.shape[1], LANES):
            store(d_logits, (r, at), load(probabilities, (r, at)) / broadcast(np.float32(reviews)))
        d_logits[r, labels[r]] = (probabilities[r, labels[r]] - _ONE) / np.float32(reviews)


@compiled
def _log_odds_backward(probabilities, labels, d_logits):
    """Fill ``d_logits``, float32 [n, labels, padded], with the gradient of the log-odds of the most probable label.

    It is 1 for that label. For another label it is minus its probability, divided by the probability of all labels but
    the most probable. The order of the sums is part of the contract.
    """
    for r in range(len(probabilities)):
        best, others = 0, _ZERO
        for label in range(1, labels):
            if probabilities[r, label] > probabilities[r, best]:
                best = label
        for label in range(labels):
            if label != best:
                others += probabilities[r, label]
        for label in range(labels):
            d_logits[r, label] = -probabilities[r, label] / max(others, LEAST)
        d_logits[r, best] = _ONE
