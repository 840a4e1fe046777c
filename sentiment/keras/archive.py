"""The ``.keras`` file, whose bytes are a function of the weights alone, and the table of layers."""

import io
import json
import re
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sentiment import InputError

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
        layers, counts, arrays = config["config"]["layers"], {}, []
        with h5py.File(io.BytesIO(weights)) as file:
            for layer in layers:
                name = _snake(layer["class_name"])
                count = counts[name] = counts.get(name, -1) + 1
                group = file["layers"].get(f"{name}_{count}" if count else name)
                arrays += _arrays(group) if group is not None else []
    except _UNREADABLE as error:
        raise InputError(f"not a readable .keras file ({error})") from None
    return layers, np.concatenate([array.ravel() for array in arrays] or [np.zeros(0, np.float32)])


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
