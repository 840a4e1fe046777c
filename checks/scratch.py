"""A clean checkout of a revision in a scratch folder, where its pipeline runs without touching anything else."""

import os
import re
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
from dvc.config import Config, ConfigError
from dvc.exceptions import DvcException
from dvc.repo import Repo

from .reading import Files, check_regular, check_size
from .settings import FILE, read_settings
from .shell import CANNOT_RUN, GitError, InputError, command, explain, git, git_environment, printable, repository
from .tree import SUBMODULE

__all__ = ["CANNOT_RUN", "InputError", "Scratch", "checkout", "command", "git", "project", "repository"]


LFS = (
    "-c", "filter.lfs.smudge=GIT_LFS_SKIP_SMUDGE=0 git-lfs smudge -- %f",
    "-c", "filter.lfs.process=GIT_LFS_SKIP_SMUDGE=0 git-lfs filter-process",
    "-c", "filter.lfs.required=true",
)  # fmt: skip
"""Options under which Git checks out the files of Git LFS, whatever the user has set."""

LFS_KEYS = r"lfs\.(url|storage|fetchinclude|fetchexclude|.*\.access)"
"""Its settings of a repository, less those that name programs."""


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
"""``dvc`` for ``python -c``, after the folders of the modules, of which none is the checkout's or a variable's.

It opens no device or pipe that a stage made in place of a file, which may have no end. It neither removes nor protects
a file of the user's cache or of a remote in a folder, as DVC does with files that do not fit their names.
"""


