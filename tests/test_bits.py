"""The same bits on any cores, threads, hash seed and processor, and only through operations known to be safe."""

import os
import re
import subprocess
import sys
from collections.abc import Callable

import numba
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from sentiment import kernels, training, vectors
from sentiment.numerics import promise
from tests.conftest import ROOT, on_cores

STEPS = {"small": 3, "full": 2}

SAFE = {
    # one rounding per element, by IEEE 754
    "fadd", "fsub", "fmul", "fdiv", "llvm.fma.v16f32", "llvm.sqrt.v16f32",
    # no rounding
    "fcmp", "fneg", "select", "load", "store", "phi", "shufflevector", "insertelement", "extractelement", "bitcast",
    "llvm.masked.gather", "llvm.memset", "llvm.memcpy",
    # whole numbers below 2 ** 24 to numbers, and a learning rate from Python's float, which is a float32 already
    "uitofp", "sitofp", "fptrunc",
    # whole numbers and addresses
    "add", "sub", "mul", "sdiv", "srem", "udiv", "urem", "shl", "lshr", "ashr", "and", "or", "xor", "icmp", "sext",
    "zext", "trunc", "ptrtoint", "inttoptr", "getelementptr", "alloca", "extractvalue", "insertvalue", "llvm.smax",
    "llvm.smin", "llvm.umax", "llvm.umin", "llvm.uadd.with.overflow", "llvm.usub.with.overflow", "freeze",
    # what happens next, and memory shared among threads
    "br", "switch", "ret", "unreachable", "fence", "atomicrmw", "llvm.x86.atomic.sub.cc",
    # other functions of this project, and Numba's and Python's dealings with arguments and memory
    "sentiment", "NRT", "Py", "numba_do_raise", "numba_gil_ensure", "numba_gil_release", "numba_unpickle",
    "numba_runtime_build_excinfo_struct",
}  # fmt: skip
FLAGS = {"fast", "reassoc", "contract", "nnan", "ninf", "nsz", "arcp", "afn"}  # LLVM's leave to round otherwise


def bits(model: str, *prefix: str, cwd=ROOT, **environment: str) -> list[str]:
    """What tests.bits prints for a model in a process of its own."""
    command = [*prefix, sys.executable, "-m", "tests.bits", model, str(STEPS[model])]
    run = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.fixture(scope="module")
def here() -> dict[str, list[str]]:
    """What this machine prints, left to itself."""
    return {model: bits(model) for model in STEPS}


@pytest.mark.parametrize("model", STEPS)
@pytest.mark.parametrize(
    ("cores", "environment"),
    [
        (1, {}),
        (2, {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1"}),
        (2, {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": "+avx2,+fma", "NUMBA_NUM_THREADS": "1"}),
        (2, {"NUMBA_OPT": "0", "NUMBA_LOOP_VECTORIZE": "0", "PYTHONHASHSEED": "2"}),
    ],
    ids=str,
)
def test_cores_threads_and_settings_leave_the_bits_alone(here, model, cores, environment):
    assert bits(model, *on_cores(cores), **environment) == here[model]


def test_another_model_has_other_bits(here):
    assert len(here["small"]) == STEPS["small"] + 2
    assert not set(here["small"]) & set(here["full"])


@pytest.mark.parametrize("model", STEPS)
def test_emulated_processors_give_the_bits_of_this_one(here, model, emulator):
    assert bits(model, *emulator.split()) == here[model]


def instructions(function: Callable, signatures) -> set[str]:
    """What LLVM makes of a function: the names of its instructions, of the functions it calls, of its flags."""
    fresh = numba.njit(nogil=True, error_model="numpy")(function)  # what comes out of the cache can't be looked at
    for signature in signatures:
        fresh.compile(signature)
    found = set()
    for line in "\n".join(fresh.inspect_llvm().values()).splitlines():
        if match := re.match(r"  (?:%\S+ = )?(?:tail |musttail |notail )?([a-z]+)\b(.*)", line):
            name, rest = match.groups()
            if name == "call" and (called := re.search(r'@"?([^\s"(]+)"?\(', rest)):
                # A name of this project's, mangled; or one without the type it is for; or one of a family.
                name = re.sub(r"^_ZN\d+(sentiment|tests)\d.*|^sentiment_product$", "sentiment", called[1])
                name = name if "f32" in name and name in SAFE else re.sub(r"(\.[a-z]*\d+\w*)+$", "", name)
                name = re.sub(r"^(NRT|Py)[A-Z_]\w*", r"\1", name)
            elif name == "call":  # by address: a destructor of Numba's
                continue
            found |= {name, *(FLAGS & set(rest.split()))}
    return found


@pytest.fixture(scope="module")
def compiled(sizes) -> dict[str, tuple[Callable, list]]:
    """Every compiled function, with the types it has been compiled for by training and predicting."""
    ids, labels = np.ones((4, sizes.max_length), "u2"), np.array([0, 1, 0, 1])
    settings = {"epochs": 1, "batch": 4, "shards": 2, "learning_rate": 0.1, "validation_fraction": 0.5, "seed": 1}
    list(training.fit(sizes, ids, labels, **settings))
    functions = {name: f for name, f in vars(kernels).items() if isinstance(f, Dispatcher) and f.signatures}
    assert {"forward", "backward", "tap_backward", "adam", "head", "positive"} <= functions.keys()
    found = {name: (f.py_func, f.signatures) for name, f in functions.items()}
    return found | {"product": (vectors._product._pyfunc, [(numba.int64,) * 10])}


def test_only_instructions_known_to_be_safe_are_in_the_compiled_code(compiled):
    found = set()
    for function, signatures in compiled.values():
        found |= instructions(function, signatures)
    assert found <= SAFE
    assert {"llvm.fma.v16f32", "llvm.sqrt.v16f32", "fadd", "sentiment"} <= found


def test_an_instruction_outside_the_list_would_be_seen():
    def library(x):
        x[0] = np.exp(x[0])

    def precise(x):
        x[0] = x[0] * 0.1

    def merged(x):
        x[0] = fast(x[0])

    def harmless(x):
        x[0] = x[0] * np.float32(0.1)

    def blas(x):
        x[0] = np.dot(x, x)

    fast = numba.njit(fastmath=True)(lambda x: x * x + x)
    for function, name in ((library, "llvm.exp"), (precise, "fpext"), (merged, "fast"), (blas, "numba_xxdot")):
        assert name in instructions(function, [(numba.float32[::1],)]) - SAFE
    assert instructions(harmless, [(numba.float32[::1],)]) <= SAFE


def test_the_promise_is_made_here_and_withdrawn_elsewhere(monkeypatch):
    assert promise() == "the bits are those of every x86-64 and Arm processor"
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert promise().endswith("which has not been seen: this one is riscv64")
