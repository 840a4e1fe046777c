"""Fixtures and settings of all tests."""

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from demo.project import shown
from stages.download import locate
from stages.params import parse

ROOT = Path(__file__).parents[1]

# The shell in which the tests run must not change their result. Its settings of DVC, Git, Python, pip and uv are
# removed, except the addresses of packages, and SIGINT is handled even if the shell ignores it for background jobs.
# A test of such a setting sets it.
for _name in [*os.environ]:
    if re.match(r"(DVC_|GIT_|PYTHON|(PIP|UV)_(?!.*(CACHE|CERT|CONFIG|HOST|INDEX|LINKS|PROXY)))", _name):
        del os.environ[_name]
os.environ["GIT_CONFIG_GLOBAL"] = os.environ["GIT_CONFIG_SYSTEM"] = os.devnull
os.environ["NUMBA_CACHE_DIR"] = str(ROOT / "sentiment/engine/__pycache__")  # copies of the code share the compiled code
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PARAMS = parse((ROOT / "params.yaml").read_text(encoding="utf-8"))
MODELS = [*PARAMS.models]
SHOWN = shown({name: model.model_dump() for name, model in PARAMS.models.items()}, keras=True)
"""The models in the projects that `write_project` makes."""


def shown_of(kind: str, engine: str) -> str:
    """Name of the model of this kind and engine in the projects that `write_project` makes."""
    models = {(PARAMS.models[name].architecture.kind, PARAMS.models[name].train.engine): name for name in SHOWN}
    return models[kind, engine]


# Hypothesis draws the same examples on each run and has no time limit, so that a commit always passes or always fails.
# `--hypothesis-profile default` draws new examples.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# `timeout 600 python -m pytest --hypothesis-profile fuzz -k hostile_test` draws new examples of a test for ten minutes.
settings.register_profile("fuzz", settings.get_profile("default"), max_examples=10**9, deadline=None)


def examples(count: int) -> settings:
    """The number of examples of a test of hostile input, which may have fixtures; there is no limit to fuzz."""
    count = count if settings().derandomize else settings().max_examples
    return settings(max_examples=count, suppress_health_check=[HealthCheck.function_scoped_fixture])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
"""Values of JSON files."""


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """Bytes of which a few are changed, and some are perhaps left out or twice there."""
    changed = bytearray(content)
    for at in draw(st.lists(st.integers(0, max(0, len(content) - 1)), min_size=1, max_size=5)):
        changed[at : at + 1] = bytes([draw(st.integers(0, 255))])
    if draw(st.integers(0, 3)) == 0:
        begin, end = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
        changed[begin:end] = changed[begin:end] * draw(st.sampled_from([0, 2]))
    return bytes(changed)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id):
    """A project in which `dvc repro` has run, its results committed; tests that change it take a copy.

    It is made by `python -m demo`, once for all processes of pytest-xdist. What the demo prints is in `demo.out`.
    """
    from tests.projects import REVIEWS, Project

    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent
    folder, printed = base / "finished", base / "demo.out"
    with FileLock(base / "finished.lock"):
        if not printed.exists():
            status = ["git", "status", "--porcelain", "data", "dvc.lock", "metrics", "models", "plots"]
            before = subprocess.check_output(status, cwd=ROOT)
            command = [sys.executable, "-m", "demo", "--keras", "--reviews", str(REVIEWS), str(folder)]
            run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert run.returncode == 0, run.stdout + run.stderr
            assert subprocess.check_output(status, cwd=ROOT) == before
            project = Project(folder)
            project.commit()
            printed.write_text(run.stdout)
    return Project(folder)


@pytest.fixture(scope="session")
def imdb() -> Path:
    """The folder of the real data."""
    source = os.environ.get("IMDB_SOURCE")
    if not source:
        pytest.skip("needs the real data: set IMDB_SOURCE to its folder")
    return locate(source, "imdb.npz").resolve().parent


def real_models() -> dict:
    """The Keras models of params.yaml that the compiled trainer trains, by name, with a vocabulary of at most 5,000."""
    from sentiment.keras.backend import keras
    from sentiment.kinds import cnn_lstm

    return {
        name: cnn_lstm.build(
            model.pad.model_copy(update={"vocabulary": min(model.pad.vocabulary, 5000)}), model.architecture, keras
        )
        for name, model in PARAMS.models.items()
        if (model.architecture.kind, model.train.engine) == ("cnn_lstm", "compiled")
    }


def about_of(*, max_length, vocabulary, labels=("bad", "good"), **tokens) -> dict:
    """Values of ``model.json`` that a ``TextModel`` reads."""
    from sentiment.data.text import IMDB

    pad = {"max_length": max_length, "vocabulary": vocabulary}
    return {"labels": [*labels], "pad": pad, "tokens": IMDB._asdict() | tokens}


def on_cores(count: int) -> list[str]:
    """First words of a command that run it on at most ``count`` cores; no words where `taskset` is missing."""
    if sys.platform != "linux" or not shutil.which("taskset"):
        return []
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(os.sched_getaffinity(0))[:count]))]


def emulated(emulator: str, module: str, *arguments: str) -> str:
    """Output of `python -m module` on an emulated processor.

    LLVM makes the same machine code for a processor wherever it runs, and under an emulator it takes twenty times as
    long. So the module runs here first, with the emulated processor's name and features, and leaves its compiled code
    in the cache. If this processor lacks an instruction of the other one, or has another architecture, the emulator
    compiles what is missing.
    """
    describe = "import llvmlite.binding as llvm, os, platform; print(platform.machine(), llvm.get_host_cpu_name(),"
    describe += " llvm.get_host_cpu_features().flatten())"
    described = [*emulator.split(), sys.executable, "-c", describe]
    machine, name, features = subprocess.check_output(described, text=True, stderr=subprocess.DEVNULL).split()
    command, environment = [sys.executable, "-m", module, *arguments], {**os.environ}
    if machine == platform.machine():
        environment |= {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    run = subprocess.run(
        [*emulator.split(), *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def pytest_addoption(parser):
    parser.addoption(
        "--emulators",
        default="",
        help="commands that run a program on another processor, comma-separated: 'qemu-x86_64 -cpu Haswell,...'",
    )


SLOW = {
    "archive", "bits", "blocks", "cache", "checks", "experiments", "export", "gate", "hostile", "imports", "install",
    "keras_trainer", "noise", "pipeline", "processes", "report", "surroundings", "verify",
}  # fmt: skip
"""Test files that run DVC, compile much or start processes that do; `make check` leaves them out."""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.stem.removeprefix("test_") in SLOW or "finished" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def pytest_generate_tests(metafunc):
    if "emulator" in metafunc.fixturenames:
        emulators = [emulator for emulator in metafunc.config.getoption("emulators").split(",") if emulator]
        none = pytest.param(None, marks=pytest.mark.skip("needs emulated processors: `make test-processors`"))
        metafunc.parametrize("emulator", emulators or [none])
