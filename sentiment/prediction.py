"""Predictions of a Keras model: by compiled blocks where there are some for all its layers, and else by Keras."""

from collections.abc import Callable

import numpy as np

from sentiment import InputError, engine, keras_trainer, network
from sentiment.engine import trainer
from sentiment.engine.network import Network
from sentiment.network import keras


class Predictor:
    """Predicts with a model, from int ids, [reviews, length], to one probability.

    Attributes:
        promise: One line on what computes, and whether the bits are those of other machines.
    """

    def __init__(self, model: keras.Model):
        self.model, self.layers = model, None
        try:
            self.layers = network.to_layers(model)
            Network(self.layers)
        except InputError:  # no fault: this model is Keras's
            self.layers = None
        self.promise = keras_trainer.promise() if self.layers is None else engine.promise()

    def predict(
        self, ids: np.ndarray, *, batch: int, progress: Callable[[int], None] = lambda reviews: None
    ) -> np.ndarray:
        """The probability that each review is positive: float32 [reviews].

        Args:
            ids: int [reviews, length]; a memory map is read batch by batch.
            batch: Reviews at a time, at most.
            progress: Called after each batch with the number of reviews in it.

        Raises:
            InputError: The ids are not of the network's length and vocabulary.
        """
        if self.layers is None:
            return keras_trainer.predict(self.model, ids, batch=batch, progress=progress)
        return trainer.predict(self.layers, network.get_weights(self.model), ids, batch=batch, progress=progress)
