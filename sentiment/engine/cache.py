"""Cache of compiled functions in files, so that the next process need not compile them.

Numba's own cache has three faults. It notices a change of a function's file, but not of the functions that it calls. It
uses another folder if it may not write to the first one. It reads a file that a power cut has damaged. This cache has a
key of everything that changes the compiled code, and checks a digest of each file. Its folder is in
``NUMBA_CACHE_DIR`` if that variable is set, so that copies of this code can share it, and otherwise in ``__pycache__``
beside Python's bytecode.
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

saved = 0
"""Number of functions that this process has compiled and saved."""

_unusable: OSError | None = None  # the error because of which there is no cache; logged once


class Cache(NullCache):
    """The cache of one compiled function, with the interface of Numba's; a function that is not in it is compiled."""

    def __init__(self, function: FunctionType):
        self.name = f"{function.__module__}.{function.__qualname__}"
        # The function's file may be outside the engine, so its digest is part of the key.
        self.code = hashlib.sha256(Path(function.__code__.co_filename).read_bytes()).hexdigest()

    def load_overload(self, sig, target_context):
        """Compiled code for the types ``sig`` and this processor; ``None`` if there is none or it is damaged."""
        target_context.refresh()
        if _unusable or _files() != _FILES:  # the files have changed since they were imported, or during the import
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
        """Save the code compiled for the types ``sig``."""
        global saved
        if _unusable or _files() != _FILES or data.library.has_dynamic_globals:  # these are addresses in this process
            return
        content = dumps(data._reduce())
        path = self._path(sig, data.codegen)
        partial = path.with_suffix(f".{uuid.uuid4().hex}")  # no other process, on any machine, has this name
        try:
            FOLDER.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(hashlib.sha256(content).digest() + content)
            partial.replace(path)
            saved += 1
        except OSError as error:
            _do_without(error)

    def _path(self, sig, codegen) -> Path:
        # The magic tuple has the processor and its features.
        key = repr((self.name, self.code, str(sig), codegen.magic_tuple()))
        return FOLDER / f"{self.name.rpartition('.')[2]}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _do_without(error: OSError) -> None:
    global _unusable
    _unusable = error
    logging.getLogger(__name__).warning("compiled code is not kept, and compiled again by each process: %s", error)
