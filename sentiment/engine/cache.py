"""Compiled functions kept in files, so that the next process need not compile them.

Numba's own cache looks at the file of a function for what it compiled before, not at those of the functions it calls;
it goes to another folder where it may not write, and takes what a power cut left for whole. This one knows a function
by all that shapes its code, and a file by its digest. It lies in ``NUMBA_CACHE_DIR`` if that variable is set, so that
copies of this code can share it, and otherwise beside Python's bytecode in ``__pycache__``.
"""

import hashlib
import logging
import pickle
import sys
import uuid
from pathlib import Path
from types import FunctionType

import llvmlite
import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

_PACKAGE = Path(__file__).parent


def _files() -> list[tuple[Path, int, int]]:
    """The engine's files, with the times of their last change and their sizes."""
    paths = sorted(_PACKAGE.rglob("*.py"))
    return [(path, status.st_mtime_ns, status.st_size) for path in paths for status in [path.stat()]]


# Neither the number of threads nor the folder of the cache changes the compiled code.
_SETTINGS = {
    name: str(value)
    for name, value in vars(numba.config).items()
    if name.isupper() and "THREADS" not in name and name != "CACHE_DIR"
}
_FILES = _files()
_CODE = hashlib.sha256(b"\0".join(path.read_bytes() for path, _, _ in _FILES)).hexdigest()
_VERSION = (_CODE, sys.version, numba.__version__, llvmlite.__version__, sorted(_SETTINGS.items()))
FOLDER = (
    Path(numba.config.CACHE_DIR or _PACKAGE / "__pycache__") / hashlib.sha256(repr(_VERSION).encode()).hexdigest()[:16]
)
"""A folder for each version of the code, of Python, of the compiler and of its settings."""

_unusable: OSError | None = None  # why there is no cache; said once


class Cache(NullCache):
    """The cache of one compiled function, as Numba asks for it; a function that is not in it is compiled."""

    def __init__(self, function: FunctionType):
        self.name = f"{function.__module__}.{function.__qualname__}"
        # Of its own file, too, as it may be none of the engine's.
        self.code = hashlib.sha256(Path(function.__code__.co_filename).read_bytes()).hexdigest()

    def load_overload(self, sig, target_context):
        """Compiled code for the types ``sig`` and this processor; ``None`` if there is none or it is damaged."""
        target_context.refresh()
        if _unusable or _files() != _FILES:  # the files have changed since they were imported, or while they were
            return None
        try:
            kept = self._path(sig, target_context.codegen()).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return _do_without(error)
        digest, content = kept[:32], kept[32:]
        if hashlib.sha256(content).digest() != digest:
            return None
        return CompileResult._rebuild(target_context, *pickle.loads(content))

    def save_overload(self, sig, data):
        """Keep what has been compiled for the types ``sig``."""
        if _unusable or _files() != _FILES or data.library.has_dynamic_globals:  # addresses of this process
            return
        content = dumps(data._reduce())
        path = self._path(sig, data.codegen)
        partial = path.with_suffix(f".{uuid.uuid4().hex}")  # of this process alone, on any machine
        try:
            FOLDER.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(hashlib.sha256(content).digest() + content)
            partial.replace(path)
        except OSError as error:
            _do_without(error)

    def _path(self, sig, codegen) -> Path:
        key = repr(
            (self.name, self.code, str(sig), codegen.magic_tuple())
        )  # the last: the processor and what it can do
        return FOLDER / f"{self.name.rpartition('.')[2]}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _do_without(error: OSError) -> None:
    global _unusable
    _unusable = error
    logging.getLogger(__name__).warning("compiled code is not kept, and compiled again by each process: %s", error)
