"""A DVC repository opened read-only: nothing of it runs, nothing is written, and no file is read without end."""

import errno
import math
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from typing import IO

import yaml
from dvc.config import Config
from dvc.config_schema import SCHEMA, Invalid
from dvc.fs import FileSystem, LocalFileSystem, known_implementations, localfs
from dvc.parsing import ForeachDefinition, MatrixDefinition
from dvc.repo import Repo
from dvc.scm import NoSCM
from dvc.stage.loader import StageLoader

LARGEST = 8 << 20
"""Bytes of the largest pipeline, lock or params file that is parsed; DVC needs more than a minute for one."""
MOST_VALUES = 1_000_000
"""Most values of a YAML file, where a value counts as often as aliases repeat it."""
MOST_KEYS = 150_000
"""Most keys of a YAML file; DVC parses 5,000 a second."""
DEPTH = 200
"""Most levels of a YAML or JSON file; DVC's slower parser, which is in Python, ends at about 300."""
MOST_STAGES = 20_000
"""Most stages of a pipeline; a short matrix can define any number."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class OpenFile(type(localfs.fs)):
    """Local file system that opens regular files only, because a device or a pipe may have no end."""

    cachable = False  # fsspec would reuse an instance
    last = ""
    """Path of the last opened file, which is the one that could not be parsed."""
    leads_out: Callable[[str], bool] | None = None
    """Returns True for a path outside the repository: a link must not show another file of the machine."""

    def open(self, path: str, mode: str = "r", **options) -> IO:
        """Open a file.

        Raises:
            OSError: It is not a regular file of the repository, or too large.
        """
        self.last = path
        check_regular(path)
        if self.leads_out and self.leads_out(path):
            raise OSError(errno.EPERM, "expected a file of this repository, got a link or a path out of it", path)
        check_size(path)
        if "b" not in mode and path.endswith((".yaml", ".yml", ".lock", ".dvc")):
            with super().open(path, **options) as file, suppress(UnicodeDecodeError):  # DVC's own error is clearer
                text = file.read()
                if text.count(":") > MOST_KEYS:
                    raise OSError(errno.EFBIG, f"expected {MOST_KEYS:,} keys at most, got {text.count(':'):,}", path)
                check_nesting(text, path)
        return super().open(path, mode, **options)


class Files(FileSystem):
    """File system of a read-only repository: DVC writes a lock and a database only for its own class of local files."""

    protocol, sep, flavour = LocalFileSystem.protocol, LocalFileSystem.sep, LocalFileSystem.flavour
    PARAM_CHECKSUM, PARAM_PATH = LocalFileSystem.PARAM_CHECKSUM, LocalFileSystem.PARAM_PATH
    getcwd, normpath, realpath = LocalFileSystem.getcwd, LocalFileSystem.normpath, LocalFileSystem.realpath

    def __init__(self, files: OpenFile | None = None):
        super().__init__(files or OpenFile())


class ReadOnlyRepo(Repo):
    """DVC repository opened without Git, lock, database or temporary folder."""

    def __init__(self, root: str, files: OpenFile | None = None):
        for scheme, entry in known_implementations.items():  # DVC refuses remote files whose plugin is missing
            if find_spec(entry["class"].partition(".")[0]) is None:
                known_implementations[scheme] = {"class": f"{__name__}.{NotInstalled.__name__}"}
        super().__init__(root, fs=Files(files), scm=NoSCM(root))

    @cached_property
    def config(self) -> Config:
        """DVC's settings, without the remotes that DVC refuses, such as those with an unknown scheme."""
        config = Config(self.dvc_dir, local_dvc_dir=self.dvc_dir, fs=self.fs, validate=False)
        config["remote"] = {name: remote for name, remote in config["remote"].items() if _is_remote(remote)}
        config.update(Config.validate(config))
        return config

    @property
    def local_dvc_dir(self) -> str | None:
        """Folder of the user's own settings."""
        return self.dvc_dir

    def _ignore(self) -> None:
        """Leave ``.gitignore`` as it is."""


class NotInstalled(FileSystem):
    """Replaces each remote file system whose plugin (``dvc-s3``, ...) is not installed; it reads nothing."""

    protocol = "elsewhere"
    PARAM_CHECKSUM = "etag"


def check_regular(file: str) -> None:
    """Refuse a device or a pipe, which may have no end.

    Raises:
        OSError: The path is a device or a pipe.
    """
    try:
        mode = os.stat(file).st_mode
    except OSError:  # opening the file raises the same error
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "expected a file, got a device or a pipe", file)


def check_size(file: str) -> None:
    """Refuse a file that takes too long to parse.

    Raises:
        OSError: The file is too large.
    """
    if os.path.exists(file) and (size := os.path.getsize(file)) > LARGEST:
        raise OSError(errno.EFBIG, f"expected {LARGEST >> 20} MB at most, got {size >> 20} MB", file)


def _is_remote(settings: object) -> bool:
    try:
        return bool(SCHEMA["remote"][str](settings))
    except (Invalid, TypeError):
        return False


def check_count(pipeline: StageLoader, path: str) -> None:
    """Refuse a pipeline whose matrices define more stages than DVC reads in a minute.

    Raises:
        OSError: The pipeline has too many stages.
    """
    count = 0
    for definition in pipeline.resolver.definitions.values():
        if isinstance(definition, MatrixDefinition):
            count += math.prod(len(values) for values in definition.resolved_iterable.values())
        elif isinstance(definition, ForeachDefinition):
            count += len(definition.resolved_iterable)
        else:
            count += 1
    if count > MOST_STAGES:
        raise OSError(errno.EFBIG, f"expected {MOST_STAGES:,} stages at most, got {count:,}", path)


def check_nesting(text: str, path: str) -> None:
    """Refuse YAML that is nested too deeply, or whose aliases expand to more values than any computer can visit.

    DVC's parser in C, which it uses where ruamel.yaml.clib is installed, has no limit of depth and ends the process.

    Raises:
        OSError: The file has too many levels, or its aliases expand to too many values.
    """
    sizes: dict[str, int] = {}  # values below each anchor
    around: list[tuple[str | None, int]] = []  # open lists and mappings: the anchor, and the number of values so far
    with suppress(yaml.YAMLError):  # DVC's own error is clearer
        for event in yaml.parse(text, LOADER):
            if isinstance(event, yaml.CollectionStartEvent):
                around.append((event.anchor, 1))
                if len(around) > DEPTH:
                    raise OSError(errno.EFBIG, f"nested too deeply: expected {DEPTH} levels at most", path)
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                anchor, size = around.pop()
            elif isinstance(event, yaml.NodeEvent):
                anchor, size = event.anchor, 1
                if isinstance(event, yaml.AliasEvent):
                    size = sizes.get(anchor, 1)
            else:
                continue
            if size > MOST_VALUES:
                raise OSError(errno.EFBIG, f"its aliases stand for more than {MOST_VALUES:,} values", path)
            if anchor is not None:
                sizes[anchor] = size
            if around:
                around[-1] = (around[-1][0], around[-1][1] + size)
