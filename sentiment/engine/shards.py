"""Shards of a batch computed side by side, on the cores that this process may use."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
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
