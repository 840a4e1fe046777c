"""Protection of a stage from the user's environment, and from inputs that change while it runs."""

import os
import re
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from sentiment import InputError

# A user's settings for other programs with these libraries could change the results or end a stage in a traceback.
LIBRARIES = ("DVCLIVE_", "KERAS_", "NPY_", "NUMBA_", "SCIPY_", "SKLEARN_", "TF_", "TQDM_", "XLA_")
HARMLESS = ("KERAS_HOME", "NUMBA_CACHE_DIR", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR")  # cannot change results
NUMBA_SETTINGS = Path(".numba_config.yaml")  # Numba reads it at import, and fails if it is unreadable

LARGE = 2**20
"""Size in bytes from which a file is compared by size, time and inode instead of its content."""

_dependencies: list[Path] = []  # dependencies of the stage that runs
_noted: dict[Path, object] = {}  # their state when the stage started


def changed() -> list[Path]:
    """The dependencies that changed since the stage started; DVC would record their new content.

    DVC does not detect such a change (iterative/dvc, issue 11058). The list is empty if the stage is run by hand,
    because DVC does not record that run.
    """
    now = _note(_dependencies)
    return [path for path in _noted | now if _noted.get(path) != now.get(path)]


def _declared(stage: str) -> list[Path]:
    """The paths of a stage's dependencies in dvc.yaml, without sections of params files."""
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
    return [Path(re.sub(r"\$\{(.+?)\}", lambda match: str(values[match[1]]), path)) for path in paths]


def _flat(values: dict, prefix: str) -> dict[str, object]:
    """Values by their names in dvc.yaml, such as ``item.architecture.kind``."""
    flat = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}.{name}") if isinstance(value, dict) else {f"{prefix}.{name}": value}
    return flat


def _note(paths: list[Path]) -> dict[Path, object]:
    """State of each file, and of all files in each folder; a change of a file changes its state.

    The state of a large file is its size, time and inode: every write changes one of them.
    """
    notes = {}
    for path in paths:
        inside = [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
        for file in inside or [path] * path.is_file():
            status = file.stat()
            small = status.st_size < LARGE and (not inside or file.suffix == ".py")
            notes[file] = file.read_bytes() if small else (status.st_size, status.st_mtime_ns, status.st_ino)
    return notes


def start() -> None:
    """Prepare a stage: remove the user's settings of its libraries, and record the state of its dependencies.

    Ctrl-C during the imports ends the process without a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.version_info < (3, 10) or find_spec("pydantic") is None:  # DVC runs the `python` on the path
        sys.exit(f"error: {sys.executable} is not the Python of .venv; run `source .venv/bin/activate` first")
    for variable in [name for name in os.environ if name.startswith(LIBRARIES) and name not in HARMLESS]:
        del os.environ[variable]
    if NUMBA_SETTINGS.exists():
        sys.exit(f"error: {NUMBA_SETTINGS}: expected no file of settings here, because Numba would read it; delete it")
    if "DVC_STAGE" in os.environ:
        with suppress(InputError):  # the stage raises this error when it reads params.yaml
            _dependencies[:] = _declared(os.environ["DVC_STAGE"])
        _noted.update(_note(_dependencies))
