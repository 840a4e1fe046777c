"""The ``.keras`` file, whose bytes are a function of the weights alone, and the table of layers."""

import io
import json
import math
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sentiment import InputError
from sentiment.data.archives import UNREADABLE, members, pack_members
from sentiment.keras import plain

if TYPE_CHECKING:
    import h5py
    import keras

DATE = "1980-01-01@00:00:00"
"""Date in every file: the earliest that a zip member can have. Keras's file editor needs one."""

MOST_OBJECTS, DEEPEST, LARGEST = 10_000, 20, 10**8
"""Maximum number of groups and arrays in a file, of levels of groups, and maximum of any size in the configuration."""


def pack(model: "keras.Model") -> bytes:
    """The ``.keras`` file of a model, without the date and the memory addresses that Keras writes into it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        with zipfile.ZipFile(path) as saved:
            members = {name: saved.read(name) for name in saved.namelist()}
    return _zip(members | {"config.json": _stable(members["config.json"])})


def write(network: plain.Sequential, weights: np.ndarray) -> bytes:
    """The ``.keras`` file of a network with these weights, written without Keras.

    The bytes are equal to those of ``pack`` for the same network as a Keras model. The format is that of
    ``keras/src/saving/saving_lib.py``.

    Args:
        network: The network.
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
    """Path, name and arrays of each group of variables, in the order of Keras's file."""
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
    """A ``.keras`` file of these members, with metadata that have no time."""
    metadata = {"keras_version": version("keras"), "date_saved": DATE}
    members = members | {"metadata.json": json.dumps(metadata).encode()}
    return pack_members({name: members[name] for name in sorted(members)})


def unpack(packed: bytes) -> "keras.Model":
    """The model in a ``.keras`` file.

    Raises:
        InputError: It is not a ``.keras`` file, or damaged.
    """
    from sentiment.keras.backend import keras, tf

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(packed)
        try:
            _checked(packed)
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # Keras warns if it could not rebuild the model
                return keras.models.load_model(path, compile=False)
        except (*UNREADABLE, UserWarning, tf.errors.OpError) as error:
            raise InputError(f"not a readable .keras file ({_reason(error).replace(str(path), 'it'):.200})") from None


def read(packed: bytes) -> tuple[list[dict], np.ndarray]:
    """The layers and the weights of a saved ``Sequential`` model, read without Keras, whose import takes seconds.

    The format is that of ``keras/src/saving/saving_lib.py``. The file names layers only by class and number, so the
    caller should compare the digest of the weights with the expected one.

    Returns:
        The layers, ``json.loads(model.to_json())["config"]["layers"]``, and the weights as in ``backend.get_weights``.

    Raises:
        InputError: It is not a ``.keras`` file of a ``Sequential`` model.
    """
    import h5py

    try:
        config, weights = _checked(packed)
        layers, arrays = config["config"]["layers"], []
        with h5py.File(io.BytesIO(weights)) as file:
            for name in _groups(layers):
                group = file["layers"].get(name)
                arrays += _arrays(group) if group is not None else []
        flat = np.concatenate([array.ravel() for array in arrays] or [np.zeros(0, np.float32)])
    except UNREADABLE as error:
        raise InputError(f"not a readable .keras file ({_reason(error):.200})") from None
    return layers, flat


def _checked(packed: bytes) -> tuple[dict, bytes]:
    """The configuration and the weights file of an archive, after a check that their sizes are plausible.

    Raises:
        UNREADABLE: The archive is damaged or malicious.
    """
    import h5py

    files = members(packed)
    config, weights = json.loads(files["config.json"]), files["model.weights.h5"]
    todo = [config]
    while todo:
        value = todo.pop()
        todo += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ValueError(f"config.json: expected sizes of at most {LARGEST:,}, got one of {len(str(value))} digits")
    with h5py.File(io.BytesIO(weights)) as file:
        _check_group(file, [len(weights), MOST_OBJECTS], 0)
    return config, weights


def _check_group(group: "h5py.Group", left: list[int], depth: int) -> None:
    """Check that a group has only arrays in this file, and at most the bytes and arrays that are ``left``.

    A malicious file could have links to other files or in circles, or arrays in other files, pipes and devices.
    """
    import h5py

    if depth > DEEPEST:
        raise ValueError(f"expected at most {DEEPEST} levels of groups")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"expected no links, got {name!a:.80}")
        item, left[1] = group[name], left[1] - 1
        if left[1] < 0:
            raise ValueError(f"expected at most {MOST_OBJECTS:,} groups and arrays")
        if isinstance(item, h5py.Group):
            _check_group(item, left, depth + 1)
        elif not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiuS" or item.external or item.is_virtual:
            raise ValueError(f"expected arrays of numbers in the file itself, got {name!a:.80}")
        else:
            left[0] -= item.size * item.dtype.itemsize
            if left[0] < 0 or item.chunks is not None:
                raise ValueError(f"expected arrays in one piece and no larger than the file, got {name!a:.80}")


def _reason(error: BaseException) -> str:
    """The first line of an error's message."""
    return ascii((str(error).splitlines() or [""])[0])[1:-1] or type(error).__name__


def table(layers: Iterable[tuple[str, str, tuple, int]]) -> str:
    """The table of a model's layers as text.

    Keras's ``summary`` is not used, because its text depends on the terminal.

    Args:
        layers: Name, class, output shape and number of parameters of each layer.
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
    """The name in the HDF5 file of each layer except the input: its class, numbered from the second one on."""
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
    """The weights of a layer in Keras's order: first those of the layer, then those of its parts, without seeds."""
    variables = group.get("vars", {})
    parts = sorted(set(group) - {"vars", "seed_generator"}, key=lambda name: (name != "forward_layer", name))
    arrays = [variables[name][()] for name in sorted(variables, key=int)]
    return arrays + [array for part in parts for array in _arrays(group[part])]
