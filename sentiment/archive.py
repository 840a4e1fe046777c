"""The ``.keras`` file, whose bytes are a function of the weights alone, and the table of layers."""

import io
import json
import tempfile
import zipfile
import zlib
from pathlib import Path

from sentiment import InputError
from sentiment.network import keras

DATE = "1980-01-01@00:00:00"
"""When every file says it was saved: the earliest time that its members can have. Keras's file editor wants one."""

_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, RuntimeError)


def pack(model: keras.Model) -> bytes:
    """The ``.keras`` file of a model, without the date and the memory addresses that Keras writes into it."""
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


def unpack(packed: bytes) -> keras.Model:
    """The model in a ``.keras`` file.

    Raises:
        InputError: It is none, or damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(packed)
        try:
            return keras.models.load_model(path, compile=False)
        except (*_UNREADABLE, zipfile.BadZipFile, zlib.error) as error:
            reason = str(error).splitlines()[0].replace(str(path), "it") if str(error) else type(error).__name__
            raise InputError(f"not a readable .keras file ({reason:.200})") from None


def table(model: keras.Model) -> str:
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
