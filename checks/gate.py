"""Does dvc.lock describe this tree? Answered in a fresh clone: no data, cache, network or TensorFlow, in seconds.

Exit code 0: it does. 1, stale: the tree moved on from the lock. 2, inconsistent: a result or the lock was edited by
hand, for no run writes such a pair. 3, unreadable: dvc.yaml, dvc.lock or params.yaml. The largest that applies.

What Git keeps is compared by content, data and models by what the stages on either side recorded of them. So a lock
forged on both sides passes here: only a rerun, `dvc repro --force`, proves results.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple

from dvc.dvcfile import LOCK_FILE, PROJECT_FILE, ProjectFile
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.repo.index import Index
from dvc.stage import PipelineStage
from dvc.stage.utils import split_params_deps
from dvc.utils.flatten import flatten
from dvc_data.hashfile.build import IgnoreInCollectedDirError, build
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs.memory import MemoryFileSystem
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class Kind(IntEnum):
    """What is wrong, as an exit code."""

    STALE = 1
    INCONSISTENT = 2
    UNREADABLE = 3


REMEDIES = {
    # `repro` alone overlooks a dependency that dvc.yaml no longer has, and nothing drops a stage that is gone.
    Kind.STALE: "run `dvc repro`, then `dvc commit`; delete from dvc.lock the stages that dvc.yaml no longer has",
    # Git takes a file that `dvc exp run` changed for unchanged if its size and second are the same: hence delete.
    Kind.INCONSISTENT: "delete these files and take them back from Git, or run `dvc repro`, then `dvc commit`",
}


@dataclass(frozen=True)
class Finding:
    """A stage, one of its files or keys, what dvc.lock has there, and what the tree has."""

    kind: Kind
    stage: str
    what: str
    recorded: Any
    found: Any

    def __str__(self):
        return f"{self.kind.name.lower()}: {self.stage}: {self.what}: recorded {self.recorded}, found {self.found}"


class Content(NamedTuple):
    """What dvc.lock records of a file or folder; all None of one that isn't there."""

    md5: str | None = None
    size: int | None = None
    nfiles: int | None = None

    def __str__(self):
        if self.md5 is None:
            return "nothing"
        return f"{self.md5} of {self.size} bytes" + (f" in {self.nfiles} files" if self.nfiles else "")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Entry(_Strict):
    """A dependency or output as DVC 3 writes it to dvc.lock."""

    path: str
    hash: Literal["md5"]
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")]
    size: Annotated[int, Field(ge=0)]
    nfiles: Annotated[int, Field(ge=1)] | None = None
    isexec: Literal[True] | None = None

    @model_validator(mode="after")
    def _only_folders_count_files(self):
        if self.md5.endswith(".dir") != (self.nfiles is not None):
            raise ValueError("expected nfiles with the .dir hash of a folder, and there only")
        return self


Fraction = Annotated[float, Field(ge=0, le=1)]


class Metrics(_Strict):
    """A metrics file: fractions, the number of parameters and the first digits of the weights' SHA-256."""

    accuracy: Fraction
    f1: Fraction
    loss: Annotated[float, Field(ge=0)]
    matthews: Annotated[float, Field(ge=-1, le=1)]
    parameters: Annotated[int, Field(ge=1)]
    precision: Fraction
    recall: Fraction
    roc_auc: Fraction
    weights: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


def inspect(project: ProjectFile) -> Iterator[Finding]:
    """Compare dvc.lock with dvc.yaml and the tree around it.

    Raises:
        DvcException: A file is missing or not what DVC can read.
    """
    stages = {name: project.stages[name] for name in project.stages}
    Index(project.repo, stages=list(stages.values())).check_graph()
    lock = project.lockfile_contents.get("stages", {})
    commands = {name: stage.cmd for name, stage in stages.items()}
    for name, was, now in differences({name: entry["cmd"] for name, entry in lock.items()}, commands):
        yield Finding(Kind.STALE, name, "cmd", was, now)
    outs = {out.def_path: out for stage in stages.values() for out in stage.outs}
    made = {path: records(lock.get(out.stage.name, {}), "outs").get(path) for path, out in outs.items()}
    for name, stage in stages.items():
        if name in lock:
            yield from malformed(name, lock[name])
            yield from params(stage, lock[name])
            yield from dependencies(stage, lock[name], made)
            yield from outputs(stage, lock[name])
    for path in project.metrics:
        if path not in outs and not any(str(parent) in outs for parent in PurePosixPath(path).parents):
            yield Finding(Kind.INCONSISTENT, PROJECT_FILE, path, "no entry", "a metric that no stage writes")
    for path, out in outs.items():
        if path.startswith("metrics/") and out.is_metric and out.isfile():
            yield from metrics(out)


def differences(recorded: dict, found: dict) -> Iterator[tuple[str, Any, Any]]:
    """Each key whose values differ or that only one side has, with both.

    >>> list(differences({"a": 1, "b": 2}, {"b": 3, "c": None}))
    [('a', 1, 'no entry'), ('b', 2, 3), ('c', 'no entry', None)]
    """
    for key in recorded | found:
        if key not in recorded or key not in found or recorded[key] != found[key]:
            yield key, recorded.get(key, "no entry"), found.get(key, "no entry")


def records(entry: dict, kind: str) -> dict[str, Content]:
    """What a stage's entry in dvc.lock says of its "deps" or "outs", by path."""
    return {item["path"]: Content(*map(item.get, Content._fields)) for item in entry.get(kind, [])}


