"""The stages of the pipeline, one file each: read params and inputs, call the library, write outputs."""

import os
import re
import sys

from stages.common import guard

NEEDED = (1 << 30) + min(os.cpu_count() or 1, 64) * (1 << 27)
"""Bytes of memory that a stage may reserve: the code of its libraries, and buffers of OpenBLAS for each core."""

NO_MEMORY = re.compile("failed to map segment|annot allocate memory$")
"""Messages of an import that needed more memory."""


def check_limits() -> None:
    """Stop if the user's limits of memory are too low. OpenBLAS would wait for more memory for ever."""
    if sys.platform != "win32":
        import resource

        for option, kind in {"-v": resource.RLIMIT_AS, "-d": resource.RLIMIT_DATA}.items():
            if 0 <= (limit := resource.getrlimit(kind)[0]) < NEEDED:
                sys.exit(
                    f"error: too little memory: `ulimit {option}` is {limit >> 10} KiB, expected at least"
                    f" {NEEDED >> 10}; run `ulimit {option} unlimited` first"
                )


def report(kind, error, traceback) -> None:
    """Print one line for an error that a lack of memory caused, and a traceback for any other."""
    if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
        print(f"error: out of memory ({error or 'no more is available'}); close other programs", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


if sys.argv[0] == "-m":  # a stage is starting, and has imported nothing yet
    guard.start()
    check_limits()
    sys.excepthook = report
