"""Compiled code is loaded from the cache only if it is complete and was compiled from this code."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
SCRIPT = """\
import sys
exec(sys.argv[1])
import numpy as np
from sentiment.engine import matrices
from sentiment.engine.blocks import dense
exec(sys.argv[2])
inputs, outputs = np.ones((2, 3), "f4"), np.zeros((2, 16), "f4")
dense.affine(inputs, np.full((3, 16), 0.1, "f4"), np.zeros(16, "f4"), outputs)
dense._activation_forward(dense._SIGMOID, outputs, 4)
hits = sum(dense._activation_forward.stats.cache_hits.values()) + matrices._product.cache_hits
print(outputs.tobytes().hex(), hits)
"""

TRAIN = """\
import logging, os, subprocess, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
exec(sys.argv[1])
import numpy as np
from sentiment.engine import cache
from sentiment.engine.trainer import CompiledTrainer
from sentiment.keras import plain
layers = [
    plain.layers.Embedding(9, 2), plain.layers.Conv1D(2, 1, padding="same", activation="relu"),
    plain.layers.MaxPooling1D(1), plain.layers.LSTM(2), plain.layers.Dense(1, activation="sigmoid"),
]
layers = plain.Sequential([plain.Input((3,), dtype="int32"), *layers]).layers
trainer = CompiledTrainer(layers, batch=4, shards=2, optimizer="sgd", learning_rate=0.1, seed=1)
trainer.epoch(np.arange(8, dtype="u1").repeat(3).reshape(8, 3), np.arange(8) % 2, np.arange(8), 0)
print(trainer.state()["weights"].tobytes().hex(), cache.saved)
"""


class Run(NamedTuple):
    """Report of a process: the bits, the number of its two functions that came from the cache, and its error lines."""

    bits: str
    hits: int
    errors: tuple[str, ...]


def run(folder: Path, before: str = "", between: str = "", **environment: str) -> Run:
    """Run the script in a separate process, which compiles its functions or loads them from the cache."""
    return end(start(folder, before, between, **environment))


def start(folder: Path, before: str = "", between: str = "", **environment: str) -> subprocess.Popen:
    """Start a process whose cache is in the folder unless the environment names another one."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, before, between],
        cwd=folder, env=ENVIRONMENT | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process: subprocess.Popen) -> Run:
    """Wait for a process that ``start`` started."""
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    bits, hits = printed.split()
    return Run(bits, int(hits), tuple(errors.splitlines()))


def copy(folder: Path) -> Path:
    """The library without a cache."""
    shutil.copytree(ROOT / "sentiment", folder / "sentiment", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def kept(folder: Path) -> list[Path]:
    """The files of the cache."""
    files = [path for path in folder.glob("sentiment/engine/__pycache__/*/*") if path.is_file()]
    assert files
    return files


@pytest.fixture(scope="module")
def warm(tmp_path_factory) -> Path:
    """A library whose cache has what the script compiles."""
    folder = copy(tmp_path_factory.mktemp("warm"))
    assert run(folder)[1:] == (0, ())
    return folder


@pytest.fixture(scope="module")
def plain(warm) -> Run:
    """Report of a process that loads all from the cache of ``warm``."""
    return run(warm)


@pytest.fixture
def library(warm, tmp_path) -> Path:
    """A copy of the library of ``warm``, with its cache."""
    return Path(shutil.copytree(warm, tmp_path / "library"))


def edit_a_helper(folder: Path) -> None:
    """Change a constant of exp, a function in another file that the script's functions call."""
    code = folder / "sentiment/engine/functions.py"
    assert "0.166665204" in code.read_text()
    code.write_text(code.read_text().replace("0.166665204", "0.17"))


def test_what_an_earlier_process_compiled_is_not_compiled_again(plain, library):
    assert plain[1:] == (2, ())
    assert run(library) == plain


def test_copies_of_the_code_share_a_cache_that_the_environment_names(plain, tmp_path):
    cache = str(tmp_path / "shared")
    hits = [run(copy(tmp_path / name), NUMBA_CACHE_DIR=cache).hits for name in ("one", "another")]
    assert hits == [0, 2]
    assert not [*tmp_path.glob("o*/sentiment/engine/__pycache__/*/*")]


def test_a_stage_keeps_the_folder_of_the_cache_and_drops_other_settings_of_numba(tmp_path):
    code = "import os, sys; sys.argv[0] = '-m'; import stages; print([n for n in os.environ if n.startswith('NUMBA_')])"
    environment = ENVIRONMENT | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "1"}
    output = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=environment, text=True)
    assert output == "['NUMBA_CACHE_DIR']\n"


def test_processes_that_compile_at_once_leave_one_whole_cache(warm, plain, tmp_path):
    folder = copy(tmp_path / "library")
    ended = {end(process)._replace(hits=0) for process in [start(folder) for _ in range(4)]}
    assert ended == {plain._replace(hits=0)}
    assert {path.name for path in kept(folder)} <= {path.name for path in kept(warm)}  # nothing half-written
    assert run(folder) == plain


