"""Inputs and outputs that a pipeline's locks record, and the files of the outputs, if they are available."""

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

from .judge import MD5, lock_of, read_indexes, read_lock, reason
from .proofs import digest
from .reading import ReadOnlyRepo, check_regular
from .scratch import Scratch, keep, project
from .shell import InputError, explain
from .tree import Tree, name_of, within

TEXT = 2**28  # bytes up to which other line ends are tried, in memory


@dataclass
class Output:
    """An output as a lock records it, and its files by their path in it ("" for a file), None where nobody has them."""

    value: str | None
    files: dict[str, Path] | None = None
    edited: bool = False  # it is another than the lock records
    line_ends: bool = False  # nothing but its line ends differs from the run that it is compared with


@dataclass
class Stage:
    """The record of a stage in a lock: params, dependencies and outputs by path, and whether it runs again.

    ``meta`` is what its definition says there, ``digest`` that of its entry in the lock, and ``line_ends`` are the
    inputs that differ in their line ends alone from those of the run that it is compared with.
    """

    inputs: dict[str, object] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)
    outputs: dict[str, Output] = field(default_factory=dict)
    reruns: bool = True
    meta: dict[str, object] = field(default_factory=dict)
    digest: str = ""
    line_ends: set[str] = field(default_factory=set)


@contextmanager
def opened(folder: Path, alone: bool = False) -> Iterator[tuple[ReadOnlyRepo, Tree]]:
    """The DVC repository of a checkout, which is only read, and its files; ``alone``, whatever Git says of them.

    Raises:
        InputError: DVC can't read it.
    """

    def fault(file: str, error: Exception) -> None:
        name, theirs = os.path.relpath(file, folder), os.path.relpath(file)  # as DVC calls it
        raise InputError(f"{name}: {reason(error, file).replace(theirs, name)}")

    try:
        repo = ReadOnlyRepo(str(folder))
    except (DvcException, OSError) as error:
        raise InputError(explain(error)) from None
    with repo:
        repo.config["core"]["no_scm"] = alone or repo.config["core"].get("no_scm", False)
        tree = Tree(repo)
        read_indexes(repo, tree, {}, fault)
        yield repo, tree


def recorded(folder: Path, cache: Path, kept: Path | None = None) -> dict[str, Stage]:
    """The stages of a DVC repository as its locks record them, and the files of their outputs.

    Args:
        folder: The repository.
        cache: Where the files that DVC keeps are looked up.
        kept: Folder to which the files that Git keeps are copied. None: they are used where they lie, and so are those
            that DVC keeps and that are as recorded.

    Raises:
        InputError: DVC can't read a file, or would read one without end.
    """
    with opened(folder, alone=kept is None) as (repo, tree):
        _check_files(repo, tree, folder)
        stages = _stages(repo)
        for name, out in _outputs(repo, stages):
            path = _path(out, folder)
            output = stages[name].outputs[path]
            if out.use_cache and ((cached := _cached(cache, out)) or kept):
                output.files = cached
            elif os.path.exists(out.fs_path) and out.hash_name in MD5 and not _leads_out(tree, out.fs_path):
                found = tree.content(out.fs_path, out.hash_name)
                partial = out.hash_info.isdir and (out.meta.nfiles or 0) > (found.nfiles or 0)
                output.edited = found.value != output.value and not partial
                if kept:
                    keep(folder, [path], kept)
                output.files = None if partial else _files(tree, out.fs_path, (kept or folder) / path)
    return stages


