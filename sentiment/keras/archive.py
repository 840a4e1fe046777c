"""The ``.keras`` file, whose bytes are a function of the weights alone, and the table of layers."""

import io
import json
import math
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sentiment import InputError
from sentiment.keras import plain

if TYPE_CHECKING:
    import h5py
    import keras

DATE = "1980-01-01@00:00:00"
"""When every file says it was saved: the earliest time that its members can have. Keras's file editor wants one."""

_UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def pack(model: "keras.Model") -> bytes:
    """The ``.keras`` file of a model, without the date and the memory addresses that Keras writes into it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        with zipfile.ZipFile(path) as saved:
            members = {name: saved.read(name) for name in saved.namelist()}
    return _zip(members | {"config.json": _stable(members["config.json"])})


def write(network: plain.Sequential, weights: np.ndarray) -> bytes:
    """The bytes that ``pack`` gives for the network as a Keras model with these weights, without Keras.

    The format: ``keras/src/saving/saving_lib.py``.

    Args:
        network: Its layers.
        weights: Flat float32 [parameters], in Keras's order.
    """
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        _group(content, "", network.name)
        for path, name, arrays in _variables(network, weights):
            group = _group(content, path, name)
            for number, array in enumerate(arrays):
                group[str(number)] = array
    return _zip({"config.json": _sorted(network.config()), "model.weights.h5": file.getvalue()})


def _variables(network: plain.Sequential, weights: np.ndarray) -> Iterator[tuple[str, str, list[np.ndarray]]]:
    """Each group of variables in the order of Keras's file: path, name and arrays."""
    for group, layer in zip(_groups(network.layers), network.variables(), strict=True):
        parts = []
        for path, name, shapes in layer:
            *arrays, weights = np.split(weights, np.cumsum([math.prod(shape) for shape in shapes], dtype=int))
            parts.append((path, name, [array.reshape(shape) for array, shape in zip(arrays, shapes, strict=True)]))
        for path, name, arrays in sorted(parts, key=itemgetter(0)):
            yield f"layers/{group}{path}", name, arrays


def _group(content: "h5py.File", path: str, name: str) -> "h5py.Group":
    """A new group for variables."""
    group = (content.create_group(path) if path else content).create_group("vars")
    group.attrs["name"] = name
    return group


def _zip(members: dict[str, bytes]) -> bytes:
    """A ``.keras`` file with these members, and metadata that say nothing of the time."""
    metadata = {"keras_version": version("keras"), "date_saved": DATE}
    members = members | {"metadata.json": json.dumps(metadata).encode()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name), members[name])
    return packed.getvalue()


def unpack(packed: bytes) -> "keras.Model":
    """The model in a ``.keras`` file.

    Raises:
        InputError: It is none, or damaged.
    """
    from sentiment.keras.backend import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(packed)
        try:
            return keras.models.load_model(path, compile=False)
        except _UNREADABLE as error:
            reason = str(error).splitlines()[0].replace(str(path), "it") if str(error) else type(error).__name__
            raise InputError(f"not a readable .keras file ({reason:.200})") from None


def read(packed: bytes) -> tuple[list[dict], np.ndarray]:
    """The layers and the weights of a saved ``Sequential`` model, without Keras, whose import takes seconds.

    The format: ``keras/src/saving/saving_lib.py``. The file names layers by class and number alone, so whoever must be
    sure compares the digest of the weights.

    Returns:
        The layers as ``backend.to_layers`` gives them, and the weights as ``backend.get_weights`` does.

    Raises:
        InputError: It is no ``.keras`` file of a ``Sequential`` model.
    """
    import h5py

    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as saved:
            config = json.loads(saved.read("config.json"))
            weights = saved.read("model.weights.h5")
        layers, arrays = config["config"]["layers"], []
        with h5py.File(io.BytesIO(weights)) as file:
            for name in _groups(layers):
                group = file["layers"].get(name)
                arrays += _arrays(group) if group is not None else []
    except _UNREADABLE as error:
        raise InputError(f"not a readable .keras file ({error})") from None
    return layers, np.concatenate([array.ravel() for array in arrays] or [np.zeros(0, np.float32)])


def table(layers: Iterable[tuple[str, str, tuple, int]]) -> str:
    """The layers of a model as text.

    Not Keras's ``summary``, whose form follows the terminal.

    Args:
        layers: Name, class, output shape and number of parameters of each.
    """
    rows = [("layer", "type", "output shape", "parameters")]
    total = 0
    for name, class_name, shape, parameters in layers:
        rows.append((name, class_name, str(shape), f"{parameters:,}"))
        total += parameters
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), last.rjust(widths[-1])])
        for *cells, last in rows
    ]
    return "\n".join([*lines, f"Total params: {total:,}"]) + "\n"


def _groups(layers: list[dict]) -> Iterator[str]:
    """The name of each layer in the HDF5 file, but of the input: the class, numbered from the second on."""
    counts = Counter()
    for layer in layers:
        name = plain.snake(layer["class_name"])
        if name != "input_layer":
            yield f"{name}_{counts[name]}" if counts[name] else name
        counts[name] += 1


def _stable(config: str | bytes) -> bytes:
    """Keras's JSON without ``shared_object_id``, which is an address in memory."""

    def without_address(fields: dict) -> dict:
        return {key: value for key, value in fields.items() if key != "shared_object_id"}

    return _sorted(json.loads(config, object_hook=without_address))


def _sorted(config: dict) -> bytes:
    return json.dumps(config, sort_keys=True).encode()


def _arrays(group: "h5py.Group") -> list[np.ndarray]:
    """The weights below a layer in Keras's order: its own, then its parts'; the seeds of dropout are none."""
    variables = group.get("vars", {})
    parts = sorted(set(group) - {"vars", "seed_generator"}, key=lambda name: (name != "forward_layer", name))
    own = [variables[name][()] for name in sorted(variables, key=int)]
    return own + [array for part in parts for array in _arrays(group[part])]
