"""A stage on several processes: `LAUNCHER="mpiexec -n 4" dvc repro` runs it under that launcher of MPI.

DVC starts one process. That process starts the launcher, which starts the same stage several times. Each of these
processes is watched by another one (`python -m stages.common.launcher`), which reports how it ended, even if killed.
"""

import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from importlib.util import find_spec

NAME = "LAUNCHER"

PATIENCE = 10
"""Seconds for a launcher to end. MPICH's waits for ever for the others if a process ends before MPI has started."""


def requested() -> bool:
    """True if this process must start a launcher: one is named, and this process was not started by it."""
    return bool(os.environ.get(NAME, "").strip()) and "mpi4py" not in sys.modules


def launch() -> bool:
    """Run this process's command line under the launcher, if one is requested; return True if it was run.

    If the stage fails, this process ends with the same error, in one line.
    """
    if not requested():
        return False
    if not find_spec("mpi4py"):
        sys.exit(
            f"error: {NAME}: expected the package mpi4py, which is not installed; `make mpi` installs it and an MPI"
        )
    words = _words()
    # The module and its arguments follow -m.
    command = [*words, *_python(), "-m", "stages.common.launcher", *sys.orig_argv[sys.orig_argv.index("-m") + 1 :]]
    try:
        process = subprocess.Popen(
            command, env=os.environ | {"SLURM_KILL_BAD_EXIT": "1"}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        sys.exit(f"error: {NAME}: {words[0]!r} cannot be run ({error.strerror}); give the whole command, or unset it")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ending(process, signal.getsignal(number)))
    ending = threading.Timer(PATIENCE, _stop, [process])
    fault, ran = _show(process.stderr, ending.start)
    code = process.wait()
    ending.cancel()
    if fault is None and code:
        fault = f"{NAME}: `{shlex.join(words)}` ended with exit code {code}; its output is above"
    elif fault is None and not ran:
        fault = f"{NAME}: `{shlex.join(words)}` has not run the stage; expected a launcher of MPI, as `mpiexec -n 4`"
    if fault is not None:
        sys.exit(f"error: {fault}" if fault else 1)
    return True


def _show(lines: Iterable[str], failed: Callable[[], None]) -> tuple[str | None, bool]:
    """Print the output of the processes, and that of the launcher until a process has failed.

    A line on standard error is printed once, however many processes write it. Of several failures only the first is
    printed, because it ends the other processes. ``failed`` is called when it is reported.

    Returns:
        The message about the first failure (empty if the process has printed it, ``None`` if there was no failure),
        and True if any process has ended without a failure.
    """
    fault, said, ran, failures = None, set(), False, 0
    for line in lines:
        kind, who, text = json.loads(line) if line.startswith('["') else ("said", None, line)
        if kind == "printed":
            print(text, end="", flush=True)
        elif kind == "done":
            ran = True
        elif kind == "failed":
            failures += 1
            if failures == 1:
                failed()
            if fault is None:
                fault = f"{who} {text}"
        elif kind == "said" and text not in said:
            said.add(text)
            error = text.startswith("error: ")
            if error or fault is None or fault.startswith(f"{who} "):
                print(text, end="", file=sys.stderr, flush=True)
            if error:
                fault = ""
            elif text.startswith("Traceback") and fault is None:
                fault = f"{who} failed; its own error is above"
    return fault, ran


def _words() -> list[str]:
    """The launcher's command."""
    try:
        return shlex.split(os.environ[NAME])
    except ValueError as error:
        sys.exit(f"error: {NAME}: {os.environ[NAME]!r} is no command ({error})")


def _python() -> list[str]:
    """The command of this Python, with ``-E`` if this process ignores Python's environment variables."""
    return [sys.executable, *(["-E"] if sys.flags.ignore_environment else [])]


def _ending(process: subprocess.Popen, then: Callable) -> Callable:
    """Handler of a signal that ends the launcher with all its processes, and then calls the handler ``then``."""

    def end(number, frame):
        _stop(process)
        then(number, frame) if callable(then) else sys.exit(128 + number)

    return end


def _stop(process: subprocess.Popen) -> None:
    """End the launcher with all its processes."""
    process.terminate()
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill() if sys.platform == "win32" else os.killpg(process.pid, signal.SIGKILL)


def watch(module: str, *arguments: str) -> int:
    """Run a module as one of a launcher's processes, and report its output and how it ended.

    Each line of its standard output and standard error becomes a line of JSON on standard error, because launchers
    write to both. The items of the JSON are "printed", "said", "done" or "failed"; the process; and the text.
    """
    command = [*_python(), "-m", "mpi4py", "-m", module, *arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, close_fds=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: child.send_signal(number))
    who = f"process {child.pid} on {platform.node()}"

    def write(kind, text):
        remaining = memoryview(f"{json.dumps([kind, who, text])}\n".encode())
        while remaining:
            remaining = remaining[os.write(2, remaining) :]

    def pass_on(stream, kind):
        for line in stream:
            write(kind, line.decode(errors="replace"))

    printer = threading.Thread(target=pass_on, args=(child.stdout, "printed"))
    printer.start()
    pass_on(child.stderr, "said")
    printer.join()
    code = child.wait()
    if code < 0:
        name = signal.Signals(-code).name
        remedies = {
            "SIGKILL": "; there may be too little memory",
            "SIGBUS": "; the shared memory in /dev/shm may be too small: `docker run --shm-size=1g` makes it larger",
        }
        write("failed", f"was killed by {name}{remedies.get(name, '')}; run the same command again to go on")
    elif code:
        write("failed", f"failed with exit code {code}; its own error is above")
    else:
        write("done", "")
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(watch(*sys.argv[1:]))
