"""Write data/environment.json: the architecture, and the versions of the locked packages that compute.

An upgrade of the compiler therefore makes training stale, and an upgrade of the linter makes only this stage stale.
Another architecture should give the same bits; training runs again there to show it.
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
    "llvmlite",  # compiles, under numba
    "numba",  # compiles the arithmetic
    "numpy",  # draws the first weights, the order of reviews and the dropout
    "scikit-learn",  # trains n-gram models, scores
    "scipy",  # counts n-grams; scores, under scikit-learn
    "tensorflow",  # under Keras
)


def main() -> None:
    """Write the architecture and the versions in requirements.txt, after a check that these are installed."""
    lock = Path("requirements.txt").read_text(encoding="utf-8", errors="replace")
    locked = {name: locked_version(lock, name) for name in COMPUTING}
    for name in COMPUTING:
        if (installed := installed_version(name)) != locked[name]:
            raise InputError(
                f"{name}: requirements.txt locks {locked[name]}, installed is {installed}; run `make setup`"
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
    """The one version a requirements file pins a package to.

    Raises:
        InputError: There is none, or one per Python: then bits could differ between Pythons.

    >>> locked_version("numpy==2.2.6 \\\\\\n    --hash=sha256:00\\n", "numpy")
    '2.2.6'
    """
    versions = set(re.findall(rf"^{re.escape(name)}==(\S+)", lock, re.MULTILINE))
    if len(versions) != 1:
        raise InputError(f"requirements.txt: expected one version of {name}, got {sorted(versions)}; run `make lock`")
    return versions.pop()


if __name__ == "__main__":
    command(main)
