"""Keras's optimizers, on padded vectors.

An optimizer is a class. Its fields have Keras's names and defaults. ``slots`` are the names of the vectors that it
keeps from update to update, which are zero at first. ``update`` changes the weights.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sentiment.engine.functions import power
from sentiment.engine.vectors import LANES, broadcast, compiled, fma, load, sqrt, store

_ONE = np.float32(1)


@dataclass(frozen=True)
class Adam:
    """D. Kingma and J. Ba, 2015; ``keras.optimizers.Adam``."""

    beta_1: float = 0.9  # decay rate of the running mean of gradients
    beta_2: float = 0.999  # decay rate of the running mean of squared gradients
    epsilon: float = 1e-7  # added to the square root

    slots = ("momentum", "velocity")

    def update(
        self,
        weights: np.ndarray,
        slots: Mapping[str, np.ndarray],
        gradient: np.ndarray,
        step: int,
        learning_rate: float,
    ) -> None:
        """Change weights and slots, float32 [whole vectors], in place. ``step`` is the number of earlier updates."""
        betas = np.float32([self.beta_1, self.beta_2])
        corrections = [1 - power(float(beta), step + 1) for beta in betas]  # both means start from 0
        rate = np.float32(learning_rate * math.sqrt(corrections[1]) / corrections[0])
        _adam(weights, slots["momentum"], slots["velocity"], gradient, rate, _ONE - betas, np.float32(self.epsilon))


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum (B. Polyak, 1964); ``keras.optimizers.SGD(momentum=0.9)``."""

    momentum: float = 0.9  # decay rate of the last change

    slots = ("momentum",)

    def update(self, weights, slots, gradient, step, learning_rate):
        """As ``Adam.update``."""
        _sgd(weights, slots["momentum"], gradient, np.float32(learning_rate), np.float32(self.momentum))


OPTIMIZERS = {"adam": Adam, "sgd": SGD}
"""Optimizers by their names in ``params.yaml``, which are Keras's."""


@compiled
def _adam(weights, momentum, velocity, gradient, rate, shares, epsilon):
    """Adam. ``rate`` includes the corrections of both means. ``shares``, float32 [2], is 1 - beta_1 and 1 - beta_2."""
    share_1, share_2 = broadcast(shares[0]), broadcast(shares[1])
    for at in range(0, len(weights), LANES):
        slope, mean, square = load(gradient, (at,)), load(momentum, (at,)), load(velocity, (at,))
        mean = fma(slope - mean, share_1, mean)
        square = fma(slope * slope - square, share_2, square)
        store(momentum, (at,), mean)
        store(velocity, (at,), square)
        change = mean * broadcast(rate) / (sqrt(square) + broadcast(epsilon))
        store(weights, (at,), load(weights, (at,)) - change)


@compiled
def _sgd(weights, momentum, gradient, rate, kept):
    """SGD: ``momentum``, the last change, becomes kept * momentum - rate * gradient, which is added to the weights."""
    for at in range(0, len(weights), LANES):
        change = load(momentum, (at,)) * broadcast(kept) - load(gradient, (at,)) * broadcast(rate)
        store(momentum, (at,), change)
        store(weights, (at,), load(weights, (at,)) + change)
