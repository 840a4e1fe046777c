"""Shards of a batch computed in parallel, on the cores of this process and on other processes.

There are other processes if an MPI launcher has started Python with mpi4py: `mpiexec -n 4 python -m mpi4py -m module`.
Each process computes some of the shards. Then the processes exchange the results, byte for byte, so that the rest of
the computation is the same as in one process. Without mpi4py, MPI is not imported. Importing this module starts neither
MPI nor threads.
"""

import os
import platform
import sys
import time
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from sentiment import InputError

if TYPE_CHECKING:
    from mpi4py import MPI

Value = TypeVar("Value")


class Processes(NamedTuple):
    """The processes that compute the shards together."""

    world: "MPI.Comm | None"  # None if there is one process
    rank: int  # rank of this process, from 0
    size: int  # number of processes
    cores: int  # number of cores that this process may use


@cache
def processes() -> Processes:
    """The processes. The first call starts MPI, so every process must reach it."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {*range(os.cpu_count())}
    if "mpi4py" not in sys.modules:
        return Processes(None, 0, 1, len(cores))
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    # Each process of a machine gets an equal number of its cores, whether the launcher binds processes to cores or not.
    machine = world.Split_type(MPI.COMM_TYPE_SHARED)
    return Processes(world, world.rank, world.size, max(1, len(set.union(*machine.allgather(cores))) // machine.size))


@cache
def _requests() -> SimpleQueue:
    """Queue of the functions that the other threads call.

    A ``ThreadPoolExecutor`` needs more time for a call than a small kernel does.
    """
    if hasattr(os, "register_at_fork"):  # a forked process has none of the threads
        for function in (_requests, _start):
            os.register_at_fork(after_in_child=function.cache_clear)
    return SimpleQueue()


@cache
def _start(number: int) -> None:
    """Start thread ``number``, which calls the functions of the queue."""

    def serve():
        while True:
            _requests().get()()

    Thread(target=serve, name=f"shards-{number}", daemon=True).start()


def side_by_side(run: Callable[[int], None], count: int) -> None:
    """Call ``run(0)`` to ``run(count - 1)`` on all cores.

    Args:
        run: Calls compiled functions, which release Python's lock. No two calls write to the same memory, and none
            calls this function if ``count`` is more than 1.
        count: Number of calls.

    Raises:
        BaseException: Any error of a call, after all other threads have ended.
    """
    others = min(count, processes().cores) - 1
    if others < 1:
        for task in range(count):
            run(task)
        return
    tasks, ended = iter(range(count)), SimpleQueue()

    def take():
        error = None
        try:
            for task in tasks:
                run(task)
        except BaseException as raised:
            error = raised
        ended.put(error)

    for number in range(others):  # all before the first call, because a limit of threads may prevent one
        _start(number)
    for _ in range(others):
        _requests().put(take)
    try:
        for task in tasks:
            run(task)
    finally:  # no thread still writes after this function has returned or raised, unless a signal interrupts the wait
        errors = [ended.get() for _ in range(others)]
    for error in errors:
        if error is not None:
            raise error


def tasks_of(count: int, rank: int | None = None) -> range:
    """The tasks, out of ``count``, of the process ``rank``, by default this one: a contiguous range for each rank.

    >>> tasks_of(5)
    range(0, 5)
    """
    rank, size = processes().rank if rank is None else rank, processes().size
    return range(count * rank // size, count * (rank + 1) // size)


def everywhere(run: Callable[[int], None], count: int, fills: Callable[[int], list[np.ndarray]]) -> None:
    """Call ``run(0)`` to ``run(count - 1)``, each in one of the processes, in parallel on its cores.

    All processes must call this function. When it returns, every process has the arrays that all calls filled. The
    processes send these arrays and add nothing, because an MPI reduction chooses the order of its sums.

    Args:
        run: As for ``side_by_side``.
        count: Number of calls.
        fills: Gives the arrays that a call fills. Their sizes are the same in all processes, and all axes but the first
            are contiguous. They are sent and received without a copy.
    """
    tasks = tasks_of(count)
    side_by_side(lambda at: run(tasks[at]), len(tasks))
    world, rank, size, _ = processes()
    if world is None:
        return
    from mpi4py import MPI

    types = [
        _layout([array for task in tasks_of(count, other) for array in fills(task)]).Commit() for other in range(size)
    ]
    counts, begins = [int(other != rank) for other in range(size)], [0] * size
    world.Alltoallw([MPI.BOTTOM, (counts, begins), [types[rank]] * size], [MPI.BOTTOM, (counts, begins), types])
    for layout in types:
        layout.Free()


def _layout(arrays: list[np.ndarray]) -> "MPI.Datatype":
    """The MPI data type that describes the addresses of the bytes of arrays."""
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


def share(make: Callable[[], Value]) -> Value:
    """The result of ``make()``, which the first process calls and sends to all processes."""
    world, rank, _, _ = processes()
    value = make() if rank == 0 else None
    _meet()
    return world.bcast(value) if world else value


def collect(value: Value) -> list[Value]:
    """The values of all processes, in their order."""
    world = processes().world
    _meet()
    return world.allgather(value) if world else [value]


def _meet() -> None:
    """Wait until all processes are here, and sleep meanwhile: MPI's barrier would keep a core busy."""
    if world := processes().world:
        arrived = world.Ibarrier()
        while not arrived.Test():
            time.sleep(0.001)


def agree(digest: str, what: str) -> None:
    """Check that all processes have the same digest of ``what``, a name for the message.

    Raises:
        InputError: A process has another digest than the first one.
    """
    first, *others = collect((digest, platform.node()))
    for number, (theirs, node) in enumerate(others, start=2):
        if theirs != first[0]:
            raise InputError(
                f"{what}: expected the same in all {processes().size} processes, got {first[0][:16]} in the first, on"
                f" {first[1]}, and {theirs[:16]} in number {number}, on {node}; do both machines have this folder, this"
                " code and these packages?"
            )
