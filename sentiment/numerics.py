"""What pins the bits: the one door through which TensorFlow enters, and arithmetic whose order nothing can change.

Import ``tf`` from here, never from ``tensorflow``: most of these settings work only before TensorFlow starts. Each
line was found by comparing weights between runs, core counts, processors and emulated caches; with all of them, any
x86-64 processor with AVX2 trains the same bits.
"""

import ctypes
import functools
import operator
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy._core._multiarray_umath import __cpu_features__  # what `numpy.show_runtime` reads: found, not compiled for

if "tensorflow" in sys.modules:
    raise ImportError("import sentiment.numerics before tensorflow: what pins the bits can't be set once it runs")

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # on or off by processor, and its kernels choose their code by processor
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"  # Eigen's matrix products call oneDNN's sgemm all the same
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # a GPU sums in another order; used only if asked for
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # failures raise; nothing else need be said


@contextmanager
def _silence() -> Iterator[None]:
    """Hold back what TensorFlow's C++ prints to file descriptor 2 as it starts: it heeds no log level there."""
    terminal, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nothing)


with _silence():
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)  # a sum shared among n threads rounds by n
    tf.config.experimental.enable_op_determinism()
    # The graph runs as written: the optimiser rewrites chains of additions into AddN, which starts its sum from
    # whichever operand's memory happens to be free first, and fuses operations by what it thinks of the processor.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    tf.config.list_logical_devices()  # starts the runtime

if sys.platform == "linux":
    # Keep freed memory for the next step: handed back to the system, each page of it is zeroed anew. Bits are the same.
    for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
        ctypes.CDLL(None).mallopt(option, 1 << 30)

CHUNK = 256
"""Rows per matrix product. Taller and deeper products are cut into blocks by the processor's cache sizes."""


def promise() -> str:
    """One line on whether the bits made here are those of other machines, and if not, why."""
    machine, reason = platform.machine(), ""
    if machine.lower() not in ("x86_64", "amd64"):
        reason = f"this processor is {machine}, not x86-64"
    elif not __cpu_features__["AVX2"]:
        reason = "this processor lacks AVX2"
    elif tf.config.list_logical_devices("GPU"):
        reason = "CUDA_VISIBLE_DEVICES makes a GPU visible"
    if reason:
        return f"the bits may differ from other machines', and so, a little, the metrics: {reason}"
    return "the bits are those of every x86-64 processor with AVX2"


def ordered_sum(tensors) -> tf.Tensor:
    """The sum of tensors of one shape, from the first to the last (``tf.add_n`` promises no order)."""
    return functools.reduce(operator.add, tensors)


def chunked(rows: tf.Tensor) -> tf.Tensor:
    """Cut float32 [n, d] into [ceil(n / CHUNK), CHUNK, d], the last chunk filled with zeros; ``n`` is static."""
    n, d = rows.shape
    return tf.reshape(tf.pad(rows, [[0, -n % CHUNK], [0, 0]]), [-1, CHUNK, d])


def matmul_tall(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """[n, d] @ [d, m] for many rows, each result from products of ``CHUNK`` rows; ``n`` is static."""
    return tf.reshape(tf.matmul(chunked(a), b[None]), [-1, b.shape[1]])[: a.shape[0]]


def matmul_deep(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """[n, d].T @ [n, m] for large ``n``: products of depth ``CHUNK``, then their sum in order; ``n`` is static."""
    return tf.reduce_sum(tf.matmul(chunked(a), chunked(b), transpose_a=True), axis=0)


def orthogonal(random: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A random float32 [rows, columns], rows <= columns, with orthonormal rows, drawn uniformly.

    The Q of a QR decomposition of normal numbers whose R has a positive diagonal, as in
    ``keras.initializers.Orthogonal``. LAPACK's QR rounds by the cache; this one is Gram-Schmidt, each row made
    orthogonal twice ("twice is enough", W. Kahan in B. Parlett, The Symmetric Eigenvalue Problem, 6-9), in float64
    element by element.
    """
    if rows > columns:
        raise ValueError(f"rows = {rows} must not exceed columns = {columns}: they could not all be orthogonal")
    basis = random.standard_normal((rows, columns))
    for i, row in enumerate(basis):
        for _ in range(2):
            row -= (basis[:i] * (basis[:i] * row).sum(axis=1, keepdims=True)).sum(axis=0)
        row /= np.sqrt((row * row).sum())
    return basis.astype(np.float32)
