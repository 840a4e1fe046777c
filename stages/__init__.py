"""One door per DVC stage: read params and inputs, call the library, write outputs.

What a stage does before it imports anything else is here.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path

# What a user sets for other programs of these libraries would reach the results, or end a stage in a traceback.
LIBRARIES = ("DVCLIVE_", "KERAS_", "NPY_", "NUMBA_", "SCIPY_", "SKLEARN_", "TF_", "TQDM_", "XLA_")
HARMLESS = ("KERAS_HOME", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR")  # where things lie
NUMBA_SETTINGS = Path(".numba_config.yaml")  # which Numba reads as it is imported, and fails if it can't

LARGE = 2**20
"""Bytes from which a file is known by its size, its time and its place on the disk, and not read to be compared."""

_noted: dict[Path, object] = {}  # what the dependencies were when the stage started


def moved() -> list[Path]:
    """The dependencies that are no longer what they were when the stage started; DVC would record what they are now.

    Empty for a stage that is run by hand, which DVC does not record (iterative/dvc, issue 11058).
    """
    return [path for path, was in _noted.items() if _note(path) != was]


def _dependencies(stage: str) -> list[Path]:
    """The paths that dvc.yaml declares as what a stage reads, but for sections of params files."""
    import yaml

    name, _, model = stage.rpartition(":")[2].partition("@")
    definition = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][name]
    definition = definition.get("do", definition)
    whole_files = [path for entry in definition.get("params", []) if isinstance(entry, dict) for path in entry]
    return [Path(path.replace("${key}", model)) for path in [*definition.get("deps", []), *whole_files]]


def _note(path: Path) -> object:
    """What tells whether a file, or a folder of code, has changed.

    Whoever writes to a large file changes its time, or puts another in its place.
    """
    if path.is_dir():
        return {file: _note(file) for file in sorted(path.rglob("*.py"))}
    try:
        found = path.stat()
        if found.st_size >= LARGE:
            return found.st_size, found.st_mtime_ns, found.st_ino
        return hashlib.sha256(path.read_bytes()).digest()
    except FileNotFoundError:
        return None


if sys.argv[0] == "-m":  # a stage is starting
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while it imports ends it without a traceback
    for _variable in [name for name in os.environ if name.startswith(LIBRARIES) and name not in HARMLESS]:
        del os.environ[_variable]
    if NUMBA_SETTINGS.exists():
        sys.exit(
            f"error: {NUMBA_SETTINGS}: expected no settings of Numba's here, where it would follow them; delete it"
        )
    if "DVC_STAGE" in os.environ:
        _noted = {path: _note(path) for path in _dependencies(os.environ["DVC_STAGE"])}
