"""A clean checkout of a revision in a scratch folder, where its pipeline runs without touching anything else."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from configobj import ConfigObj
from dvc.config import Config, ConfigError
from dvc.exceptions import DvcException
from dvc.repo import Repo

from .reading import Files, check_regular, check_size
from .settings import FILE, read_settings
from .shell import CANNOT_RUN, GitError, InputError, command, explain, git, git_environment, printable, repository
from .tree import SUBMODULE, within

__all__ = ["CANNOT_RUN", "InputError", "Scratch", "checkout", "command", "git", "project", "repository"]


LFS = (
    "-c", "filter.lfs.smudge=GIT_LFS_SKIP_SMUDGE=0 git-lfs smudge -- %f",
    "-c", "filter.lfs.process=GIT_LFS_SKIP_SMUDGE=0 git-lfs filter-process",
    "-c", "filter.lfs.required=true",
)  # fmt: skip
"""Options that make Git check out the files of Git LFS whatever the user's settings."""

LFS_KEYS = r"lfs\.(url|storage|fetchinclude|fetchexclude|.*\.access)"
"""Settings of Git LFS in a repository, without those that name programs."""


DVC = """
import os, re, stat, sys
sys.path[:] = sys.argv.pop(1).split("\\n")
scratch = os.path.join(os.path.realpath(sys.argv.pop(1)), "")
stored = re.compile(r".*[/\\\\][0-9a-f]{2}[/\\\\][0-9a-f]{30}([.]dir)?", re.DOTALL).fullmatch
def refuse(event, arguments, folder=os.path.join(os.getcwd(), "")):
    if event in ("os.remove", "os.chmod") and isinstance(arguments[0], str) and stored(arguments[0]):
        place = os.path.realpath(os.path.dirname(arguments[0]))
        if not os.path.join(place, "").startswith(scratch):
            raise FileNotFoundError(2, "expected a file of the checkout", arguments[0])
    if event == "open" and isinstance(arguments[0], str) and os.path.abspath(arguments[0]).startswith(folder):
        mode = os.stat(arguments[0]).st_mode if os.path.exists(arguments[0]) else stat.S_IFREG
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OSError(22, "expected a file, got a device or a pipe", arguments[0])
sys.addaudithook(refuse)
from dvc.cli import main
sys.exit(main())
"""
"""``dvc`` for ``python -c``; its first argument replaces ``sys.path``, so that nothing is imported from the checkout.

It refuses to open a device or a pipe, which a stage can make instead of a file and which may have no end.
It neither removes nor protects a file of the user's cache or of a remote in a folder, as DVC does with files that do
not fit their names.
"""


LAST = 1 << 16
"""Bytes of a failed command's output in which a withheld variable or a missing module is looked for."""

GRACE = 5.0
"""Seconds to wait for the rest of a command's output after it has ended."""


