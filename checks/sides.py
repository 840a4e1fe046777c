"""Metrics, params and plots of the two sides of a report, the working tree and a commit. No code of either runs."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, NamedTuple

from dvc.config import Config
from dvc.fs.dvc import DVCFileSystem
from dvc_data.index import DataIndex, DataIndexDirError

from .locks import FAULTS, read_indexes, refuse
from .reading import LARGEST, Files, OpenFile, ReadOnlyRepo
from .shell import INERT, GitError, explain, git, git_environment, printable
from .tree import LFS_POINTER, Tree, within

WORKTREE = "workspace"
"""DVC's name for the working tree."""


class FileFault(NamedTuple):
    """A file that can't be read or was edited by hand, and the reason."""

    file: str
    why: str
    edited: bool = False


@dataclass
class Side:
    """Metrics and params by file and by dotted key, and plots as DVC reads them; empty without a pipeline."""

    metrics: dict[str, dict[str, object]] = field(default_factory=dict)
    params: dict[str, dict[str, object]] = field(default_factory=dict)
    plots: dict = field(default_factory=dict)
    faults: list[FileFault] = field(default_factory=list)


class Snapshot(ReadOnlyRepo):
    """DVC repository of which only files in Git and in a given cache are read; nothing is fetched from a remote."""

    def __init__(self, root: str, cache: Path, files: OpenFile | None = None):
        self._cache_folder = str(cache)
        super().__init__(root, files)
        for name in ("local", "legacy"):  # a link in the cache can also lead to a device
            getattr(self.cache, name).fs = Files()

    @cached_property
    def config(self) -> Config:
        """DVC's settings, without remotes and with the cache of the working tree."""
        config = super().config
        config["remote"].clear()
        config["core"].pop("remote", None)
        config["cache"]["dir"] = self._cache_folder
        return config

    @cached_property
    def data_index(self) -> DataIndex:
        """DVC's list of outputs, in memory instead of a database in a folder of the system."""
        return DataIndex()

    @cached_property
    def dvcfs(self) -> DVCFileSystem:
        """Files of Git and of DVC's cache; relative paths start at the root of the repository."""
        files = super().dvcfs
        files.fs.getcwd = lambda: files.fs.root_marker
        return files

    @contextmanager
    def switch(self, revision: str) -> Iterator[str]:
        """Do nothing: DVC would replace the file system by one that follows every link."""
        yield revision


class Committed(OpenFile):
    """Files of a commit in a folder. All files exist, but are empty until they are opened.

    So a clone without contents (``--filter=blob:none``) fetches from its origin only what a report shows.
    """

    def __init__(self, top: Path, folder: Path, commit: str):
        super().__init__()
        self._top, self._blobs = top, {}
        self.error: GitError | None = None
        for entry in filter(None, git(top, "ls-tree", "-r", "-z", commit).split("\0")):
            head, _, name = entry.partition("\t")
            mode, _, blob = head.split(" ")
            path = os.path.join(folder, *name.split("/"))
            # No links, whose targets can be anywhere, and no names that leave the folder.
            if mode.startswith("100") and within(os.path.abspath(path), str(folder)) and ".." not in name.split("/"):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "xb"):
                    self._blobs[path] = blob
        self.leads_out = lambda path: not within(os.path.realpath(path), os.path.realpath(folder))

    def open(self, path: str, mode: str = "r", **options) -> IO:
        """Open a file with its content in Git.

        Raises:
            OSError: The file is too large, or Git LFS keeps it.
            GitError: Git has no content of the file and can't fetch it.
        """
        blob = self._blobs.pop(os.path.abspath(path), None)
        if blob is not None:
            try:
                Path(path).write_bytes(_blob(self._top, blob))
            except GitError as error:
                self.error = error  # DVC would report it as a fault of the file
                raise
        return super().open(path, mode, **options)


