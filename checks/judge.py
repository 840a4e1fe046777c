"""Judges the locks of a DVC repository by its own index and by what Git keeps of its tree."""

import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dpath
import yaml
from dvc.dvcfile import LOCK_FILE, PROJECT_FILE
from dvc.exceptions import DvcException
from dvc.fs import FileSystem, known_implementations
from dvc.output import Output
from dvc.repo import Repo
from dvc.repo.index import Index, collect_files
from dvc.stage import PipelineStage, Stage
from dvc.stage.utils import split_params_deps
from dvc.utils.serialize import load_path

from .findings import ABSENT, Finding, Kind, Report, few
from .shell import explain
from .tree import Content, Tree, name_of, parents, within

EMPTY_FOLDER = "d751713988987e9331980363e24189ce.dir"
MD5 = ("md5", "md5-dos2unix")


class Judge:
    """Adds the findings in one DVC repository to a report."""

    def __init__(self, repo: Repo, folder: Path, report: Report):
        self.repo, self.report, self.tree = repo, report, Tree(repo)
        self.folder = os.path.realpath(folder)
        self.outs: dict[str, Output] = {}
        self.holders: set[str] = set()  # folders that outputs are in
        self.parsed: dict[str, dict] = {}  # params files
        self.unknown: dict[tuple, list[tuple[Stage, Output]]] = defaultdict(list)

    def judge(self) -> None:
        """All of them."""
        indexes = dict(sorted(collect_files(self.repo, onerror=self._unreadable), key=lambda pair: pair[0]))
        stages = [stage for index in indexes.values() for stage in index.stages]
        try:
            Index(self.repo, stages=stages).check_graph()
        except DvcException as error:
            self._unreadable("", error)
        self.outs = {out.fs_path: out for stage in stages for out in stage.outs if out.protocol == "local"}
        self.holders = {parent for path in self.outs for parent in parents(path)}
        for path, index in indexes.items():
            lock = read_lock(os.path.splitext(path)[0] + ".lock") if os.path.basename(path) == PROJECT_FILE else {}
            self._leftovers(path, index.stages, lock)
            for stage in index.stages:
                if stage.cmd and not stage.frozen:
                    self._stage(stage, lock.get(getattr(stage, "name", None)))
        frozen = [self._name(stage) for stage in stages if stage.frozen]
        if frozen:
            self.report.notes.append(f"frozen, so not judged: {few(frozen)}")
        self._contradictions()

    def _stage(self, stage: Stage, entry: dict | None) -> None:
        self.report.stages += 1
        if not isinstance(stage, PipelineStage):  # a .dvc file with a command, as DVC before 1.0 wrote them
            if stage.md5 and stage.changed_stage():
                self._add(Kind.STALE, stage, "cmd", "the command, or the list of its files, is another")
        elif entry is None:
            if not stage.is_callback:
                self._add(Kind.STALE, stage, "", f"never run: {LOCK_FILE} has no entry of it")
            return
        elif stage.cmd_changed:
            self._add(Kind.STALE, stage, "cmd", "the command is another", entry.get("cmd"), stage.cmd)
        params, deps = split_params_deps(stage)
        for dep in params:
            self._params(stage, dep)
        for dep in {dep.def_path: dep for dep in deps}.values():
            self._dependency(stage, dep)
        for out in stage.outs:
            self._output(stage, out)

    def _params(self, stage: Stage, dep: Output) -> None:
        """Params whose recorded values are not those of the params file; its comments and layout don't count."""
        path = self._relative(dep.fs_path)
        if not dep.exists:
            if dep.fs_path in self.outs or self.tree.ignores(dep.fs_path):
                self._add(Kind.UNKNOWN, stage, path, "params in a file that is not in Git")
            else:
                self._add(Kind.STALE, stage, path, "missing")
            return
        try:
            dep.validate_filepath()
            now = self._values(dep)
        except (DvcException, ValueError) as error:
            self._add(Kind.UNREADABLE, stage, path, explain(error))
            return
        was = dep.hash_info.value or {}
        for key in dep.params or [*now, *(key for key in was if key not in now)]:
            for leaf, *values in differences(was.get(key, ABSENT), now.get(key, ABSENT), key):
                self._add(Kind.STALE, stage, f"{path}: {leaf}", "", *values)

    def _values(self, dep: Output) -> dict[str, Any]:
        """The params a stage reads, as DVC finds them; each file is parsed once."""
        if dep.fs_path not in self.parsed:
            self.parsed[dep.fs_path] = load_path(dep.fs_path, dep.fs)
        values = self.parsed[dep.fs_path]
        if not dep.params:
            return values
        found = {}
        for key in dep.params:
            with suppress(KeyError):
                found[key] = dpath.get(values, key, separator=".")
        return found

    def _dependency(self, stage: Stage, dep: Output) -> None:
        """Code that is not the recorded code, and data that is not what the stage before recorded."""
        if dep.protocol != "local" or dep.hash_name not in MD5:
            self._add(Kind.UNKNOWN, stage, str(dep), "not in this repository")
        elif not dep.hash_info:
            self._add(Kind.STALE, stage, self._relative(dep.fs_path), f"{LOCK_FILE} has no record of it")
        elif self._well_formed(stage, dep) and not self._passed_on(stage, dep):
            self._content(stage, dep, Kind.STALE)

    def _passed_on(self, stage: Stage, dep: Output) -> bool:
        """Judge a dependency that another stage or a .dvc file makes, by what that recorded; false if none does."""
        out = self.outs.get(dep.fs_path)
        if out is None:
            return False
        path, maker = self._relative(dep.fs_path), self._name(out.stage)
        was, now = _recorded(dep), _recorded(out)
        if was.value == now.value:
            self._same_size(stage, path, dep, now, f"one hash of two sizes: {maker} recorded another")
        elif now.value is None:
            if not out.stage.cmd or out.stage.frozen:  # or else its maker is found stale already
                self._add(Kind.UNKNOWN, stage, path, f"{maker} has no record of it")
        elif dep.hash_name != out.hash_name:
            self._add(Kind.UNKNOWN, stage, path, f"recorded as {dep.hash_name}, by {maker} as {out.hash_name}")
        else:
            self._add(Kind.STALE, stage, path, f"{maker} moved on", was, now)
        return True

    def _output(self, stage: Stage, out: Output) -> None:
        """Results in Git that are not the recorded ones."""
        if out.protocol != "local" or out.hash_name not in MD5:
            return
        if not out.hash_info:
            self._add(Kind.STALE, stage, self._relative(out.fs_path), f"{LOCK_FILE} has no record of it")
        elif self._well_formed(stage, out) and (not out.use_cache or out.fs_path in self.tree.tracked):
            self._content(stage, out, Kind.INCONSISTENT)

    def _content(self, stage: Stage, item: Output, wrong: Kind) -> None:
        """Judge a file or folder by what is there, and call it ``wrong`` where that is certain."""
        path, tree = item.fs_path, self.tree
        was, found = _recorded(item), tree.content(item.fs_path, item.hash_name)
        if found.value != was.value and os.path.isdir(path):
            found = tree.content(path, item.hash_name, kept=True)
        if found.value == was.value:
            self._same_size(stage, self._relative(path), item, found, "the hash is right and the size is not")
            return
        kind, cause = self._missing(item, wrong) if found.value is None else self._differs(stage, item, found, wrong)
        self._add(kind, stage, self._relative(path), cause, was, found)
        if kind == Kind.UNKNOWN and item.IS_DEPENDENCY:
            self.unknown[path, item.hash_name].append((stage, item))

    def _missing(self, item: Output, wrong: Kind) -> tuple[Kind, str]:
        path, tree = item.fs_path, self.tree
        if item.hash_info.value == EMPTY_FOLDER:
            return Kind.UNKNOWN, "an empty folder, which Git can't keep"
        if tree.borrowed(path):
            return Kind.UNKNOWN, "a link to nothing, or in a submodule that is not checked out"
        if path in tree.tracked or path in tree.folders:
            return wrong, "deleted"
        if tree.ignores(path):
            return Kind.UNKNOWN, "Git does not keep it"
        if item.IS_DEPENDENCY and (path in self.holders or any(parent in self.outs for parent in parents(path))):
            return Kind.UNKNOWN, "a folder that holds data, or data in one"
        if item.IS_DEPENDENCY and (tree.root is None or tree.once_kept(path)):
            return wrong, "deleted"
        return Kind.UNKNOWN, "neither Git nor DVC keeps it"

    def _differs(self, stage: Stage, item: Output, found: Content, wrong: Kind) -> tuple[Kind, str]:
        path, tree, was = item.fs_path, self.tree, _recorded(item)
        if tree.ignores(path):
            return Kind.UNKNOWN, "Git does not keep it"
        if was.size != found.size and any(
            tree.content(path, "md5", True, ends).value == was.value for ends in (b"\n", b"\r\n")
        ):
            return Kind.STALE, "only line ends differ"
        if not os.path.isdir(path) or not item.hash_info.isdir:
            return wrong, "its content is another"
        if was.nfiles is not None and was.nfiles <= (found.nfiles or 0):
            return wrong, "its content is another"  # had files been counted that Git ignores, there would be more
        if not item.IS_DEPENDENCY:
            return Kind.UNKNOWN, "Git keeps a part of it"
        if path in self.holders:
            return Kind.UNKNOWN, "a folder that holds data"
        lock = os.path.splitext(stage.path)[0] + ".lock" if isinstance(stage, PipelineStage) else stage.path
        if commit := tree.changed_since(lock, was.value, path):
            return wrong, f"changed since commit {commit} recorded it"
        return Kind.UNKNOWN, "recorded with files that are not here"

    def _contradictions(self) -> None:
        """Whatever a file is that can't be judged: two stages that recorded it otherwise can't both be right."""
        for users in self.unknown.values():
            (first, item), *others = users
            for stage, other in others:
                if other.hash_info != item.hash_info:
                    path, was = self._relative(other.fs_path), _recorded(other)
                    cause = f"{self._name(first)} recorded another, so one of the two is stale"
                    self._add(Kind.STALE, stage, path, cause, was, _recorded(item))

    def _same_size(self, stage: Stage, path: str, item: Output, other: Content, cause: str) -> None:
        was = _recorded(item)
        pairs = ((was.size, other.size), (was.nfiles, other.nfiles))
        if item.hash_name == "md5" and any(None not in pair and pair[0] != pair[1] for pair in pairs):
            self._add(Kind.INCONSISTENT, stage, path, cause, was, other)

    def _well_formed(self, stage: Stage, item: Output) -> bool:
        if re.fullmatch(r"[0-9a-f]{32}(\.dir)?", item.hash_info.value):
            return True
        self._add(Kind.INCONSISTENT, stage, self._relative(item.fs_path), f"{item.hash_info.value!r} is no MD5")
        return False

    def _leftovers(self, path: str, stages: list[Stage], lock: dict) -> None:
        gone = sorted(lock.keys() - {stage.name for stage in stages if isinstance(stage, PipelineStage)})
        if gone:
            file = self._relative(os.path.splitext(path)[0] + ".lock")
            self.report.notes.append(f"{file} still has, and DVC ignores: {few(gone)}")

    def _unreadable(self, file: str, error: Exception) -> None:
        path = self._relative(os.path.abspath(file)) if file else ""
        self.report.findings.append(Finding(Kind.UNREADABLE, path, "", "" if file else "pipeline", explain(error)))

    def _add(self, kind: Kind, stage: Stage, what: str, cause: str, recorded: Any = None, found: Any = None) -> None:
        file = self._relative(stage.path, self.folder)
        self.report.findings.append(Finding(kind, file, self._name(stage), what, cause, recorded, found))

    def _name(self, stage: Stage) -> str:
        return name_of(stage, self.folder)

    def _relative(self, path: str, start: str | None = None) -> str:
        start = start or (self.folder if within(path, self.folder) else self.repo.root_dir)
        return Path(os.path.relpath(path, start)).as_posix() if within(path, self.tree.root or start) else path


