"""Small DVC repositories, set up and run for real."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.repo import Repo

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))}
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")

Change = Callable[[Path], object]
"""One edit of the repository in a folder."""


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, as DVC's own functions ask for."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


def git(folder: Path, *command: str) -> str:
    run = subprocess.run(
        ("git", *IDENTITY, "-c", "protocol.file.allow=always", *command),
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def write(folder: Path, name: str, content: str | bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def create(folder: Path, files: dict[str, str | bytes], track: tuple[str, ...] = (), **init: bool) -> Path:
    """A Git and DVC repository that holds these files, of which DVC tracks some."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    for name, content in files.items():
        write(folder, name, content)
    Repo.init(str(folder), **init).close()
    with inside(folder), Repo() as repo:
        for name in track:
            repo.add(name)
    return folder


def repro(folder: Path, *targets: str) -> None:
    """Run its pipelines, or these stages, and commit everything."""
    with inside(folder), Repo() as repo:
        repo.reproduce([*targets] or None, all_pipelines=not targets)
    commit(folder)


def commit(folder: Path, message: str = "Results") -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def clone(folder: Path, target: Path, *options: str) -> Path:
    """What a reader has: no data and no cache."""
    git(folder, "clone", "--quiet", *options, folder.as_uri(), str(target))
    return target
