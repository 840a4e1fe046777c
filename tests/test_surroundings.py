"""No setting of user, terminal or system changes a byte that a stage writes, or causes a traceback."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.test_pipeline import ADAM, FIRST, LIBLINEAR, STAGES

pty = pytest.importorskip("pty", exc_type=ImportError)  # Windows has none

CHAINS = {  # stages, each chain in a separate project
    "compiled": (f"pad@{FIRST}", f"train@{FIRST}", f"evaluate@{FIRST}"),
    "keras": (f"train@{FIRST}", f"evaluate@{FIRST}"),
    "n-grams": (f"train@{LIBLINEAR}", f"pad@{ADAM}", f"train@{ADAM}", f"evaluate@{ADAM}"),
}

LIBRARIES = {
    "KERAS_BACKEND": "jax", "KERAS_MAX_EPOCHS": "0", "KERAS_MAX_STEPS_PER_EPOCH": "1", "KERAS_NNX_ENABLED": "1",
    "KERAS_HOME": "{user}/.keras",
    "TF_CPP_MIN_LOG_LEVEL": "0", "TF_USE_LEGACY_KERAS": "1", "TF_ENABLE_ONEDNN_OPTS": "0", "TF_DETERMINISTIC_OPS": "0",
    "TF_NUM_INTRAOP_THREADS": "1", "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
    "XLA_FLAGS": "--no_such_flag", "CUDA_VISIBLE_DEVICES": "7",
    "NPY_DISABLE_CPU_FEATURES": "SSE", "NPY_ENABLE_CPU_FEATURES": "AVX2", "NPY_PROMOTION_STATE": "legacy",
    "OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Prescott",
    "SKLEARN_WORKING_MEMORY": "much", "SKLEARN_ASSUME_FINITE": "no", "SCIPY_ARRAY_API": "1",
    "DVCLIVE_RESUME": "1", "DVCLIVE_TEST": "1", "DVCLIVE_LOGLEVEL": "loud", "DVCLIVE_OPEN": "1",
    "DVC_EXP_NAME": "another", "TQDM_MININTERVAL": "soon", "TQDM_DISABLE": "x",
}  # fmt: skip
NUMBA = {
    "NUMBA_DISABLE_JIT": "1", "NUMBA_OPT": "0", "NUMBA_LOOP_VECTORIZE": "0", "NUMBA_SLP_VECTORIZE": "1",
    "NUMBA_BOUNDSCHECK": "1", "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_ENABLE_AVX": "0",
    "NUMBA_CACHE_LOCATOR_CLASSES": "None", "NUMBA_DEBUG": "1", "NUMBA_NUM_THREADS": "x",
}  # fmt: skip
PYTHON = {
    "PYTHONHASHSEED": "3", "PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error", "PYTHONUTF8": "0", "PYTHONDEVMODE": "1",
    "PYTHONIOENCODING": "utf-16", "PYTHONSAFEPATH": "1", "PYTHONSTARTUP": "/dev/zero", "PYTHONPATH": "{user}",
    "PYTHONINSPECT": "1", "PYTHONPYCACHEPREFIX": "/dev/null", "PYTHONCASEOK": "1", "PYTHONINTMAXSTRDIGITS": "640",
    "LC_ALL": "C", "LANGUAGE": "tr:de", "TZ": "Pacific/Kiritimati",
}  # fmt: skip
USER = {
    "HOME": "{user}/gone", "XDG_CACHE_HOME": "/dev/null", "LANG": None, "LC_ALL": None, "TMPDIR": "{user}/a ß folder",
    "LC_CTYPE": "tr_TR.ISO-8859-9", "LC_NUMERIC": "de_DE.UTF-8", "USER": None, "LOGNAME": None, "TZ": "nowhere",
    "GIT_CONFIG_GLOBAL": "{user}/gitconfig", "GIT_CONFIG_NOSYSTEM": "1", "GIT_DIR": "/nowhere",
}  # fmt: skip
NARROW = {"COLUMNS": "1", "LINES": "1", "TERM": "dumb", "NO_COLOR": "1"}
WIDE = {"COLUMNS": "500", "TERM": "xterm-256color", "FORCE_COLOR": "1"}

SURROUNDINGS = {  # variables, chains, True for a terminal, umask
    "libraries, user, Git, a wide terminal": (LIBRARIES | USER | WIDE, ("compiled", "keras", "n-grams"), True, 0),
    "Numba, Python, a terminal of one column": (NUMBA | PYTHON | NARROW, ("compiled", "n-grams"), True, 0o77),
}


def start(folder: Path, stage: str, environment: dict[str, str], terminal: bool, umask: int) -> tuple[int, str]:
    """Run a stage as DVC does; return its exit code and output."""
    inner, outer = pty.openpty() if terminal else os.pipe()
    process = subprocess.Popen(
        STAGES[stage].cmd, shell=True, cwd=folder, env=environment, umask=umask,
        stdin=outer if terminal else subprocess.DEVNULL, stdout=outer, stderr=outer,
    )  # fmt: skip
    os.close(outer)
    printed = b""
    while block := _read(inner):
        printed += block
    os.close(inner)
    return process.wait(), printed.decode(errors="replace")


def _read(file: int) -> bytes:
    try:
        return os.read(file, 1 << 16)
    except OSError:  # the end of a terminal's output
        return b""


def outputs(folder: Path, chain: str) -> dict[str, bytes]:
    """Contents of the outputs of a chain's stages, by path."""
    outs = [folder / out.def_path for stage in CHAINS[chain] for out in STAGES[stage].outs]
    files = [file for out in outs for file in ([out] if out.is_file() else sorted(out.rglob("*"))) if file.is_file()]
    assert all(out.exists() for out in outs)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def clean(folder: Path, chain: str) -> None:
    """Delete the outputs of a chain, as DVC does before it runs a stage."""
    for stage in CHAINS[chain]:
        for out in STAGES[stage].outs:
            path = folder / out.def_path
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """For each chain a project that has run, the plain environment and the bytes that the chain wrote."""
    folder = tmp_path_factory.mktemp("surroundings")
    for chain in ("compiled", "n-grams"):
        finished.copy(folder / chain)
    keras = finished.copy(folder / "keras", engine="keras", epochs=2)
    keras.take_a_gru()  # Keras predicts, too, because the compiled trainer has no GRU
    keras.repro(*CHAINS["keras"])
    return folder, finished.environment, {chain: outputs(folder / chain, chain) for chain in CHAINS}


