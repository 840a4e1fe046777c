"""What a working tree holds: its files as DVC hashes them, and what Git keeps or ignores of them."""

import hashlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from dvc.dvcfile import PROJECT_FILE
from dvc.repo import Repo
from dvc.scm import NoSCM
from dvc.stage import PipelineStage, Stage
from dvc_data.hashfile.hash import file_md5
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.istextfile import DEFAULT_CHUNK_SIZE, istextblock
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.tree import Tree as Listing

from .shell import GitError, git

LINK, SUBMODULE = "120000", "160000"  # Git's modes


class Content(NamedTuple):
    """A file or folder: DVC's hash of it, its bytes, and for a folder the number of its files; None of what is not."""

    value: str | None = None
    size: int | None = None
    nfiles: int | None = None

    def __str__(self):
        if self.value is None:
            return "nothing"
        size = "" if self.size is None else f" of {self.size} bytes"
        return self.value[:8] + size + (f" in {self.nfiles} files" if self.nfiles is not None else "")


class Tree:
    """The working tree around a DVC repository.

    Git's view is asked of ``git`` itself, once; without Git (``dvc init --no-scm``) everything on disk counts as kept.
    """

    def __init__(self, repo: Repo):
        self.repo = repo
        self.root = None if isinstance(repo.scm, NoSCM) else git(Path(repo.root_dir), "rev-parse", "--show-toplevel")
        self._digests: dict[tuple, str] = {}

    @cached_property
    def tracked(self) -> dict[str, str]:
        """Git's mode of each file it keeps, by path."""
        if self.root is None:
            return {}
        lines = filter(None, git(Path(self.root), "ls-files", "-z", "--stage").split("\0"))
        return {self._path(name): head.split(" ")[0] for head, _, name in (line.partition("\t") for line in lines)}

    @cached_property
    def folders(self) -> set[str]:
        """The folders of the files that Git keeps."""
        return {parent for path in self.tracked for parent in parents(path)}

    @cached_property
    def ignored(self) -> set[str]:
        """What is on disk and Git ignores; of a folder that it ignores as a whole, the folder alone."""
        if self.root is None:
            return set()
        command = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
        return {self._path(name.rstrip("/")) for name in git(Path(self.root), *command).split("\0") if name}

    def ignores(self, path: str) -> bool:
        """Whether Git leaves a path to others: it ignores it, there or not, or it is none of this repository's."""
        if self.root is None:
            return not within(path, self.repo.root_dir)
        if not within(path, self.root) or any(place in self.ignored for place in (path, *parents(path))):
            return True
        return not os.path.lexists(path) and path not in self.tracked and self._ignores_absent(path)

    def borrowed(self, path: str) -> bool:
        """Whether Git keeps of a path no more than a link or the address of a submodule."""
        return any(self.tracked.get(place) in (LINK, SUBMODULE) for place in (path, *parents(path)))

    def files(self, path: str, kept: bool = False) -> Iterator[str]:
        """The files of a file or folder, less what DVC ignores and, if ``kept``, what Git ignores."""
        if not os.path.isdir(path):
            yield path
            return
        for folder, names, files in self.repo.dvcignore.walk(self.repo.fs, path):
            places = {name: os.path.join(folder, name) for name in (*names, *files)}
            if kept:
                names[:] = [name for name in names if places[name] not in self.ignored]
                files = [name for name in files if places[name] not in self.ignored]
            yield from (places[name] for name in files)

    def content(self, path: str, algorithm: str, kept: bool = False, ends: bytes | None = None) -> Content:
        """What DVC would record of a path now.

        Args:
            path: Of a file or folder.
            algorithm: ``md5``, or ``md5-dos2unix`` of DVC 2.
            kept: Without the files of a folder that Git ignores.
            ends: Hash texts as if their lines ended so.
        """
        if not os.path.exists(path):
            return Content()
        if os.path.isfile(path):
            return Content(self.digest(path, algorithm, ends), os.path.getsize(path))
        listing, size = Listing(), 0
        for file in self.files(path, kept):
            if os.path.exists(file):  # a link to nothing is no content
                key = Path(file).relative_to(path).parts
                listing.add(key, Meta(), HashInfo(algorithm, self.digest(file, algorithm, ends)))
                size += os.path.getsize(file)
        listing.digest()
        return Content(listing.hash_info.value, size, len(listing))

    def digest(self, file: str, algorithm: str, ends: bytes | None = None) -> str:
        """DVC's hash of one file, as it is or with other line ends, of which a binary file has none."""
        key = (file, algorithm, ends)
        if key not in self._digests and ends is None:
            self._digests[key] = file_md5(file, name=algorithm)
        elif key not in self._digests:
            data = Path(file).read_bytes()
            if istextblock(data[:DEFAULT_CHUNK_SIZE]):
                data = data.replace(b"\r\n", b"\n").replace(b"\n", ends)
            self._digests[key] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return self._digests[key]

    def changed_since(self, file: str, text: str, path: str) -> str | None:
        """The commit that wrote a text to a file, if Git keeps another path now; None where it can't say."""
        if self.root is None:
            return None
        try:
            commit = git(Path(self.root), "log", "-1", "--format=%h", f"-S{text}", "--", file)
            if not commit:
                return None
            return commit if git(Path(self.root), "diff", "--name-only", "--no-renames", commit, "--", path) else None
        except GitError:
            return None

    def once_kept(self, path: str) -> bool:
        """Whether a commit that is here had a path."""
        return self.root is not None and bool(git(Path(self.root), "log", "-1", "--format=%h", "--", path))

    def _path(self, name: str) -> str:
        return os.path.normpath(os.path.join(self.root, name))

    def _ignores_absent(self, path: str) -> bool:
        try:
            return bool(git(Path(self.root), "check-ignore", "--", path))
        except GitError as error:
            return error.code != 1  # which is no; any other is said of paths beyond a link or in a submodule


def parents(path: str) -> Iterator[str]:
    """The folders around a path, nearest first."""
    while (parent := os.path.dirname(path)) != path:
        yield (path := parent)


def within(path: str, folder: str) -> bool:
    """Whether a path is a folder or below it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def name_of(stage: Stage, folder: str) -> str:
    """A stage as ``dvc repro`` in a folder takes it."""
    file = Path(os.path.relpath(stage.path, folder)).as_posix()
    if not isinstance(stage, PipelineStage):
        return file
    return stage.name if file == PROJECT_FILE else f"{file}:{stage.name}"
