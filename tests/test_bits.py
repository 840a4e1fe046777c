"""The same bits on any cores, threads, hash seed and processor, and only through operations known to be safe."""

import functools
import os
import subprocess
import sys

import pytest

from sentiment import network, training
from sentiment.numerics import promise, tf
from tests.conftest import ROOT

STEPS = {"small": 3, "full": 2}

SAFE = {
    # moves and counts numbers, rounds nothing
    "BroadcastTo", "Cast", "ConcatV2", "Const", "ExpandDims", "Fill", "GatherV2", "Identity", "NoOp", "Pack", "Pad",
    "PadV2", "Placeholder", "ReadVariableOp", "Reshape", "Select", "SelectV2", "Shape", "Size", "Slice", "Split",
    "SplitV", "Squeeze", "StridedSlice", "Transpose", "Unpack", "ZerosLike",
    # one rounding per element by IEEE 754, whatever the instruction
    "Abs", "AddV2", "Equal", "FloorDiv", "Greater", "GreaterEqual", "Maximum", "Minimum", "Mul", "Neg", "RealDiv",
    "Relu", "Sub",
    # polynomials of Eigen's, compiled once into TensorFlow: no call into a library that looks at the processor
    "Exp", "Log1p", "Sigmoid",
    # sums in the order of memory: one intra-op thread, operations deterministic
    "Sum", "TensorScatterAdd", "UnsortedSegmentSum",
    # matrix products that fit one block of the product library; numerics.CHUNK sees to the tall ones
    "BatchMatMulV2", "BlockLSTM", "BlockLSTMGrad", "MatMul",
    # element by element: square roots and quotients, rounded by IEEE 754
    "ResourceApplyAdam",
    # Philox, which counts in integers; the last operation divides by a power of two
    "BitwiseOr", "LeftShift", "StatelessRandomUniformFullIntV2", "StatelessRandomUniformV2",
}  # fmt: skip


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
        ("0", {}),
        ("0", {"TF_NUM_INTEROP_THREADS": "8"}),
        ("0-1", {"TF_NUM_INTEROP_THREADS": "1", "PYTHONHASHSEED": "1"}),
        ("0-1", {"TF_NUM_INTEROP_THREADS": "2", "TF_NUM_INTRAOP_THREADS": "7", "TF_ENABLE_ONEDNN_OPTS": "1"}),
        ("0-1", {"OMP_NUM_THREADS": "3", "ONEDNN_MAX_CPU_ISA": "SSE41", "PYTHONHASHSEED": "2"}),
    ],
    ids=str,
)
def test_cores_threads_and_settings_leave_the_bits_alone(here, model, cores, environment):
    assert bits(model, "taskset", "--cpu-list", cores, **environment) == here[model]


def test_another_seed_or_model_has_other_bits(here):
    assert len(here["small"]) == STEPS["small"] + 2
    assert not set(here["small"]) & set(here["full"])


@pytest.mark.parametrize("model", STEPS)
def test_emulated_processors_give_the_bits_of_this_one(here, model, emulator):
    assert bits(model, *emulator.split()) == here[model]


def operations(function: tf.types.experimental.ConcreteFunction) -> set[str]:
    """The names of all operations of a traced function and those it calls."""
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
    return {node.op for node in nodes}


def test_only_operations_known_to_be_safe_are_in_the_graphs(sizes):
    weights = network.first_weights(sizes, 1)
    step = training.Step(sizes, training.State(0, weights, weights, weights), 0.1, 1)
    update = step.compiled(3).get_concrete_function()

    score = functools.partial(network.positive, sizes, tf.constant(weights))
    scored = tf.function(score, input_signature=network.batch_signature(sizes, 3)).get_concrete_function()
    assert operations(update) | operations(scored) <= SAFE
    assert {"BlockLSTMGrad", "ResourceApplyAdam"} <= operations(update)


def test_an_operation_outside_the_list_would_be_seen():
    function = tf.function(lambda x: tf.math.reciprocal(x), input_signature=[tf.TensorSpec([3])])
    assert "Reciprocal" in operations(function.get_concrete_function()) - SAFE


def test_the_promise_is_made_here_and_withdrawn_elsewhere(monkeypatch):
    assert promise() == "the bits are those of every x86-64 processor with AVX2"
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "may differ" in promise()
    assert "aarch64" in promise()
