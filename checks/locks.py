"""Comparison of the locks of a DVC repository with its pipelines and with the files that Git keeps."""

import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import dpath
import yaml
from dvc.dependency import DatasetDependency
from dvc.dvcfile import LOCK_FILE, PROJECT_FILE, load_file
from dvc.exceptions import DvcException, OutputDuplicationError
from dvc.output import Output
from dvc.repo.index import Index
from dvc.stage import PipelineStage, Stage
from dvc.stage.loader import StageLoader
from dvc.stage.utils import split_params_deps
from dvc.utils.serialize import ParseError, load_path
from dvc.utils.strictyaml import YAMLValidationError
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.tree import Tree as Listing

from . import proofs
from .findings import ABSENT, Finding, Kind, Report, few
from .reading import LARGEST, LOADER, ReadOnlyRepo, check_count, check_regular
from .remote import absent, kept
from .shell import InputError, explain
from .tree import Content, Tree, name_of, parents, within

EMPTY_FOLDER = "d751713988987e9331980363e24189ce.dir"
MD5 = ("md5", "md5-dos2unix")
NOBODY = "neither Git nor DVC keeps it"
REPRO = (Kind.STALE, Kind.LINE_ENDS, Kind.INCONSISTENT)
"""Kinds whose remedy is a command that writes the lock."""
HIDDEN = "DVC does not read its .dvc file, because Git ignores that file; change .gitignore"
FAULTS = (DvcException, OSError, ValueError, RecursionError, MemoryError)
"""Errors of a file that DVC can't read."""