class Scratch(NamedTuple):
    """The checkout of one commit, and the environment in which its stages run."""

    folder: Path  # of the DVC repository: the root of the checkout, or a folder in it
    commit: str
    environment: dict[str, str]
    withheld: tuple[str, ...] = ()  # variables of the user that the environment lacks

    def git(self, *arguments: str) -> str:
        """Return the output of a ``git`` command in the checkout."""
        return git(self.folder, *arguments)

    def repro(self, *targets: str) -> None:
        """Run ``dvc repro`` in the checkout, by default of all pipelines; its output goes to standard error.

        Raises:
            InputError: A stage failed, and has printed its error.
        """
        print(f"note: the stages of {self.commit[:10]} run now, with your rights", file=sys.stderr, flush=True)
        self.dvc("repro", *(targets or ["--all-pipelines"]))

    def dvc(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        """Run a ``dvc`` command in the checkout.

        Raises:
            InputError: The command failed, and has printed its error.
        """
        modules = "\n".join(os.path.abspath(folder) for folder in sys.path if folder)
        base = os.path.dirname(self.environment["TMPDIR"])
        end = bytearray()
        with subprocess.Popen(
            [sys.executable, "-I", "-c", DVC, modules, base, *arguments],
            cwd=self.folder, env=environment or self.environment, start_new_session=True,
            # Without need the stages write to the user's terminal themselves, where progress shows at once.
            stdout=subprocess.PIPE if self.withheld else sys.stderr,
            stderr=subprocess.STDOUT if self.withheld else None,
        ) as process:  # fmt: skip
            try:
                if process.stdout:
                    reader = Thread(target=_pass_on, args=(process.stdout.fileno(), end), daemon=True)
                    reader.start()
                code = process.wait()
                if process.stdout:
                    reader.join(GRACE)  # a process that a stage left behind can keep the pipe open
            finally:
                if process.returncode is None:  # interrupted: what the stage could still save is not needed
                    _end(process)
        if code:
            text = f"`dvc {' '.join(arguments)}` of {self.commit[:10]} failed; its own error is above"
            raise InputError(text + self._hint(end.decode("utf-8", "replace")))

    def _hint(self, error: str) -> str:
        """Return the end of a sentence that names the withheld variables that an error can come from."""
        names = [name for name in self.withheld if name in error or (name == "PYTHONPATH" and _lacks_module(error))]
        if not names:
            return ""
        options = " ".join(f"--env {name}" for name in names)
        return f". It did not get {' and '.join(names)}: try `{options}`, or name it under `environment` in {FILE}"


def _pass_on(pipe: int, end: bytearray) -> None:
    """Copy what a process writes to standard error, and keep the end of it."""
    with open(sys.stderr.fileno(), "wb", buffering=0, closefd=False) as terminal:
        while block := os.read(pipe, 1 << 16):
            with suppress(OSError):  # nobody reads it any more
                terminal.write(block)
            end += block
            del end[:-LAST]


def _lacks_module(error: str) -> bool:
    """True if an error names a module that a folder of PYTHONPATH has."""
    folders = [Path(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    names = set(re.findall(r"\b(?:module(?: named)?|import|from) '?([A-Za-z_]\w*)", error))
    return any((folder / name).is_dir() or any(folder.glob(f"{name}.*")) for folder in folders for name in names)


@contextmanager
def checkout(revision: str = "HEAD", variables: tuple[str, ...] = ()) -> Iterator[Scratch]:
    """Check out a revision of the current repository in a scratch folder that vanishes when the block ends.

    The repository is only read: a new one shares its objects and has no branches, hooks or DVC cache. Nothing that
    could give a rerun a recorded result is passed on: neither DVC's settings and caches of this user and machine, nor
    PYTHONPATH, unless ``variables`` or the settings name it.

    Raises:
        InputError: There is no such commit, or no DVC repository here or in the commit.
    """
    root = project()
    top = repository(root)
    commit = find_commit(revision)
    if commit is None:
        raise InputError(f"revision: expected a commit, got {revision!r}; `git log --all` lists them")
    with tempfile.TemporaryDirectory(prefix="dvc-checks-", ignore_cleanup_errors=True) as scratch:
        base = Path(scratch).resolve()
        tree = base / "checkout"
        _copy(top, tree, commit)
        folder = tree / root.relative_to(top)
        if not (folder / ".dvc").is_dir() or (folder / ".dvc").resolve() != folder / ".dvc":  # a link may lead out
            raise InputError(f"revision: {revision!r} ({commit[:10]}) has no DVC repository; name one that has")
        if (readable := _readable(folder / ".dvc/config")) != _settings(folder / ".dvc/config"):
            _write_config(folder, readable, "config")
        for name in ("tmp", "cache"):
            if (folder / ".dvc" / name).is_symlink():
                (folder / ".dvc" / name).unlink()
        isolated = {"cache": {"dir": str(base / "cache")}, "core": {"check_update": "false"}}
        _write_config(folder, isolated)  # takes precedence over a committed setting
        yield Scratch(folder, commit, *_environment(base, root, top, variables))


def find_commit(revision: str) -> str | None:
    """Return the commit of the current repository that a revision names, or None."""
    try:
        return git(
            repository(project()), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        )
    except GitError:
        return None


def _copy(source: Path, tree: Path, commit: str) -> None:
    """Check out a commit, with submodules and files of Git LFS, in a new repository that shares the source's objects.

    A fetch would fail with `protocol.file.allow=never` and in a partial clone.
    """
    form = git(source, "rev-parse", "--show-object-format")
    # DVC can't read reftable, the default of Git 3
    options = ("--quiet", "--template=", f"--object-format={form}")
    git(source, "-c", "init.defaultRefFormat=files", "init", *options, str(tree))
    git(tree, "config", "core.hooksPath", os.devnull)  # the user can have hooks for all repositories
    for line in filter(None, git(source, "config", "-z", "--local", "--list").split("\0")):
        key, _, value = line.partition("\n")
        if re.fullmatch(rf"remote\..*\.(url|promisor|partialclonefilter)|extensions\.partialclone|{LFS_KEYS}", key):
            path = source / value  # an address can be a relative path
            git(tree, "config", "--add", key, str(path) if key.endswith(".url") and path.exists() else value)
            if key == "extensions.partialclone":
                git(tree, "config", "core.repositoryFormatVersion", "1")
    objects = git(source, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    (tree / ".git/objects/info").mkdir(exist_ok=True)
    (tree / ".git/objects/info/alternates").write_text(f"{objects}\n", "utf-8", "surrogateescape")
    (tree / ".git/shallow").write_text(f"{commit}\n")  # without its history
    git(tree, *(LFS if shutil.which("git-lfs") else ()), "checkout", "--quiet", "--detach", commit)
    patterns = tree / ".gitattributes"
    if patterns.is_file() and b"filter=lfs" in patterns.read_bytes() and not shutil.which("git-lfs"):
        print("note: files of Git LFS are pointers, because git-lfs is not installed", file=sys.stderr)
    for line in filter(None, git(tree, "ls-files", "-z", "--stage").split("\0")):
        head, _, path = line.partition("\t")
        mode, commit, _ = head.split(" ")
        if mode == SUBMODULE:
            try:
                if not (source / path / ".git").exists():
                    git(tree, "submodule", "--quiet", "update", "--init", "--recursive", "--", path)
                else:
                    _copy(source / path, tree / path, commit)
            except GitError as error:
                print(printable(f"note: without the submodule {path}: {error}"), file=sys.stderr)


def project(folder: Path | None = None) -> Path:
    """Return the root of the DVC repository around a folder, by default the current one, or of the only one below it.

    Raises:
        InputError: There is none, or there are several below.
    """
    folder = folder or Path.cwd()
    try:
        return Path(Repo.find_root(str(folder)))
    except DvcException as error:
        reason = explain(error)
    try:
        below = git(folder, "ls-files", "-z", "--", "*/.dvc/config").split("\0")
    except GitError:
        below = []
    roots = sorted(os.path.dirname(os.path.dirname(config)) for config in below if config)
    if len(roots) == 1:
        return (folder / roots[0]).resolve()
    if roots:
        raise InputError(
            f"folder: expected one DVC repository below {folder}, got {', '.join(roots)}; go to one of them"
        )
    raise InputError(f"{reason}; `dvc init` makes one")


def cache_folder(root: Path) -> Path:
    """Return the cache of the DVC repository in a folder by the user's settings; remotes may be of unknown schemes.

    Raises:
        InputError: DVC can't read the settings.
    """
    try:
        config = Config(str(root / ".dvc"), local_dvc_dir=str(root / ".dvc"), fs=Files(), validate=False)
    except (DvcException, OSError) as error:
        raise InputError(f".dvc/config: {explain(error)}") from None
    return Path(config.get("cache", {}).get("dir") or root / ".dvc/cache")


def bring_data(scratch: Scratch, targets: dict[str, list[str]]) -> None:
    """Copy the data of .dvc files and frozen stages to a checkout, from the user's cache or else from the remote.

    Where both lack the data, the version in Git is used, which can be another one.

    Args:
        scratch: The checkout.
        targets: The paths of the data by their stages.

    Raises:
        InputError: Neither the cache nor the remote nor Git has the data.
    """
    if not targets:
        return
    root = project()
    cache = str(cache_folder(root))
    dvc_dir, link = scratch.folder / ".dvc", Path(scratch.environment["TMPDIR"], "users-cache")
    isolated = (dvc_dir / "config.local").read_text("utf-8")
    local = _readable(root / ".dvc/config.local")
    config = {**local, "cache": _settings(dvc_dir / "config.local")["cache"]}
    config['remote "checks-cache"'] = {"url": cache}
    for values in (_settings(dvc_dir / "config"), local):  # a remote can have a relative path
        for section, remote in values.items():
            if section.startswith("remote ") and remote.get("url", "").startswith("."):
                config.setdefault(section, {})["url"] = os.path.abspath(root / ".dvc" / remote["url"])
    if sys.platform != "win32":  # DVC reads a part of some paths as a variable, and some paths are not valid text
        link.symlink_to(cache)
        config['remote "checks-cache"'] = {"url": os.path.relpath(link, dvc_dir)}
    user = git_environment() | {name: scratch.environment[name] for name in ("DVC_NO_ANALYTICS", "DVC_SITE_CACHE_DIR")}
    try:
        _write_config(scratch.folder, config)
        if os.path.isdir(cache):
            quiet = ("--quiet", "--allow-missing", "--force")  # also over files in Git, with no_scm
            scratch.dvc("pull", *quiet, "--remote", "checks-cache", *targets, environment=user)
        if missing := _missing(targets):
            try:
                scratch.dvc("pull", "--force", *targets, environment=user)
            except InputError:
                _take_from_git(scratch, missing)
                if _missing(targets):
                    raise
    finally:
        link.unlink(missing_ok=True)  # so that no stage reads a result through it
        (dvc_dir / "config.local").write_text(isolated, "utf-8")


def _missing(targets: dict[str, list[str]]) -> list[str]:
    """Return those of the paths that do not exist."""
    return [path for paths in targets.values() for path in paths if not os.path.lexists(path)]


def _take_from_git(scratch: Scratch, paths: list[str]) -> None:
    """Restore those of some missing paths that Git keeps."""
    for path in paths:
        if not os.path.lexists(path) and scratch.git("--literal-pathspecs", "ls-files", "--", path):
            scratch.git("--literal-pathspecs", "checkout", "--quiet", "--", path)
            name = Path(os.path.relpath(path, scratch.folder)).as_posix()
            print(printable(f"note: {name} is as in Git, because DVC finds no recorded version"), file=sys.stderr)


def _settings(file: Path) -> dict:
    try:
        check_regular(str(file))
        check_size(str(file))
    except OSError as error:
        raise InputError(f".dvc/{file.name}: {error.strerror}") from None
    return ConfigObj(str(file), interpolation=False, encoding="utf-8").dict() if file.exists() else {}


def _readable(file: Path) -> dict:
    """Return DVC's settings in a file, without the remotes that DVC refuses, such as those with an unknown scheme."""
    values = _settings(file)
    for section in [name for name in values if name.startswith("remote ")]:
        try:
            Config.validate({"remote": {"it": values[section]}})
        except ConfigError:
            del values[section]
    return values


def _write_config(folder: Path, values: dict, name: str = "config.local") -> None:
    (folder / ".dvc" / name).unlink(missing_ok=True)  # it can be a link, whose target must not change
    config = ConfigObj(values, interpolation=False, encoding="utf-8")
    config.filename = str(folder / ".dvc" / name)
    config.write()


def _environment(
    base: Path, root: Path, top: Path, variables: tuple[str, ...]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return this process's environment without the user's DVC settings, and the names of the variables removed.

    The variables under ``paths`` are made absolute. A declared variable that names the repository names the checkout
    instead.
    """
    settings, environment = read_settings(root), git_environment()
    declared = {*settings.environment, *variables, "DVC_NO_ANALYTICS"}
    withheld = [name for name in environment if name.startswith(("DVC", "PYTHONPATH")) and name not in declared]
    environment = {name: value for name, value in environment.items() if name not in withheld}
    for name in declared & environment.keys():
        paths = environment[name].split(os.pathsep)
        environment[name] = os.pathsep.join(
            f"{base / 'checkout'}{path[len(str(top)) :]}" if within(path, str(top)) else path for path in paths
        )
    for name in settings.paths:
        if (path := environment.get(name)) and "://" not in path:
            environment[name] = str(Path(path).expanduser().absolute())
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR", "TMPDIR"):
        (base / name).mkdir()
        environment[name] = str(base / name)
    environment["DVC_NO_ANALYTICS"] = "1"
    programs = root / ".venv" / ("Scripts" if os.name == "nt" else "bin")
    if programs.is_dir() and "VIRTUAL_ENV" not in environment:  # the repository's own environment, as if it were active
        environment["PATH"] = f"{programs}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return environment, tuple(sorted(withheld))


def _end(process: subprocess.Popen) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def keep(folder: Path, paths: list[str], target: Path) -> None:
    """Copy those of some paths that a checkout has to another folder."""
    for path in paths:
        source, copy = folder / path, target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy2(source, copy)