@pytest.fixture
def user(tmp_path) -> Path:
    """The folder of a user with unusual settings of Keras, Python and Git."""
    (tmp_path / ".keras").mkdir()
    keras = {"floatx": "float16", "epsilon": 1, "image_data_format": "channels_first", "backend": "torch"}
    (tmp_path / ".keras/keras.json").write_text(json.dumps(keras))
    (tmp_path / "a ß folder").mkdir()
    (tmp_path / "numpy.py").write_text("raise ImportError('a stranger on PYTHONPATH')\n")
    (tmp_path / "gitconfig").write_text(
        "[core]\n autocrlf = true\n fileMode = false\n quotePath = false\n[diff]\n noprefix = true\n external = false\n"
        "[color]\n ui = always\n[user]\n useConfigOnly = true\n[commit]\n gpgsign = true\n"
    )
    return tmp_path


@pytest.mark.parametrize(("settings", "chains", "terminal", "umask"), SURROUNDINGS.values(), ids=SURROUNDINGS.keys())
def test_surroundings_change_no_byte(project, user, settings, chains, terminal, umask):
    folder, plain, made = project
    environment = dict(plain)
    for name, value in settings.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value.format(user=user)
    for chain in chains:
        clean(folder / chain, chain)
        for stage in CHAINS[chain]:
            code, printed = start(folder / chain, stage, environment, terminal, umask)
            assert code == 0, f"{stage}, {chain}: {printed}"
            assert "Traceback" not in printed
        written = outputs(folder / chain, chain)
        assert written.keys() == made[chain].keys()
        assert [name for name in written if written[name] != made[chain][name]] == []


def test_a_settings_file_of_numbas_in_the_project_is_refused_in_one_line(project):
    folder, environment, _ = project
    settings = folder / "compiled/.numba_config.yaml"
    settings.write_text("opt: [")
    code, printed = start(folder / "compiled", f"train@{FIRST}", environment, False, 0o22)
    settings.unlink()
    assert code == 1
    assert printed.startswith("error: .numba_config.yaml: ")
    assert len(printed.splitlines()) == 1
