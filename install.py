"""Create a virtual environment of locked packages: `python3 install.py .venv requirements.txt`.

`make setup` runs this file. uv installs the packages, or pip if uv fails. Any Python from 3.8 runs it.
The file `installed` in the environment is written last: the environment's folder and version of Python, and the locks.
"""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PYTHON = sys._base_executable  # ty: ignore[missing-attribute]  # not in the docs; outside .venv even where .venv's runs
if sys.executable == PYTHON and sys.prefix != sys.base_prefix:  # Python 3.10 names that of .venv, a link
    PYTHON = os.path.realpath(PYTHON)
SUPPORTED = (3, 10) <= sys.version_info[:2] <= (3, 13)  # by TensorFlow
BIN = "Scripts" if os.name == "nt" else "bin"
IDENTITY = "import os, sys; print(os.path.realpath(sys.prefix), sys.version_info[:2])"
SOURCES = "(PIP|UV)_.*(INDEX|FIND_LINKS|CERT|TLS|PROXY|HOST|TIMEOUT|RETRIES|CACHE|KEYRING|MIRROR|DOWNLOADS)"
"""Settings that say where packages come from. pip and uv get no others, which could say where packages go."""
UV_NAMES = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_FIND_LINKS": "UV_FIND_LINKS"}
UV_NAMES.update(PIP_CERT="SSL_CERT_FILE", PIP_PROXY="ALL_PROXY", PIP_TRUSTED_HOST="UV_INSECURE_HOST")


def main(environment: Path, *locks: Path) -> None:
    """Install ``locks``, and nothing else, in ``environment``, unless they are installed already."""
    with locks[0].open("r+b") as file:
        wait_for(file)
        python, marker = environment / BIN / "python", environment / "installed"
        wanted = [output(python, "-I", "-c", IDENTITY), *(lock.read_bytes() for lock in locks)]
        installed = marker.read_bytes().split(b"\0") if marker.is_file() else []
        if installed[: len(wanted)] == wanted:
            return
        if environment.is_symlink():
            sys.exit(f"error: {environment} is a link to {environment.resolve()}, which would be emptied; remove it")
        if environment.exists() and installed[:2] != wanted[:2]:  # otherwise only the second lock is missing
            marker.unlink(missing_ok=True)
            shutil.rmtree(environment)
        install(environment, python, locks)
        wanted[0] = output(python, "-I", "-c", IDENTITY)
        partial = environment / "installed.partial"
        partial.write_bytes(b"\0".join(wanted))
        os.replace(partial, marker)


def install(environment: Path, python: Path, locks: tuple) -> None:
    """Install ``locks`` in ``environment``, whose Python is ``python``, by uv or else by pip. Create it if missing."""
    names = " and ".join(map(str, locks))
    create = not environment.exists()
    print(f"{environment}: installing {names}; a minute or two", file=sys.stderr)
    if create:
        run(PYTHON, "-I", "-m", "venv", "--without-pip", environment)
    pip = find_pip(python)
    choose_settings(pip)
    uv = find_uv(pip, environment / "uv")
    if create and not SUPPORTED:
        print("TensorFlow has no release for Python {}.{}; uv uses another".format(*sys.version_info), file=sys.stderr)
        if not run(uv, "venv", "--quiet", "--no-project", "--allow-existing", "--python=>=3.10,<3.14", environment):
            sys.exit("error: uv finds no Python 3.10 to 3.13; install one of them")
    options = ["--require-hashes", "--no-deps", *(f"--requirement={lock}" for lock in locks)]
    if os.environ.get("PIP_NO_INDEX"):
        options.append("--no-index")
    if not run(uv, "pip", "install", f"--python={python}", f"--build-constraint={locks[0]}", *options):
        print("uv does not work here; pip installs instead, which takes longer", file=sys.stderr)
        if not run(python, "-m", "ensurepip"):
            sys.exit(f"error: {PYTHON} cannot make environments; on Debian and Ubuntu: apt install python3-venv")
        if not run(python, "-m", "pip", "install", *options):
            sys.exit(f"error: pip cannot install {names}; its own error is above")
    shutil.rmtree(environment / "uv", ignore_errors=True)


def find_pip(python: Path):
    """Return the base Python if it has pip; Debian packages pip apart. Otherwise, install pip for ``python``."""
    if not output(PYTHON, "-I", "-c", "import pip"):
        return PYTHON
    output(python, "-I", "-m", "ensurepip")
    return python


def choose_settings(pip) -> None:
    """Remove all settings of pip, uv and Python but ``SOURCES``, and give uv those of pip, which it does not read."""
    no_bytecode = os.environ.get("PYTHONDONTWRITEBYTECODE")
    for name in [*os.environ]:
        if name.startswith(("PIP_", "UV_", "PYTHON")) and not re.match(f"{SOURCES}|PIP_CONFIG_FILE", name):
            del os.environ[name]
    listed = output(pip, "-m", "pip", "config", "list").decode(errors="replace")
    for key, value in re.findall(r"^(?:global|install)\.(\S+?)=(.+)$", listed, re.MULTILINE):
        name = "PIP_" + key.upper().replace("-", "_")
        if re.match(SOURCES, name):
            os.environ[name] = os.environ.get(name) or ast.literal_eval(value.strip())
    for name, uv_name in UV_NAMES.items():
        if value := os.environ.get(name):
            os.environ.setdefault(uv_name, ",".join(value.split()) if name == "PIP_FIND_LINKS" else value)
    os.environ.update(PIP_CONFIG_FILE=os.devnull, UV_NO_CONFIG="1", UV_INDEX_STRATEGY="unsafe-best-match")
    if no_bytecode:  # every program would compile what it imports at each start
        os.environ["UV_COMPILE_BYTECODE"] = "1"


def find_uv(pip, scratch: Path) -> str:
    """Return the uv of .venv, or that of requirements.txt, which pip installs in ``scratch``, or that on the PATH."""
    root = Path(__file__).resolve().parent
    if own := shutil.which("uv", path=root / ".venv" / BIN):
        return own
    locked = re.search(r"^uv==(?:.*\\\n)*.*$", (root / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "uv.txt").write_text(locked[0] if locked else "")
    options = ("--require-hashes", "--no-deps", "--only-binary=:all:", f"--requirement={scratch / 'uv.txt'}")
    errors = output(pip, "-m", "pip", "install", f"--target={scratch}", *options)
    uv = shutil.which("uv", path=scratch / "bin")
    if not uv and b"Retrying" in errors:
        sys.exit("error: pip reaches no package index, so nothing can be installed; is there a network?")
    return uv or "uv"


def run(*command) -> bool:
    """Run a command, with its output on standard error, and return True if it succeeds."""
    try:
        return subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0
    except (FileNotFoundError, PermissionError):
        return False


def output(*command) -> bytes:
    """Return what a command prints, errors included, and nothing if it does not start."""
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout
    except (FileNotFoundError, PermissionError):
        return b""


def wait_for(file) -> None:
    """Wait until no other process holds the lock on an open file, and hold it till the file is closed."""
    if os.name == "nt":
        import msvcrt

        file.seek(1 << 30)  # a locked byte cannot be read: one far behind the end
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # for ten seconds, then it is an error
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python3 install.py .venv requirements.txt [requirements-mpi.txt]")
    for name in ("SIGTERM", "SIGHUP"):  # as Ctrl-C, unless nohup has them ignored; Windows has no SIGHUP
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:
            signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        main(*map(Path, sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"error: {error}")
