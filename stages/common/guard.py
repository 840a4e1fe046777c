"""Protection of a stage from the user's environment, and from inputs that change while it runs."""

import os
import re
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from sentiment import InputError

# What a user sets for other programs of these libraries would reach the results, or end a stage in a traceback.
LIBRARIES = ("DVCLIVE_", "KERAS_", "NPY_", "NUMBA_", "SCIPY_", "SKLEARN_", "TF_", "TQDM_", "XLA_")
HARMLESS = ("KERAS_HOME", "NUMBA_CACHE_DIR", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR")  # where things lie
NUMBA_SETTINGS = Path(".numba_config.yaml")  # which Numba reads as it is imported, and fails if it can't

LARGE = 2**20
"""Bytes from which a file is compared by its size, time and inode, and not read."""

_dependencies: list[Path] = []  # of the stage that runs
_noted: dict[Path, object] = {}  # what they were when it started


def changed() -> list[Path]:
    """The dependencies that have changed since the stage started; DVC would record what they are now.

    Empty for a stage that is run by hand, which DVC does not record (iterative/dvc, issue 11058).
    """
    now = _note(_dependencies)
    return [path for path in _noted | now if _noted.get(path) != now.get(path)]


def _declared(stage: str) -> list[Path]:
    """The paths that dvc.yaml declares as what a stage reads, but for sections of params files."""
    from stages.common.reader import load

    name, _, key = stage.rpartition(":")[2].partition("@")
    definition = load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][name]
    values = {"key": key}
    if "foreach" in definition:
        params = load(Path("params.yaml").read_text(encoding="utf-8"))
        values |= _flat(params[definition["foreach"][2:-1]][key], "item")
        definition = definition["do"]
    whole_files = [path for entry in definition.get("params", []) if isinstance(entry, dict) for path in entry]
    paths = [*definition.get("deps", []), *whole_files]
    return [Path(re.sub(r"\$\{(.+?)\}", lambda found: str(values[found[1]]), path)) for path in paths]


def _flat(values: dict, prefix: str) -> dict[str, object]:
    """Values by the names that dvc.yaml has for them: ``item.architecture.kind``."""
    flat = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}.{name}") if isinstance(value, dict) else {f"{prefix}.{name}": value}
    return flat


def _note(paths: list[Path]) -> dict[Path, object]:
    """State of each file and of those in each folder, which may be very many, by which a change is noticed.

    Whoever writes to a large file changes its time, or puts another in its place.
    """
    notes = {}
    for path in paths:
        inside = [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
        for file in inside or [path] * path.is_file():
            found = file.stat()
            small = found.st_size < LARGE and (not inside or file.suffix == ".py")
            notes[file] = file.read_bytes() if small else (found.st_size, found.st_mtime_ns, found.st_ino)
    return notes


def start() -> None:
    """Begin a stage: Ctrl-C ends imports without a traceback, settings for other programs of its libraries are dropped,
    and the stage's dependencies are noted.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.version_info < (3, 10) or find_spec("pydantic") is None:  # `.venv/bin/dvc repro`, say: DVC runs this one
        sys.exit(f"error: {sys.executable} is not the Python of .venv; run `source .venv/bin/activate` first")
    for variable in [name for name in os.environ if name.startswith(LIBRARIES) and name not in HARMLESS]:
        del os.environ[variable]
    if NUMBA_SETTINGS.exists():
        sys.exit(
            f"error: {NUMBA_SETTINGS}: expected no settings of Numba's here, where it would follow them; delete it"
        )
    if "DVC_STAGE" in os.environ:
        with suppress(InputError):  # of a params.yaml that the stage refuses as soon as it reads it
            _dependencies[:] = _declared(os.environ["DVC_STAGE"])
        _noted.update(_note(_dependencies))
