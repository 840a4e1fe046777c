"""The gate passes a fresh clone, and names what differs from dvc.lock, by stage and by file or key."""

import hashlib
import http.server
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from typing import IO, ClassVar

import pytest
from dvc.exceptions import DvcException
from dvc.repo import Repo
from ruamel.yaml import YAML

from checks import tree
from checks.findings import Finding, Kind, Report, as_annotations, as_json, as_markdown, as_text, few
from checks.gate import gate, main
from checks.locks import LockCheck
from checks.reading import OpenFile, ReadOnlyRepo
from tests.repositories import Change, call, clone, commit, create, git, inside, repro, run, surrounded, write

PROJECT = {
    "params.yaml": "clean: {rows: 2, names: [a, b]}\nmodels:\n  m: {seed: 1, rate: 0.5}\n  n: {seed: 2, rate: 0.5}\n",
    "raw.csv": "1\n2\n3\n",
    "code.py": "pass\n",
    "src/a.py": "a\n",
    "src/b.py": "b\n",
    "dvc.yaml": """
stages:
  clean:
    cmd: head -2 raw.csv > data.csv
    deps: [raw.csv, code.py]
    params: [clean]
    outs: [data.csv]
  train:
    foreach: ${models}
    do:
      cmd: cp data.csv ${key}.model && mkdir -p plots/${key} && echo ${key} > plots/${key}/loss.tsv &&
        echo "score ${key}" > ${key}.txt
      deps: [data.csv, src]
      params: ["models.${key}"]
      outs: ["${key}.model", {"plots/${key}": {cache: false}}]
      metrics: [{"${key}.txt": {cache: false}}]
""",
}


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """A repository that has been run once and committed: raw data in a .dvc file, a loop, a folder of results."""
    folder = create(tmp_path_factory.mktemp("origin"), PROJECT, track=("raw.csv",))
    repro(folder)
    return folder


@pytest.fixture(scope="module")
def cloned(origin, tmp_path_factory) -> Path:
    cloned = clone(origin, tmp_path_factory.mktemp("cloned") / "clone")
    assert not list(cloned.rglob("*.csv"))
    assert not (cloned / ".dvc/cache").exists()
    return cloned


@pytest.fixture
def copy(cloned, tmp_path) -> Path:
    """A clone that can be edited."""
    return Path(shutil.copytree(cloned, tmp_path / "clone", symlinks=True))


def lines(report: Report) -> list[str]:
    """Kind, stage and file or key of each finding; for a file that cannot be read, kind and file."""
    return sorted(
        ": ".join(filter(None, (finding.kind.word, finding.stage or finding.file, finding.what)))
        for finding in report.findings
    )


def gate_lines(folder: Path) -> list[str]:
    return lines(gate(folder))


def edit(name: str, old: str, new: str, count: int = 1) -> Change:
    """Replace a pattern in a file, ``count`` times or, for 0, everywhere."""

    def change(folder: Path) -> None:
        text, edits = re.subn(old, new, (folder / name).read_text(), count=count, flags=re.MULTILINE)
        assert edits
        (folder / name).write_text(text)

    return change


def record(stage: str, kind: str, path: str, **values: object) -> Change:
    """Change values of a stage's file in dvc.lock; None deletes a key, and without values the file is deleted."""

    def change(folder: Path) -> None:
        yaml = YAML(typ="safe")
        lock = yaml.load(folder / "dvc.lock")
        items = lock["stages"][stage][kind]
        item = next(item for item in items if item["path"] == path)
        items.remove(item)
        if values:
            items.append({key: value for key, value in (item | values).items() if value is not None})
        yaml.dump(lock, folder / "dvc.lock")

    return change


def put(name: str, content: str | bytes) -> Change:
    return lambda folder: write(folder, name, content)


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def rename_model(folder: Path) -> None:
    edit("params.yaml", "^  n:", "  o:")(folder)


MODELS = ("train@m", "train@n")
MD5 = "a" * 32

STALE = {  # event: the change, and the stage and file or key of each line
    "a param edited": (edit("params.yaml", "seed: 1", "seed: 9"), ["train@m: params.yaml: models.m.seed"]),
    "a param edited in the lock": (edit("dvc.lock", "seed: 1", "seed: 9"), ["train@m: params.yaml: models.m.seed"]),
    "a list in params edited": (edit("params.yaml", "a, b", "b, a"), ["clean: params.yaml: clean.names"]),
    "a param removed": (edit("params.yaml", "rows: 2, ", ""), ["clean: params.yaml: clean.rows"]),
    "a param added": (edit("params.yaml", "rows:", "columns: 1, rows:"), ["clean: params.yaml: clean.columns"]),
    "a declared param nowhere": (edit("dvc.yaml", r"\[clean\]", "[clean, x]"), ["clean: params.yaml: x"]),
    "code edited": (put("code.py", "more\n"), ["clean: code.py"]),
    "code edited in a folder": (put("src/a.py", "more\n"), [f"{name}: src" for name in MODELS]),
    "code added to a folder": (put("src/c.py", ""), [f"{name}: src" for name in MODELS]),
    "a dependency added": (edit("dvc.yaml", "code.py]", "code.py, src/a.py]"), ["clean: src/a.py"]),
    "a missing dependency added": (edit("dvc.yaml", "code.py]", "code.py, no.py]"), ["clean: no.py"]),
    "an output made a dependency": (
        edit("dvc.yaml", "data.csv, src", "data.csv, raw.csv, src"),
        [f"{name}: raw.csv" for name in MODELS],
    ),
    "a dependency out of the lock": (record("clean", "deps", "code.py"), ["clean: code.py"]),
    "a command edited": (edit("dvc.yaml", "head -2", "head -1"), ["clean: cmd"]),
    "a stage renamed": (edit("dvc.yaml", "^  clean:", "  tidy:"), ["tidy"]),
    "a stage out of the lock": (edit("dvc.lock", r"^  train@m:\n(    .*\n)+", ""), ["train@m"]),
    "a model renamed": (rename_model, ["train@o"]),
    "an output added": (edit("dvc.yaml", r"\[data.csv\]", "[data.csv, more.csv]"), ["clean: more.csv"]),
    "a hash of made data edited": (record("clean", "outs", "data.csv", md5=MD5), [f"{m}: data.csv" for m in MODELS]),
    "a hash of read data edited": (record("train@m", "deps", "data.csv", md5=MD5), ["train@m: data.csv"]),
    "raw data changed": (edit("raw.csv.dvc", "md5: [0-9a-f]{32}", f"md5: {MD5}"), ["clean: raw.csv"]),
    "no lock": (remove("dvc.lock"), ["clean", *MODELS]),
    "no params file": (remove("params.yaml"), None),
}