def _blob(top: Path, blob: str) -> bytes:
    """Return the content of a file in Git."""
    inert = [word for name, value in INERT for word in ("-c", f"{name}={value}")]
    with subprocess.Popen(
        ["git", *inert, "cat-file", "blob", blob], cwd=top, env=git_environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        content = process.stdout.read(LARGEST + 1)
        if len(content) > LARGEST:
            process.kill()
            raise OSError(f"expected {LARGEST >> 20} MB at most")
        reason = process.stderr.read().decode("utf-8", "replace")
    if process.returncode:
        raise GitError(
            f"base: Git can neither find nor fetch {blob[:10]}: {' '.join(reason.split())}", process.returncode
        )
    if LFS_POINTER.match(content):
        raise OSError("Git LFS keeps it, and only its pointer is in the commit")
    return content


def read_worktree(repo: Snapshot) -> Side:
    """Read the working tree. A pipeline that can't be read is an error.

    Raises:
        InputError, DvcException: DVC can't read a pipeline.
    """
    tree = Tree(repo)
    repo.fs.fs.leads_out = tree.leads_out
    try:
        repo.index.check_graph()
    except FAULTS:
        read_indexes(repo, tree, {}, refuse(Path(repo.root_dir)))  # which names the file and the line
        raise
    return _read(repo)


def read_commit(repo: Snapshot) -> Side:
    """Read a commit. A pipeline that can't be read is one of the side's faults.

    Raises:
        GitError: Git lacks a file and can't fetch it.
    """
    try:
        repo.index.check_graph()
    except FAULTS as error:
        side = Side(faults=[FileFault("dvc.yaml", _why(error, repo))])
    else:
        side = _read(repo)
    if repo.fs.fs.error:
        raise repo.fs.fs.error
    return side


def _read(repo: Snapshot) -> Side:
    """Read the metrics, params and plots of one side."""
    side = Side()
    for values, show in ((side.metrics, repo.metrics.show), (side.params, repo.params.show)):
        read = show(hide_workspace=False).get("", {})
        if "error" in read:
            side.faults.append(FileFault("dvc.yaml", _why(read["error"], repo)))
        for file, result in read.get("data", {}).items():
            if "error" in result:
                side.faults.append(FileFault(file, _why(result["error"], repo)))
            else:
                values[file] = flatten(result["data"])
    for collected in repo.plots.collect(revs=[WORKTREE], onerror=_collect):
        side.plots = collected.get(WORKTREE, {})
        for file, source in sorted(side.plots.get("sources", {}).get("data", {}).items()):  # DVC's order is a set's
            source.update(source.pop("data_source")(cache=True))
            if "error" in source and not repo.dvcfs.exists(file):  # DVC's error would say that a folder is no table
                source["error"] = FileNotFoundError(file)
            if "error" in source:
                side.faults.append(FileFault(file, _why(source["error"], repo)))
    return side


def _collect(result: dict, error: Exception, *_, **__) -> None:
    """Store an error of DVC's beside the plots that could be read."""
    result["error"] = error


def _why(error: BaseException, repo: Snapshot) -> str:
    """Return an error as one line without the folders of this machine."""
    if isinstance(error, FileNotFoundError | DataIndexDirError):  # the latter: the cache lacks a folder's data
        return "missing"
    text = "nested too deeply" if isinstance(error, RecursionError) else _short(error)
    text = relative(relative(text, repo.root_dir), repo.cache.local.path)
    top = os.path.relpath(os.sep) + os.sep  # DVC's own file system begins at the repository
    return printable(text.replace(f"'{top}", "'")).rstrip(".")


def _short(error: BaseException) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else explain(error)


def relative(text: str, root: str) -> str:
    """Remove the folders of this machine from a text.

    >>> relative("/home/me/project/dvc.yaml: no such file", "/home/me/project")
    'dvc.yaml: no such file'
    """
    from_here = os.path.relpath(root)  # DVC's name of a folder outside the current one
    if from_here.startswith(os.pardir) and os.path.basename(from_here) != os.pardir:
        text = text.replace(from_here + os.sep, "")
    for folder in (root, os.path.realpath(root)):
        text = text.replace(folder + os.sep, "").replace(folder, ".")
    home = str(Path.home())
    return text.replace(home + os.sep, "~" + os.sep) if len(home) > 1 else text


def flatten(values: object, key: str = "") -> dict[str, object]:
    """Return values by dotted key; a list is one value.

    >>> flatten({"train": {"epochs": 5, "sizes": [1, 2]}})
    {'train.epochs': 5, 'train.sizes': [1, 2]}
    """
    if not isinstance(values, dict):
        return {key: values}
    flat = {}
    for part, below in values.items():
        flat |= flatten(below, f"{key}.{part}" if key else str(part))
    return flat


def same(before: object, after: object) -> bool:
    """Compare two values of a file: NaN is NaN, ``1.0`` is ``1``, and ``true`` is not.

    >>> same([float("nan")], [float("nan")]), same(1, 1.0), same(1, True)
    (True, True, False)
    """
    booleans = isinstance(before, bool), isinstance(after, bool)
    return repr(before) == repr(after) or (before == after and booleans in ((False, False), (True, True)))
