"""Make a virtual environment of what a requirements file locks: `python3 install.py .venv requirements.txt`.

This is `make setup` without make. Any Python from 3.8 runs it; it finds one of those that TensorFlow is released for.
One runs at a time. The file `installed` in the environment is written last: without it nothing is installed.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 13)
ASTRAY = ("PIP_PYTHON", "PIP_ROOT", "PYTHONHOME", "PYTHONPATH")
"""Variables that lead pip or Python out of the environment."""


def main(environment: Path, requirements: Path) -> None:
    """Have all of ``requirements``, and nothing else, in ``environment``, unless it is so already."""
    with requirements.open("r+b") as lock:
        wait_for(lock)
        marker, wanted = environment / "installed", lock.read()
        if marker.is_file() and marker.read_bytes() == wanted:
            shutil.copystat(requirements, marker)  # make compares times
            return
        if environment.resolve() != environment.parent.resolve() / environment.name:
            sys.exit(f"error: {environment} is a link to {environment.resolve()}, which would be emptied; remove it")
        python = find_python()
        print(f"{environment}: {python} and what {requirements} lists; a minute or two", file=sys.stderr)
        if environment.exists():
            marker.unlink(missing_ok=True)
            shutil.rmtree(environment)
        run(python, "-m", "venv", str(environment))
        partial = Path(shutil.copy2(requirements, environment / "installed.partial"))
        inside = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        pip = (str(inside), "-m", "pip", "--require-virtualenv", "--quiet", "--disable-pip-version-check")
        here = ("--no-user", "--target=", f"--prefix={environment.resolve()}")  # whatever the user's pip.conf says
        run(*pip, "install", *here, "--requirement", str(requirements))
        os.replace(partial, marker)


def wait_for(file) -> None:
    """Wait until no other process holds the lock on an open file, and hold it till the file is closed."""
    if os.name == "nt":
        import msvcrt

        file.seek(1 << 30)  # a locked byte cannot be read: one far behind the end
        locked = False
        while not locked:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                locked = True
            except OSError as error:
                if error.errno != errno.EDEADLK:  # it has waited for ten seconds
                    raise
        file.seek(0)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def find_python() -> str:
    """This Python, or else the newest on the PATH that will do, or else one that uv brings."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return sys._base_executable  # ty: ignore[missing-attribute]  # no document has it; not that of the environment itself, which is first on make's PATH
    newest_first = [f"3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    for version in newest_first:
        if found := answer(f"python{version}", "-c", "import sys; print(sys._base_executable)"):
            return found
    if shutil.which("uv"):
        run("uv", "python", "install", "--quiet", newest_first[0])
        if found := answer("uv", "python", "find", "--system", newest_first[0]):
            return found
    found = "{}.{}".format(*sys.version_info)
    sys.exit(f"error: expected Python 3.10 to 3.13, got {found}; install one, or uv, which brings one")


def answer(*command: str) -> str:
    """What a command prints; nothing if there is no such program or it fails, as that of a version manager may."""
    if not shutil.which(command[0]):
        return ""
    found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return found.stdout.decode().strip() if found.returncode == 0 else ""


def run(*command: str) -> None:
    """Run a command, which says itself why it fails. Ctrl-C is ours alone, and ends it with all that it has started."""
    environment = {name: value for name, value in os.environ.items() if name not in ASTRAY}
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if code:
        sys.exit(f"error: `{' '.join(command)}` failed with exit code {code}; its own error is above")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python3 install.py .venv requirements.txt")
    for name in ("SIGTERM", "SIGHUP"):  # as Ctrl-C; Windows has no SIGHUP
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"error: {error}")