INCONSISTENT = {
    "a metric edited": (put("m.txt", "score 0.9\n"), ["train@m: m.txt"]),
    "a metric deleted but not committed": (remove("m.txt"), ["train@m: m.txt"]),
    "a folder of plots deleted but not committed": (
        lambda folder: shutil.rmtree(folder / "plots/n"),
        ["train@n: plots/n"],
    ),
    "a plot edited in a folder": (put("plots/n/loss.tsv", "0\n"), ["train@n: plots/n"]),
    "a plot added to a folder": (put("plots/n/more.tsv", ""), ["train@n: plots/n"]),
    "a size of data edited": (record("clean", "outs", "data.csv", size=1), [f"{m}: data.csv" for m in MODELS]),
    "a size of code edited": (record("clean", "deps", "code.py", size=1), ["clean: code.py"]),
    "a count of files edited": (record("train@m", "deps", "src", nfiles=9), ["train@m: src"]),
    "a hash cut short": (record("train@m", "outs", "m.model", md5="abc"), ["train@m: m.model"]),
}

UNREADABLE = {  # state: the change, the file, and a part of the reason
    "an empty lock": (put("dvc.lock", ""), "dvc.lock", "required key not provided"),
    "a lock that is no YAML": (edit("dvc.lock", "^stages:", "stages: ["), "dvc.lock", "structure is corrupted"),
    "a lock in conflict": (
        edit("dvc.lock", "^stages:", "<<<<<<< a\nstages:"),
        "dvc.lock",
        "line 2 is a conflict marker",
    ),
    "a lock with a stage twice": (edit("dvc.lock", r"\Z", "  clean:\n    cmd: x\n"), "dvc.lock", "duplicate key"),
    "a lock of DVC 1": (put("dvc.lock", "a:\n  cmd: cp i o\n"), "dvc.lock", "in the format of DVC 1; delete it"),
    "a lock of another schema": (edit("dvc.lock", "^schema: .*", "schema: '9'"), "dvc.lock", "invalid schema version"),
    "a pipeline that is no YAML": (put("dvc.yaml", "stages: ["), "dvc.yaml", "structure is corrupted"),
    "a pipeline that is no text": (put("dvc.yaml", b"\xff\xfe"), "dvc.yaml", "not valid utf-8"),
    "a pipeline of another form": (put("dvc.yaml", "stages: 3"), "dvc.yaml", "validation failed"),
    "an output of two stages": (
        edit("dvc.yaml", r"\[data.csv\]", "[m.txt]"),
        "dvc.yaml",
        "clean and train@m make the same output, m.txt",
    ),
    "params that are no YAML": (put("params.yaml", "models: ["), "params.yaml", "structure is corrupted"),
    "a .dvc file that is no YAML": (put("raw.csv.dvc", "outs: ["), "raw.csv.dvc", "structure is corrupted"),
}


