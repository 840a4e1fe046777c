"""The ``.keras`` file, whose bytes are a function of the weights alone, and the table of layers."""

import io
import json
import re
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sentiment import InputError
from sentiment.data.archives import UNREADABLE, members

if TYPE_CHECKING:
    import h5py
    import keras

DATE = "1980-01-01@00:00:00"
"""When every file says it was saved: the earliest time that its members can have. Keras's file editor wants one."""

MOST_OBJECTS, DEEPEST, LARGEST = 10_000, 20, 10**8
"""Maximum number of groups and arrays in a file, of levels of groups, and of any size in the configuration."""


def pack(model: "keras.Model") -> bytes:
    """The ``.keras`` file of a model, without the date and the memory addresses that Keras writes into it."""
    import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        with zipfile.ZipFile(path) as saved:
            members = {name: saved.read(name) for name in sorted(saved.namelist())}
    metadata = {"keras_version": keras.__version__, "date_saved": DATE}
    members |= {"metadata.json": json.dumps(metadata).encode(), "config.json": _stable(members["config.json"])}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return packed.getvalue()


def unpack(packed: bytes) -> "keras.Model":
    """The model in a ``.keras`` file.

    Raises:
        InputError: It is none, or damaged.
    """
    from sentiment.keras.backend import keras, tf

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(packed)
        try:
            _checked(packed)
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # of a model that Keras could not rebuild
                return keras.models.load_model(path, compile=False)
        except (*UNREADABLE, UserWarning, tf.errors.OpError) as error:
            raise InputError(f"not a readable .keras file ({_reason(error).replace(str(path), 'it'):.200})") from None


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
        config, weights = _checked(packed)
        layers, counts, arrays = config["config"]["layers"], {}, []
        with h5py.File(io.BytesIO(weights)) as file:
            for layer in layers:
                name = _snake(layer["class_name"])
                count = counts[name] = counts.get(name, -1) + 1
                group = file["layers"].get(f"{name}_{count}" if count else name)
                arrays += _arrays(group) if group is not None else []
        flat = np.concatenate([array.ravel() for array in arrays] or [np.zeros(0, np.float32)])
    except UNREADABLE as error:
        raise InputError(f"not a readable .keras file ({_reason(error):.200})") from None
    return layers, flat


def _checked(packed: bytes) -> tuple[dict, bytes]:
    """The configuration, and the file of the weights, of an archive in which nothing is larger than it says.

    Raises:
        UNREADABLE: It is none.
    """
    import h5py

    found = members(packed)
    config, weights = json.loads(found["config.json"]), found["model.weights.h5"]
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
    """See that a group has only arrays of its own, whose bytes and number are within what is ``left``.

    Links may lead to other files or in circles, arrays may lie in other files, pipes and devices among them.
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
                raise ValueError(f"expected arrays as they lie in the file and no longer than it, got {name!a:.80}")


def _reason(error: BaseException) -> str:
    """The first line of an error's message."""
    return ascii((str(error).splitlines() or [""])[0])[1:-1] or type(error).__name__


def table(model: "keras.Model") -> str:
    """The layers of a model, their output shapes and their numbers of parameters, as text.

    Not Keras's ``summary``, whose form follows the terminal.
    """
    rows = [("layer", "type", "output shape", "parameters")]
    for layer in model.layers:
        rows.append((layer.name, type(layer).__name__, str(layer.output.shape), f"{layer.count_params():,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), last.rjust(widths[-1])])
        for *cells, last in rows
    ]
    return "\n".join([*lines, f"Total params: {model.count_params():,}"]) + "\n"


def _stable(config: str | bytes) -> bytes:
    """Keras's JSON without ``shared_object_id``, which is an address in memory."""

    def without_address(fields: dict) -> dict:
        return {key: value for key, value in fields.items() if key != "shared_object_id"}

    return json.dumps(json.loads(config, object_hook=without_address), sort_keys=True).encode()


def _arrays(group: "h5py.Group") -> list[np.ndarray]:
    """The weights below a layer in Keras's order: its own, then its parts'; the seeds of dropout are none."""
    variables = group.get("vars", {})
    parts = sorted(set(group) - {"vars", "seed_generator"}, key=lambda name: (name != "forward_layer", name))
    own = [variables[name][()] for name in sorted(variables, key=int)]
    return own + [array for part in parts for array in _arrays(group[part])]


def _snake(name: str) -> str:
    """Keras's ``to_snake_case``.

    >>> _snake("Conv1D"), _snake("LSTM"), _snake("MaxPooling1D")
    ('conv1d', 'lstm', 'max_pooling1d')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
