"""The stages of the pipeline, one file each: read params and inputs, call the library, write outputs."""

import os
import sys

from stages.common import guard

ADDRESS_SPACE = (3 << 30) + min(os.cpu_count() or 1, 64) * (1 << 27)
"""Bytes that a stage may reserve: TensorFlow took 2.6 GiB on 2 cores; OpenBLAS has 82 MiB of buffers for each core."""


def check_limits() -> None:
    """Stop if the address space is too small: OpenBLAS would wait for ever, and TensorFlow would crash."""
    if sys.platform != "win32":  # Windows has no such limit
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY and limit < ADDRESS_SPACE:
            sys.exit(
                f"error: address space: expected {ADDRESS_SPACE >> 20} MiB at least, got {limit >> 20};"
                " `ulimit -v unlimited` lifts it"
            )


if sys.argv[0] == "-m":  # a stage is starting, and has imported nothing yet
    guard.start()
    check_limits()
