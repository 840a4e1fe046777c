"""The packages that compute are recorded, with the versions of the lock."""

import ast
import json
import platform
from importlib.metadata import distributions, version
from pathlib import Path

import pytest

from sentiment import InputError
from stages import environment
from tests.conftest import ROOT

COMPUTING = ("h5py", "keras", "llvmlite", "numba", "numpy", "scikit-learn", "scipy", "tensorflow")
HARMLESS = {"dvc", "mpi4py", "openpyxl", "psutil", "pydantic", "pyyaml", "requests", "tqdm"}
"""Packages that read params, dvc.lock and text files, download checked bytes, pass bytes on or show progress."""


@pytest.fixture(autouse=True)
def lock(tmp_path, monkeypatch) -> Path:
    """Path of a lock with the installed versions, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "requirements.txt"
    lines = ["keras-nlp==9.9 \\\n    --hash=sha256:00", *(f"{name}=={version(name)} \\" for name in COMPUTING)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_architecture_and_the_version_of_each_package_that_computes_are_recorded():
    environment.main()
    recorded = json.loads(Path("data/environment.json").read_text())
    assert recorded == {
        "architecture": platform.machine(),
        "packages": {name: version(name) for name in COMPUTING},
    }


@pytest.mark.parametrize("name", COMPUTING)
def test_another_version_than_the_locks_and_a_missing_package_are_refused(lock, name):
    line = f"{name}=={version(name)} "
    lock.write_text(lock.read_text().replace(f"\n{line}", f"\n{name}==0.0.1 "))
    with pytest.raises(InputError, match=f"^{name}: requirements.txt locks 0.0.1, installed is {version(name)}; del"):
        environment.main()
    assert not Path("data").exists()
    lock.write_text(lock.read_text().replace(f"\n{name}==0.0.1 ", f"\nno-{line}"))
    with pytest.raises(InputError, match=rf"expected one version of {name}, got \[\]; run `make lock`"):
        environment.main()


def test_a_package_that_is_not_installed_has_no_version(lock, monkeypatch):
    monkeypatch.setattr(environment, "COMPUTING", ("no-such-package",))
    lock.write_text("no-such-package==1.0\n")
    with pytest.raises(InputError, match=r"^no-such-package: requirements\.txt locks 1\.0, installed is none; delete"):
        environment.main()


def test_a_version_for_each_python_is_refused(lock):
    lock.write_text(lock.read_text() + "numpy==1.0 ; python_version < '3.11'\n")
    with pytest.raises(InputError, match=r"expected one version of numpy, got \['1.0', "):
        environment.main()


def test_all_packages_that_the_stages_import_are_recorded_except_those_that_cannot_change_a_result():
    installed, imported = {}, set()
    for distribution in distributions():  # `packages_distributions` of Python 3.10 does not look at the files
        for name in {file.parts[0].partition(".")[0] for file in distribution.files or ()}:
            installed.setdefault(name, distribution.metadata["Name"].lower())
    for file in [*ROOT.glob("sentiment/**/*.py"), *ROOT.glob("stages/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.partition(".")[0] for name in names}
    packages = {installed[name] for name in imported if name in installed}
    assert packages - HARMLESS == set(environment.COMPUTING)
