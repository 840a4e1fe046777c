"""What every stage does the same way: its command line, its errors and its writing of files."""

import argparse
import errno
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Literal

import numpy as np
from numpy.lib.format import open_memmap

from sentiment import InputError
from stages import moved
from stages.settings import SECTIONS, Section, read

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Why a disk takes no more: it is full, this user's share of it is, or the file is as large as this user may have."""

CHUNK = 1 << 20  # bytes written at once

_unfinished: set[Path] = set()  # what is being written


def command(
    main: Callable,
    settings: type[Section] | None = None,
    *,
    model: Literal["required", "optional"] | None = None,
    baseline: Literal["required", "optional"] | None = None,
    corpus: Literal["required", "optional"] | None = None,
    interrupted: str = "interrupted",
) -> None:
    """Run a stage from the command line: ``main(settings, name)``, or without what the stage doesn't take.

    Bad input ends in one line per fault on standard error and exit code 1, without a traceback. So does a dependency
    that has changed since the stage started: it may have read either, and DVC would record the new one. Ctrl-C and a
    termination end in the line ``interrupted`` and exit code 130 or 143, and leave no file half-written.

    Args:
        main: What the stage does.
        settings: The schema of what it reads of ``params.yaml``: of what it takes the name of, of the file if of none.
        model: Whether it takes the name of a model: as an argument, or as an option.
        baseline: Whether it takes the name of a baseline.
        corpus: Whether it takes the name of a corpus.
        interrupted: What to say then.
    """

    def end(number, _):
        # Nothing is unwound: KeyboardInterrupt may strike inside any library's lock, which then stays closed, and the
        # exit waits for it for ever.
        for path in _unfinished:
            path.unlink(missing_ok=True)
        os.write(sys.stderr.fileno(), f"\n{interrupted}\n".encode())
        os._exit(128 + number)

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    sys.stdout.reconfigure(line_buffering=True)  # what has been printed is not lost
    description = (sys.modules[main.__module__].__doc__ or "").partition("\n")[0]  # Python -OO keeps none
    parser = argparse.ArgumentParser(description=description)
    for kind, taken in {"model": model, "baseline": baseline, "corpus": corpus}.items():
        if taken:
            parser.add_argument(
                kind if taken == "required" else f"--{kind}", help=f"a name under `{SECTIONS[kind]}` in params.yaml"
            )
    names = vars(parser.parse_args())
    try:
        given = [read(settings, **names)] if settings else []
        main(*given, *names.values())
        _refuse_moved_inputs(settings and read(settings, **names) != given[0])
    except InputError as error:
        sys.exit("\n".join(f"error: {line}" for line in str(error).splitlines()))
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename} is missing; `dvc repro` runs the stages that make it first")
    except OSError as error:
        remedy = "; make room and run the same command again" if error.errno in FULL else ""
        sys.exit(f"error: {error}{remedy}")
    except MemoryError as error:
        sys.exit(f"error: out of memory ({error or 'no more to be had'}); lower the batch or the sizes in params.yaml")


def _refuse_moved_inputs(params_moved: bool) -> None:
    paths = [*map(str, moved()), *(["params.yaml"] if params_moved else [])]
    if paths:
        raise InputError(
            f"{', '.join(paths)}: expected no change while the stage ran, but it changed; run `dvc repro` again"
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place when the block ends well, and vanishes if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    _unfinished.add(partial)
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # or a power cut leaves the name with nothing in it
        os.replace(partial, path)
    except OSError as error:
        if error.errno in FULL:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        partial.unlink(missing_ok=True)
        _unfinished.remove(partial)


def create_array(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    """A new ``.npy`` file of zeros, mapped; delete the map before the file is moved, as Windows asks.

    It has its room on the disk: to write to a map of a file that has not, where there is none left, ends the process.
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
    """A ``.npy`` file as a read-only memory map that can hold numbers only."""
    try:
        return open_memmap(path, mode="r")
    except (ValueError, TypeError, EOFError, TokenError) as error:
        raise InputError(f"{path}: not an array of numbers ({error}); `dvc repro` makes it again") from None


def read_split(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """A model's ids, [reviews, max_length], and labels, [reviews], of a split."""
    ids, labels = (read_array(Path("data", name, f"{kind}_{split}.npy")) for kind in "xy")
    whole = all(np.issubdtype(array.dtype, np.unsignedinteger) for array in (ids, labels))
    if not whole or ids.ndim != 2 or labels.shape != ids.shape[:1] or not len(labels) or labels.max() > 1:
        raise InputError(
            f"data/{name}: expected a row of ids and a label, 0 or 1, of each review, got {split} ids {ids.dtype}"
            f" {[*ids.shape]} and labels {labels.dtype} {[*labels.shape]}; `dvc repro pad@{name}` makes them again"
        )
    return ids, labels


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as ``.npy``, whole or not at all."""
    content = io.BytesIO()  # of a file itself, NumPy asks C to write, which does not say why it fails
    np.save(content, array, allow_pickle=False)
    with replacing(path) as partial:
        partial.write_bytes(content.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with ``\\n`` line ends, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, values: dict | Sequence) -> None:
    """Write sorted, indented JSON that no NaN or infinity can enter (``ValueError``)."""
    write_text(path, json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_csv(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Write columns of one length, the names in the first line."""
    rows = [columns, *zip(*columns.values(), strict=True)]
    write_text(path, "".join(",".join(map(str, row)) + "\n" for row in rows))
