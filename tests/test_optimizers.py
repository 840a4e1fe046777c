"""Fifty steps of each optimizer, compared with those of Keras."""

import numpy as np
import pytest

from sentiment.engine.optimizers import OPTIMIZERS
from sentiment.keras.backend import keras

KERAS = {"adam": keras.optimizers.Adam, "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9)}


@pytest.mark.parametrize("smallest", [-6, -12], ids=["large", "of the size of epsilon"])
@pytest.mark.parametrize(("name", "settings"), [*((name, {}) for name in OPTIMIZERS), ("adam", {"beta_2": 0.9})])
def test_fifty_steps_are_those_of_keras(name, settings, smallest):
    random = np.random.default_rng(1)
    ours, optimizer = random.standard_normal(48, "f4"), OPTIMIZERS[name](**settings)
    slots = {slot: np.zeros(48, "f4") for slot in optimizer.slots}
    weights, theirs = keras.Variable(ours.copy()), KERAS[name](0.01, **settings)
    for step in range(50):
        gradient = random.standard_normal(48, "f4") * 10 ** random.uniform(smallest, smallest + 7)
        optimizer.update(ours, slots, gradient.astype("f4"), step, 0.01)
        theirs.apply([gradient.astype("f4")], [weights])
    np.testing.assert_allclose(ours, weights.numpy(), rtol=1e-5, atol=1e-5)


def test_each_optimizer_has_its_slots():
    assert {name: optimizer.slots for name, optimizer in OPTIMIZERS.items()} == {
        "adam": ("momentum", "velocity"),
        "sgd": ("momentum",),
    }
