"""A stage on several processes: `LAUNCHER="mpiexec -n 4" dvc repro` runs it under that launcher of MPI.

DVC starts one process, as ever. That one starts the launcher, which starts the same stage several times, each watched
by a process of its own (`python -m stages.launcher`) that can say how it ended even if it was killed.
"""

import os
import platform
import shlex
import signal
import subprocess
import sys

NAME = "LAUNCHER"
ENDED = "ended: "  # begins the line of a watcher whose process has not ended well


def launched() -> bool:
    """Whether this process is one of a launcher's, and so has a share of the work."""
    return "mpi4py" in sys.modules


def requested() -> bool:
    """Whether this process is to start a launcher."""
    return bool(os.environ.get(NAME, "").strip()) and not launched()


def launch() -> None:
    """Run this process's command line under the launcher, if one is requested, and end with it; else return.

    What the processes write to standard error is written once, however many write it. If one of them ends badly all do:
    its own error is shown, or a line on how it ended, and nothing that the launcher has to say about it.
    """
    if not requested():
        return
    # -m, as sys.orig_argv has it: the module and its arguments.
    command = [*_words(), sys.executable, "-m", "stages.launcher", *sys.orig_argv[sys.orig_argv.index("-m") + 1 :]]
    environment = os.environ | {"SLURM_KILL_BAD_EXIT": "1"}
    try:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        sys.exit(f"error: {NAME}: {command[0]!r} cannot be run ({error.strerror}); give the whole command, or unset it")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ending(process, signal.getsignal(number)))
    seen, ends = set(), []
    for line in process.stderr:
        if line.startswith(ENDED):
            ends.append(line.removeprefix(ENDED))
        elif line not in seen and (line.startswith("error: ") or not (ends or _errors(seen))):
            sys.stderr.write(line)
            sys.stderr.flush()
        seen.add(line)
    code = process.wait()
    if code and not _errors(seen):
        command = shlex.join(_words())
        sys.exit(f"error: {ends[0].strip()}" if ends else f"error: {NAME}: `{command}` ended with exit code {code}")
    sys.exit(min(code, 1) if code >= 0 else 1)


def _words() -> list[str]:
    """The launcher's command."""
    try:
        return shlex.split(os.environ[NAME])
    except ValueError as error:
        sys.exit(f"error: {NAME}: {os.environ[NAME]!r} is no command ({error})")


def _errors(lines: set[str]) -> bool:
    return any(line.startswith("error: ") for line in lines)


def _ending(process: subprocess.Popen, then):
    """What to do on a signal: end the launcher, and so all its processes, and then what would have been done."""

    def end(number, frame):
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        then(number, frame) if callable(then) else sys.exit(128 + number)

    return end


def watch(module: str, *arguments: str) -> int:
    """Run a module as one of a launcher's processes; pass on its lines, whole, and say how it ended if not well."""
    child = subprocess.Popen(
        [sys.executable, "-m", "mpi4py", "-m", module, *arguments], stderr=subprocess.PIPE, close_fds=False
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: child.send_signal(number))
    for line in child.stderr:
        os.write(2, line)
    code = child.wait()
    who = f"process {child.pid} on {platform.node()}"
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", maybe for want of memory" if -code == signal.SIGKILL else ""
        os.write(2, f"{ENDED}{who} was killed by {name}{hint}; run the same command again to go on\n".encode())
    elif code:
        os.write(2, f"{ENDED}{who} failed with exit code {code}; its own error is above\n".encode())
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(watch(*sys.argv[1:]))