def rerun(scratch: Scratch, was: dict[str, Stage]) -> dict[str, Stage]:
    """The stages of a checkout that have run there, to be compared with what was recorded."""
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
    """The names of stages, each after those whose outputs it reads.

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
    """The stages that these targets name in the current folder, by their names at the root; others as they are."""
    here = Path(os.path.relpath(Path.cwd(), project()))
    names: dict[str, list[str]] = {}
    with opened(scratch.folder) as (repo, _):
        for stage in repo.index.stages:
            name, local = (name_of(stage, str(folder)) for folder in (scratch.folder, scratch.folder / here))
            names.setdefault(local, []).append(name)
            if "@" in local:  # every stage of a foreach
                names.setdefault(local.rpartition("@")[0], []).append(name)
    return [name for target in targets for name in names.get(target, [target])]


def needed(scratch: Scratch, targets: list[str]) -> dict[str, list[str]]:
    """The data that a rerun of some stages, of all where none is named, reads and does not make.

    A .dvc file whose data none of them reads is deleted from the checkout, as DVC looks for the data of all.

    Returns:
        The paths of the data by .dvc file and by frozen stage, as ``dvc pull`` names them.
    """
    folder = str(scratch.folder)
    with opened(scratch.folder) as (repo, _):
        graph, stages = get_active_graph(repo.index.graph), [*repo.index.stages]
        first = [stage for stage in stages if (name_of(stage, folder) in targets if targets else stage.cmd)]
        if len(first) < len({*targets}):  # DVC knows more names: of files, of groups
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
    """Freeze the stages that write outside the checkout, where a rerun would overwrite what others made.

    Raises:
        InputError: DVC can't freeze a stage whose definition holds variables.
    """
    with opened(scratch.folder) as (repo, _):
        outside = {
            name: [str(out) for out in stage.outs if out.protocol != "local" or not _inside(out.fs_path, repo.root_dir)]
            for name, stage in _pipelines(repo, scratch.folder).items()
            if not stage.frozen
        }
    for name, places in outside.items():
        if places:
            scratch.dvc("freeze", name)


def forget(scratch: Scratch) -> None:
    """Delete the record of every stage that runs again from the locks, so that DVC takes none as done."""
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
    """Delete the outputs of every stage that runs again: with ``persist: true`` a stage could keep what Git has."""
    with opened(scratch.folder) as (repo, _):
        paths = {out.fs_path for stage in repo.index.stages if stage.cmd and not stage.frozen for out in stage.outs}
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            Path(path).unlink(missing_ok=True)


def _check_files(repo: ReadOnlyRepo, tree: Tree, folder: Path) -> None:
    """Refuse a device or a pipe in the place of a file that a stage reads or makes, which DVC reads without end."""
    items = [item for stage in repo.index.stages for item in (*stage.deps, *stage.outs) if item.protocol == "local"]
    for path in {item.fs_path for item in items}:
        for file in tree.files(path):
            try:
                check_regular(file)
            except OSError as error:
                raise InputError(f"{os.path.relpath(file, folder)}: {error.strerror}") from None


def _inside(path: str, folder: str) -> bool:
    """True if the place of a file is in a folder, and not beyond a link."""
    return within(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)), folder)


def _leads_out(tree: Tree, path: str) -> bool:
    """True if a path, or a file below it, is out of the repository, so that no report shows what it holds."""
    return tree.leads_out(path) or any(tree.leads_out(file) for file in tree.files(path) if os.path.islink(file))


def _pipelines(repo: ReadOnlyRepo, folder: Path) -> dict[str, Pipeline]:
    stages = sorted(repo.index.stages, key=lambda stage: stage.path_in_repo)
    return {name_of(stage, str(folder)): stage for stage in stages if stage.cmd}


def _outputs(repo: ReadOnlyRepo, stages: dict[str, Stage]) -> Iterator[tuple[str, Item]]:
    """The outputs of the stages that a lock has, each with its stage's name."""
    for name, pipeline in _pipelines(repo, Path(repo.root_dir)).items():
        if name in stages:
            yield from ((name, out) for out in pipeline.outs)


def _stages(repo: ReadOnlyRepo) -> dict[str, Stage]:
    folder, locks, stages = Path(repo.root_dir), {}, {}
    made = {out.fs_path for stage in repo.index.stages if stage.cmd for out in stage.outs}
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
            if isinstance(dep, AbstractDependency):  # a dataset or a database, which has no path
                stage.inputs[path] = dep.hash_info.value
                continue
            stage.reads.append(path)
            if not any(within(dep.fs_path, out) or within(out, dep.fs_path) for out in made):
                stage.inputs[path] = dep.hash_info.value
        stage.outputs = {_path(out, folder): Output(out.hash_info.value) for out in pipeline.outs}
    return stages


def _cached(user: Path, out: Item) -> dict[str, Path] | None:
    """The files of an output in the user's cache."""
    cache = user if out.hash_name == "md5-dos2unix" else user / "files" / "md5"

    def place(value: str) -> Path:
        return cache / value[:2] / value[2:]

    if not out.hash_info or not place(out.hash_info.value).exists():
        return None
    if not out.hash_info.isdir:
        return {"": place(out.hash_info.value)}
    listing = json.loads(place(out.hash_info.value).read_text("utf-8"))
    files = {entry["relpath"]: place(entry["md5"]) for entry in listing}
    return files if all(file.exists() for file in files.values()) else None


def _files(tree: Tree, path: str, copy: Path) -> dict[str, Path]:
    """The files of an output in a checkout, each in the folder they were copied to."""
    if not os.path.isdir(path):
        return {"": copy}
    names = [Path(os.path.relpath(file, path)).as_posix() for file in tree.files(path)]
    return {name: copy / name for name in names}


def _same_lines(tree: Tree, item: Item, value: object) -> bool:
    """True if a file or folder has not this hash, and would have it with other line ends."""
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
