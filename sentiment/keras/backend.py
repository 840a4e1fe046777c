"""Keras, imported so that no user setting changes it, and conversions of its models."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["KERAS_HOME"] = os.devnull  # ignores the user's keras.json
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no messages; failures raise


@contextmanager
def _silence() -> Iterator[None]:
    """Suppress the messages that TensorFlow's C++ code prints at start-up, which no log level suppresses."""
    terminal, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nothing)


with _silence():
    import keras
    import tensorflow as tf


def use_no_gpu() -> None:
    """Hide the GPUs, because TensorFlow would reserve their memory. Keras needs none to read and write models."""
    tf.config.set_visible_devices([], "GPU")


def rows(model: keras.Model) -> Iterator[tuple[str, str, tuple, int]]:
    """Name, class, output shape and number of parameters of each layer."""
    for layer in model.layers:
        yield layer.name, type(layer).__name__, layer.output.shape, layer.count_params()


def get_weights(model: keras.Model) -> np.ndarray:
    """All weights of a model end to end, in Keras's order: flat float32 [parameters]."""
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


def set_weights(model: keras.Model, flat: np.ndarray) -> None:
    """The inverse of ``get_weights``."""
    shapes = [weight.shape for weight in model.weights]
    pieces = np.split(flat, np.cumsum([np.prod(shape) for shape in shapes])[:-1].astype(int))
    model.set_weights([piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)])
