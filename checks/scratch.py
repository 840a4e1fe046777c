"""A clean checkout of a revision in a scratch folder, where its pipeline runs without touching anything else."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from configobj import ConfigObj
from dvc.exceptions import DvcException
from dvc.repo import Repo

from .settings import read_settings
from .shell import CANNOT_RUN, GitError, InputError, command, explain, git, repository, without
from .tree import name_of

__all__ = ["CANNOT_RUN", "InputError", "Scratch", "checkout", "command", "git", "project", "repository"]


class Scratch(NamedTuple):
    """The checkout of one commit, and the environment in which its stages run."""

    folder: Path  # of the project: the checkout's root, or a folder of it
    commit: str
    environment: dict[str, str]

    def git(self, *arguments: str) -> str:
        """What a ``git`` command prints there."""
        return git(self.folder, *arguments)

    def repro(self, *targets: str) -> None:
        """Run ``dvc repro`` there, everything it prints going to standard error; every pipeline where none is named.

        Raises:
            InputError: A stage failed; its own error has been printed by then.
        """
        self.dvc("repro", *(targets or ["--all-pipelines"]))

    def dvc(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        """Run a ``dvc`` command there.

        Raises:
            InputError: It failed; its own error has been printed by then.
        """
        with subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.folder, env=environment or self.environment, stdout=sys.stderr, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                code = process.wait()
            finally:
                if process.returncode is None:  # interrupted: nothing a stage or its shell could save is wanted
                    _end(process)
        if code:
            raise InputError(f"`dvc {' '.join(arguments)}` of {self.commit[:10]} failed; its own error is above")


@contextmanager
def checkout(revision: str = "HEAD") -> Iterator[Scratch]:
    """Check out a revision of the current repository in a scratch folder that vanishes when the block ends.

    The repository is only read: the commit is fetched into a new one, which has no branches, hooks or DVC cache. What
    could lend a rerun a result stays outside: DVC's settings and caches of this user and machine, and PYTHONPATH.

    Raises:
        InputError: There is no such commit, or no DVC repository here or in it.
    """
    root = project()
    top = repository(root)
    try:
        commit = git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except GitError:
        raise InputError(f"revision: expected a commit, got {revision!r}; `git log --all` lists them") from None
    with tempfile.TemporaryDirectory(prefix="dvc-checks-", ignore_cleanup_errors=True) as scratch:
        base = Path(scratch).resolve()
        tree = base / "checkout"
        git(base, "init", "--quiet", "--template=", str(tree))
        git(tree, "config", "core.hooksPath", os.devnull)  # the user's own, for all repositories, are none of its
        git(tree, "-c", "protocol.version=2", "fetch", "--quiet", "--no-tags", "--depth=1", str(top), commit)
        git(tree, "checkout", "--quiet", "--detach", commit)
        folder = tree / root.relative_to(top)
        if not (folder / ".dvc").is_dir():
            raise InputError(f"revision: {revision!r} ({commit[:10]}) has no DVC repository; name one that has")
        _write_config(folder, {"cache": {"dir": str(base / "cache")}})  # wins over a committed setting too
        yield Scratch(folder, commit, _environment(base, root))


def project(folder: Path | None = None) -> Path:
    """The root of the DVC repository around a folder, by default the current one.

    Raises:
        InputError: There is none.
    """
    try:
        return Path(Repo.find_root(str(folder or Path.cwd())))
    except DvcException as error:
        raise InputError(f"{explain(error)}; `dvc init` makes one") from None


def bring_data(scratch: Scratch, targets: list[str]) -> None:
    """Bring the data of .dvc files and frozen stages: from the user's cache, which is read only, or the remote.

    Raises:
        InputError: It is in neither.
    """
    if not targets:
        return
    root = project()
    with Repo(str(root)) as repo:
        cache = repo.cache.local_cache_dir
    local = root / ".dvc/config.local"
    isolated = (scratch.folder / ".dvc/config.local").read_text()
    theirs = ConfigObj(str(local)).dict() if local.exists() else {}
    theirs["cache"] = ConfigObj(isolated.splitlines()).dict()["cache"]
    theirs['remote "checks-cache"'] = {"url": cache}
    _write_config(scratch.folder, theirs)
    try:
        if os.path.isdir(cache):
            scratch.dvc("pull", "--quiet", "--allow-missing", "--remote", "checks-cache", *targets, environment=_user())
        if any(not _is_there(scratch, target) for target in targets):
            scratch.dvc("pull", "--quiet", *targets, environment=_user())
    finally:
        (scratch.folder / ".dvc/config.local").write_text(isolated)


def _is_there(scratch: Scratch, target: str) -> bool:
    with Repo(str(scratch.folder)) as repo:
        outs = [out for out in repo.index.outs if name_of(out.stage, str(scratch.folder)) == target]
    return all(os.path.lexists(out.fs_path) for out in outs)


def _user() -> dict[str, str]:
    return without("GIT_") | {"DVC_NO_ANALYTICS": "1"}


def _write_config(folder: Path, values: dict) -> None:
    config = ConfigObj(values, list_values=False, encoding="utf-8")
    config.filename = str(folder / ".dvc/config.local")
    config.write()


def _environment(base: Path, root: Path) -> dict[str, str]:
    """This process's environment, cut off from the user's DVC, in which relative paths stay what they were."""
    environment = without("GIT_", "DVC", "PYTHONPATH")
    for name in read_settings(root).paths:
        if (place := environment.get(name)) and "://" not in place:
            environment[name] = str(Path(place).expanduser().absolute())
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR", "TMPDIR"):
        (base / name).mkdir()
        environment[name] = str(base / name)
    environment["DVC_NO_ANALYTICS"] = "1"
    programs = root / ".venv" / ("Scripts" if os.name == "nt" else "bin")
    if programs.is_dir() and "VIRTUAL_ENV" not in environment:  # the repository's own, as if it had been activated
        environment["PATH"] = f"{programs}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return environment


def _end(process: subprocess.Popen) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def keep(folder: Path, paths: list[str], target: Path) -> None:
    """Copy what a checkout holds of some paths to another folder."""
    for path in paths:
        source, place = folder / path, target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy2(source, place)
