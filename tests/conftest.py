"""What the tests share."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from demo.project import shown
from stages.download import locate
from stages.params import parse

ROOT = Path(__file__).parents[1]
PARAMS = parse((ROOT / "params.yaml").read_text(encoding="utf-8"))
MODELS, BASELINES = [*PARAMS.models], PARAMS.baselines
SHOWN = shown(BASELINES)  # those in the projects that `write_project` makes

# A commit passes or fails, whoever tests it and however busy the machine; `--hypothesis-profile default` explores.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def imdb() -> Path:
    """The folder of the real data."""
    source = os.environ.get("IMDB_SOURCE")
    if not source:
        pytest.skip("needs the real data: set IMDB_SOURCE to its folder")
    return locate(source, "imdb.npz").resolve().parent


def real_models() -> dict:
    """The Keras models of params.yaml that the compiled trainer trains, by their names, with 5,000 words at most."""
    from sentiment import network

    return {
        name: network.build(
            max_length=model.pad.max_length, vocabulary=min(model.pad.vocabulary, 5000), **model.network.model_dump()
        )
        for name, model in PARAMS.models.items()
        if model.train.engine == "compiled"
    }


def on_cores(count: int) -> list[str]:
    """The beginning of a command that runs the rest on so many cores, or on those there are; nothing on macOS."""
    if sys.platform != "linux" or not shutil.which("taskset"):
        return []
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(os.sched_getaffinity(0))[:count]))]


def pytest_addoption(parser):
    parser.addoption(
        "--emulators",
        default="",
        help="commands that run a program on another processor, comma-separated: 'qemu-x86_64 -cpu Haswell,...'",
    )


def pytest_generate_tests(metafunc):
    if "emulator" in metafunc.fixturenames:
        emulators = [emulator for emulator in metafunc.config.getoption("emulators").split(",") if emulator]
        none = pytest.param(None, marks=pytest.mark.skip("needs emulated processors: `make test-processors`"))
        metafunc.parametrize("emulator", emulators or [none])
