"""A working tree: DVC's hashes of its files, and which of them Git keeps or ignores."""

import hashlib
import os
import re
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from dvc.dvcfile import PROJECT_FILE, is_valid_filename
from dvc.fs import localfs
from dvc.repo import Repo
from dvc.stage import PipelineStage, Stage
from dvc_data.hashfile.hash import file_md5
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.tree import Tree as Listing

from .reading import check_regular
from .shell import LOCAL, GitError, InputError, git, without_filters

LINK, SUBMODULE = "120000", "160000"  # Git's modes
LFS_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:[0-9a-f]{64}\nsize (\d+)\n")
FEW_BYTES = 1024  # a pointer of Git LFS has fewer
BINARY_BY = 8000  # a file with a zero byte in so many first bytes is binary, as in Git


class Content(NamedTuple):
    """DVC's hash of a file or folder, its size in bytes, and the number of files of a folder; None if not known."""

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

    ``git`` is asked once for each list. Without Git every file on disk counts as kept. After ``dvc init --no-scm`` DVC
    does not ask Git, but people commit such a repository nevertheless.

    Args:
        repo: The repository.
        alone: Do not ask Git.
    """

    SEVERAL = -1  # size of a folder with pointers of Git LFS

    def __init__(self, repo: Repo, alone: bool = False):
        self.repo = repo
        self.no_scm = alone or repo.config["core"].get("no_scm", False)
        self.root = None if alone else self._root()
        self._digests: dict[tuple, str] = {}

    def _root(self) -> str | None:
        """Return the root of the Git repository; None if DVC is told not to use Git, and Git does not keep DVC's files.

        Raises:
            InputError: There is no Git repository.
        """
        here = Path(self.repo.root_dir)
        try:
            if self.no_scm:
                git(here, "ls-files", "--error-unmatch", "--", ".dvc/config")
            return git(here, "rev-parse", "--show-toplevel")
        except InputError:
            if self.no_scm:
                return None
            raise

    @cached_property
    def tracked(self) -> dict[str, str]:
        """Git's mode of each file that Git keeps, by path."""
        return {path: mode for path, (_, mode) in self._index.items()}

    @cached_property
    def sparse(self) -> set[str]:
        """Files that Git keeps and a sparse checkout leaves out, and the folders around them."""
        files = {path for path, (tag, _) in self._index.items() if tag == "S" and not os.path.lexists(path)}
        return files | {parent for path in files for parent in parents(path)}

    @cached_property
    def _index(self) -> dict[str, tuple[str, str]]:
        """Git's tag and mode of each file that Git keeps, by path."""
        if self.root is None:
            return {}
        lines = filter(None, git(Path(self.root), "ls-files", "-z", "-t", "--stage").split("\0"))
        heads = ((head.split(" "), name) for head, _, name in (line.partition("\t") for line in lines))
        return {self._path(name): (tag, mode) for (tag, mode, *_), name in heads}

    @cached_property
    def folders(self) -> set[str]:
        """The folders of the files that Git keeps."""
        return {parent for path in self.tracked for parent in parents(path)}

    @cached_property
    def ignored(self) -> set[str]:
        """Paths on disk that Git ignores; a folder that is ignored as a whole is one path."""
        return self._ignored("--others", "--directory")

    def untracked_in(self, path: str) -> str | None:
        """Return the first file of a path that Git neither keeps nor ignores, or None."""
        around = [path, *parents(path)]
        if path in self.tracked or not (self._untracked.intersection(around) or path in self._untracked_holders):
            return None
        return next((file for file in self.files(path, kept=True) if file not in self.tracked), None)

    @cached_property
    def _untracked(self) -> set[str]:
        """Files and whole folders that Git neither keeps nor ignores."""
        command = ("ls-files", "-z", "--others", "--exclude-standard", "--directory")
        names = git(Path(self.root), *command).split("\0") if self.root else []
        return {self._path(name.rstrip("/")) for name in names if name}

    @cached_property
    def _untracked_holders(self) -> set[str]:
        return {parent for path in self._untracked for parent in parents(path)}

    def _ignored(self, *options: str) -> set[str]:
        if self.root is None:
            return set()
        command = ("ls-files", "-z", "--ignored", "--exclude-standard", *options)
        return {self._path(name.rstrip("/")) for name in git(Path(self.root), *command).split("\0") if name}

    @cached_property
    def _ignored_though_kept(self) -> set[str]:
        return self._ignored("--cached")

    @cached_property
    def hidden(self) -> list[str]:
        """Pipelines and .dvc files that Git keeps and ignores, so that DVC does not read them."""
        if self.no_scm:
            return []
        names = (path for path in self._ignored_though_kept if is_valid_filename(path))
        return sorted(path for path in names if within(path, self.repo.root_dir))

    def pipelines(self, outs: Collection[str]) -> Iterator[str]:
        """Yield the files that define stages, without those in ``outs`` and those that DVC ignores.

        DVC ignores what Git ignores, except after ``dvc init --no-scm``.

        Args:
            outs: Outputs of stages. The caller may add outputs between two files.
        """
        ignored = set() if self.no_scm else self.ignored | self._ignored_though_kept
        for folder, names, files in self.repo.dvcignore.walk(localfs, self.repo.root_dir):
            for path in (os.path.join(folder, name) for name in sorted(files) if is_valid_filename(name)):
                if path not in ignored:
                    yield path
            paths = {name: os.path.join(folder, name) for name in names}
            names[:] = [name for name in names if paths[name] not in ignored and paths[name] not in outs]

    def ignores(self, path: str) -> bool:
        """True if Git ignores a path, which need not exist, or if the path is outside the repository."""
        if self.root is None:
            return not within(path, self.repo.root_dir)
        if not within(path, self.root) or any(one in self.ignored for one in (path, *parents(path))):
            return True
        return not os.path.lexists(path) and path not in self.tracked and self._ignores_absent(path)

    def borrowed(self, path: str) -> bool:
        """True if Git keeps only a link or the commit of a submodule for a path or for a folder around it."""
        return any(self.tracked.get(one) in (LINK, SUBMODULE) for one in (path, *parents(path)))

    def keeps(self, path: str) -> bool:
        """True if Git has a path or a file in it, or if another DVC repository may have it."""
        top = self.repo.root_dir
        inside = [one for one in (path, *parents(path)) if within(one, top) and one != top]
        if self.root is None or not inside or any(os.path.isdir(os.path.join(one, ".dvc")) for one in inside):
            return True
        return path in self.tracked or path in self.folders or self.borrowed(path)

    def leads_out(self, path: str) -> bool:
        """True if a path is outside the repository, or leads out of it through a link that Git keeps."""
        root = self.root or self.repo.root_dir
        if not within(os.path.abspath(path), root):
            return True
        links = self.root is None or self.borrowed(path)
        return links and not within(os.path.realpath(path), os.path.realpath(root))

    def files(self, path: str, kept: bool = False) -> Iterator[str]:
        """Yield the files of a path, without those that DVC ignores and, if ``kept``, those that Git ignores."""
        if not os.path.isdir(path):
            yield path
            return
        for folder, names, files in self.repo.dvcignore.walk(localfs, path):
            paths = {name: os.path.join(folder, name) for name in (*names, *files)}
            if kept:
                names[:] = [name for name in names if paths[name] not in self.ignored]
                files = [name for name in files if paths[name] not in self.ignored]
            yield from (paths[name] for name in files)

    def content(self, path: str, algorithm: str, kept: bool = False, ends: bytes | None = None) -> Content:
        """Return the hash that DVC would record for a path now.

        Args:
            path: A file or folder.
            algorithm: ``md5``, or ``md5-dos2unix`` of DVC 2.
            kept: Leave out the files of a folder that Git ignores.
            ends: Hash texts as if their lines ended with these bytes.

        Raises:
            OSError: A file is a device or a pipe, or can't be read.
        """
        if not os.path.exists(path):
            return Content()
        if not os.path.isdir(path):
            return Content(self.digest(path, algorithm, ends), os.path.getsize(path))
        listing, size = Listing(), 0
        for file in self.files(path, kept):
            if os.path.exists(file):  # a broken link has no content
                key = Path(file).relative_to(path).parts
                listing.add(key, Meta(), HashInfo(algorithm, self.digest(file, algorithm, ends)))
                size += os.path.getsize(file)
        listing.digest()
        return Content(listing.hash_info.value, size, len(listing))

    def digest(self, file: str, algorithm: str, ends: bytes | None = None) -> str:
        """Return DVC's hash of one file, as it is or with other line ends; a binary file has no line ends."""
        key = (file, algorithm, ends)
        if key not in self._digests:
            check_regular(file)
        if key not in self._digests and ends is None:
            self._digests[key] = file_md5(file, name=algorithm)
        elif key not in self._digests:
            data = Path(file).read_bytes()
            if b"\0" not in data[:BINARY_BY]:
                data = data.replace(b"\r\n", b"\n").replace(b"\n", ends)
            self._digests[key] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return self._digests[key]

    def pointer(self, path: str) -> int | None:
        """Return the size that a pointer of Git LFS names, ``SEVERAL`` for a folder with pointers, or else None."""
        if not os.path.isdir(path):
            with open(path, "rb") as file:
                match = LFS_POINTER.match(file.read(FEW_BYTES))
            return int(match[1]) if match else None
        files = (file for file in self.files(path) if os.path.exists(file) and os.path.getsize(file) < FEW_BYTES)
        return self.SEVERAL if any(self.pointer(file) is not None for file in files) else None

    def changed_since(self, file: str, text: str, path: str) -> str | None:
        """Return the commit that wrote a text to a file, if ``path`` has changed since that commit; else None."""
        if self.root is None:
            return None
        root = Path(self.root)
        quiet = (*without_filters(root), *LOCAL)
        plain = ("--no-ext-diff", "--no-textconv")
        try:
            commit = git(root, *quiet, "log", "-1", "--format=%h", *plain, f"-S{text}", "--", file)
            if not commit:
                return None
            differs = git(root, *quiet, "diff", "--name-only", "--no-renames", *plain, commit, "--", path)
            return commit if differs else None
        except GitError:
            return None

    def _path(self, name: str) -> str:
        return os.path.normpath(os.path.join(self.root, name))

    def _ignores_absent(self, path: str) -> bool:
        try:  # with a slash, since a pattern of folders may be meant
            return bool(git(Path(self.root), "check-ignore", "--", path, path + os.sep))
        except GitError as error:
            return error.code != 1  # 1 is no; Git has other codes for a path beyond a link or in a submodule


def parents(path: str) -> Iterator[str]:
    """Yield the folders around a path, nearest first."""
    while (parent := os.path.dirname(path)) != path:
        yield (path := parent)


def within(path: str, folder: str, separator: str = os.sep) -> bool:
    """True if a path is a folder or below it."""
    return path == folder or path.startswith(folder.rstrip(separator) + separator)


def name_of(stage: Stage, folder: str) -> str:
    """Return the name of a stage as ``dvc repro`` takes it in a folder."""
    file = Path(os.path.relpath(stage.path, folder)).as_posix()
    if not isinstance(stage, PipelineStage):
        return file
    return stage.name if file == PROJECT_FILE else f"{file}:{stage.name}"
