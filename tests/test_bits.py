"""Any cores, threads, hash seed and processor give the same bits, because only safe operations are used."""

import ast
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from benchmarks.cases import CASES, Sizes, labels, plain, reviews, to_layers
from sentiment.data.text import IMDB
from sentiment.engine import matrices, promise
from sentiment.engine.lookup import Lookup
from sentiment.engine.optimizers import OPTIMIZERS
from sentiment.engine.trainer import CompiledPredictor, CompiledTrainer
from tests import grams
from tests.bits import TUNING, Run
from tests.conftest import ROOT, emulated, on_cores, real_models

SAFE = {
    # one rounding per element, by IEEE 754
    "fadd", "fsub", "fmul", "fdiv", "llvm.fma.v16f32", "llvm.sqrt.v16f32",
    # no rounding
    "fcmp", "fneg", "select", "load", "store", "phi", "shufflevector", "insertelement", "extractelement", "bitcast",
    "llvm.masked.gather", "llvm.masked.scatter", "llvm.memset", "llvm.memcpy",
    # whole numbers below 2 ** 24 to numbers, and a learning rate from Python's float, which is a float32 already
    "uitofp", "sitofp", "fptrunc",
    # whole numbers and addresses
    "add", "sub", "mul", "sdiv", "srem", "udiv", "urem", "shl", "lshr", "ashr", "and", "or", "xor", "icmp", "sext",
    "zext", "trunc", "ptrtoint", "inttoptr", "getelementptr", "alloca", "extractvalue", "insertvalue", "llvm.smax",
    "llvm.smin", "llvm.umax", "llvm.umin", "llvm.uadd.with.overflow", "llvm.usub.with.overflow", "freeze",
    # control flow, and memory shared among threads
    "br", "switch", "ret", "unreachable", "fence", "atomicrmw", "llvm.x86.atomic.sub.cc",
    # other functions of this project, and functions of Numba and Python for arguments and memory
    "sentiment", "NRT", "Py", "numba_do_raise", "numba_gil_ensure", "numba_gil_release", "numba_unpickle",
    "numba_runtime_build_excinfo_struct",
}  # fmt: skip
SENTENCE = "The order of the sums is part of the contract."
COUNTERS = {"at", "base", "count", "n", "row", "slot", "step", "word_count"}  # whole numbers, exact in any order
FLAGS = {"fast", "reassoc", "contract", "nnan", "ninf", "nsz", "arcp", "afn"}  # LLVM may round differently


def bits(runs: Path, *prefix: str, **environment: str) -> list[str]:
    """Output of tests.bits in a separate process."""
    command, environment = [*prefix, sys.executable, "-m", "tests.bits", str(runs)], os.environ | environment
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """The models of params.yaml at their real sizes except the vocabulary, and the cases of the blocks at small sizes.

    Reviews and words are few, because an emulated processor takes a hundred times as long.
    """
    by_name = {name: Run(plain(name, Sizes()), updates=3, batch=10, shards=3) for name in CASES}
    by_name["sgd"] = by_name["lstm"]._replace(optimizer="sgd")
    by_name["words dropped"] = by_name["lstm"]._replace(layers=plain("lstm", Sizes(units=8)), tuning=TUNING)
    for name, model in real_models().items():
        by_name[name] = Run(to_layers(model), updates=2, batch=4, shards=2, predictions=4)
    path = tmp_path_factory.mktemp("bits") / "runs.json"
    path.write_text(json.dumps({name: run._asdict() for name, run in by_name.items()}))
    return path


@pytest.fixture(scope="module")
def here(runs) -> list[str]:
    """Output of this machine with its default settings."""
    return bits(runs)


