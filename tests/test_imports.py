"""Commands import only the slow packages that they need: a stage without TensorFlow does not wait for it."""

import re
import subprocess
import sys

import pytest

from tests.conftest import SHOWN, shown_of

HEAVY = ("tensorflow", "keras", "numba", "scipy.linalg", "sklearn", "h5py", "dvc", "dvclive", "requests")
COMPILED, GRAMS, LIBLINEAR = SHOWN[0], shown_of("ngrams", "compiled"), shown_of("ngrams", "scikit-learn")

COMMANDS = {
    ("stages.params",): set(),
    ("stages.download",): set(),
    ("stages.environment",): set(),
    ("stages.pad", COMPILED): set(),
    ("stages.train", COMPILED): {"numba", "h5py"},
    ("stages.evaluate", COMPILED): {"numba", "h5py", "sklearn", "scipy.linalg"},
    ("stages.train", GRAMS): {"numba", "scipy.linalg"},
    ("stages.evaluate", GRAMS): {"numba", "sklearn", "scipy.linalg"},
    ("stages.evaluate", LIBLINEAR): {"numba", "sklearn", "scipy.linalg"},
    ("sentiment", "--model", COMPILED, "a wonderful film"): {"numba", "h5py"},
    ("sentiment", "--model", GRAMS, "a wonderful film"): {"numba", "scipy.linalg"},
}


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    return finished.copy(tmp_path_factory.mktemp("imports") / "project")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_imports_what_it_needs(project, command):
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-E", "-m", *command],
        cwd=project.folder, env=project.environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    modules = re.findall(r"^import time:.*\| +(\S+)$", run.stderr, re.MULTILINE)
    assert {name for name in HEAVY for module in modules if f"{module}.".startswith(f"{name}.")} == COMMANDS[command]
