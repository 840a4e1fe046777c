"""Small DVC repositories, set up and run for real."""

import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
from dvc.repo import Repo

from checks.shell import command
from tests.conftest import ROOT

PROGRAMS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
"""A search path on which `python` is this one."""
THEIRS = ("GIT_", "DVC_", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUNBUFFERED")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(THEIRS)}
"""Environment of these tests without the user's settings of Git, DVC and Python."""
PLAIN_GIT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TEMPLATE_DIR": ""}
SETTINGS = ("user.name=t", "user.email=t@example.org", "maintenance.auto=false", "protocol.file.allow=always")

Change = Callable[[Path], object]
"""One edit of the repository in a folder."""


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Change into a folder, because DVC's functions use the working directory."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


@contextmanager
def surrounded(**environment: str | None) -> Iterator[None]:
    """Set the plain environment and these variables; a variable of None is unset."""
    variables = ENVIRONMENT | {"PATH": PROGRAMS} | environment
    with patch.dict(os.environ, {name: value for name, value in variables.items() if value is not None}, clear=True):
        yield


@contextmanager
def as_command() -> Iterator[None]:
    """Restore the signal handlers that a check's command line replaces."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def call(main: Callable, folder: Path, *arguments: str, **environment: str | None) -> tuple[int, str, str]:
    """Run a check's command line in a folder, in this process; return its exit code, output and errors."""
    output = io.StringIO()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as file,  # DVC's processes write to it, too
        surrounded(**environment), inside(folder), redirect_stdout(output), redirect_stderr(file), as_command(),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as end:
            command(lambda: main([*arguments]))
        file.seek(0)
        errors = file.read()
    return end.value.code, output.getvalue(), errors


def start(folder: Path, check: str, *arguments: str, python: tuple = (), stdout=subprocess.PIPE, **environment: str):
    """Start a check of this checkout in a folder, in a separate process."""
    return subprocess.Popen(
        [sys.executable, *python, "-m", f"checks.{check}", *arguments],
        cwd=folder, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT), "PATH": PROGRAMS} | environment,
        stdout=stdout, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(folder: Path, check: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Run a check in a separate process until it ends."""
    with start(folder, check, *arguments, **options) as process:
        output, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def git(folder: Path, *command: str) -> str:
    run = subprocess.run(
        ["git", *(word for setting in SETTINGS for word in ("-c", setting)), *command],
        cwd=folder, env=ENVIRONMENT | PLAIN_GIT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def write(folder: Path, name: str, content: str | bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def create(folder: Path, files: dict[str, str | bytes], track: tuple[str, ...] = (), **init: bool) -> Path:
    """Create a Git and DVC repository with these files, some tracked by DVC; ``subdir`` uses the Git above it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not init.get("subdir"):
        git(folder, "init", "--quiet", "--initial-branch", "main")
    for name, content in (_initial(**init) | files).items():
        write(folder, name, content)
    if track:
        with inside(folder), Repo() as repo:
            for name in track:
                repo.add(name)
    return folder


@cache
def _initial(**init: bool) -> dict[str, bytes]:
    """The files that `dvc init` writes."""
    with tempfile.TemporaryDirectory() as folder:
        git(Path(folder), "init", "--quiet")
        before = {*Path(folder).rglob("*")}
        Repo.init(folder, **{name: value for name, value in init.items() if name != "subdir"}).close()
        files = [path for path in Path(folder).rglob("*") if path.is_file() and path not in before]
        names = {path: path.relative_to(folder).as_posix() for path in files}
        return {name: path.read_bytes() for path, name in names.items() if not name.startswith((".git/", ".dvc/tmp"))}


def repro(folder: Path, *targets: str, force: bool = False, **environment: str) -> str:
    """Run all pipelines, or these stages, and commit everything; ``force`` runs unchanged stages too."""
    with surrounded(**environment), inside(folder), Repo() as repo:
        repo.reproduce([*targets] or None, all_pipelines=not targets, force=force)
    return commit(folder)


def commit(folder: Path, message: str = "Results") -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def clone(folder: Path, target: Path, *options: str) -> Path:
    """Clone a repository, without data and cache."""
    git(folder, "clone", "--quiet", *options, folder.as_uri(), str(target))
    return target