def test_a_fresh_clone_passes_without_the_project_and_nothing_is_written(copy):
    ended = run(copy, "gate", python=("-W", "error", "-X", "importtime"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "3 stages: as dvc.lock describes them\n"
    imported = set(re.findall(r"\| +([\w.]+)$", ended.stderr, re.MULTILINE))
    assert "dvc.repo" in imported
    assert not imported & {"tensorflow", "keras", "numba", "sentiment", "stages"}
    assert git(copy, "status", "--porcelain", "--ignored") == ""


def test_the_tree_with_its_data_passes(origin):
    assert gate_lines(origin) == []


def test_comments_and_layout_of_params_do_not_matter(copy):
    edit("params.yaml", r"\A", "# more\n")(copy)
    edit("params.yaml", "rate: 0.5", "rate:  5e-1", 0)(copy)
    assert gate_lines(copy) == []


@pytest.mark.parametrize(("change", "expected"), STALE.values(), ids=STALE)
@pytest.mark.parametrize("committed", [False, True], ids=["", "committed"])
def test_a_tree_that_changed_is_stale(copy, change, expected, committed):
    change(copy)
    if committed:
        commit(copy)
    if expected is None:  # the loop is over the params
        assert gate(copy).code() == 3
    else:
        assert gate_lines(copy) == [f"stale: {line}" for line in sorted(expected)]


@pytest.mark.parametrize(("change", "expected"), INCONSISTENT.values(), ids=INCONSISTENT)
def test_what_no_run_writes_is_inconsistent(copy, change, expected):
    change(copy)
    report = gate(copy)
    assert lines(report) == [f"inconsistent: {line}" for line in sorted(expected)]
    assert report.code() == 2


@pytest.mark.parametrize(("change", "file", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_named_in_one_line(copy, change, file, reason):
    change(copy)
    report = gate(copy)
    assert report.code() == 3
    (line,) = [finding for finding in report.findings if finding.kind == Kind.UNREADABLE]
    assert line.file == file
    assert reason in line.cause
    assert len(str(line).splitlines()) == 1


def test_one_unreadable_pipeline_hides_no_other(copy):
    put("s/dvc.yaml", "stages: [")(copy)
    put("code.py", "more\n")(copy)
    assert gate_lines(copy) == ["stale: clean: code.py", "unreadable: s/dvc.yaml"]


@dataclass
class Case:
    """A repository that is run and committed, changed and committed, and cloned; and the lines for the clone."""

    pipeline: str
    expected: list[str]
    files: dict = field(default_factory=dict)  # "->x" for a link to x
    track: tuple = ()
    after: Change = lambda folder: None
    there: Change = lambda folder: None  # in the clone
    init: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)


ONE = "stages: {a: {cmd: cp i o, deps: [i], outs: [o]}}\n"
FOLDER = "stages: {a: {cmd: cp src/a.py o, deps: [src], outs: [o]}}\n"
TWO = "stages: {a: {cmd: cp i o, deps: [i], outs: [o]}, b: {cmd: cp o z, deps: [o], outs: [z]}}\n"
INSIDE = """
stages:
  a: {cmd: mkdir -p d && cp i d/x && cp i d/y, deps: [i], outs: [d]}
  b: {cmd: cp d/x z, deps: [d/x], outs: [z]}
"""
KEPT = "stages: {a: {cmd: mkdir -p d && cp i d/x && cp i d/y, deps: [i], outs: [{d: {cache: false}}]}}\n"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize %d\n"
PARAMS = "stages: {a: {cmd: echo 1 > o, params: [%s], outs: [o]}}\n"


def bytecode(name: str) -> dict:
    return {f"src/__pycache__/{name}.pyc": "x", ".gitignore": "__pycache__/\n"}


def later(*changes: Change) -> Change:
    """Apply several changes in their order."""

    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def link(name: str, target: str) -> Change:
    return lambda folder: (folder / name).symlink_to(target)


CASES = {
    "an honest partial run": Case(
        TWO, ["stale: b: o"], {"i": "1\n"}, after=later(put("i", "2\n"), lambda folder: repro(folder, "a"))
    ),
    "a dependency listed twice": Case(
        "stages: {a: {cmd: cp i o, deps: [i, i], outs: [o]}}\n", ["stale: a: i"], {"i": "1\n"}, after=put("i", "2\n")
    ),
    "a stage that only the lock has": Case(
        TWO, [], {"i": "1\n"}, after=put("dvc.yaml", ONE), notes=["dvc.lock still has, and DVC ignores: b"]
    ),
    "a dependency that only the lock has": Case(
        "stages: {a: {cmd: cp i o, deps: [i, j], outs: [o]}}\n",
        [],
        {"i": "1\n", "j": "1\n"},
        after=put("dvc.yaml", ONE),
    ),
    "a frozen stage": Case(
        TWO,
        [],
        {"i": "1\n"},
        after=later(edit("dvc.yaml", "a: {cmd", "a: {frozen: true, cmd"), put("i", "2\n")),
        notes=["frozen, so not checked: a"],
    ),
    "a result of a frozen stage that changed": Case(
        TWO.replace("[o]}", "[{o: {cache: false}}]}"),
        ["stale: b: o"],
        {"i": "1\n"},
        after=later(edit("dvc.yaml", "a: {cmd", "a: {frozen: true, cmd"), put("o", "2\n")),
        notes=["frozen, so not checked: a"],
    ),
    "a stage that always runs": Case(
        "stages: {a: {cmd: cp i o, always_changed: true, deps: [i], outs: [o]}, b: {cmd: echo}}\n", [], {"i": "1\n"}
    ),
    "a new stage without files": Case(ONE, [], {"i": "1\n"}, after=edit("dvc.yaml", r"\}\}$", "}, b: {cmd: echo}}")),
    "a metric that no stage writes": Case("metrics: [m.json]\n" + ONE, [], {"i": "1\n", "m.json": "{}\n"}),
    "a sub-folder": Case(
        ONE, ["stale: s/dvc.yaml:a: s/i"], {"i": "1\n", "s/i": "1\n", "s/dvc.yaml": ONE}, after=put("s/i", "2\n")
    ),
    "a working folder": Case(
        "stages: {a: {wdir: w, cmd: cp ../i o, deps: [../i], outs: [o]}, b: {cmd: cp w/o z, deps: [w/o], outs: [z]}}\n",
        ["stale: a: i"],
        {"i": "1\n", "w/x": ""},
        after=put("i", "2\n"),
    ),
    "a file inside an output folder": Case(INSIDE, ["unknown: b: d/x"], {"i": "1\n"}),
    "a file inside an output folder that Git keeps": Case(
        INSIDE.replace("outs: [d]", "outs: [{d: {cache: false}}]"),
        ["inconsistent: a: d", "stale: b: d/x"],
        {"i": "1\n"},
        after=put("d/x", "2\n"),
    ),
    "a file that two stages recorded otherwise": Case(
        "stages: {a: {cmd: cp i o, deps: [i], outs: [o]}, b: {cmd: cp i z, deps: [i], outs: [z]}}\n",
        ["stale: b: i", "untracked: a: i", "untracked: b: i"],
        {"i": "1\n", ".gitignore": "/i\n"},
        after=later(put("i", "2\n"), lambda folder: repro(folder, "b")),
    ),
    "a folder that holds outputs": Case(
        "stages: {a: {cmd: cp i d/o, deps: [i], outs: [d/o]}, b: {cmd: cp d/o z, deps: [d], outs: [z]}}\n",
        ["unknown: b: d"],
        {"i": "1\n", "d/x": ""},
    ),
    "a .dvc folder": Case(
        "stages: {a: {cmd: cp d/x o, deps: [d], outs: [o]}}\n", [], {"d/x": "1\n", "d/y": "2\n"}, ("d",)
    ),
    "a .dvc folder that changed": Case(
        "stages: {a: {cmd: cp d/x o, deps: [d], outs: [o]}}\n",
        ["stale: a: d"],
        {"d/x": "1\n"},
        ("d",),
        after=edit("d.dvc", "md5: [0-9a-f]{32}", f"md5: {MD5}"),
    ),
    "a file inside a .dvc folder": Case(
        "stages: {a: {cmd: cp d/x o, deps: [d/x], outs: [o]}}\n", ["unknown: a: d/x"], {"d/x": "1\n"}, ("d",)
    ),
    "a result that Git ignores": Case(
        "stages: {a: {cmd: cp i o, deps: [i], outs: [{o: {cache: false}}]}}\n",
        ["unknown: a: o"],
        {"i": "1\n", ".gitignore": "/o\n"},
    ),
    "a result that was never committed": Case(
        "stages: {a: {cmd: cp i o, deps: [i], outs: [{o: {cache: false}}]}}\n",
        ["unknown: a: o"],
        {"i": "1\n"},
        after=remove("o"),
    ),
    "a folder of results of which Git keeps a part": Case(
        KEPT, ["unknown: a: d"], {"i": "1\n", ".gitignore": "/d/y\n"}
    ),
    "data that was never committed": Case(
        ONE,
        ["untracked: a: i"],
        {"i": "1\n", ".gitignore": "/i\n"},
        after=later(remove("i"), put(".gitignore", "/o\n")),
    ),
    "data that Git ignores": Case(ONE, ["untracked: a: i"], {"i": "1\n", ".gitignore": "/i\n"}),
    "data that Git ignores, on its author's machine": Case(
        FOLDER, ["untracked: a: src"], {"src/a.py": "1\n", ".gitignore": "src/a.py\n"}, there=put("src/a.py", "1\n")
    ),
    "data of another DVC repository": Case(
        ONE.replace("deps: [i]", "deps: [s/i]"),
        ["unknown: a: s/i"],
        {"i": "1\n", "s/i": "1\n", ".gitignore": "/s/i\n"},
        after=lambda folder: create(folder / "s", {}, subdir=True),
    ),
    "bytecode beside code": Case(FOLDER, ["unknown: a: src"], {"src/a.py": "1\n", **bytecode("a")}),
    "bytecode beside code that changed": Case(
        FOLDER, ["stale: a: src"], {"src/a.py": "1\n", **bytecode("a")}, after=put("src/a.py", "2\n")
    ),
    "bytecode beside code that changed but is not committed": Case(
        FOLDER, ["stale: a: src"], {"src/a.py": "1\n", **bytecode("a")}, there=put("src/a.py", "2\n")
    ),
    "bytecode here only": Case(
        FOLDER, [], {"src/a.py": "1\n", ".gitignore": "__pycache__/\n"}, there=put("src/__pycache__/a.pyc", "x")
    ),
    "a file removed from a code folder": Case(
        FOLDER, ["stale: a: src"], {"src/a.py": "1\n", "src/b.py": "2\n"}, after=remove("src/b.py")
    ),
    "what DVC ignores in a code folder": Case(
        FOLDER, [], {"src/a.py": "1\n", "src/log": "x", ".dvcignore": "log\n"}, after=put("src/log", "y")
    ),
    "an empty folder": Case(
        "stages: {a: {cmd: mkdir -p d e && touch o, deps: [d], outs: [o, {e: {cache: false}}]}}\n",
        ["unknown: a: d", "unknown: a: e"],
        {"d/.keep": "", ".dvcignore": ".keep\n", ".gitignore": "d/\n"},
    ),
    "a symbolic link": Case(
        "stages: {a: {cmd: cp l o, deps: [l], outs: [o]}}\n",
        ["stale: a: l"],
        {"i": "1\n", "l": "->i"},
        after=put("i", "2\n"),
    ),
    "a symbolic link to what is not here": Case(
        "stages: {a: {cmd: cp l o, deps: [l], outs: [o]}}\n",
        ["unknown: a: l"],
        {"i": "1\n", "l": "->i", ".gitignore": "/i\n"},
    ),
    "an executable bit": Case(ONE, [], {"i": "1\n"}, after=lambda folder: (folder / "i").chmod(0o755)),
    "JSON params": Case(
        PARAMS % "p.json: [k.x]",
        ["stale: a: p.json: k.x"],
        {"p.json": '{"k": {"x": 1}}'},
        after=put("p.json", '{"k": {"x": 2}}'),
    ),
    "TOML params": Case(
        PARAMS % "p.toml: [k]",
        ["stale: a: p.toml: k.x"],
        {"p.toml": "[k]\nx = 1\n"},
        after=put("p.toml", "[k]\nx = 2\n"),
    ),
    "Python params": Case(
        PARAMS % "p.py: [A, T]",
        ["stale: a: p.py: A"],
        {"p.py": "A = 1\nT = (1, 2)\n"},
        after=put("p.py", "A = 2\nT = (1, 2)\n"),
    ),
    "a params file as a whole": Case(
        PARAMS % "p.yaml: ",
        ["stale: a: p.yaml: y", "stale: a: p.yaml: z"],
        {"p.yaml": "x: 1\ny: 1\n"},
        after=put("p.yaml", "x: 1\nz: 1\n"),
    ),
    "params that are no number": Case(PARAMS % "p.yaml: [of]", [], {"p.yaml": "of: [.nan, {a: .nan}]\n"}),
    "params that were removed": Case(
        PARAMS % "p.yaml: [k]", ["untracked: a: p.yaml"], {"p.yaml": "k: 1\n"}, after=remove("p.yaml")
    ),
    "params that Git ignores": Case(
        PARAMS % "p.yaml: [k]", ["untracked: a: p.yaml"], {"p.yaml": "k: 1\n", ".gitignore": "/p.yaml\n"}
    ),
    "params beyond a link": Case(
        PARAMS % "l/p.yaml: [k]",
        ["unknown: a: l/p.yaml"],
        {"elsewhere/p.yaml": "k: 1\n", "l": "->elsewhere", ".gitignore": "/elsewhere/\n"},
    ),
    "params that can't be read": Case(
        PARAMS % "p.yaml: [k]", ["unreadable: a: p.yaml"], {"p.yaml": "k: 1\n"}, after=put("p.yaml", "k: [")
    ),
    "no Git": Case(
        ONE,
        ["stale: a: i"],
        {"i": "1\n", ".gitignore": ".dvc/\n"},
        after=put("i", "2\n"),
        init={"no_scm": True},
        there=lambda folder: shutil.copytree(folder.parent / "made/.dvc", folder / ".dvc"),
    ),
    "data and results that Git keeps and DVC knows nothing of": Case(
        ONE,
        ["inconsistent: a: o", "inconsistent: raw.dvc: raw"],
        {"i": "1\n", "raw": "1\n"},
        ("raw",),
        after=later(put("o", "2\n"), put("raw", "2\n")),
        init={"no_scm": True},
    ),
    "what Git ignores and DVC knows nothing of": Case(
        "stages: {a: {cmd: cp i o, deps: [i], outs: [{o: {cache: false}}]}}\n",
        ["untracked: a: i", "untracked: s/dvc.yaml:a: s/i"],
        {"i": "1\n", "s/i": "1\n", ".gitignore": "i\ns/\n", "s/dvc.yaml": ONE},
        after=lambda folder: git(folder, "add", "--force", "s/dvc.yaml", "s/dvc.lock"),
        init={"no_scm": True},
    ),
    "line ends": Case(ONE, ["line ends: a: i"], {"i": "1\r\n", ".gitattributes": "i text\n"}),
    "line ends in a folder": Case(
        FOLDER, ["line ends: a: src"], {"src/a.py": "1\r\n", "src/b": "x\r\n", ".gitattributes": "src/* text\n"}
    ),
    "line ends of a result": Case(
        ONE.replace("[o]", "[{o: {cache: false}}]"), ["line ends: a: o"], {"i": "1\r\n", ".gitattributes": "o text\n"}
    ),
    "data whose .dvc file Git keeps and ignores": Case(
        ONE.replace("[i]", "[raw/i]"),
        ["untracked: a: raw/i"],
        {"raw/i": "1\n", "i": "1\n"},
        ("raw/i",),
        after=put(".gitignore", "/o\nraw/\n"),
        notes=["Git ignores these, so DVC does not read them: raw/i.dvc"],
    ),
    "a pipeline that Git keeps and ignores": Case(
        ONE,
        [],
        {"i": "1\n", "s/dvc.yaml": ONE.replace("i", "j"), "s/j": "1\n"},
        after=later(put("s/j", "2\n"), put(".gitignore", "/o\ns/\n")),
        notes=["Git ignores these, so DVC does not read them: s/dvc.yaml"],
    ),
    "data that Git keeps too": Case(
        ONE,
        ["inconsistent: a: o"],
        {"i": "1\n"},
        after=later(put("o", "2\n"), put(".gitignore", "")),
        notes=[
            "`dvc repro` and `dvc commit` fail, because Git keeps outputs that DVC caches: o; "
            "first run `git rm -r --cached` for them, or give them `cache: false` in dvc.yaml"
        ],
    ),
}

DATASET = 'datasets: [{name: d, type: url, url: "https://example.org/%s"}]\n'
DATASET_LOCK = """
schema: '2.0'
stages:
  a:
    cmd: cp i o
    deps:
    - path: ds://d
      dataset: {name: d, type: url, url: "https://example.org/x", meta: {isdir: false, size: 1}}
datasets:
- {name: d, type: url, url: "https://example.org/x", meta: {isdir: false, size: 1}}
"""
CASES |= {
    "code that was never added to Git, on its author's machine": Case(
        FOLDER, ["untracked: a: src/b.py"], {"src/a.py": "1\n", "src/b.py": "2\n"}, there=later(
            lambda folder: git(folder, "rm", "--quiet", "--cached", "src/b.py")
        )
    ),
    "a folder that Git kept once and ignores now": Case(
        FOLDER, ["untracked: a: src"], {"src/a.py": "1\n"},
        after=later(lambda folder: shutil.rmtree(folder / "src"), put(".gitignore", "/o\nsrc/\n")),
    ),
    "code outside a sparse checkout": Case(
        TWO.replace("deps: [i]", "deps: [src, src/a.py]").replace("cp i", "cp src/a.py"),
        ["unknown: a: src", "unknown: a: src/a.py"],
        {"src/a.py": "1\n", "doc/x": ""},
        there=lambda folder: git(folder, "sparse-checkout", "set", "doc", ".dvc"),
    ),
    "a pointer of Git LFS": Case(
        ONE, ["unknown: a: i"], {"i": "1\n"}, there=put("i", POINTER % 2)
    ),
    "a pointer of Git LFS to a file of another size": Case(
        ONE, ["stale: a: i"], {"i": "1\n"}, there=put("i", POINTER % 3)
    ),
    "a pointer of Git LFS in a folder": Case(
        FOLDER, ["unknown: a: src"], {"src/a.py": "1\n"}, there=put("src/a.py", POINTER % 2)
    ),
    "a remote of a scheme that DVC lacks": Case(
        ONE, [], {"i": "1\n"}, after=put(".dvc/config", "['remote \"far, #1%\"']\n    url = xy://far/a#b,c%d\n")
    ),
    "a dataset": Case(
        ONE, [], {"i": "1\n"},
        after=later(put("dvc.yaml", DATASET % "x" + "stages: {a: {cmd: cp i o, deps: ['ds://d']}}"),
                    put("dvc.lock", DATASET_LOCK)),
    ),
    "a dataset that changed": Case(
        ONE, ["stale: a: ds://d"], {"i": "1\n"},
        after=later(put("dvc.yaml", DATASET % "y" + "stages: {a: {cmd: cp i o, deps: ['ds://d']}}"),
                    put("dvc.lock", DATASET_LOCK)),
    ),
    "a dataset that is not defined": Case(
        ONE, ["unreadable: a: ds://d"], {"i": "1\n"},
        after=later(put("dvc.yaml", "stages: {a: {cmd: cp i o, deps: ['ds://d']}}"), put("dvc.lock", DATASET_LOCK)),
    ),
    "line ends of Korean text": Case(
        ONE, ["line ends: a: i"], {"i": "# 한국어 주석이 있습니다\r\n".encode("euc-kr"), ".gitattributes": "i text\n"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_repository_has_the_right_findings(name, tmp_path):
    case = CASES[name]
    links = {name: text[2:] for name, text in case.files.items() if text[:2] == "->"}
    files = {name: text for name, text in case.files.items() if name not in links}
    folder = create(tmp_path / "made", files | {"dvc.yaml": case.pipeline}, case.track, **case.init)
    for link, target in links.items():
        (folder / link).symlink_to(target)
    repro(folder)
    case.after(folder)
    commit(folder)
    copy = clone(folder, tmp_path / "clone")
    case.there(copy)
    report = gate(copy)
    assert lines(report) == case.expected
    assert report.notes == case.notes
    words = {kind.word: kind.code for kind in Kind}
    assert report.code() == max([words[line.partition(":")[0]] for line in case.expected], default=0)


def test_a_file_in_a_folder_that_was_made_again_is_stale_where_the_cache_has_its_listing(tmp_path):
    folder = create(tmp_path / "made", {"i": "1\n", "dvc.yaml": INSIDE})
    repro(folder)
    assert gate_lines(folder) == []
    write(folder, "i", "2\n")
    repro(folder, "a")
    assert gate_lines(folder) == ["stale: b: d/x"]
    shutil.rmtree(folder / ".dvc/cache")
    shutil.rmtree(folder / "d")
    assert gate_lines(folder) == ["unknown: b: d/x"]


def test_the_remedy_of_line_ends_works_on_the_authors_machine(tmp_path):
    folder = create(tmp_path / "made", {"i": "1\r\n", "dvc.yaml": ONE, ".gitattributes": "* text=auto eol=lf\n"})
    repro(folder)
    assert gate_lines(clone(folder, tmp_path / "before")) == ["line ends: a: i"]
    git(folder, "add", "--renormalize", ".")
    commit(folder)
    git(folder, "rm", "-rq", "--cached", ".")
    git(folder, "reset", "-q", "--hard")
    with inside(folder), Repo() as repo:
        repo.commit(force=True)
    commit(folder)
    assert gate_lines(clone(folder, tmp_path / "after")) == []


@pytest.mark.parametrize("change", [change for change, _ in INCONSISTENT.values()], ids=INCONSISTENT)
def test_the_remedy_of_what_is_inconsistent_works(origin, tmp_path, change):
    folder = Path(shutil.copytree(origin, tmp_path / "made", symlinks=True))
    change(folder)
    stages = {finding.stage for finding in gate(folder).findings}
    with inside(folder), Repo() as repo:
        for stage in stages:
            repo.reproduce([stage], force=True)
    assert gate_lines(folder) == []


@pytest.mark.parametrize("output", ["o", "d/x"], ids=["a file", "a file in a folder"])
def test_the_remedy_works_where_git_keeps_an_output_that_dvc_caches(tmp_path, output):
    top = output.partition("/")[0]
    stage = f"stages: {{a: {{cmd: mkdir -p d && cp i {output}, deps: [i], outs: [{top}]}}}}\n"
    folder = create(tmp_path / "made", {"i": "1\n", "dvc.yaml": stage})
    repro(folder)
    git(folder, "add", "--force", output)
    commit(folder)
    assert gate(folder).notes == []
    write(folder, "i", "2\n")
    (note,) = gate(folder).notes
    assert f"Git keeps outputs that DVC caches: {top}; first run `git rm -r --cached`" in note
    with inside(folder), Repo() as repo, pytest.raises(DvcException, match="failed to reproduce 'a'"):
        repo.reproduce(["a"])
    git(folder, "rm", "-rq", "--cached", top)
    repro(folder)
    assert gate(clone(folder, tmp_path / "after")) == Report(stages=1)


def test_data_and_folders_of_results_that_git_keeps_beside_dvc_are_compared(tmp_path):
    stage = "stages: {a: {cmd: mkdir d && cp i d/x && cp i d/y, deps: [i], outs: [d]}}\n"
    files = {"i": "1\n", "f/x": "1\n", "g/.gitkeep": "", "g/x": "1\n", "dvc.yaml": stage}
    folder = create(tmp_path / "made", files, track=("i", "f", "g"))
    repro(folder)
    git(folder, "add", "--force", "i", "d", "f", "g/.gitkeep")
    commit(folder)
    assert gate_lines(clone(folder, tmp_path / "same")) == []
    for name, content in (("i", "2\n"), ("d/x", "3\n"), ("f/x", "1\r\n")):
        write(folder, name, content)
    commit(folder)
    cloned = gate(clone(folder, tmp_path / "edited"))
    assert lines(cloned) == ["inconsistent: a: d", "inconsistent: i.dvc: i", "line ends: f.dvc: f"]
    (note,) = cloned.notes
    assert "that DVC caches: d, f, g, i; " in note


def test_stages_of_one_cause_share_a_line_with_their_count(copy, tmp_path):
    put("src/a.py", "more\n")(copy)
    report = gate(copy)
    text = as_text(report).splitlines()
    assert text[0].startswith("stale: 2 stages: src: its content differs: recorded ")
    assert text[1] == "note: --verbose names each stage and file"
    assert [line.split(":")[1] for line in as_text(report, verbose=True).splitlines()[:2]] == [" train@m", " train@n"]
    assert len(json.loads(as_json(report))["findings"]) == 2


def test_annotations_name_files_from_the_root_of_git(tmp_path):
    repro(create(tmp_path, {"i": "1\n"}))
    folder = tmp_path / "p"
    repro(create(folder, {"i": "1\n", "dvc.yaml": ONE, "s/x": ""}, subdir=True))
    write(folder, "i", "2\n")
    for path in (folder, folder / "s"):
        assert as_annotations(gate(path)).startswith("::error file=p/dvc.yaml,title=stale")


def test_json_keeps_the_types_of_values(copy):
    edit("params.yaml", "seed: 1, rate: 0.5", "seed: null, rate: [1.5, true], more: {a: 1}")(copy)
    sides = {
        finding["what"].rpartition(".")[2]: (finding.get("recorded", "absent"), finding.get("found", "absent"))
        for finding in json.loads(as_json(gate(copy)))["findings"]
    }
    assert sides == {"seed": (1, None), "rate": (0.5, [1.5, True]), "a": ("absent", 1)} or sides == {
        "seed": (1, None), "rate": (0.5, [1.5, True]), "more": ("absent", {"a": 1}),
    }  # fmt: skip


def test_a_lock_of_dvc_2_is_checked_with_the_hash_of_dvc_2(tmp_path):
    """DVC 2 wrote no ``hash``, and its hash ignored the line ends of texts."""
    folder = create(tmp_path / "made", {"i": "1\r\n", "dvc.yaml": ONE})
    repro(folder)
    lock = folder / "dvc.lock"
    unix = "b026324c6904b2a9cb4b88d6d61c81d1"  # of "1\n"
    lock.write_text(re.sub(r"md5: \w+", f"md5: {unix}", re.sub(r"      hash: md5\n", "", lock.read_text())))
    assert gate_lines(folder) == []
    write(folder, "i", "2\r\n")
    assert gate_lines(folder) == ["stale: a: i"]


def test_a_consumer_recorded_by_another_hash_than_its_maker_is_unknown(tmp_path):
    folder = create(tmp_path / "made", {"i": "1\r\n", "dvc.yaml": TWO})
    repro(folder)
    record("b", "deps", "o", hash=None, md5="b026324c6904b2a9cb4b88d6d61c81d1")(folder)
    assert gate_lines(folder) == ["unknown: b: o"]


def test_a_remote_or_external_dependency_and_an_import_are_not_checked(tmp_path):
    outside = tmp_path / "outside.csv"
    outside.write_text("1\n")
    source = create(tmp_path / "source", {"x": "1\n"}, ("x",))
    commit(source)
    pipeline = f"stages: {{a: {{cmd: cp {outside} o, deps: [{outside}, x], outs: [o]}}}}\n"
    folder = create(tmp_path / "made", {"dvc.yaml": pipeline})
    with inside(folder), Repo() as repo:
        repo.imp(str(source), "x")
    repro(folder)
    edit("dvc.yaml", r"\]", ", 'https://example.org/x', 's3://bucket/x']", 1)(folder)
    lock = folder / "dvc.lock"
    more = "    - path: https://example.org/x\n      hash: md5\n      etag: abc\n"
    lock.write_text(
        lock.read_text().replace("    outs:", f"{more}{more.replace('https://example.org', 's3://bucket')}    outs:")
    )
    commit(folder)
    copy = clone(folder, tmp_path / "clone")
    outside.write_text("2\n")
    assert gate_lines(copy) == [
        "unknown: a: " + str(outside), "unknown: a: https://example.org/x", "unknown: a: s3://bucket/x",
    ]  # fmt: skip
    assert any("x.dvc" in note for note in gate(copy).notes)


def test_sub_repositories_are_checked_with_the_repository_above_or_alone(tmp_path):
    repro(create(tmp_path, {"i": "1\n", "dvc.yaml": ONE}))
    for name in ("p", "q"):
        repro(create(tmp_path / name, {"i": "1\n", "dvc.yaml": ONE}, subdir=True))
    for name in ("i", "q/i"):
        write(tmp_path, name, "2\n")
    commit(tmp_path)
    copy = clone(tmp_path, tmp_path / "clone")
    assert gate_lines(copy) == ["stale: a: i", "stale: q/dvc.yaml:a: q/i"]
    assert gate_lines(copy / "p") == []
    assert gate_lines(copy / "q") == ["stale: a: i"]


def test_code_in_a_submodule_is_compared_if_it_is_checked_out(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    write(other, "a.py", "1\n")
    commit(other)
    pipeline = "stages: {a: {cmd: cp src/a.py o, deps: [src, src/a.py], outs: [o]}}\n"
    folder = create(tmp_path / "made", {"dvc.yaml": pipeline})
    git(folder, "submodule", "--quiet", "add", other.as_uri(), "src")
    repro(folder)
    copy = clone(folder, tmp_path / "clone")
    assert gate_lines(copy) == ["unknown: a: src", "unknown: a: src/a.py"]
    assert gate(copy).code() == 0
    git(copy, "submodule", "--quiet", "update", "--init")
    assert gate_lines(copy) == []
    write(copy, "src/a.py", "2\n")
    assert gate_lines(copy) == ["stale: a: src", "stale: a: src/a.py"]


def test_a_worktree_and_a_shallow_clone_are_checked_like_a_clone(origin, tmp_path):
    git(origin, "worktree", "add", "--quiet", "--detach", str(tmp_path / "worktree"))
    shallow = clone(origin, tmp_path / "shallow", "--depth", "1")
    for folder in (tmp_path / "worktree", shallow):
        assert gate_lines(folder) == []
        write(folder, "src/a.py", "more\n")
        assert gate_lines(folder) == [f"stale: {name}: src" for name in MODELS]


def test_code_that_is_gone_is_stale_until_it_is_committed_and_then_untracked(copy, tmp_path):
    remove("code.py")(copy)
    assert gate_lines(copy) == ["stale: clean: code.py"]
    commit(copy)
    assert gate_lines(copy) == ["untracked: clean: code.py"]
    assert gate_lines(clone(copy, tmp_path / "shallow", "--depth", "1")) == ["untracked: clean: code.py"]


def test_a_path_of_any_name_is_found(tmp_path):
    name = """ein Öl "x" 'y' #1"""
    pipeline = json.dumps({"stages": {"a": {"cmd": "echo 1 > o", "deps": [f"{name}/i"], "outs": ["o"]}}})
    folder = create(tmp_path / name, {f"{name}/i": "1\n", "dvc.yaml": pipeline})
    repro(folder)
    copy = clone(folder, tmp_path / "clone")
    assert gate_lines(copy) == []
    remove(f"{name}/i")(copy)
    assert gate_lines(copy) == [f"stale: a: {name}/i"]


@pytest.mark.parametrize(
    ("folder", "reason"),
    [("nowhere", "expected one that exists, got"), (".", "expected one in a DVC repository, got")],
)
def test_a_folder_without_a_repository_is_one_line(tmp_path, folder, reason):
    code, output, errors = call(main, tmp_path, folder)
    assert (code, output) == (3, "")
    assert errors.startswith("error: folder: ")
    assert reason in errors
    assert len(errors.splitlines()) == 1


def test_gits_own_reason_is_shown(copy):
    (copy / ".git").rename(copy / "git")
    code, _, errors = call(main, copy)
    assert code == 3
    assert "not a git repository" in errors
    assert len(errors.splitlines()) == 1


def test_a_closed_pipe_a_crash_and_a_wrong_command_line_give_no_verdict(copy, monkeypatch):
    rename_model(copy)
    pipe = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE)
    pipe.wait()
    gone = run(copy, "gate", stdout=pipe.stdin)
    assert (gone.returncode, gone.stderr) == (141, "")
    pipe.stdin.close()
    code, output, errors = call(main, copy, "--stric")
    assert (code, output, len(errors.splitlines())) == (3, "", 1)
    monkeypatch.setattr("checks.gate.gate", None)
    code, output, errors = call(main, copy)
    assert (code, output) == (70, "")
    assert errors.splitlines()[-1] == "TypeError: 'NoneType' object is not callable"


def test_a_line_shows_both_sides_and_the_worst_finding_is_the_exit_code(copy, capsys):
    edit("params.yaml", "seed: 1", "seed: 9")(copy)
    put("m.txt", "0.9\n")(copy)
    assert main([str(copy)]) == 2
    *rows, stale, inconsistent, last = capsys.readouterr().out.splitlines()
    assert [re.sub(r"\b[0-9a-f]{8}\b", "", line) for line in rows] == [
        "stale: train@m: params.yaml: models.m.seed: recorded 1, found 9",
        "inconsistent: train@m: m.txt: its content differs: recorded  of 8 bytes, found  of 4 bytes",
    ]
    assert [stale.partition(":")[0], inconsistent.partition(":")[0]] == ["stale", "inconsistent"]
    assert last == "3 stages: 1 stale, 1 inconsistent"


def test_unknown_fails_with_strict_and_nothing_fails_with_warn(tmp_path, capsys):
    files = {"i": "1\n", ".gitignore": "/o\n", "dvc.yaml": ONE.replace("[o]", "[{o: {cache: false}}]")}
    folder = create(tmp_path / "made", files)
    repro(folder)
    copy = str(clone(folder, tmp_path / "clone"))
    assert (main([copy]), main(["--strict", copy]), main(["--strict", "--warn", copy])) == (0, 1, 0)
    assert capsys.readouterr().out.splitlines()[0] == "unknown: a: o: Git does not keep it"
    edit("dvc.yaml", "cp i o", "cp i ./o")(Path(copy))
    assert (main([copy]), main(["--warn", copy])) == (1, 0)


def test_every_form_has_the_findings_and_nothing_in_them_becomes_markup(copy):
    edit("params.yaml", "seed: 1", 'seed: "<b>|*,:%"')(copy)
    report = gate(copy)
    values = json.loads(as_json(report))
    assert (values["code"], values["verdict"], values["stages"]) == (1, "stale", 3)
    (finding,) = values["findings"]
    assert finding == {
        "kind": "stale", "file": "dvc.yaml", "stage": "train@m", "what": "params.yaml: models.m.seed",
        "cause": "", "recorded": 1, "found": "<b>|*,:%",
    }  # fmt: skip
    put("m.txt", "0.9\n")(copy)
    result = json.loads(as_json(gate(copy)))["findings"][1]["found"]
    assert result == {"value": hashlib.md5(b"0.9\n").hexdigest(), "size": 4, "nfiles": None}
    assert r"\<b\>\|\*,:%" in as_markdown(report)
    annotation, *_ = as_annotations(report).splitlines()
    assert annotation.startswith("::error file=dvc.yaml,title=stale%3A train@m::stale: train@m: params.yaml: ")
    assert annotation.endswith("<b>|*,:%25")
    assert "seed: recorded 1, found <b>|*,:%" in as_text(report)


def test_the_worst_kind_decides_the_exit_code_and_strict_makes_unknown_stale():
    findings = {kind: Finding(kind, "dvc.yaml", "a", "o", "") for kind in Kind}
    for strict, code in ((False, 0), (True, 1)):
        assert Report(findings=[findings[Kind.UNKNOWN]]).code(strict) == code
        assert Report().code(strict) == 0
        assert Report(findings=[findings[Kind.UNREADABLE], findings[Kind.STALE]]).code(strict) == 3


def test_long_values_and_lists_are_cut_and_what_is_unknown_is_no_error():
    names = [f"x{number}" for number in range(6)]
    assert few(names[:5]) == "x0, x1, x2, x3, x4"
    assert few(names) == "x0, x1, x2, x3, x4 and 1 more"
    finding = Finding(Kind.STALE, "dvc.yaml", "a", "o", "cause", "a" * 200, "b" * 201)
    assert str(finding) == f"stale: a: o: cause: recorded {'a' * 200}, found {'b' * 200}..."
    unknown = Report(2, [Finding(Kind.UNKNOWN, "dvc.yaml", "a", name, "why") for name in names], ["n"])
    assert as_text(unknown).splitlines() == [
        "unknown: a: x0, x1, x2, x3, x4 and 1 more: why", "note: --verbose names each stage and file", "note: n",
        "2 stages: 6 unknown",
    ]  # fmt: skip
    assert as_text(unknown, verbose=True).splitlines() == [
        *(f"unknown: a: {name}: why" for name in names), "note: n", "2 stages: 6 unknown",
    ]  # fmt: skip
    assert (
        as_annotations(unknown).splitlines()[0]
        == "::notice file=dvc.yaml,title=unknown%3A a::unknown: a: x0, x1, x2, x3, x4 and 1 more: why"
    )
    assert as_markdown(unknown).splitlines()[-1] == "- n"
    assert json.loads(as_json(unknown))["verdict"] == "clean"


def test_a_file_is_hashed_once_however_many_stages_read_it(tmp_path, monkeypatch):
    stages = {f"s{i}": {"cmd": f"cp i o{i}", "deps": ["i", "src"], "outs": [f"o{i}"]} for i in range(5)}
    folder = create(tmp_path / "made", {"i": "1\n", "src/a": "1\n", "dvc.yaml": json.dumps({"stages": stages})})
    repro(folder)
    hashed, original = [], tree.file_md5
    monkeypatch.setattr(tree, "file_md5", lambda file, **options: hashed.append(file) or original(file, **options))
    assert gate_lines(folder) == []
    assert len(hashed) == len(set(hashed)) == 2


def test_a_dvc_file_is_read_once(tmp_path):
    class Recording(OpenFile):
        opened: ClassVar[list[str]] = []

        def open(self, path: str, *arguments, **options) -> IO:
            self.opened.append(Path(path).name)
            return super().open(path, *arguments, **options)

    folder = create(tmp_path / "made", {"i": "1\n", "dvc.yaml": ONE}, ("i",))
    repro(folder)
    with ReadOnlyRepo(str(folder), Recording()) as repo:
        LockCheck(repo, folder, Report()).run()
    assert Recording.opened.count("i.dvc") == 1


@pytest.fixture(scope="module")
def pushed(tmp_path_factory) -> tuple[Path, Path]:
    """A repository with a tracked file and a stage that makes a file and a folder, and its remote with all three."""
    base = tmp_path_factory.mktemp("pushed")
    stage = "stages: {s: {cmd: mkdir d && echo a > d/a && echo b > d/b && echo o > o, deps: [raw], outs: [d, o]}}\n"
    settings = f"[core]\n    remote = r\n['remote \"r\"']\n    url = {base}/remote\n"
    folder = create(base / "made", {"raw": "1\n", "dvc.yaml": stage, ".dvc/config": settings}, ("raw",))
    repro(folder)
    with surrounded(), inside(folder), Repo() as repo:
        repo.push()
    return folder, base / "remote"


def test_what_a_remote_lacks_is_a_line_each_and_nothing_is_fetched_or_written(pushed, tmp_path):
    folder, remote = clone(pushed[0], tmp_path / "clone"), tmp_path / "remote"
    shutil.copytree(pushed[1], remote)
    write(folder, ".dvc/config.local", f"['remote \"r\"']\n    url = {remote}\n")
    broken = hashlib.md5(b"o\n").hexdigest()
    (remote / "files/md5" / broken[:2] / broken[2:]).chmod(0o644)
    write(remote / "files/md5" / broken[:2], broken[2:], "broken")  # DVC would remove this file
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    code, output, errors = call(main, folder, "--remote")
    assert (code, errors) == (0, "")
    assert "note: asked the remotes for 3 outputs that DVC keeps" in output
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    for text, missing in {
        "a": "s: d: the remote r lacks 1 of its 2 contents", "o": "s: o: not in the remote r",
        "1": "raw.dvc: raw: not in the remote r",
    }.items():  # fmt: skip
        digest = hashlib.md5(f"{text}\n".encode()).hexdigest()
        file = remote / "files/md5" / digest[:2] / digest[2:]
        file.unlink()
        assert f"missing: {missing}" in as_text(gate(folder, remote=True)).splitlines()
        write(file.parent, file.name, f"{text}\n")
    shutil.rmtree(remote)
    code, output, _ = call(main, folder, "--remote", "--json")
    assert code == 1
    assert [(one["kind"], one["what"]) for one in json.loads(output)["findings"]] == [
        ("missing", "d"), ("missing", "o"), ("missing", "raw"),
    ]  # fmt: skip


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Refusing(Files):
    status = 503

    def send_head(self):
        self.send_error(self.status)


def test_a_remote_on_the_web_is_asked_and_one_that_is_down_is_no_verdict(pushed, tmp_path):
    folder = clone(pushed[0], tmp_path / "clone")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(pushed[1])))
    write(folder, ".dvc/config.local", f"['remote \"r\"']\n    url = http://127.0.0.1:{server.server_port}\n")
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        assert call(main, folder, "--remote")[0] == 0
        server.RequestHandlerClass = partial(Files, directory=str(tmp_path))
        assert call(main, folder, "--remote")[0] == 1
        for Refusing.status in (503, 403):
            server.RequestHandlerClass = partial(Refusing, directory=str(tmp_path))
            code, output, errors = call(main, folder, "--remote")
            assert (code, output) == (3, "")
            assert re.fullmatch("error: remote r: .*\n", errors)
    finally:
        server.shutdown(), server.server_close(), thread.join()
    code, output, errors = call(main, folder, "--remote")
    assert (code, output) == (3, "")
    assert re.fullmatch("error: remote r: .*Cannot connect to host.*\n", errors)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            "[core]\n    remote = c\n['remote \"c\"']\n    url = ck://x\n",
            "remote c: expected one in .dvc/config with a scheme",
        ),
        (
            "[core]\n    remote = c\n['remote \"c\"']\n    url = oss://x/y\n",
            "remote c: expected DVC's plugin for oss://",
        ),
        ("", "remote: expected a default one, got none; `dvc remote default NAME` sets it"),
    ],
)
def test_a_remote_that_cannot_be_asked_is_one_line(pushed, tmp_path, settings, reason):
    folder = clone(pushed[0], tmp_path / "clone")
    write(folder, ".dvc/config", settings)
    code, output, errors = call(main, folder, "--remote")
    assert (code, output) == (3, "")
    assert errors.startswith(f"error: {reason}")
    assert len(errors.splitlines()) == 1