class LockCheck:
    """Compares the locks of one DVC repository with its working tree and adds the findings to a report."""

    def __init__(self, repo: ReadOnlyRepo, folder: Path, report: Report):
        self.repo, self.report, self.tree = repo, report, Tree(repo)
        self.folder = os.path.realpath(folder)
        self.outs: dict[str, Output] = {}
        self.holders: set[str] = set()  # folders that outputs are in
        self.parsed: dict[str, dict] = {}  # params files by path
        self.listings: dict[str, dict[str, str]] = {}  # of folders in DVC's cache: the hashes of files by path
        self.undecided: dict[tuple, list[tuple[Stage, Output]]] = defaultdict(list)

    def run(self) -> None:
        """Check every stage."""
        indexes = read_indexes(self.repo, self.tree, self.outs, self._unreadable)
        stages = self.repo.index.stages
        try:
            self.repo.index.check_graph()
        except DvcException as error:
            self._graph(error)
        self.holders = {parent for path in self.outs for parent in parents(path)}
        locked: dict[str, dict | None] = {}
        for path, index in indexes.items():
            lock = read_lock(lock_of(path)) if os.path.basename(path) == PROJECT_FILE else {}
            self._leftovers(path, index.stages, lock)
            for stage in index.stages:
                if stage.cmd and not stage.frozen:
                    self._stage(stage, lock.get(getattr(stage, "name", None)))
                    locked[name_of(stage, self.repo.root_dir)] = lock.get(getattr(stage, "name", None))
                elif not stage.frozen:  # a .dvc file
                    for out in stage.outs:
                        if out.hash_info:
                            self._output(stage, out)
        self._proofs({name: entry for name, entry in locked.items() if entry})
        frozen = [self._name(stage) for stage in stages if stage.frozen]
        if frozen:
            self.report.notes.append(f"frozen, so not checked: {few(frozen)}")
        if self.tree.hidden:
            hidden = few([self._relative(path) for path in self.tree.hidden])
            self.report.notes.append(f"Git ignores these, so DVC does not read them: {hidden}")
        self._contradictions()
        self._kept_twice()

    def _proofs(self, locked: dict[str, dict]) -> None:
        """Say which entries of the locks are proved by the reruns that ``proofs.jsonl`` records."""
        file = os.path.join(self.repo.root_dir, proofs.FILE)
        if not os.path.lexists(file):
            return
        try:
            with self.repo.fs.open(file, encoding="utf-8") as stream:
                recorded = proofs.read(stream.read())
        except FAULTS as error:
            self._unreadable(file, error)
            return
        proved = {name: recorded.get((name, proofs.digest(entry)), {}) for name, entry in locked.items()}
        self.report.proofs |= proved
        self.report.notes.append(f"{self._relative(file)}: {proofs.summary(proved)}")

    def check_remotes(self) -> None:
        """Find the outputs that the remotes lack."""
        self.report.notes.append(f"asked the remotes for {len(kept(self.repo))} outputs that DVC keeps")
        for out, cause in absent(self.repo):
            self._add(Kind.MISSING, out.stage, self._relative(out.fs_path), cause, _recorded(out))

    def _stage(self, stage: Stage, entry: dict | None) -> None:
        self.report.stages += 1
        if not isinstance(stage, PipelineStage):  # a .dvc file with a command, as DVC before 1.0 wrote them
            if stage.md5 and stage.changed_stage():
                self._add(Kind.STALE, stage, "cmd", "the command, or the list of its files, differs")
        elif entry is None:
            if not stage.is_callback:
                self._add(Kind.STALE, stage, "", f"never run: {LOCK_FILE} has no entry of it")
            return
        elif stage.cmd_changed:
            self._add(Kind.STALE, stage, "cmd", "the command differs", entry.get("cmd"), stage.cmd)
        params, deps = split_params_deps(stage)
        for dep in params:
            self._params(stage, dep)
        for dep in {dep.def_path: dep for dep in deps}.values():
            self._dependency(stage, dep)
        for out in stage.outs:
            self._output(stage, out)

    def _params(self, stage: Stage, dep: Output) -> None:
        """Compare the recorded params with the values of the params file; its comments and layout don't count."""
        path = self._relative(dep.fs_path)
        if os.path.isfile(dep.fs_path) and self.tree.leads_out(dep.fs_path):
            self._add(Kind.UNKNOWN, stage, path, "not in this repository")
            return
        if not self._kept(dep.fs_path):
            self._add(Kind.UNTRACKED, stage, path, NOBODY)
            return
        if not dep.exists:
            if dep.fs_path in self.outs or self.tree.ignores(dep.fs_path):
                self._add(Kind.UNKNOWN, stage, path, "params in a file that is not in Git")
            else:
                self._add(Kind.STALE, stage, path, "missing")
            return
        try:
            dep.validate_filepath()
            now = self._values(dep)
        except FAULTS as error:
            self._add(Kind.UNREADABLE, stage, path, reason(error))
            return
        was = dep.hash_info.value or {}
        for key in dep.params or [*now, *(key for key in was if key not in now)]:
            for leaf, *values in differences(was.get(key, ABSENT), now.get(key, ABSENT), key):
                cause = "neither recorded nor in the file" if values == [ABSENT, ABSENT] else ""
                self._add(Kind.STALE, stage, f"{path}: {leaf}", cause, *values)

    def _values(self, dep: Output) -> dict[str, Any]:
        """Return the params that a stage reads, as DVC selects them; each file is parsed once."""
        if dep.fs_path not in self.parsed:
            self.parsed[dep.fs_path] = load_path(dep.fs_path, self.repo.fs)
        values = self.parsed[dep.fs_path]
        if not dep.params:
            return values
        params = {}
        for key in dep.params:
            with suppress(KeyError):
                params[key] = dpath.get(values, key, separator=".")
        return params

    def _dependency(self, stage: Stage, dep: Output) -> None:
        """Compare a dependency with the lock: code by its content, data by what the stage that makes it recorded."""
        if isinstance(dep, DatasetDependency):
            self._dataset(stage, dep)
        elif dep.protocol != "local" or dep.hash_name not in MD5:
            self._add(Kind.UNKNOWN, stage, str(dep), "not in this repository")
        elif not dep.hash_info:
            self._add(Kind.STALE, stage, self._relative(dep.fs_path), f"{LOCK_FILE} has no record of it")
        elif self._well_formed(stage, dep) and not self._made(stage, dep):
            self._content(stage, dep, Kind.STALE)

    def _dataset(self, stage: Stage, dep: DatasetDependency) -> None:
        """Compare a dataset of ``dvc.yaml`` with the recorded one."""
        try:
            (state,) = dep.workspace_status().values() or (None,)
        except FAULTS as error:
            self._add(Kind.UNREADABLE, stage, str(dep), reason(error))
            return
        if state:
            cause = f"{state}; run `dvc dataset update {dep.name}`" if state == "not in sync" else state
            self._add(Kind.STALE, stage, str(dep), cause)

    def _made(self, stage: Stage, dep: Output) -> bool:
        """Compare a dependency with the record of the stage or .dvc file that makes it.

        Returns:
            False if none makes it, or if its content is to be compared too.
        """
        out = self.outs.get(dep.fs_path)
        if out is None:
            return self._inside(stage, dep)
        path, maker = self._relative(dep.fs_path), self._name(out.stage)
        was, now = _recorded(dep), _recorded(out)
        if was.value == now.value and out.stage.frozen and (not out.use_cache or self._whole_in_git(out)):
            return False  # as nothing else compares the file with the record of a frozen stage
        if was.value == now.value:
            self._same_size(stage, path, dep, now, f"{maker} recorded the same hash and another size")
        elif now.value is None:
            if not out.stage.cmd or out.stage.frozen:  # other stages without a record are stale already
                self._add(Kind.UNKNOWN, stage, path, f"{maker} has no record of it")
        elif dep.hash_name != out.hash_name:
            self._add(Kind.UNKNOWN, stage, path, f"recorded as {dep.hash_name}, by {maker} as {out.hash_name}")
        else:
            self._add(Kind.STALE, stage, path, f"{maker} has another version", was, now)
        return True

    def _inside(self, stage: Stage, dep: Output) -> bool:
        """Look up a file of a folder that another stage makes in the folder's listing; false if the cache lacks it."""
        out = next((self.outs[parent] for parent in parents(dep.fs_path) if parent in self.outs), None)
        if out is None or not out.use_cache or dep.hash_name != out.hash_name or not out.hash_info:
            return False
        listing = self._listing(out)
        if listing is None:
            return False
        name = Path(os.path.relpath(dep.fs_path, out.fs_path)).as_posix()
        inside = Listing()
        for path, value in listing.items():
            if within(path, name, "/"):
                inside.add(tuple(path.removeprefix(f"{name}/").split("/")), Meta(), HashInfo(dep.hash_name, value))
        inside.digest()
        now = listing.get(name, inside.hash_info.value if len(inside) else None)
        if now != dep.hash_info.value:
            path, cause = self._relative(dep.fs_path), f"{self._name(out.stage)} has another version"
            self._add(Kind.STALE, stage, path, cause, Content(dep.hash_info.value), Content(now))
        return True

    def _listing(self, out: Output) -> dict[str, str] | None:
        """Return the hashes of a folder's files by their paths in it; None if DVC's cache lacks the listing."""
        value = out.hash_info.value
        if value not in self.listings:
            cache = self.repo.cache.legacy if out.hash_name == "md5-dos2unix" else self.repo.cache.local
            try:
                entries = json.loads(Path(cache.oid_to_path(value)).read_bytes())
                self.listings[value] = {entry["relpath"]: entry["md5"] for entry in entries}
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                return None
        return self.listings[value]

    def _output(self, stage: Stage, out: Output) -> None:
        """Compare a result in Git with the recorded one."""
        if out.protocol != "local" or out.hash_name not in MD5:
            return
        if not out.hash_info:
            self._add(Kind.STALE, stage, self._relative(out.fs_path), f"{LOCK_FILE} has no record of it")
        elif self._well_formed(stage, out) and (not out.use_cache or self._whole_in_git(out)):
            self._content(stage, out, Kind.INCONSISTENT)

    def _whole_in_git(self, out: Output) -> bool:
        """True if Git keeps an output, of a folder at least as many files as it had."""
        path, tree = out.fs_path, self.tree
        if path not in tree.folders:
            return path in tree.tracked
        return 0 < (out.meta.nfiles or 0) <= sum(within(file, path) for file in tree.tracked)

    def _content(self, stage: Stage, item: Output, wrong: Kind) -> None:
        """Compare a file or folder of the tree with its recorded hash; a certain difference is of kind ``wrong``."""
        path, tree = item.fs_path, self.tree
        was = _recorded(item)
        try:
            check_regular(path)
            if tree.leads_out(path):
                self._add(Kind.UNKNOWN, stage, self._relative(path), "not in this repository")
                return
            if item.IS_DEPENDENCY and was.value != EMPTY_FOLDER and not self._kept(path):
                hidden = f"{path}.dvc" in tree.hidden
                self._add(Kind.UNTRACKED, stage, self._relative(path), HIDDEN if hidden else NOBODY)
                self.undecided[path, item.hash_name].append((stage, item))
                return
            now = tree.content(path, item.hash_name)
            if now.value != was.value and os.path.isdir(path):
                now = tree.content(path, item.hash_name, kept=True)
        except OSError as error:
            self._add(Kind.UNREADABLE, stage, self._relative(path), reason(error))
            return
        if now.value == was.value:
            self._same_size(stage, self._relative(path), item, now, "the hash is right and the size is not")
            if item.IS_DEPENDENCY and path not in self.holders and (name := tree.untracked_in(path)):
                self._add(Kind.UNTRACKED, stage, self._relative(name), NOBODY)
            return
        kind, cause = self._missing(item, wrong) if now.value is None else self._differs(stage, item, now, wrong)
        self._add(kind, stage, self._relative(path), cause, was, now)
        if kind is Kind.UNKNOWN and item.IS_DEPENDENCY:
            self.undecided[path, item.hash_name].append((stage, item))

    def _kept(self, path: str) -> bool:
        """True if Git, a stage or a .dvc file keeps a path, a file in it or a folder around it."""
        made = path in self.holders or any(one in self.outs for one in (path, *parents(path)))
        return made or self.tree.keeps(path)

    def _missing(self, item: Output, wrong: Kind) -> tuple[Kind, str]:
        path, tree = item.fs_path, self.tree
        if item.hash_info.value == EMPTY_FOLDER:
            return Kind.UNKNOWN, "an empty folder, which Git can't keep"
        if tree.borrowed(path):
            return Kind.UNKNOWN, "a link to nothing, or in a submodule that is not checked out"
        if path in tree.sparse:
            return Kind.UNKNOWN, "outside the sparse checkout"
        if path in tree.tracked or path in tree.folders:
            return wrong, "deleted"
        if tree.ignores(path):
            return Kind.UNKNOWN, "Git does not keep it"
        if not item.IS_DEPENDENCY:
            return Kind.UNKNOWN, NOBODY
        if path in self.holders or any(parent in self.outs for parent in parents(path)):
            return Kind.UNKNOWN, "a folder that holds data, or data in one"
        return Kind.UNTRACKED, NOBODY

    def _differs(self, stage: Stage, item: Output, now: Content, wrong: Kind) -> tuple[Kind, str]:
        path, tree, was = item.fs_path, self.tree, _recorded(item)
        if tree.ignores(path):
            return Kind.UNKNOWN, "Git does not keep it"
        if path in tree.sparse:
            return Kind.UNKNOWN, "partly outside the sparse checkout"
        size = tree.pointer(path)
        if size == tree.SEVERAL or (size is not None and was.size in (None, size)):
            return Kind.UNKNOWN, "a pointer of Git LFS, whose file `git lfs pull` fetches"
        if was.size != now.size and any(
            tree.content(path, "md5", True, ends).value == was.value for ends in (b"\n", b"\r\n")
        ):
            return Kind.LINE_ENDS, "only line ends differ"
        if not os.path.isdir(path) or not item.hash_info.isdir:
            return wrong, "its content differs"
        if was.nfiles is not None and was.nfiles <= (now.nfiles or 0):
            return wrong, "its content differs"  # the recorded folder had no files that Git ignores, or it had more
        if not item.IS_DEPENDENCY:
            return Kind.UNKNOWN, "Git keeps a part of it"
        if path in self.holders:
            return Kind.UNKNOWN, "a folder that holds data"
        lock = lock_of(stage.path) if isinstance(stage, PipelineStage) else stage.path
        if commit := tree.changed_since(lock, was.value, path):
            return wrong, f"changed since commit {commit} recorded it"
        return Kind.UNKNOWN, "recorded with files that are not here"

    def _contradictions(self) -> None:
        """Find files of unknown content for which two stages recorded two hashes, of which one is wrong."""
        for users in self.undecided.values():
            (first, item), *others = users
            for stage, other in others:
                if other.hash_info != item.hash_info:
                    path, was = self._relative(other.fs_path), _recorded(other)
                    cause = f"{self._name(first)} recorded another hash, so one of the two stages is stale"
                    self._add(Kind.STALE, stage, path, cause, was, _recorded(item))

    def _kept_twice(self) -> None:
        """Say what to do before the remedies, if Git keeps outputs that DVC caches: DVC then writes no lock."""
        tree = self.tree
        if tree.no_scm or not any(finding.kind in REPRO for finding in self.report.findings):
            return
        kept = (path for path, out in self.outs.items() if out.use_scm_ignore and not out.stage.frozen)
        names = sorted(self._relative(path) for path in kept if path in tree.tracked or path in tree.folders)
        if names:
            self.report.notes.append(
                f"`dvc repro` and `dvc commit` fail, because Git keeps outputs that DVC caches: {few(names)}; "
                "first run `git rm -r --cached` for them, or give them `cache: false` in dvc.yaml"
            )

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
            file = self._relative(lock_of(path))
            self.report.notes.append(f"{file} still has, and DVC ignores: {few(gone)}")

    def _graph(self, error: DvcException) -> None:
        """Report stages that DVC can't put in an order."""
        outs = [getattr(error, name) for name in ("parent", "overlapping_out") if hasattr(error, name)]
        stages = sorted(getattr(error, "stages", [out.stage for out in outs]), key=self._name)
        cause = explain(error)
        if isinstance(error, OutputDuplicationError):  # DVC's message names them in the order of a set
            cause = f"{' and '.join(map(self._name, stages))} make the same output, {error.output}"
        file = stages[0].path if stages else os.path.join(self.repo.root_dir, PROJECT_FILE)
        self.report.findings.append(Finding(Kind.UNREADABLE, self._relative(file), "", "", cause))

    def _unreadable(self, file: str, error: Exception) -> None:
        path = self._relative(os.path.abspath(file))
        self.report.findings.append(Finding(Kind.UNREADABLE, path, "", "", reason(error, file)))

    def _add(self, kind: Kind, stage: Stage, what: str, cause: str, recorded: Any = ABSENT, now: Any = ABSENT):
        file = self._relative(stage.path, self.folder)
        self.report.findings.append(Finding(kind, file, self._name(stage), what, cause, recorded, now))

    def _name(self, stage: Stage) -> str:
        return name_of(stage, self.folder)

    def _relative(self, path: str, start: str | None = None) -> str:
        start = start or (self.folder if within(path, self.folder) else self.repo.root_dir)
        return Path(os.path.relpath(path, start)).as_posix() if within(path, self.tree.root or start) else path


