"""Make a virtual environment of what requirements files lock: `python3 install.py .venv requirements.txt`.

This is `make setup` without make. uv installs the packages, or pip where uv cannot. Any Python from 3.8 runs this.
The file `installed` in the environment is written last: its location, the version of its Python, and the locks.
"""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 13)
PYTHON = sys._base_executable  # ty: ignore[missing-attribute]  # not in the docs; outside .venv even where .venv's runs
BIN = "Scripts" if os.name == "nt" else "bin"
IDENTITY = "import os, sys; print(os.path.realpath(sys.prefix), sys.version_info[:2])"
HOLDS = "import importlib.metadata, sys; [importlib.metadata.version(name) for name in sys.argv[1:]]"
SOURCES = "(PIP|UV)_.*(INDEX|FIND_LINKS|CERT|TLS|PROXY|HOST|TIMEOUT|RETRIES|CACHE|KEYRING|MIRROR|DOWNLOADS)"
"""Settings that say where packages come from. pip and uv get no others, which could say where packages go."""
UV_NAMES = {"INDEX_URL": "UV_DEFAULT_INDEX", "EXTRA_INDEX_URL": "UV_INDEX", "FIND_LINKS": "UV_FIND_LINKS"}
UV_NAMES.update({"CERT": "SSL_CERT_FILE", "PROXY": "ALL_PROXY", "TRUSTED_HOST": "UV_INSECURE_HOST"})


def main(environment: Path, *locks: Path) -> None:
    """Have all of ``locks``, and nothing else, in ``environment``, unless it is so already."""
    with locks[0].open("r+b") as file:
        wait_for(file)
        marker, identify = environment / "installed", (environment / BIN / "python", "-I", "-c", IDENTITY)
        starts, identity = run(*identify, quiet=True)
        wanted = [identity, *(lock.read_bytes() for lock in locks)]
        present = marker.read_bytes().split(b"\0") if starts and marker.is_file() else []
        if present[: len(wanted)] == wanted:
            return
        if environment.resolve() != environment.parent.resolve() / environment.name:
            sys.exit(f"error: {environment} is a link to {environment.resolve()}, which would be emptied; remove it")
        fresh = present[:2] != wanted[:2]  # otherwise the first lock is installed, and only others are missing
        if fresh and environment.exists():
            marker.unlink(missing_ok=True)
            shutil.rmtree(environment)
        install(environment, locks if fresh else locks[1:], fresh)
        wanted[0] = run(*identify, quiet=True)[1]
        partial = environment / "installed.partial"
        partial.write_bytes(b"\0".join(wanted))
        os.replace(partial, marker)


def install(environment: Path, locks, fresh: bool) -> None:
    """Install ``locks``, in a new environment if ``fresh``, by uv or else by pip, and make sure that they are there."""
    names, text = " and ".join(map(str, locks)), "".join(lock.read_text(encoding="utf-8") for lock in locks)
    print(f"{environment}: installing {names}; a minute or two", file=sys.stderr)
    # Python compiles what it imports, a third of all files, unless it is told to write no bytecode.
    compiled = ["--compile-bytecode"] * bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    choose_settings()
    options = [f"--requirement={lock}" for lock in locks] + ["--no-index"] * bool(os.environ.get("PIP_NO_INDEX"))
    options += ["--require-hashes", "--no-deps"] * ("--hash=" in text)  # a lock with hashes is complete
    python, uv = environment / BIN / "python", find_uv(environment / "uv")
    this, suits = "Python {}.{}".format(*sys.version_info), OLDEST <= sys.version_info[:2] <= NEWEST
    base = PYTHON if suits else ">={}.{},<={}.{}.99".format(*OLDEST, *NEWEST)
    made = not fresh or run(uv, "venv", "--quiet", "--no-project", "--allow-existing", "--python", base, environment)[0]
    if made and fresh and not suits:
        other = run(python, "--version", quiet=True)[1].decode().strip()
        print(f"{this}: TensorFlow has no release for it; using {other}", file=sys.stderr)
    hashed = [f"--build-constraint={locks[0]}"] * ("--hash=" in text and locks[0].name == "requirements.txt")
    if not (made and run(uv, "pip", "install", *compiled, "--python", python, *hashed, *options)[0]):
        if fresh and not suits:
            sys.exit(f"error: uv fails, and pip needs Python 3.10 to 3.13, not {this}; install one of them")
        print("uv does not work here; pip installs instead, which takes longer", file=sys.stderr)
        if fresh:
            shutil.rmtree(environment)
            if not run(PYTHON, "-c", "import ensurepip, venv; ensurepip.version()", quiet=True)[0]:
                sys.exit(f"error: {PYTHON} cannot make environments; on Debian and Ubuntu: apt install python3-venv")
            run(PYTHON, "-m", "venv", environment)
        if not run(python, "-m", "pip", "install", *options)[0]:
            sys.exit(f"error: pip cannot install {names}; its own error is above")
    shutil.rmtree(environment / "uv", ignore_errors=True)
    everywhere = re.findall(r"^([\w.-]+)==[^;\n]*$", text, re.MULTILINE)  # names that every platform needs
    if not run(python, "-I", "-c", HOLDS, *everywhere)[0]:
        sys.exit(f"error: {environment} lacks that package of {names}, though its installer reported no error")