def test_stale_code_never_runs(plain, library, tmp_path):
    edit_a_helper(library)
    fresh = copy(tmp_path / "fresh")
    edit_a_helper(fresh)
    expected = run(fresh)
    assert run(library) == expected
    assert expected.hits == 0
    assert expected.bits != plain.bits
    assert run(library).hits == 2


def test_a_changed_file_outside_the_engine_compiles_its_function_again(library):
    code, outputs = library / "sentiment/other.py", []
    ask = "import numpy as np; from sentiment.other import f; print(f(np.float32(2)), sum(f.stats.cache_hits.values()))"
    for factor in (3, 3, 5):
        code.write_text(
            f"from sentiment.engine.vectors import compiled\n\n@compiled\ndef f(x):\n    return {factor} * x\n"
        )
        command = [sys.executable, "-B", "-c", ask]
        outputs.append(subprocess.check_output(command, cwd=library, env=ENVIRONMENT, text=True))
    assert outputs == ["6.0 0\n", "6.0 1\n", "10.0 0\n"]


@pytest.mark.parametrize(
    ("before", "environment"),
    [
        ("import numba; numba.__version__ = 'another'", {}),
        ("import numba, llvmlite; llvmlite.__version__ = 'another'", {}),
        ("import numba, sys; sys.version = 'another'", {}),
        ("", {"NUMBA_OPT": "1"}),
        ("", {"NUMBA_BOUNDSCHECK": "1"}),
        ("", {"NUMBA_ENABLE_AVX": "0"}),
    ],
    ids=str,
)
def test_another_compiler_has_a_separate_cache(before, environment):
    code = "; from sentiment.engine import cache; print(cache.FOLDER)"
    folders = {
        subprocess.run(
            [sys.executable, "-c", first + code], cwd=ROOT, env=ENVIRONMENT | more, capture_output=True, check=True
        ).stdout
        for first, more in (("pass", {}), (before or "pass", environment))
    }
    assert len(folders) == 2


def test_for_another_processor_it_compiles_again_to_the_same_bits(warm, plain):
    assert run(warm, NUMBA_CPU_NAME="generic") == plain._replace(hits=0)


def test_code_that_was_edited_while_it_was_imported_is_neither_loaded_from_the_cache_nor_saved(library):
    before = kept(library)
    touch = "open('sentiment/engine/functions.py', 'a').write('#')"
    assert run(library, between=touch)[1:] == (1, ())  # the product was compiled before
    assert kept(library) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-100] + bytes([content[-100] ^ 1]) + content[-99:],
    ],
    ids=["cut short", "one bit"],
)
def test_a_damaged_cache_is_compiled_again(plain, library, damage: Callable[[bytes], bytes]):
    for path in kept(library):
        path.write_bytes(damage(path.read_bytes()))
    kept(library)[0].write_bytes(b"")
    assert run(library) == plain._replace(hits=0)
    assert run(library) == plain


@pytest.mark.parametrize("environment", [{}, {"NUMBA_CACHE_DIR": os.devnull}], ids=str)
def test_without_a_writable_cache_it_compiles_and_says_so_once(plain, library, environment):
    shutil.rmtree(library / "sentiment/engine/__pycache__")
    (library / "sentiment/engine/__pycache__").touch()
    result = run(library, HOME=os.devnull, **environment)
    assert result[:2] == (plain.bits, 0)
    assert len(result.errors) == 1
    assert result.errors[0].startswith("compiled code is not kept, and compiled again by each process: ")


def test_numba_compiles_even_if_a_user_has_disabled_it(warm, plain):
    assert run(warm, NUMBA_DISABLE_JIT="1").bits == plain.bits


@pytest.mark.slow
def test_a_second_process_compiles_half_of_the_kernels_of_a_training(tmp_path):
    def train(before: str) -> tuple[str, int, str]:
        # Without optimization, Numba does not save a kernel that reads a constant tuple.
        process = subprocess.run(
            [sys.executable, "-c", TRAIN, f"os.sched_getaffinity = lambda pid: {{0, 1}}; {before}"],
            cwd=folder, env=ENVIRONMENT | {"NUMBA_OPT": "1"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        weights, saved = process.stdout.split()
        return weights, int(saved), process.stderr

    folder = copy(tmp_path / "library")
    (tmp_path / "tempfile.py").write_text("raise SystemExit(1)\n")
    weights, saved, errors = train("")
    files = kept(folder)
    assert len(files) / 4 < saved < len(files) * 3 / 4
    assert errors == ""
    absent = "sys.executable = os.devnull"
    for before, said in {
        absent: "only one process compiles: [Errno 13] Permission denied: '/dev/null'\n",
        f"os.sched_getaffinity = lambda pid: {{0}}; {absent}": "",
        f"import tempfile; sys.path.insert(0, {str(tmp_path)!r})": "the second process ended with exit code 1\n",
    }.items():
        next(path for path in files if path.name.startswith("_sum_rows-")).unlink()
        assert train(before) == (weights, 1, said)
        assert train(absent) == (weights, 0, "")
        assert kept(folder) == files
