"""The network as a Keras model of stock layers, and the ``.keras`` file that is a function of its weights alone."""

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sentiment import InputError
from sentiment.network import Sizes

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # Keras writes and reads files here, it computes nothing
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # failures raise; nothing else need be said


@contextmanager
def _silence() -> Iterator[None]:
    """Hold back what TensorFlow's C++ prints to file descriptor 2 as it starts: it heeds no log level there."""
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
    from keras import layers


def to_keras(sizes: Sizes, weights: np.ndarray) -> keras.Sequential:
    """A stock Keras model that computes the network of ``weights``, flat float32 [parameters]."""
    model = keras.Sequential(
        [
            keras.Input((sizes.max_length,), dtype="int32", name="ids"),
            layers.Embedding(sizes.vocabulary, sizes.embedding, name="embedding"),
            layers.Conv1D(sizes.filters, sizes.kernel, padding="same", activation="relu", name="convolution"),
            layers.MaxPooling1D(sizes.pool, name="pooling"),
            layers.LSTM(sizes.lstm, name="lstm"),
            layers.Dropout(sizes.dropout, name="dropout"),
            layers.Dense(sizes.dense, activation="sigmoid", name="dense"),
            layers.Dense(1, activation="sigmoid", name="positive"),
        ],
        name="cnn_lstm",
    )
    pieces = np.split(weights, np.cumsum(sizes.counts)[:-1])
    model.set_weights([piece.reshape(shape) for piece, shape in zip(pieces, sizes.shapes, strict=True)])
    return model


def from_keras(model: keras.Model) -> tuple[Sizes, np.ndarray]:
    """The inverse of ``to_keras``.

    Raises:
        InputError: The model is not the CNN-LSTM that ``to_keras`` makes.
    """
    found = {layer.name: layer.get_config() for layer in model.layers}
    try:
        sizes = Sizes(
            max_length=model.input_shape[1],
            vocabulary=found["embedding"]["input_dim"],
            embedding=found["embedding"]["output_dim"],
            filters=found["convolution"]["filters"],
            kernel=found["convolution"]["kernel_size"][0],
            pool=found["pooling"]["pool_size"][0],
            lstm=found["lstm"]["units"],
            dropout=found["dropout"]["rate"],
            dense=found["dense"]["units"],
        )
    except KeyError as missing:
        raise InputError(
            f"model: expected the CNN-LSTM that train writes, found no layer or setting {missing}"
        ) from None
    weights = np.concatenate([weight.ravel() for weight in model.get_weights()])
    if len(weights) != sizes.parameters or _stable(model.to_json()) != _stable(to_keras(sizes, weights).to_json()):
        raise InputError("model: expected the CNN-LSTM that train writes, found other layers; run train again")
    return sizes, weights


def pack(model: keras.Model) -> bytes:
    """The ``.keras`` file of a model, without the dates, versions and memory addresses Keras writes into it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        with zipfile.ZipFile(path) as saved:
            members = {name: saved.read(name) for name in sorted(saved.namelist())}
    members |= {"metadata.json": b"{}", "config.json": _stable(members["config.json"])}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return packed.getvalue()


def unpack(packed: bytes) -> tuple[Sizes, np.ndarray]:
    """The network and the weights, flat float32 [parameters], in a ``.keras`` file.

    Raises:
        InputError: Not a Keras file, or not of this network.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(packed)
        try:
            model = keras.models.load_model(path, compile=False)
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise InputError(f"model: not a readable .keras file ({error}); run train again") from None
    return from_keras(model)


def table(model: keras.Model) -> str:
    """The layers of a model, their output shapes and their numbers of parameters, as text 80 columns wide."""
    lines = []
    model.summary(line_length=80, print_fn=lines.append)
    return "\n".join(line.rstrip() for line in "\n".join(lines).splitlines()) + "\n"


def digest(weights: np.ndarray) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of weights as little-endian float32."""
    return hashlib.sha256(weights.astype("<f4").tobytes()).hexdigest()[:16]


def _stable(config: str | bytes) -> bytes:
    """Keras's JSON without ``shared_object_id``, which is an address in memory."""

    def without_address(fields: dict) -> dict:
        return {key: value for key, value in fields.items() if key != "shared_object_id"}

    return json.dumps(json.loads(config, object_hook=without_address), sort_keys=True).encode()