def choose_settings() -> None:
    """Let pip and uv have no settings but ``SOURCES``, and let uv have those of pip."""
    for name in [*os.environ]:
        if re.match("(PIP|UV|PYTHON)_?", name) and not re.match(SOURCES, name) and name != "PIP_CONFIG_FILE":
            del os.environ[name]
    listed = run(PYTHON, "-m", "pip", "config", "list", quiet=True)[1].decode(errors="replace")
    for key, value in re.findall(r"^(?:install|global)\.(\S+?)=('.*')\s*$", listed, re.MULTILINE):
        if re.match(SOURCES, name := "PIP_" + key.upper().replace("-", "_")):
            os.environ[name] = os.environ.get(name) or ast.literal_eval(value)
    for name, uv_name in UV_NAMES.items():
        if value := os.environ.get(f"PIP_{name}"):
            os.environ.setdefault(uv_name, ",".join(value.split()) if name == "FIND_LINKS" else value)
    os.environ.update(PIP_CONFIG_FILE=os.devnull, UV_NO_CONFIG="1", UV_INDEX_STRATEGY="unsafe-best-match")


def find_uv(scratch: Path) -> str:
    """The uv in .venv; or the one that requirements.txt locks, by pip; or one on the PATH; or none."""
    lock = Path(__file__).resolve().with_name("requirements.txt")
    if run(own := str(lock.parent / ".venv" / BIN / "uv"), "--version", quiet=True)[0]:
        return own
    scratch.mkdir(parents=True, exist_ok=True)
    if locked := re.search(r"^uv==(?:.*\\\n)*.*$", lock.read_text(encoding="utf-8"), re.MULTILINE):
        (scratch / "uv.txt").write_text(locked[0])
        options = ("--require-hashes", "--no-deps", "--only-binary=:all:", f"--requirement={scratch / 'uv.txt'}")
        command = ("-m", "pip", "install", f"--target={scratch}", *options)
        _, said = run(PYTHON, *command, quiet=True)
        if b"No module named pip" in said:
            run(PYTHON, "-m", "venv", scratch / "venv", quiet=True)
            _, said = run(scratch / "venv" / BIN / "python", *command, quiet=True)
        if b"Retrying" in said and b"Successfully" not in said:
            sys.exit("error: pip reaches no package index, so nothing can be installed; is there a network?")
    return shutil.which("uv", path=scratch / "bin") or shutil.which("uv") or "uv"


def run(*command, quiet=False) -> tuple:
    """Run a command: is it successful, and, if ``quiet``, what does it say?"""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if quiet else {"stdout": sys.stderr}
    try:
        done = subprocess.run([str(part) for part in command], check=False, **streams)
    except (FileNotFoundError, PermissionError):
        return False, b""
    return done.returncode == 0, done.stdout


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
