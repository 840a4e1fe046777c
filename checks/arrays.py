"""The arrays in two versions of a file, compared bit by bit: NumPy's files, HDF5, and archives of such."""

import io
import math
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any


def first_array(was: bytes, now: bytes) -> str | None:
    """Name the first array, in the order of the file, that differs, and where; None if the files hold no arrays.

    NumPy reads the arrays, and h5py those of HDF5, where they are installed.
    """
    if find_spec("numpy") is None:
        return None
    try:
        before, after = (dict(_arrays(side, _Budget(2**26 + 10 * len(side)))) for side in (was, now))
    except Exception:  # a broken or hostile file makes its reader raise anything; the bytes differ in any case
        return None
    differences = [text for name in before | after if (text := _difference(before.get(name), after.get(name), name))]
    if not differences:
        return None
    more = f"; {len(differences) - 1} more arrays differ" if len(differences) > 1 else ""
    return differences[0] + more


class _Budget:
    """The bytes that may still be unpacked from a file, so that a small one can't fill the memory."""

    def __init__(self, left: int):
        self.left = left

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ValueError("expected fewer bytes")


def _arrays(content: bytes, budget: _Budget, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the arrays of a file by their names; of an archive, those of its members."""
    file = io.BytesIO(content)
    if content.startswith(b"PK"):
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                budget.spend(member.file_size + 1024)  # an archive may hold itself
                with archive.open(member) as stream:
                    yield from _arrays(stream.read(member.file_size), budget, f"{place}{member.filename}/")
    elif content.startswith(b"\x93NUMPY"):
        import numpy as np

        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        budget.spend(math.prod(shape) * dtype.itemsize)
        file.seek(0)
        yield place.removesuffix("/").removesuffix(".npy") or "the array", np.load(file, allow_pickle=False)
    elif content.startswith(b"\x89HDF\r\n\x1a\n") and find_spec("h5py") is not None:
        import h5py

        with h5py.File(file) as root:
            found = []
            root.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
            for name in found:
                label = root[name].parent.attrs.get("name")
                budget.spend(root[name].size * root[name].dtype.itemsize)
                yield f"{place}{name}" + (f" ({label})" if label is not None else ""), root[name][()]


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
    place = f"{name}[{', '.join(map(str, index))}]" if index else name
    return f"{place}: recorded {was[index]!s}, found {now[index]!s}; {len(apart)} of its {was.size} numbers differ"
