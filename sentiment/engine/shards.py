"""Shards of a batch computed side by side: on the cores of this process, and on other processes where there are some.

There are where a launcher of MPI has started Python by its runner: `mpiexec -n 4 python -m mpi4py -m module`. Each
process computes some of the shards and then has what all of them gave, byte for byte, so that whatever it makes of that
is what one process would have made. Without the runner nothing of MPI is imported.
"""

import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np

from sentiment import InputError

Value = TypeVar("Value")

_processes = None
if "mpi4py" in sys.modules:
    from mpi4py import MPI

    _processes = MPI.COMM_WORLD

PLACE, PLACES = (_processes.rank, _processes.size) if _processes else (0, 1)
"""Which of the processes this is, from 0, and how many there are."""


def _count_cores() -> int:
    """How many cores this process may use: of those of its machine, its share, bound to cores of its own or not."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {*range(os.cpu_count())}
    if not _processes:
        return len(cores)
    here = _processes.Split_type(MPI.COMM_TYPE_SHARED)
    return max(1, len(set.union(*here.allgather(cores))) // here.size)


_CORES = _count_cores()
_threads = ThreadPoolExecutor(_CORES)


def side_by_side(run: Callable[[int], None], count: int) -> None:
    """Call ``run(0)`` to ``run(count - 1)`` on all cores.

    Args:
        run: Calls compiled functions, which let go of Python's lock; each call writes to memory of its own.
        count: How many calls.
    """
    tasks = iter(range(count))

    def take():
        for task in tasks:
            run(task)

    others = [_threads.submit(take) for _ in range(min(count, _CORES) - 1)]
    try:
        take()
    finally:
        wait(others)  # nothing writes on when this has ended, however it has
    for other in others:
        other.result()


def own(count: int, place: int = PLACE) -> range:
    """Which of ``count`` tasks fall to a process, by default this one; the processes take them in order.

    >>> [own(5, place) for place in range(PLACES)]
    [range(0, 5)]
    """
    return range(count * place // PLACES, count * (place + 1) // PLACES)


def everywhere(run: Callable[[int], None], count: int, fills: Callable[[int], list[np.ndarray]]) -> None:
    """Call ``run(0)`` to ``run(count - 1)``, each in one of the processes, side by side on its cores.

    All processes call this, and when it returns all have what each call filled. Nothing is added up on the way, as
    MPI's reductions would in an order of their own.

    Args:
        run: As for ``side_by_side``.
        count: How many calls.
        fills: The arrays that a call fills, of the same sizes in all processes, contiguous but for their first axis:
            they are sent and received where they lie.
    """
    mine = own(count)
    side_by_side(lambda at: run(mine[at]), len(mine))
    if PLACES == 1:
        return
    types = [
        _layout([array for task in own(count, place) for array in fills(task)]).Commit() for place in range(PLACES)
    ]
    counts, begins = [int(place != PLACE) for place in range(PLACES)], [0] * PLACES
    _processes.Alltoallw([MPI.BOTTOM, (counts, begins), [types[PLACE]] * PLACES], [MPI.BOTTOM, (counts, begins), types])
    for layout in types:
        layout.Free()


def _layout(arrays: list[np.ndarray]) -> "MPI.Datatype":
    """Where the bytes of arrays lie, for MPI."""
    arrays = [array for array in arrays if array.nbytes]
    pieces = []
    for array in arrays:
        assert array[0].flags.c_contiguous
        rows = 1 if array.flags.c_contiguous else len(array)
        pieces.append(MPI.BYTE.Create_hvector(rows, array.nbytes // rows, array.strides[0]))
    whole = MPI.Datatype.Create_struct([1] * len(arrays), [array.ctypes.data for array in arrays], pieces)
    for piece in pieces:
        piece.Free()
    return whole


def share(find: Callable[[], Value]) -> Value:
    """What ``find()`` gives in the first process, in all of them; it is called in no other."""
    if PLACES == 1:
        return find()
    return _processes.bcast(find() if PLACE == 0 else None)


def collect(value: Value) -> list[Value]:
    """The values of all processes, in their order."""
    return [value] if PLACES == 1 else _processes.allgather(value)


def agree(digest: str, what: str) -> None:
    """See that all processes have the same digest of ``what``.

    Raises:
        InputError: One has another than the first.
    """
    found = collect((digest, platform.node()))
    for place, (theirs, node) in enumerate(found):
        if theirs != found[0][0]:
            raise InputError(
                f"{what}: expected the same in all {PLACES} processes, got {found[0][0][:16]} in the first, on"
                f" {found[0][1]}, and {theirs[:16]} in number {place + 1}, on {node}; do both machines have this"
                " folder, this code and these packages?"
            )