class Scratch(NamedTuple):
    """The checkout of one commit, and the environment in which its stages run."""

    folder: Path  # of the project: the checkout's root, or a folder of it
    commit: str
    environment: dict[str, str]
    withheld: tuple[str, ...] = ()  # variables of the user that it lacks

    def git(self, *arguments: str) -> str:
        """Output of a ``git`` command there."""
        return git(self.folder, *arguments)

    def repro(self, *targets: str) -> None:
        """Run ``dvc repro`` there, everything it prints going to standard error; every pipeline where none is named.

        Raises:
            InputError: A stage failed; its own error has been printed by then.
        """
        print(f"note: the stages of {self.commit[:10]} run now, with your rights", file=sys.stderr, flush=True)
        try:
            self.dvc("repro", *(targets or ["--all-pipelines"]))
        except InputError as error:
            hint = f"; withheld from it: {', '.join(self.withheld)}; pass one with --env NAME, or name it under "
            raise InputError(f"{error}{hint}`environment` in {FILE}" if self.withheld else f"{error}") from None

    def dvc(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        """Run a ``dvc`` command there.

        Raises:
            InputError: It failed; its own error has been printed by then.
        """
        modules = "\n".join(os.path.abspath(folder) for folder in sys.path if folder)
        base = os.path.dirname(self.environment["TMPDIR"])
        with subprocess.Popen(
            [sys.executable, "-I", "-c", DVC, modules, base, *arguments],
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
def checkout(revision: str = "HEAD", variables: tuple[str, ...] = ()) -> Iterator[Scratch]:
    """Check out a revision of the current repository in a scratch folder that vanishes when the block ends.

    The repository is only read: a new one borrows its objects and has no branches, hooks or DVC cache. Whatever could
    lend a rerun a result stays outside: DVC's settings and caches of this user and machine, and PYTHONPATH, unless
    ``variables`` or the settings name it.

    Raises:
        InputError: There is no such commit, or no DVC repository here or in it.
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
        _write_config(folder, isolated)  # wins over a committed setting too
        yield Scratch(folder, commit, *_environment(base, root, top, variables))


def find_commit(revision: str) -> str | None:
    """The commit of the current repository that a revision names; None of what is none."""
    try:
        return git(
            repository(project()), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        )
    except GitError:
        return None


def _copy(source: Path, tree: Path, commit: str) -> None:
    """Check out a commit, with its submodules and the files of Git LFS, in a repository that borrows another's objects.

    A fetch would fail under `protocol.file.allow=never` and in a partial clone.
    """
    form = git(source, "rev-parse", "--show-object-format")
    # DVC can't read reftable, the default of Git 3
    git(
        source,
        "-c",
        "init.defaultRefFormat=files",
        "init",
        "--quiet",
        "--template=",
        f"--object-format={form}",
        str(tree),
    )
    git(tree, "config", "core.hooksPath", os.devnull)  # the user's own, for all repositories, are none of its
    for line in filter(None, git(source, "config", "-z", "--local", "--list").split("\0")):
        key, _, value = line.partition("\n")
        if re.fullmatch(rf"remote\..*\.(url|promisor|partialclonefilter)|extensions\.partialclone|{LFS_KEYS}", key):
            here = source / value  # an address can be a relative path
            git(tree, "config", "--add", key, str(here) if key.endswith(".url") and here.exists() else value)
            if key == "extensions.partialclone":
                git(tree, "config", "core.repositoryFormatVersion", "1")
    objects = git(source, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    (tree / ".git/objects/info").mkdir(exist_ok=True)
    (tree / ".git/objects/info/alternates").write_text(f"{objects}\n", "utf-8", "surrogateescape")
    (tree / ".git/shallow").write_text(f"{commit}\n")  # it has no history
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
    """The root of the DVC repository around a folder, by default the current one.

    Raises:
        InputError: There is none.
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
    """The cache of the DVC repository in a folder, by all settings of the user's, whatever its remotes are.

    Raises:
        InputError: DVC can't read its settings.
    """
    try:
        config = Config(str(root / ".dvc"), local_dvc_dir=str(root / ".dvc"), fs=Files(), validate=False)
    except (DvcException, OSError) as error:
        raise InputError(f".dvc/config: {explain(error)}") from None
    return Path(config.get("cache", {}).get("dir") or root / ".dvc/cache")


def bring_data(scratch: Scratch, targets: dict[str, list[str]]) -> None:
    """Bring the data of .dvc files and frozen stages: from the user's cache, which is read only, or the remote.

    Args:
        scratch: The checkout that gets the data.
        targets: The paths of the data by their stages.

    Raises:
        InputError: It is in neither.
    """
    if not targets:
        return
    root = project()
    cache = str(cache_folder(root))
    place, link = scratch.folder / ".dvc", Path(scratch.environment["TMPDIR"], "users-cache")
    isolated = (place / "config.local").read_text("utf-8")
    local = _readable(root / ".dvc/config.local")
    theirs = {**local, "cache": _settings(place / "config.local")["cache"]}
    theirs['remote "checks-cache"'] = {"url": cache}
    for values in (_settings(place / "config"), local):  # a remote can have a relative path
        for section, remote in values.items():
            if section.startswith("remote ") and remote.get("url", "").startswith("."):
                theirs.setdefault(section, {})["url"] = os.path.abspath(root / ".dvc" / remote["url"])
    if sys.platform != "win32":  # DVC takes a part of some names for a variable, and others are no text
        link.symlink_to(cache)
        theirs['remote "checks-cache"'] = {"url": os.path.relpath(link, place)}
    user = git_environment() | {name: scratch.environment[name] for name in ("DVC_NO_ANALYTICS", "DVC_SITE_CACHE_DIR")}
    try:
        _write_config(scratch.folder, theirs)
        if os.path.isdir(cache):
            quiet = ("--quiet", "--allow-missing", "--force")  # over what Git keeps as well, with no_scm
            scratch.dvc("pull", *quiet, "--remote", "checks-cache", *targets, environment=user)
        if not all(os.path.lexists(path) for paths in targets.values() for path in paths):
            scratch.dvc("pull", "--force", *targets, environment=user)
    finally:
        link.unlink(missing_ok=True)  # no stage finds a result by it
        (place / "config.local").write_text(isolated, "utf-8")


def _settings(file: Path) -> dict:
    try:
        check_regular(str(file))
        check_size(str(file))
    except OSError as error:
        raise InputError(f".dvc/{file.name}: {error.strerror}") from None
    return ConfigObj(str(file), interpolation=False, encoding="utf-8").dict() if file.exists() else {}


def _readable(file: Path) -> dict:
    """The settings in a file of DVC's less the remotes that it refuses, such as those of a scheme it does not know."""
    values = _settings(file)
    for section in [name for name in values if name.startswith("remote ")]:
        try:
            Config.validate({"remote": {"it": values[section]}})
        except ConfigError:
            del values[section]
    return values


def _write_config(folder: Path, values: dict, name: str = "config.local") -> None:
    (folder / ".dvc" / name).unlink(missing_ok=True)  # a link, whose target is another's
    config = ConfigObj(values, interpolation=False, encoding="utf-8")
    config.filename = str(folder / ".dvc" / name)
    config.write()


def _environment(
    base: Path, root: Path, top: Path, variables: tuple[str, ...]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """This process's environment, cut off from the user's DVC, and the names of the variables that it lacks.

    Relative paths stay what they were; a declared variable that names the repository names the checkout instead.
    """
    settings, environment = read_settings(root), git_environment()
    declared = {*settings.environment, *variables, "DVC_NO_ANALYTICS"}
    withheld = [name for name in environment if name.startswith(("DVC", "PYTHONPATH")) and name not in declared]
    environment = {name: value for name, value in environment.items() if name not in withheld}
    for name in declared & environment.keys():
        places = environment[name].split(os.pathsep)
        inside = [place == str(top) or place.startswith(f"{top}{os.sep}") for place in places]
        moved = [f"{base / 'checkout'}{place[len(str(top)) :]}" for place in places]
        environment[name] = os.pathsep.join(
            new if yes else old for yes, new, old in zip(inside, moved, places, strict=True)
        )
    for name in settings.paths:
        if (place := environment.get(name)) and "://" not in place:
            environment[name] = str(Path(place).expanduser().absolute())
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR", "TMPDIR"):
        (base / name).mkdir()
        environment[name] = str(base / name)
    environment["DVC_NO_ANALYTICS"] = "1"
    programs = root / ".venv" / ("Scripts" if os.name == "nt" else "bin")
    if programs.is_dir() and "VIRTUAL_ENV" not in environment:  # the repository's own, as if it had been activated
        environment["PATH"] = f"{programs}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return environment, tuple(sorted(withheld))


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