def content(file: Output) -> Content:
    """What a dependency or output in the tree is now, by DVC's own hashing but none of its caches."""
    if not file.exists:
        return Content()
    nowhere = HashFileDB(MemoryFileSystem(), "gate")
    _, meta, built = build(nowhere, file.fs_path, file.fs, "md5", dry_run=True, ignore=file.dvcignore)
    return Content(built.hash_info.value, meta.size, meta.nfiles)


def malformed(name: str, entry: dict) -> Iterator[Finding]:
    """Records no DVC writes: keys or hashes of another form, or a path twice."""
    for kind in ("deps", "outs"):
        items = entry.get(kind, [])
        for item in items:
            for fault in faults(Entry, json.dumps(item)):
                yield Finding(Kind.INCONSISTENT, name, item["path"], item, fault)
        for path, times in Counter(item["path"] for item in items).items():
            if times > 1:
                yield Finding(Kind.INCONSISTENT, name, path, f"{times} times in {kind}", "one file")


def params(stage: PipelineStage, entry: dict) -> Iterator[Finding]:
    """Params whose recorded values are not those of the params file; its comments and layout don't count."""
    was = {f"{path}: {key}": value for path, keys in entry.get("params", {}).items() for key, value in keys.items()}
    now = {}
    for dep in stage.params:
        dep.validate_filepath()
        now |= {f"{dep.def_path}: {key}": value for key, value in dep.read_params().items()}
    for key, *values in differences(flatten(was), flatten(now)):
        yield Finding(Kind.STALE, stage.name, key, *values)


def dependencies(stage: PipelineStage, entry: dict, made: dict[str, Content | None]) -> Iterator[Finding]:
    """Code that is not the recorded code, and data that is not what the stage before recorded.

    Args:
        stage: Of dvc.yaml.
        entry: The stage's record in dvc.lock.
        made: What dvc.lock has each output as, by path; None where the stage that makes it says nothing.
    """
    was, now = records(entry, "deps"), {}
    for dep in split_params_deps(stage)[1]:
        path = dep.def_path
        now[path] = (made[path] or was.get(path, "an output")) if path in made else content(dep)
    for path, *values in differences(was, now):
        # One hash of two sizes, or two records of one file, is nothing that an edit of the tree leads to.
        forged = path in was and path in now and (path in made or was[path].md5 == now[path].md5)
        yield Finding(Kind.INCONSISTENT if forged else Kind.STALE, stage.name, path, *values)


def outputs(stage: PipelineStage, entry: dict) -> Iterator[Finding]:
    """Results in Git that are not the recorded ones, and outputs that only dvc.yaml or only dvc.lock has."""
    was = records(entry, "outs")
    now = {out.def_path: was.get(out.def_path, "an output") if out.use_cache else content(out) for out in stage.outs}
    for path, *values in differences(was, now):
        yield Finding(Kind.INCONSISTENT, stage.name, path, *values)
    for out in stage.outs:
        if out.use_cache and out.repo.scm.is_tracked(out.fs_path):
            yield Finding(Kind.INCONSISTENT, stage.name, out.def_path, "in DVC's cache", "in Git too")


def metrics(out: Output) -> Iterator[Finding]:
    """Values outside the metrics' form, or a text that is not the sorted JSON a stage writes."""
    text = Path(out.fs_path).read_bytes()
    wrong = faults(Metrics, text)
    if not wrong and text.decode() != json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n":
        wrong = ["a text other than its sorted, indented JSON"]
    for fault in wrong:
        yield Finding(Kind.INCONSISTENT, out.stage.name, out.def_path, "as a metric", fault)


def faults(form: type[BaseModel], text: str | bytes) -> list[str]:
    """Where JSON departs from a form, a phrase each."""
    try:
        form.model_validate_json(text)
    except ValidationError as error:
        return [": ".join([*map(str, fault["loc"]), fault["msg"]]) for fault in error.errors()]
    return []


def main(folder: Path) -> int:
    """Print the findings in ``folder``, one a line and a remedy for each kind, and return the exit code."""
    try:
        with Repo(str(folder)) as repo:
            project = ProjectFile(repo, os.path.join(repo.root_dir, PROJECT_FILE))
            if not project.lockfile_contents:
                raise DvcException(f"{LOCK_FILE} is missing; `dvc repro` writes it, and Git keeps it")
            findings = list(inspect(project))
            count = len(project.stages)
    except (DvcException, IgnoreInCollectedDirError, OSError, ValueError) as error:  # what DVC raises of such files
        print(f"error: {explain(error)}", file=sys.stderr)
        return Kind.UNREADABLE
    print(*findings, sep="\n", end="\n" if findings else "")
    kinds = {finding.kind for finding in findings}
    for kind in sorted(kinds):
        print(f"{kind.name.lower()}: {REMEDIES[kind]}", file=sys.stderr)
    if not kinds:
        print(f"{LOCK_FILE} describes this tree: {count} stages, their commands, params, code and results in Git")
    return max(kinds, default=0)


def explain(error: BaseException) -> str:
    """An error and its causes in one line."""
    causes = [error]
    while causes[-1].__cause__:
        causes.append(causes[-1].__cause__)
    return ": ".join(" ".join(str(cause).split()) for cause in causes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="the project's root; here by default")
    sys.exit(main(parser.parse_args().folder))