def read_indexes(
    repo: ReadOnlyRepo, tree: Tree, outs: dict[str, Output], fault: Callable[[str, Exception], None]
) -> dict[str, Index]:
    """Read the stages of each pipeline, and make them the index of the repository.

    Args:
        repo: The repository, whose index is set.
        tree: Its working tree.
        outs: Filled with the outputs of the stages by path.
        fault: Called with the path of each file that DVC can't read, and the error.

    Returns:
        The stages by the path of the pipeline.
    """
    repo.fs.fs.leads_out, indexes = tree.leads_out, {}
    for path in tree.pipelines(outs):
        try:
            if os.path.basename(path) == PROJECT_FILE:  # the lock first, as the pipeline takes longer to read
                lock = lock_of(path)
                if os.path.lexists(lock):
                    repo.fs.open(lock).close()
            file = load_file(repo, path)
            stages = file.stages  # a .dvc file is parsed each time it is asked for them
            if isinstance(stages, StageLoader):
                check_count(stages, path)
            sets = {path: file.datasets}, {path: file.datasets_lock}
            index = indexes[path] = Index(repo, [*stages.values()], datasets=sets[0], datasets_lock=sets[1])
        except FAULTS as error:
            faulty = isinstance(error, ParseError | YAMLValidationError | OSError | RecursionError)
            last = getattr(error, "filename", None) or repo.fs.fs.last
            fault(last if faulty else path, error)
            continue
        outs |= {out.fs_path: out for stage in index.stages for out in stage.outs if out.protocol == "local"}
    indexes = dict(sorted(indexes.items()))
    repo.index = Index.from_indexes(repo, indexes.values())
    return indexes


