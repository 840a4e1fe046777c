"""Comparison, bit by bit, of the arrays in two versions of a file: NumPy files, HDF5, and archives of these."""

import io
import math
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any


def first_array(was: bytes, now: bytes) -> str | None:
    """Name the first array that differs, in the order of the file, and the first index; None if there is none.

    NumPy, and h5py for HDF5, are optional: without them the result is None.
    """
    if find_spec("numpy") is None:
        return None
    try:
        before, after = (dict(_arrays(side, _Budget(2**26 + 10 * len(side)))) for side in (was, now))
    except Exception:  # a reader of a broken or hostile file can raise any error; the bytes differ in any case
        return None
    differences = [text for name in before | after if (text := _difference(before.get(name), after.get(name), name))]
    if not differences:
        return None
    more = f"; {len(differences) - 1} more arrays differ" if len(differences) > 1 else ""
    return differences[0] + more


class _Budget:
    """Number of bytes that may still be unpacked from a file: a small archive must not fill the memory."""

    def __init__(self, left: int):
        self.left = left

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ValueError("expected fewer bytes")


def _arrays(content: bytes, budget: _Budget, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each array of a file, or of each member of an archive."""
    file = io.BytesIO(content)
    if content.startswith(b"PK"):
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                budget.spend(member.file_size + 1024)  # an archive may hold itself
                with archive.open(member) as stream:
                    yield from _arrays(stream.read(member.file_size), budget, f"{prefix}{member.filename}/")
    elif content.startswith(b"\x93NUMPY"):
        import numpy as np

        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        budget.spend(math.prod(shape) * dtype.itemsize)
        file.seek(0)
        yield prefix.removesuffix("/").removesuffix(".npy") or "the array", np.load(file, allow_pickle=False)
    elif content.startswith(b"\x89HDF\r\n\x1a\n") and find_spec("h5py") is not None:
        import h5py

        with h5py.File(file) as root:
            names = []
            root.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            for name in names:
                label = root[name].parent.attrs.get("name")
                budget.spend(root[name].size * root[name].dtype.itemsize)
                yield f"{prefix}{name}" + (f" ({label})" if label is not None else ""), root[name][()]


def _difference(was: Any, now: Any, name: str) -> str | None:
    import numpy as np

    if was is None or now is None:
        return f"{name}: only the {'rerun' if was is None else 'revision'} has it"
    was, now = np.asarray(was), np.asarray(now)
    if (was.dtype, was.shape) != (now.dtype, now.shape):
        return f"{name}: recorded {was.dtype} {list(was.shape)}, found {now.dtype} {list(now.shape)}"
    if was.dtype.hasobject or not was.size:
        return None
    bits = [np.ascontiguousarray(side).reshape(-1).view("u1").reshape(was.size, -1) for side in (was, now)]
    apart = np.flatnonzero((bits[0] != bits[1]).any(axis=1))
    if not len(apart):
        return None
    index = np.unravel_index(apart[0], was.shape)
    element = f"{name}[{', '.join(map(str, index))}]" if index else name
    return f"{element}: recorded {was[index]!s}, found {now[index]!s}; {len(apart)} of its {was.size} numbers differ"
