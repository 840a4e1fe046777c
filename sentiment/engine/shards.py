"""Shards of a batch computed side by side: on the cores of this process, and on other processes where there are some.

There are where a launcher of MPI has started Python by its runner: `mpiexec -n 4 python -m mpi4py -m module`. Each
process computes some of the shards and then has what all of them gave, byte for byte, so that whatever it makes of that
is what one process would have made. Without the runner nothing of MPI is imported. Importing this module starts
neither MPI nor threads.
"""

import os
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from sentiment import InputError

if TYPE_CHECKING:
    from mpi4py import MPI

Value = TypeVar("Value")


class Processes(NamedTuple):
    """The processes that compute the shards together."""

    world: "MPI.Comm | None"  # None: this process alone
    rank: int  # of this process, from 0
    size: int  # number of processes
    cores: int  # that this process may use


@cache
def processes() -> Processes:
    """The processes, once the first of these functions needs them: all processes must come to that point."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {*range(os.cpu_count())}
    if "mpi4py" not in sys.modules:
        return Processes(None, 0, 1, len(cores))
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    # The share of the machine's cores, whether processes are bound to cores of their own or not.
    machine = world.Split_type(MPI.COMM_TYPE_SHARED)
    return Processes(world, world.rank, world.size, max(1, len(set.union(*machine.allgather(cores))) // machine.size))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(processes().cores)


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

    others = [_threads().submit(take) for _ in range(min(count, processes().cores) - 1)]
    try:
        take()
    finally:
        wait(others)  # nothing writes on when this has ended, however it has
    for other in others:
        other.result()


def own(count: int, rank: int | None = None) -> range:
    """The tasks, of ``count``, of the process ``rank``, by default of this one; the processes take them in order.

    >>> own(5)
    range(0, 5)
    """
    rank, size = processes().rank if rank is None else rank, processes().size
    return range(count * rank // size, count * (rank + 1) // size)


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
    world, rank, size, _ = processes()
    if world is None:
        return
    from mpi4py import MPI

    types = [_layout([array for task in own(count, other) for array in fills(task)]).Commit() for other in range(size)]
    counts, begins = [int(other != rank) for other in range(size)], [0] * size
    world.Alltoallw([MPI.BOTTOM, (counts, begins), [types[rank]] * size], [MPI.BOTTOM, (counts, begins), types])
    for layout in types:
        layout.Free()


def _layout(arrays: list[np.ndarray]) -> "MPI.Datatype":
    """The MPI data type that describes where the bytes of arrays lie."""
    from mpi4py import MPI

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
    """Result of ``find()``, which only the first process calls, in all processes."""
    world, rank, _, _ = processes()
    value = find() if rank == 0 else None
    _meet()
    return world.bcast(value) if world else value


def collect(value: Value) -> list[Value]:
    """The values of all processes, in their order."""
    world = processes().world
    _meet()
    return world.allgather(value) if world else [value]


def _meet() -> None:
    """Wait until all processes are here, asleep: MPI's own waiting takes the time of a whole core."""
    if world := processes().world:
        arrived = world.Ibarrier()
        while not arrived.Test():
            time.sleep(0.001)


def agree(digest: str, what: str) -> None:
    """See that all processes have the same digest of ``what``.

    Raises:
        InputError: One has another than the first.
    """
    first, *others = collect((digest, platform.node()))
    for number, (theirs, node) in enumerate(others, start=2):
        if theirs != first[0]:
            raise InputError(
                f"{what}: expected the same in all {processes().size} processes, got {first[0][:16]} in the first, on"
                f" {first[1]}, and {theirs[:16]} in number {number}, on {node}; do both machines have this folder, this"
                " code and these packages?"
            )
