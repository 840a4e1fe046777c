"""Standard input and output of a command: open, blocking, and without output that is lost silently."""

import io
import os
import sys

OPENED = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}
"""Mode of the null device that replaces a closed stream: reading stdin or writing to stdout is then an error."""


def prepare() -> None:
    """Prepare the standard streams, so that no output is lost without an error.

    A closed stream would cause a traceback. A non-blocking pipe, as Node and ssh create, loses output that does not fit
    at once. Under ``PYTHONUNBUFFERED``, Python does not check how much has been written.
    """
    for number, flags in OPENED.items():
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, flags)  # this has another number if a lower one is free
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if sys.platform != "win32":
            os.set_blocking(number, True)
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8")
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        form = {"encoding": sys.stdout.encoding, "errors": sys.stdout.errors}
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(sys.stdout.detach()), **form)


def flush() -> None:
    """Write the buffer of standard output.

    Raises:
        OSError: Standard output cannot be written.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        discard()
        raise OSError(error.errno, error.strerror, "standard output") from None


def discard() -> None:
    """Drop the buffer of standard output after an error; otherwise Python would try to write it again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
