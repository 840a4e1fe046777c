"""The command line of a stage: its arguments, its errors, and its end on Ctrl-C."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import Literal

from sentiment import InputError, streams
from stages.common import guard
from stages.common.files import FULL, unfinished


def command(
    main: Callable,
    read: Callable | None = None,
    *,
    name: Literal["model", "corpus"] | None = None,
    option: Literal["model"] | None = None,
    interrupted: str = "interrupted",
) -> None:
    """Run ``main(settings, name)`` of a stage from the command line; a stage may lack either argument.

    Bad input ends in one line per fault on standard error and exit code 1, without a traceback. So does a dependency
    that changed since the stage started: the stage may have read the old content, and DVC would record the new one.
    Ctrl-C and a termination end in the line ``interrupted`` and exit code 130 or 143, and leave no file half-written.

    Args:
        main: The main function of the stage.
        read: Reads the settings of the stage from ``params.yaml``, by ``name`` if there is one.
        name: Argument of the command: the name of a section under `models` or `corpora`.
        option: The same as an option of the command, which only ``main`` reads.
        interrupted: Message printed on interruption.
    """

    def end(number, _):
        # The process exits at once: after a KeyboardInterrupt inside a library, a lock could stay locked, and a normal
        # exit would wait for it for ever.
        for path in unfinished:
            path.unlink(missing_ok=True)
        os.write(sys.stderr.fileno(), f"\n{interrupted}\n".encode())
        os._exit(128 + number)

    streams.prepare()
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # nothing is lost, in any locale
    description = (sys.modules[main.__module__].__doc__ or "").partition("\n")[0]  # Python -OO removes docstrings
    parser = argparse.ArgumentParser(description=description)
    section = {"model": "models", "corpus": "corpora"}
    if name:
        parser.add_argument(name, help=f"a name under `{section[name]}` in params.yaml")
    if option:
        parser.add_argument(f"--{option}", help=f"a name under `{section[option]}` in params.yaml")
    arguments = vars(parser.parse_args())
    names = [arguments[name]] if name else []
    try:
        settings = [read(*names)] if read else []
        main(*settings, *arguments.values())
        changed = [*map(str, guard.changed()), *(["params.yaml"] if read and read(*names) != settings[0] else [])]
        if changed:
            raise InputError(
                f"{', '.join(changed)}: expected no change while the stage ran, but it changed; run `dvc repro` again"
            )
        streams.flush()
        return
    except InputError as error:
        fault = "\n".join(f"error: {line}" for line in str(error).splitlines())
    except FileNotFoundError as error:
        fault = f"error: {error.filename} is missing; `dvc repro` runs the stages that make it first"
    except OSError as error:
        remedy = "; make room and run the same command again" if error.errno in FULL else ""
        fault = f"error: {error}{remedy}"
    except MemoryError as error:
        reason = str(error) or "no more is available"
        fault = f"error: out of memory ({reason}); lower the batch or the sizes in params.yaml"
    streams.discard()
    sys.exit(fault)
