"""A ``.keras`` file read without Keras, whose import takes longer than most answers.

The format: ``keras/src/saving/saving_lib.py``.
"""

import io
import json
import re
import zipfile

import h5py
import numpy as np

from sentiment import InputError


def read(packed: bytes) -> tuple[list[dict], np.ndarray]:
    """The layers of a saved ``Sequential`` model and its weights.

    The file names layers by class and number alone, so whoever must be sure compares the digest of the weights.

    Returns:
        The layers as ``network.to_layers`` gives them, and the weights as ``network.get_weights`` does.

    Raises:
        InputError: It is no ``.keras`` file of a ``Sequential`` model.
    """
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
    except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"model: not a readable .keras file ({error}); run train again") from None
    return layers, np.concatenate([array.ravel() for array in arrays] or [np.zeros(0, np.float32)])


def _arrays(group: h5py.Group) -> list[np.ndarray]:
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