@pytest.mark.parametrize(
    ("cores", "environment"),
    [
        (1, {}),
        (2, {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1"}),
        # Unoptimized code for another processor, which is compiled in a third of the time.
        (
            2,
            {
                "NUMBA_CPU_NAME": "x86-64-v3",
                "NUMBA_CPU_FEATURES": "+avx2,+fma",
                "NUMBA_NUM_THREADS": "1",
                "NUMBA_OPT": "0",
                "NUMBA_LOOP_VECTORIZE": "0",
                "PYTHONHASHSEED": "2",
            },
        ),
    ],
    ids=str,
)
def test_cores_threads_and_settings_leave_the_bits_alone(here, runs, cores, environment):
    assert bits(runs, *on_cores(cores), **environment) == here


def test_another_network_has_other_bits(here):
    digests = [line.split()[-1] for line in here if " first " not in line]
    assert len(digests) == (3 + 2) * (len(CASES) + 2) + 1 + (2 + 2) * len(real_models())
    # SGD and Adam have the same first weights, so their first probabilities are the same; the second ones differ.
    assert len(set(digests)) == len(digests) - 1


def test_emulated_processors_give_the_bits_of_this_one(here, runs, emulator):
    assert emulated(emulator, "tests.bits", str(runs)).splitlines() == here


def instructions(function: Callable, signatures) -> set[str]:
    """Names of the instructions, called functions and flags in the LLVM code of a function."""
    fresh = numba.njit(nogil=True, error_model="numpy")(function)  # one from the cache has no LLVM code
    for signature in signatures:
        fresh.compile(signature)
    names = set()
    for line in "\n".join(fresh.inspect_llvm().values()).splitlines():
        if match := re.match(r"  (?:%\S+ = )?(?:tail |musttail |notail )?([a-z]+)\b(.*)", line):
            name, operands = match.groups()
            if name == "call" and (called := re.search(r'@"?([^\s"(]+)"?\(', operands)):
                # Shorten a mangled name of this project, drop the suffix of a type, and name a family by its prefix.
                name = re.sub(r"^_ZN\d+(sentiment|tests)\d.*|^sentiment_product$", "sentiment", called[1])
                name = name if "f32" in name and name in SAFE else re.sub(r"(\.[a-z]*\d+\w*)+$", "", name)
                name = re.sub(r"^(NRT|Py)[A-Z_]\w*", r"\1", name)
            elif name == "call":  # by address: a destructor of Numba
                continue
            names |= {name, *(FLAGS & set(operands.split()))}
    return names


def test_only_instructions_known_to_be_safe_are_in_the_compiled_code():
    """Inspects every function of the engine, for the types that training and prediction compile it for."""
    ids = reviews(Sizes(), 8)
    for case, optimizer in itertools.product(CASES, OPTIMIZERS):
        settings = {"batch": 4, "shards": 2, "optimizer": optimizer, "learning_rate": 0.1, "seed": 1}
        trainer = CompiledTrainer(plain(case, Sizes()), **settings)
        trainer.epoch(ids, labels(case, 8), np.arange(8), 0)
        trainer.predict(ids)
        weights = trainer.state()["weights"]
        CompiledPredictor(trainer.layers, weights, batch=8, explains=True).explain(ids)
    Lookup({"film": 1}, IMDB)(["a film"])
    grams.train(grams.settings("tfidf", engine="compiled", epochs=1, batch=4, learning_rate=0.1), *grams.corpus(8))
    modules = [vars(module) for name, module in sys.modules.items() if name.startswith("sentiment.engine")]
    functions = {function for names in modules for function in names.values() if isinstance(function, Dispatcher)}
    used, seen = instructions(matrices._product._pyfunc, [(numba.int64,) * 11]), set()
    # Inspecting a function compiles it again with the functions that it calls, which are inspected next.
    while new := {(function, types) for function in functions for types in function.signatures} - seen:
        for function, types in new:
            used |= instructions(function.py_func, [types])
        seen |= new
    assert used <= SAFE
    assert {"llvm.fma.v16f32", "llvm.sqrt.v16f32", "fadd", "sentiment"} <= used
    assert {function for function, _ in seen} == functions


def test_an_instruction_outside_the_list_is_noticed():
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


def statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of a loop's body, without those of loops inside it."""
    flat = []
    for node in body:
        inner = [*node.body, *node.orelse] if isinstance(node, ast.If) else []
        flat += [node, *statements(inner)]
    return flat


def names_in(node: ast.AST) -> set[str]:
    """The names of variables in an expression."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} - COUNTERS


def sums(function: ast.FunctionDef) -> bool:
    """True if a function adds numbers one after another, or if a compiled function calls a product or a sum."""
    compiled = {ast.unparse(decorator) for decorator in function.decorator_list} & {"compiled", "inlined"}
    for node in ast.walk(function):
        match node:
            case ast.AugAssign(target=target, op=ast.Add()):
                if not isinstance(target, ast.Name) or names_in(target):
                    return True
            case ast.Call(func=ast.Attribute(attr="sum"), keywords=[ast.keyword(arg="axis"), *_]):
                return True
            case ast.Call(func=ast.Name("store"), args=[array, index, ast.BinOp(op=ast.Add(), left=left)]):
                if ast.unparse(left) == f"load({ast.unparse(array)}, {ast.unparse(index)})":
                    return True
            case ast.Call(func=ast.Name("product" | "add_rows" | "_call_product")) if compiled:
                return True
            case ast.For(body=body) | ast.While(body=body):
                local = set()  # names that the loop has set before: not sums over its iterations
                for statement in statements(body):
                    if isinstance(statement, ast.Assign):
                        targets = names_in(statement.targets[0])
                        adds = re.search(r"\+|\bfma\(", ast.unparse(statement.value))
                        if adds and targets & names_in(statement.value) - local:
                            return True
                        local |= targets
    return False


def test_each_function_that_sums_says_that_its_order_is_part_of_the_contract():
    summing, documented = set(), set()
    for file in (ROOT / "sentiment/engine").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                summing |= {(file.name, node.name)} if sums(node) else set()
                documented |= (
                    {(file.name, node.name)} if SENTENCE in " ".join((ast.get_docstring(node) or "").split()) else set()
                )
    # One sum per weight and update, and a number of files.
    summing = {(file, name) for file, name in summing if file not in ("optimizers.py", "cache.py")}
    assert {("matrices.py", "product"), ("words.py", "_scatter"), ("softmax.py", "_softmax")} <= summing
    assert summing <= documented


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("for x in xs:\n    total += x", True),
        ("for x in xs:\n    total[0] += x", True),
        ("for x in xs:\n    if x > 0:\n        total = fma(x, y, total)", True),
        ("for x in xs:\n    store(a, at, load(a, at) + x)", True),
        ("for x in xs:\n    y = load(a, x)\n    y = y + x", False),
        ("for x in xs:\n    base += 1", False),
    ],
)
def test_sums_are_recognized_in_each_form(body, expected):
    indented = body.replace("\n", "\n    ")
    assert sums(ast.parse(f"def f():\n    {indented}").body[0]) == expected


def test_the_promise_is_made_here_and_withdrawn_elsewhere(monkeypatch):
    assert promise().endswith("the same bits on every x86-64 and Arm processor")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert promise().endswith("has not been tested: riscv64")