def refuse(folder: Path) -> Callable[[str, Exception], NoReturn]:
    """Return a function of a file and an error that raises an ``InputError`` with the file's path in a folder."""

    def fault(file: str, error: Exception) -> NoReturn:
        name, from_here = os.path.relpath(file, folder), os.path.relpath(file)  # DVC prints the latter
        raise InputError(f"{name}: {reason(error, file).replace(from_here, name)}")

    return fault


def lock_of(pipeline: str) -> str:
    """Return the path of a pipeline's lock."""
    return os.path.splitext(pipeline)[0] + ".lock"


def read_lock(file: str) -> dict[str, dict]:
    """Read the stages of a lock that DVC can read. All values are text, which is parsed faster."""
    if not os.path.exists(file):
        return {}
    return yaml.load(Path(file).read_text("utf-8"), getattr(yaml, "CBaseLoader", yaml.BaseLoader)).get("stages", {})


def reason(error: BaseException, file: str = "") -> str:
    """Reason why a file can't be read, in one line."""
    if file and (line := conflict(file)):
        return f"line {line} is a conflict marker of a merge; resolve it, run `dvc repro` and commit what it writes"
    if isinstance(error, YAMLValidationError) and file.endswith(".lock") and _is_of_dvc_1(file):
        return "in the format of DVC 1; delete it, run `dvc repro` and commit what it writes"
    if isinstance(error, RecursionError | MemoryError):
        return "nested too deeply"
    return error.strerror if isinstance(error, OSError) and error.strerror else explain(error)


def _is_of_dvc_1(file: str) -> bool:
    """True if a lock, which DVC can parse, has stages at its top level and no schema."""
    values = yaml.load(Path(file).read_text("utf-8"), LOADER)
    return isinstance(values, dict) and any(isinstance(stage, dict) and "cmd" in stage for stage in values.values())


def conflict(file: str) -> int | None:
    """Return the number of the first line that is a conflict marker of Git, or None."""
    try:
        with open(file, "rb") as stream:
            lines = stream.read(LARGEST).splitlines() if os.path.isfile(file) else []
    except OSError:
        return None
    return next((number for number, line in enumerate(lines, 1) if line.startswith(b"<<<<<<< ")), None)


def differences(was: Any, now: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the keys below ``key`` whose values differ or that one side lacks, each with both values.

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
