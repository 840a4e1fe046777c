"""Compile the kernels of a training in two processes at the same time, before its first step.

Numba compiles one function at a time, which takes longer than several epochs of a small network. So a second process
compiles the backward pass, and saves it in the cache. Meanwhile, this process compiles the forward pass and the
optimizer. If the second process cannot start or fails, this process compiles everything.
"""

import logging
import os
import pickle
import subprocess
import sys
import tempfile

import numpy as np

from sentiment.engine import cache, packing, shards
from sentiment.engine.block import Capacity
from sentiment.engine.matrices import sum_arrays
from sentiment.engine.network import Network
from sentiment.engine.optimizers import SGD, Adam
from sentiment.engine.vectors import LANES, zeros

LONGEST = 60
"""Seconds that this process waits for the other one, which may hang: OpenBLAS does, with too little address space."""

_CODE = """\
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from sentiment.engine.ahead import compile_backward
compile_backward(*pickle.load(sys.stdin.buffer))
"""


def compile_kernels(layers: list[dict], dtype: np.dtype, optimizer: Adam | SGD) -> None:
    """Compile the kernels of a training step.

    If the kernel of ``sum_arrays``, which every training needs, is in the cache, the others usually are, too. Then
    there is no second process. Nor is there one if this process has one core, or if other processes train.

    Args:
        layers: Layers of a Keras model; see ``Network``.
        dtype: Type of the word ids.
        optimizer: Updates the weights.
    """
    if shards.processes().world or shards.processes().cores == 1:
        return
    before = cache.saved
    sum_arrays(zeros(1, LANES), zeros(LANES))
    if cache.saved == before:
        return
    log = logging.getLogger(__name__)
    try:
        with tempfile.TemporaryFile() as file:
            file.write(pickle.dumps(sys.path) + pickle.dumps((layers, dtype)))
            file.seek(0)
            other = subprocess.Popen(
                [sys.executable, "-I", "-c", _CODE], env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
                stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
    except OSError as error:
        log.info("only one process compiles: %s", error)
        return
    with other:
        try:
            network = _prepared(layers, dtype)
            network.forward(0)
            network.forward(1)
            network.output.probabilities()
            vector = zeros(LANES)
            optimizer.update(vector, dict.fromkeys(optimizer.slots, vector), vector, 0, 0.0)
            other.wait(LONGEST)
        except subprocess.TimeoutExpired:
            log.info("the second process did not end within %d seconds", LONGEST)
        finally:
            other.kill()
    if other.returncode:
        log.info("the second process ended with exit code %d", other.returncode)


def compile_backward(layers: list[dict], dtype: np.dtype) -> None:
    """Compile the kernels of the backward pass. Arguments as for ``compile_kernels``."""
    network = _prepared(layers, dtype)
    network.backward(1)
    network.backward(0)
    network.finish()


def _prepared(layers: list[dict], dtype: np.dtype) -> Network:
    """A network with weights of 0, prepared for a batch of one review."""
    network = Network(layers)
    weights = packing.pack(network.weights, np.zeros(network.parameters, np.float32))
    network.allocate(Capacity(groups=2, reviews=1, training=True, backward=True), weights, np.zeros_like(weights))
    network.output.labels[:] = 0
    network.prepare(network.deal(np.ones((1, network.length), dtype), 1), [0])
    return network
