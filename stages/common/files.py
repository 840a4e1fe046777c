"""Reading and writing of files by stages; no file is ever half-written."""

import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.lib.format import open_memmap

from sentiment import InputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, of a full quota, and of a file that is as large as this user's limit allows."""

CHUNK = 1 << 20  # bytes written at once

unfinished: set[Path] = set()
"""Files that are being written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``. It is moved to ``path`` if the block raises no error, and deleted otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    unfinished.add(partial)
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # otherwise a power cut could leave an empty file with this name
        os.replace(partial, path)
    except OSError as error:
        if error.errno in FULL:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        partial.unlink(missing_ok=True)
        unfinished.remove(partial)


def create_array(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    """A new ``.npy`` file of zeros, as a memory map. On Windows, the map must be deleted before the file is moved.

    The space on the disk is allocated first: writing to a map of a sparse file on a full disk would kill the process.
    """
    array = open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as file:
        if sys.platform == "linux":
            os.posix_fallocate(file.fileno(), array.offset, array.nbytes)
        else:
            file.seek(array.offset)
            for start in range(0, array.nbytes, CHUNK):
                file.write(bytes(min(CHUNK, array.nbytes - start)))
    return array


def read_array(path: Path) -> np.ndarray:
    """A ``.npy`` file as a read-only memory map. Arrays of Python objects are refused."""
    try:
        return open_memmap(path, mode="r")
    except (ValueError, TypeError, EOFError, TokenError) as error:
        raise InputError(f"{path}: not an array of numbers ({error}); `dvc repro` makes it again") from None


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as ``.npy``; the file is never half-written."""
    content = io.BytesIO()  # NumPy's C code, which writes to files, gives no reason for a failure
    np.save(content, array, allow_pickle=False)
    with replacing(path) as partial:
        partial.write_bytes(content.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with ``\\n`` line ends; the file is never half-written."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, values: dict | Sequence) -> None:
    """Write indented JSON with sorted keys. NaN and infinity are a ``ValueError``."""
    write_text(path, json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_csv(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Write columns of one length, the names in the first line."""
    rows = [columns, *zip(*columns.values(), strict=True)]
    write_text(path, "".join(",".join(map(str, row)) + "\n" for row in rows))
