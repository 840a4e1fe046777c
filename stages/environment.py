"""Write data/environment.json: the architecture, and the locked versions of the packages that can change results.

So an upgrade of the compiler makes training stale, and an upgrade of the linter makes only this stage stale. Training
runs again on another architecture, to show that the bits are the same there.
"""

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sentiment import InputError
from stages.common.command import command
from stages.common.files import write_json

COMPUTING = (
    "h5py",  # writes the weights
    "keras",  # writes the model file
    "llvmlite",  # compiles for numba
    "numba",  # compiles the arithmetic
    "numpy",  # draws the initial weights, the order of reviews and dropout
    "scikit-learn",  # trains n-gram models and computes metrics
    "scipy",  # counts n-grams, and computes for scikit-learn
    "tensorflow",  # computes for keras
)


def main() -> None:
    """Write the architecture and the versions in requirements.txt, after a check that these are installed."""
    lock = Path("requirements.txt").read_text(encoding="utf-8", errors="replace")
    locked = {name: locked_version(lock, name) for name in COMPUTING}
    for name in COMPUTING:
        if (installed := installed_version(name)) != locked[name]:
            raise InputError(
                f"{name}: requirements.txt locks {locked[name]}, installed is {installed}; delete .venv and run"
                " `make setup`"
            )
    architecture = platform.machine()
    write_json(Path("data/environment.json"), {"architecture": architecture, "packages": locked})
    print(", ".join([architecture, *(f"{name} {number}" for name, number in locked.items())]))


def installed_version(name: str) -> str:
    """The installed version of a package; ``"none"`` if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def locked_version(lock: str, name: str) -> str:
    """The version of a package in a requirements file.

    Raises:
        InputError: There is no version, or there are several: bits could then differ between versions of Python.

    >>> locked_version("numpy==2.2.6 \\\\\\n    --hash=sha256:00\\n", "numpy")
    '2.2.6'
    """
    versions = set(re.findall(rf"^{re.escape(name)}==(\S+)", lock, re.MULTILINE))
    if len(versions) != 1:
        raise InputError(f"requirements.txt: expected one version of {name}, got {sorted(versions)}; run `make lock`")
    return versions.pop()


if __name__ == "__main__":
    command(main)