def read_lock(file: str) -> dict[str, dict]:
    """The stages of a lock that DVC has found in order, their values as text, which is read faster."""
    if not os.path.exists(file):
        return {}
    return yaml.load(Path(file).read_text("utf-8"), getattr(yaml, "CBaseLoader", yaml.BaseLoader)).get("stages", {})


class Elsewhere(FileSystem):
    """Stands in for the remote file systems whose plugin (``dvc-s3``, ...) is not installed: nothing there is read."""

    protocol = "elsewhere"
    PARAM_CHECKSUM = "etag"


def stand_in_for_plugins() -> None:
    """Let DVC load pipelines that name remote files, which it refuses where a plugin is missing."""
    for scheme, entry in known_implementations.items():
        if find_spec(entry["class"].partition(".")[0]) is None:
            known_implementations[scheme] = {"class": f"{__name__}.{Elsewhere.__name__}"}


def differences(was: Any, now: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    """The keys below ``key`` whose values differ, or that one side lacks, with both values.

    >>> list(differences({"a": 1, "b": 2}, {"b": 3}, "k"))
    [('k.a', 1, nothing), ('k.b', 2, 3)]
    >>> list(differences([float("nan")], (float("nan"),), "k")), list(differences(ABSENT, ABSENT, "k"))
    ([], [('k', nothing, nothing)])
    """
    if isinstance(was, dict) and isinstance(now, dict) and (was or now):
        for name in [*was, *(name for name in now if name not in was)]:
            yield from differences(was.get(name, ABSENT), now.get(name, ABSENT), f"{key}.{name}")
    elif was is ABSENT or not _same(was, now):
        yield key, was, now


def _same(was: Any, now: Any) -> bool:
    if isinstance(was, list | tuple) and isinstance(now, list | tuple):
        return len(was) == len(now) and all(map(_same, was, now))
    if isinstance(was, dict) and isinstance(now, dict):
        return was.keys() == now.keys() and all(_same(was[key], now[key]) for key in was)
    if isinstance(was, float) and isinstance(now, float) and math.isnan(was):
        return math.isnan(now)
    return was == now


def _recorded(item: Output) -> Content:
    return Content(item.hash_info.value, item.meta.size, item.meta.nfiles)
