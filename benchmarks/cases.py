"""Table of networks for the compiled blocks; every test of a block and `make bench` run all of them.

A new block is a file in ``sentiment/engine/blocks`` and a row in this table.
"""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from sentiment import network
from sentiment.keras import plain as plain_keras
from sentiment.keras.backend import keras
from sentiment.kinds import cnn_lstm
from sentiment.schema import Pad


class Sizes(NamedTuple):
    """Sizes of a case's layers; by default all differ, so that a swapped axis fails."""

    max_length: int = 17
    vocabulary: int = 300
    embedding: int = 6
    filters: int = 7
    kernel: int = 5
    pool: int = 2
    units: int = 9
    dense: int = 4
    labels: int = 3


CASES: dict[str, Callable[[Any, Sizes], list]] = {
    # by name, the layers between pooling and the last layer
    "lstm": lambda layers, s: [layers.LSTM(s.units)],
    "lstm on lstm": lambda layers, s: [layers.LSTM(s.units, return_sequences=True), layers.LSTM(s.dense)],
    "average": lambda layers, s: [layers.LSTM(s.units, return_sequences=True), layers.GlobalAveragePooling1D()],
    "average of words": lambda layers, s: [layers.GlobalAveragePooling1D()],
    "maximum": lambda layers, s: [layers.LSTM(s.units, return_sequences=True), layers.GlobalMaxPooling1D()],
    "maximum of words": lambda layers, s: [layers.GlobalMaxPooling1D()],
    "bidirectional": lambda layers, s: [layers.Bidirectional(layers.LSTM(s.units))],
    "bidirectional, average": lambda layers, s: [
        layers.Bidirectional(layers.LSTM(s.units, return_sequences=True)),
        layers.GlobalAveragePooling1D(),
    ],
    "bidirectional, maximum": lambda layers, s: [
        layers.Bidirectional(layers.LSTM(s.units, return_sequences=True)),
        layers.GlobalMaxPooling1D(),
    ],
    "lstm on bidirectional on lstm": lambda layers, s: [
        layers.LSTM(s.dense, return_sequences=True),
        layers.Bidirectional(layers.LSTM(s.units, return_sequences=True)),
        layers.LSTM(s.units),
    ],
    "dropout": lambda layers, s: [layers.LSTM(s.units), layers.Dropout(0.2), layers.Dropout(0.4)],
    "dense": lambda layers, s: [
        layers.LSTM(s.units),
        *(layers.Dense(s.dense + n, activation=name) for n, name in enumerate(("sigmoid", "tanh", "relu", "linear"))),
    ],
    "softmax": lambda layers, s: [layers.LSTM(s.units)],
}

EDGES = [
    Sizes(),
    Sizes(pool=1),
    Sizes(pool=3),
    Sizes(kernel=1),
    Sizes(kernel=17, pool=17),  # one step
    Sizes(max_length=6, pool=6),
    # around the size of a vector
    Sizes(units=1, dense=1, filters=1, embedding=1, vocabulary=4, labels=2),
    Sizes(units=16, dense=16, filters=17, embedding=16, labels=17),
    Sizes(units=17, dense=33, filters=16, embedding=17, labels=16),
]


def build(case: str, sizes: Sizes, keras: ModuleType = keras) -> Any:
    """Build the model of a case with Keras, or with ``sentiment.keras.plain``."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((sizes.max_length,), dtype="int32"),
            layers.Embedding(sizes.vocabulary, sizes.embedding),
            layers.Conv1D(sizes.filters, sizes.kernel, padding="same", activation="relu"),
            layers.MaxPooling1D(sizes.pool),
            *CASES[case](layers, sizes),
            network.output(keras, labels_of(case, sizes)),
        ]
    )


def labels_of(case: str, sizes: Sizes) -> int:
    """Return the number of labels of a case."""
    return sizes.labels if case == "softmax" else 2


def labels(case: str, count: int) -> np.ndarray:
    """Return a label for each review, uint8 [count]: the labels of a case of sizes ``Sizes()`` in turn."""
    return (np.arange(count) % labels_of(case, Sizes())).astype(np.uint8)


def cnn_lstm_of(keras: ModuleType = keras, *, max_length: int, vocabulary: int, **architecture: object) -> Any:
    """Build a CNN-LSTM of these sizes; all other sizes are those of the published run."""
    published = {
        "kind": "cnn_lstm", "embedding": 32, "filters": 32, "kernel": 5, "pool": 2, "units": 50, "bidirectional": False,
        "over_time": "last", "dropout": 0.2, "dense": 25,
    }  # fmt: skip
    pad = Pad(max_length=max_length, vocabulary=vocabulary)
    return cnn_lstm.build(pad, cnn_lstm.Architecture(**published | architecture), keras)


def plain(case: str, sizes: Sizes) -> list[dict]:
    """Return the layers of a case in the form that the compiled trainer reads."""
    return build(case, sizes, plain_keras).layers


def to_layers(model: keras.Sequential) -> list[dict]:
    """Return the layers of a Keras model in the form that the compiled trainer reads."""
    return json.loads(model.to_json())["config"]["layers"]


def reviews(sizes: Sizes, count: int, seed: int = 0) -> np.ndarray:
    """Return padded ids, uint16 [count, max_length], of reviews of all lengths, an empty and a full one included."""
    random = np.random.default_rng(seed)
    ids = random.integers(1, sizes.vocabulary, (count, sizes.max_length))
    lengths = random.integers(0, sizes.max_length + 1, count)
    lengths[:2] = 0, sizes.max_length
    ids[np.arange(sizes.max_length) < sizes.max_length - lengths[:, None]] = 0
    return ids.astype("u2")
