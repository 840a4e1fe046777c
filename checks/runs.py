"""Inputs and outputs that the locks of a repository record, and the files of the outputs that are available."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import networkx
from dvc.dependency.db import AbstractDependency
from dvc.dependency.param import ParamsDependency
from dvc.exceptions import DvcException
from dvc.fs import localfs
from dvc.output import Output as Item
from dvc.repo.reproduce import get_active_graph
from dvc.stage import PipelineStage
from dvc.stage import Stage as Pipeline
from dvc.utils.serialize import dump_yaml, load_path

from .locks import MD5, lock_of, read_indexes, read_lock, refuse
from .proofs import digest
from .reading import ReadOnlyRepo, check_regular
from .scratch import Scratch, keep, project
from .shell import InputError, explain
from .tree import Tree, name_of, within

TEXT = 2**28  # bytes up to which other line ends are tried, in memory


@dataclass
class Output:
    """A recorded output: its hash, and its files by their path in it ("" for a file), or None if they are missing."""

    value: str | None
    files: dict[str, Path] | None = None
    edited: bool = False  # the file is not the one that the lock records
    line_ends: bool = False  # only its line ends differ from those of the other run


@dataclass
class Stage:
    """The record of a stage in a lock."""

    inputs: dict[str, object] = field(default_factory=dict)  # command, params, hashes of files not made again
    reads: list[str] = field(default_factory=list)  # paths of all dependencies
    outputs: dict[str, Output] = field(default_factory=dict)  # by path
    reruns: bool = True  # a frozen stage does not
    meta: dict[str, object] = field(default_factory=dict)  # from dvc.yaml
    digest: str = ""  # of the entry in the lock
    line_ends: set[str] = field(default_factory=set)  # inputs that differ from the other run in their line ends alone


@contextmanager
def opened(folder: Path, alone: bool = False) -> Iterator[tuple[ReadOnlyRepo, Tree]]:
    """Open the DVC repository in a folder read-only, with its working tree; ``alone`` ignores Git.

    Raises:
        InputError: DVC can't read the repository.
    """
    try:
        repo = ReadOnlyRepo(str(folder))
    except (DvcException, OSError) as error:
        raise InputError(explain(error)) from None
    with repo:
        tree = Tree(repo, alone)
        read_indexes(repo, tree, {}, refuse(folder))
        yield repo, tree


def recorded(folder: Path, cache: Path, kept: Path | None = None) -> dict[str, Stage]:
    """Return the stages of a DVC repository as its locks record them, with the files of their outputs.

    Args:
        folder: The repository.
        cache: The cache with the files that DVC keeps.
        kept: Folder to which the files that Git keeps are copied. None: nothing is copied, and the outputs in the
            working tree are used, those that DVC keeps included.

    Raises:
        InputError: DVC can't read a file, or a file is a device or a pipe.
    """
    with opened(folder, alone=kept is None) as (repo, tree):
        _check_files(repo, tree, folder)
        stages = _stages(repo)
        for name, out in _outputs(repo, stages):
            path = _path(out, folder)
            output = stages[name].outputs[path]
            cached = _cached(cache, out) if out.use_cache else None
            if cached or (kept and out.use_cache and not _is_in_git(tree, out)):
                output.files = cached
            elif os.path.exists(out.fs_path) and out.hash_name in MD5 and not _leads_out(tree, out.fs_path):
                now = tree.content(out.fs_path, out.hash_name)
                if kept and out.use_cache and now.value != output.value:
                    continue  # DVC has the recorded file, not Git
                partial = out.hash_info.isdir and (out.meta.nfiles or 0) > (now.nfiles or 0)
                output.edited = now.value != output.value and not partial
                if kept:
                    keep(folder, [path], kept)
                output.files = None if partial else _files(tree, out.fs_path, (kept or folder) / path)
    return stages


def rerun(scratch: Scratch, was: dict[str, Stage]) -> dict[str, Stage]:
    """Return the stages that have run in a checkout; ``was`` are the recorded stages that they are compared with."""
    with opened(scratch.folder) as (repo, tree):
        stages = _stages(repo)
        for name, pipeline in _pipelines(repo, scratch.folder).items():
            if name in stages and name in was:
                before = was[name].inputs
                paths = {_path(dep, scratch.folder): dep for dep in pipeline.deps}
                named = (path for path in stages[name].reads if path in stages[name].inputs)
                stages[name].line_ends = {path for path in named if _same_lines(tree, paths[path], before.get(path))}
        for name, out in _outputs(repo, stages):
            if os.path.exists(out.fs_path) and within(out.fs_path, repo.root_dir):
                output = stages[name].outputs[_path(out, scratch.folder)]
                output.files = _files(tree, out.fs_path, Path(out.fs_path))
                before = was[name].outputs.get(_path(out, scratch.folder)) if name in was else None
                output.line_ends = before is not None and _same_lines(tree, out, before.value)
    return stages


def in_order(stages: dict[str, Stage]) -> list[str]:
    """Sort the names of stages so that each comes after the stages whose outputs it reads.

    >>> in_order({"b": Stage(reads=["o/x"]), "a": Stage(outputs={"o": Output("1")})})
    ['a', 'b']
    """
    names, left = [], dict(stages)
    while left:
        made = {name: [*stage.outputs] for name, stage in left.items()}
        free = [
            name
            for name, stage in left.items()
            if not any(_overlap(path, out) for path in stage.reads for one in made if one != name for out in made[one])
        ]
        names += free or left  # a cycle, in which no stage is first
        left = {name: stage for name, stage in left.items() if name not in names}
    return names


def _overlap(one: str, other: str) -> bool:
    return within(one, other) or within(other, one)


def named(scratch: Scratch, targets: list[str]) -> list[str]:
    """Translate targets, as named in the current folder, to the names of the stages at the root; keep unknown ones."""
    current = Path(os.path.relpath(Path.cwd(), project()))
    names: dict[str, list[str]] = {}
    with opened(scratch.folder) as (repo, _):
        for stage in repo.index.stages:
            name, local = (name_of(stage, str(folder)) for folder in (scratch.folder, scratch.folder / current))
            names.setdefault(local, []).append(name)
            if "@" in local:  # every stage of a foreach
                names.setdefault(local.rpartition("@")[0], []).append(name)
    return [name for target in targets for name in names.get(target, [target])]


def needed(scratch: Scratch, targets: list[str]) -> dict[str, list[str]]:
    """Find the data that a rerun of some stages, or of all if ``targets`` is empty, reads and does not make.

    A .dvc file whose data no such stage reads is deleted from the checkout, because DVC asks for the data of all.

    Returns:
        The paths of the data by .dvc file and by frozen stage, as ``dvc pull`` names them.
    """
    folder = str(scratch.folder)
    with opened(scratch.folder) as (repo, _):
        graph, stages = get_active_graph(repo.index.graph), [*repo.index.stages]
        first = [stage for stage in stages if (name_of(stage, folder) in targets if targets else stage.cmd)]
        if len(first) < len({*targets}):  # DVC accepts more names: of files, of groups
            first = stages
        read = {*first}.union(*(networkx.descendants(graph, stage) for stage in first))
        data = [stage for stage in stages if stage.frozen or not stage.cmd]
        for stage in data:
            if stage not in read and not isinstance(stage, PipelineStage):
                Path(stage.path).unlink()
        return {
            name_of(stage, folder): [out.fs_path for out in stage.outs]
            for stage in data
            if stage in read and any(out.use_cache for out in stage.outs)
        }


def freeze_external(scratch: Scratch) -> None:
    """Freeze the stages that write outside the checkout, so that a rerun overwrites nothing there.

    Raises:
        InputError: DVC can't freeze a stage whose definition holds variables.
    """
    with opened(scratch.folder) as (repo, _):
        outside = {
            name: [str(out) for out in stage.outs if out.protocol != "local" or not _inside(out.fs_path, repo.root_dir)]
            for name, stage in _pipelines(repo, scratch.folder).items()
            if not stage.frozen
        }
    for name, outputs in outside.items():
        if outputs:
            scratch.dvc("freeze", name)


def forget(scratch: Scratch) -> None:
    """Delete the entries of all stages that run again from the locks, so that DVC skips none of them."""
    again: dict[str, set[str]] = {}
    with opened(scratch.folder) as (repo, _):
        for stage in repo.index.stages:
            if isinstance(stage, PipelineStage) and not stage.frozen:
                again.setdefault(lock_of(stage.path), set()).add(stage.name)
    for lock, names in again.items():
        if os.path.exists(lock):
            values = load_path(lock, localfs)
            values["stages"] = {name: entry for name, entry in values.get("stages", {}).items() if name not in names}
            dump_yaml(lock, values)


def remove_outputs(scratch: Scratch) -> None:
    """Delete the outputs of all stages that run again: a stage with ``persist: true`` could keep the recorded file.

    Outputs and data that DVC caches leave Git's index too, because DVC refuses to cache a file that Git keeps.
    """
    with opened(scratch.folder) as (repo, tree):
        stages = [stage for stage in repo.index.stages if not stage.frozen]
        outs = [out for stage in stages if stage.cmd for out in stage.outs]
        cached = {out.fs_path for stage in stages for out in stage.outs if out.use_cache and _is_in_git(tree, out)}
    for path in {out.fs_path for out in outs}:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            Path(path).unlink(missing_ok=True)
    for path in cached:
        scratch.git("--literal-pathspecs", "rm", "-r", "--cached", "--quiet", "--ignore-unmatch", "--", path)


def _is_in_git(tree: Tree, out: Item) -> bool:
    return out.fs_path in tree.tracked or out.fs_path in tree.folders


def _check_files(repo: ReadOnlyRepo, tree: Tree, folder: Path) -> None:
    """Refuse a device or a pipe where a stage reads or makes a file, because DVC would read it without end."""
    items = [item for stage in repo.index.stages for item in (*stage.deps, *stage.outs) if item.protocol == "local"]
    for path in {item.fs_path for item in items}:
        for file in tree.files(path):
            try:
                check_regular(file)
            except OSError as error:
                raise InputError(f"{os.path.relpath(file, folder)}: {error.strerror}") from None


def _inside(path: str, folder: str) -> bool:
    """True if a path is in a folder after the links of its parent folders are resolved."""
    return within(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)), folder)


def _leads_out(tree: Tree, path: str) -> bool:
    """True if a path, or a file below it, leads out of the repository; a report must not show its content."""
    return tree.leads_out(path) or any(tree.leads_out(file) for file in tree.files(path) if os.path.islink(file))


def _pipelines(repo: ReadOnlyRepo, folder: Path) -> dict[str, Pipeline]:
    stages = sorted(repo.index.stages, key=lambda stage: stage.path_in_repo)
    return {name_of(stage, str(folder)): stage for stage in stages if stage.cmd}


def _outputs(repo: ReadOnlyRepo, stages: dict[str, Stage]) -> Iterator[tuple[str, Item]]:
    """Yield the outputs of the stages that a lock records, each with the name of its stage."""
    for name, pipeline in _pipelines(repo, Path(repo.root_dir)).items():
        if name in stages:
            yield from ((name, out) for out in pipeline.outs)


def _stages(repo: ReadOnlyRepo) -> dict[str, Stage]:
    folder, locks, stages = Path(repo.root_dir), {}, {}
    made = {out.fs_path for stage in repo.index.stages if stage.cmd and not stage.frozen for out in stage.outs}
    for name, pipeline in _pipelines(repo, folder).items():
        lock = lock_of(pipeline.path)
        if lock not in locks:
            locks[lock] = read_lock(lock)
        entry = locks[lock].get(getattr(pipeline, "name", None), {})
        if not entry and isinstance(pipeline, PipelineStage):
            continue
        stage = stages[name] = Stage({"cmd": entry.get("cmd", pipeline.cmd)}, reruns=not pipeline.frozen)
        stage.meta, stage.digest = pipeline.meta or {}, digest(entry) if entry else ""
        for dep in pipeline.deps:
            path = _path(dep, folder)
            if isinstance(dep, ParamsDependency):
                stage.inputs |= _flat(dep.hash_info.value or {}, f"{path}: ")
                continue
            if isinstance(dep, AbstractDependency):  # a dataset or a database has no path
                stage.inputs[path] = dep.hash_info.value
                continue
            stage.reads.append(path)
            if not any(within(dep.fs_path, out) or within(out, dep.fs_path) for out in made):
                stage.inputs[path] = dep.hash_info.value
        stage.outputs = {_path(out, folder): Output(out.hash_info.value) for out in pipeline.outs}
    return stages


def _cached(user: Path, out: Item) -> dict[str, Path] | None:
    """Return the files of an output in the user's cache; None if one of them is missing."""
    cache = user if out.hash_name == "md5-dos2unix" else user / "files" / "md5"

    def cached(value: str) -> Path:
        return cache / value[:2] / value[2:]

    if not out.hash_info or not cached(out.hash_info.value).exists():
        return None
    if not out.hash_info.isdir:
        return {"": cached(out.hash_info.value)}
    listing = json.loads(cached(out.hash_info.value).read_text("utf-8"))
    files = {entry["relpath"]: cached(entry["md5"]) for entry in listing}
    return files if all(file.exists() for file in files.values()) else None


def _files(tree: Tree, path: str, copy: Path) -> dict[str, Path]:
    """Return the files of an output in the working tree by their paths in it, each as its path below ``copy``."""
    if not os.path.isdir(path):
        return {"": copy}
    names = [Path(os.path.relpath(file, path)).as_posix() for file in tree.files(path)]
    return {name: copy / name for name in names}


def _same_lines(tree: Tree, item: Item, value: object) -> bool:
    """True if a file or folder does not have a hash, but would have it with other line ends."""
    if value in (None, item.hash_info.value) or (item.meta.size or 0) > TEXT or not os.path.exists(item.fs_path):
        return False
    return any(tree.content(item.fs_path, "md5", ends=ends).value == value for ends in (b"\n", b"\r\n"))


def _path(item: Item, folder: Path) -> str:
    if isinstance(item, AbstractDependency) or item.protocol != "local" or not within(item.fs_path, str(folder)):
        return str(item)
    return Path(os.path.relpath(item.fs_path, folder)).as_posix()


def _flat(values: dict, prefix: str) -> dict[str, object]:
    flat = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
