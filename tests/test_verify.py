"""A result is proved by running it again, without access to stored results, and by comparing every byte."""

import hashlib
import io
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import zipfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from dvc.repo import Repo

from checks import proofs
from checks.attest import statement
from checks.findings import as_text
from checks.gate import gate
from checks.matrix import Run, compare_each
from checks.runs import Output, Stage, needed
from checks.scratch import bring_data, checkout
from checks.settings import CheckSettings, read_settings
from checks.shell import InputError, command
from checks.values import DIFFERENT, IDENTICAL, NOT_PROVED, SAME, WITHIN, compare
from checks.verify import (
    as_markdown,
    compare_files,
    compare_output,
    compare_runs,
    downstream,
    main,
    proofs_of,
    stale,
    with_missing,
)  # fmt: skip
from tests.conftest import ROOT
from tests.repositories import (
    ENVIRONMENT,
    PLAIN_GIT,
    PROGRAMS,
    as_command,
    call,
    clone,
    commit,
    create,
    git,
    inside,
    repro,
    start,
    surrounded,
    write,
)

SCRIPT = """\
import json, os, time
shift = float(os.environ.get("SHIFT", "0"))
time.sleep(float(os.environ.get("SLEEP", "0")))
json.dump({"loss": 0.5 + shift, "n": 3, "at": {"k": [1, 2 + shift]}}, open("m.json", "w"))
os.makedirs("plots", exist_ok=True)
open("plots/loss.csv", "w").write(f"step,loss\\n0,1.0\\n1,{0.5 + shift}\\n")
open("plots/note.txt", "w").write("the same\\n")
open("model.bin", "wb").write(bytes([0, 255, int(shift * 1000) % 256]))
"""
PIPELINE = """\
stages:
  clean:
    cmd: cp raw.csv data.csv
    deps: [raw.csv]
    outs: [data.csv]
  score:
    cmd: python score.py
    deps: [data.csv, score.py]
    params: [seed]
    outs: [model.bin]
    metrics: [{m.json: {cache: false}}]
    plots: [{plots: {cache: false}}]
"""
FILES = {
    "raw.csv": "1\n2\n",
    "score.py": SCRIPT,
    "params.yaml": "seed: 1\n",
    "dvc.yaml": PIPELINE,
    "checks.yaml": 'tolerance: {loss: 0.01, "*": 0}\nfree: ["*.bin"]\n',
}


def verify(folder: Path, *arguments: str, **environment: str | None) -> tuple[int, str, str]:
    return call(main, folder, *arguments, **environment)


def verdicts(report: dict) -> dict[str, str]:
    return {row["output"]: row["verdict"] for row in report["results"]}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project that is run and committed three times: `shifted` and `far` with other numbers, and `base`, the HEAD."""
    folder = create(tmp_path_factory.mktemp("project"), FILES, track=("raw.csv",))
    for name, shift in (("shifted", "0.005"), ("far", "0.011"), ("base", "0")):
        repro(folder, force=True, SHIFT=shift)
        git(folder, "tag", name)
    return folder


@pytest.fixture
def copy(project, tmp_path) -> Path:
    """A copy of the project with its cache, which a test may edit."""
    return Path(shutil.copytree(project, tmp_path / "copy", symlinks=True))


def contents(folder: Path) -> dict[Path, bytes]:
    """Contents of all files of a repository except those in .dvc/tmp."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(folder / ".dvc/tmp")]
    return {path: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def proved(project, tmp_path_factory):
    """A proof in a separate process, with unfinished work in the folder and a shared cache that has every result."""
    base = tmp_path_factory.mktemp("proved")
    copy = Path(shutil.copytree(project, base / "copy", symlinks=True))
    git(copy, "remote", "add", "origin", "https://user:secret@example.org/x.git")
    write(copy, "params.yaml", "unfinished work")
    write(copy, "new", "staged")
    git(copy, "add", "new")
    write(base, "shared/config", f"[cache]\n    dir = {copy}/.dvc/cache\n")
    (base / "scratch").mkdir()
    before = contents(copy)
    arguments = ("--json", "--attest", str(base / "attested.json"))
    places = {"DVC_GLOBAL_CONFIG_DIR": "shared", "TMPDIR": "scratch", "DVC_SITE_CACHE_DIR": "scratch"}
    process = start(copy, "verify", *arguments, **{name: str(base / folder) for name, folder in places.items()})
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return SimpleNamespace(base=base, copy=copy, before=before, report=json.loads(output), errors=errors)


def test_a_true_result_is_identical_without_any_cache(proved):
    assert verdicts(proved.report) == dict.fromkeys(["data.csv", "model.bin", "m.json", "plots"], IDENTICAL)
    assert (proved.report["stale"], proved.report["target"], proved.report["verdict"]) == (
        {}, "every pipeline", IDENTICAL,
    )  # fmt: skip
    ran = [line.split("'")[1] for line in proved.errors.splitlines() if line.startswith("Running stage")]
    assert ran == ["clean", "score"]


def test_a_proof_leaves_the_users_tree_as_it_is_and_nothing_else_behind(proved):
    assert contents(proved.copy) == proved.before
    assert list((proved.base / "scratch").iterdir()) == []


def test_an_attestation_names_every_file_by_its_digest_and_the_verdict(proved):
    statement = json.loads((proved.base / "attested.json").read_text())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    digests = {subject["name"]: subject["digest"] for subject in statement["subject"]}
    assert set(digests) == {"commit", "data.csv", "model.bin", "m.json", "plots/loss.csv", "plots/note.txt"}
    for name in set(digests) - {"commit"}:
        assert digests[name] == {"sha256": hashlib.sha256((proved.copy / name).read_bytes()).hexdigest()}
    assert digests["commit"] == {"gitCommit": git(proved.copy, "rev-parse", "HEAD")}
    predicate = statement["predicate"]
    assert predicate["resourceUri"] == f"https://example.org/x.git@{digests['commit']['gitCommit']}"
    policy = hashlib.sha256((proved.copy / "checks.yaml").read_bytes()).hexdigest()
    assert predicate["policy"] == {"uri": "checks.yaml", "digest": {"sha256": policy}}
    assert predicate["dvc"] == {key: proved.report[key] for key in ("target", "verdict", "environment")} | {
        "verdicts": verdicts(proved.report)
    }


@pytest.mark.parametrize(
    ("verdict", "result", "level"),
    [
        (IDENTICAL, "PASSED", "DVC_REPRODUCED_IDENTICALLY"),
        (SAME, "PASSED", "DVC_REPRODUCED_SAME_VALUES"),
        (WITHIN, "PASSED", "DVC_REPRODUCED_WITHIN_TOLERANCE"),
        (NOT_PROVED, "FAILED", "FAILED"),
        (DIFFERENT, "FAILED", "FAILED"),
    ],
)
def test_an_attestation_claims_the_level_of_its_verdict(project, verdict, result, level):
    rows = [
        {"output": "o", "files": {"": "ab"}, "verdict": verdict},
        {"output": "p", "files": {}, "verdict": "not rerun"},
    ]
    report = {"results": rows, "verdict": verdict, "revision": "c0", "target": "", "environment": {}}
    with surrounded(), inside(project):
        made = statement(report)
        with pytest.raises(InputError, match="expected outputs that ran again, got none"):
            statement(report | {"results": rows[1:]})
    assert (made["predicate"]["verificationResult"], made["predicate"]["verifiedLevels"]) == (result, [level])
    assert [subject["name"] for subject in made["subject"]] == ["commit", "o"]
    assert made["predicate"]["resourceUri"] == "git@c0"
    assert made["predicate"]["dvc"]["verdicts"] == {"o": verdict, "p": "not rerun"}


def test_numbers_within_their_tolerance_are_tolerated_and_shown_with_the_largest_difference(project):
    code, output, errors = verify(project, "--against", "shifted")
    assert code == 2, errors  # m.json: at.k has no tolerance
    assert "loss: recorded 0.5, found 0.505, off by 0.005 (tolerance 0.01)" in output
    assert "at.k.1: recorded 2.0, found 2.005, off by 0.005 (tolerance 0)" in output
    assert "loss.csv: line 3, loss: recorded 0.5, found 0.505, off by 0.005 (tolerance 0.01)" in output


def test_each_output_has_a_separate_verdict(copy):
    write(copy, "checks.yaml", 'tolerance: {loss: 0.01, "at.*": "1%"}\nfree: ["*.bin"]\n')
    code, output, errors = verify(copy, "--json", "--against", "shifted")
    assert code == 1, errors
    assert verdicts(json.loads(output)) == {
        "data.csv": IDENTICAL,
        "model.bin": WITHIN,
        "m.json": WITHIN,
        "plots": WITHIN,
    }
    code, output, errors = verify(copy, "--json", "--against", "far")
    assert code == 2, errors
    assert verdicts(json.loads(output)) == {
        "data.csv": IDENTICAL,
        "model.bin": WITHIN,
        "m.json": DIFFERENT,
        "plots": DIFFERENT,
    }


def test_a_table_for_a_pull_request_has_every_verdict_and_quotes_what_is_in_it(copy):
    write(copy, "checks.yaml", 'tolerance: {loss: 0.01}\nfree: ["*.bin"]\npackages: [dvc, no-such-package]\n')
    commits = [git(copy, "rev-parse", name) for name in ("HEAD", "far")]
    _, output, _ = verify(copy, "--markdown", "--against", "far")
    lines = output.splitlines()
    assert lines[0] == f"**against {commits[1]} of {commits[0]}: different**"
    assert "| clean | `data.csv` | identical |  |  |" in lines
    row = r"\| score \| `model.bin` \| within tolerance \|  \| 3 .*<br>checks.yaml lets its bytes differ \|"
    assert any(re.fullmatch(row, line) for line in lines)
    assert {f"- dvc: {version('dvc')}", "- no-such-package: missing", f"- python: {platform.python_version()}"} <= {
        *lines
    }
    report = {
        "target": "t",
        "revision": "r",
        "verdict": DIFFERENT,
        "stale": {"a": ["k: 1"]},
        "line_ends": {},
        "environment": {},
    }
    row = {"stage": "a", "output": "o", "verdict": DIFFERENT, "promised": "", "differences": ["x|y", "z"]}
    assert "| a | `o` | different |  | x\\|y<br>z |" in as_markdown(report | {"results": [row]})
    assert "- stale: a: k: 1" in as_markdown(report | {"results": [row]})


def test_what_a_stage_promises_by_its_params_is_shown_with_its_verdict(copy):
    write(copy, "params.yaml", "seed: 1\nengine: fast\n")
    meta = "    params: [seed]\n    meta: {by: '${engine}'}\n"
    write(copy, "dvc.yaml", PIPELINE.replace("    params: [seed]\n", meta))
    write(copy, "checks.yaml", FILES["checks.yaml"] + "promise: {by: {exact: identical, fast: within tolerance}}\n")
    repro(copy)
    _, output, errors = verify(copy, "--against", "HEAD")
    assert "identical (promised: within tolerance)" in output, errors
    lines = [line for line in output.splitlines() if "promised" in line]
    assert [line.split()[0] for line in lines] == ["score"] * 3
    write(copy, "checks.yaml", "promise: {by: {fast: nearly}}\n")
    code, _, errors = verify(copy)
    assert code == 3
    assert "error: checks.yaml: promise.by.fast:" in errors


def test_bytes_that_are_not_free_are_compared_if_the_recorded_file_is_there(copy):
    write(copy, "checks.yaml", 'tolerance: {"*": 1}\n')
    code, output, errors = verify(copy, "--against", "shifted")
    assert code == 2, errors
    assert "3 and 3 bytes, byte 2 is the first that differs" in output
    for file in (copy / ".dvc/cache/files/md5").rglob("*"):
        if file.is_file() and file.read_bytes() == bytes([0, 255, 0]):
            file.unlink()
    code, output, errors = verify(copy, "--against", "shifted")
    assert code == 2, errors
    assert "the recorded file is not here" in output


def test_several_runs_make_a_matrix_that_says_where_each_pair_first_differs(copy, tmp_path):
    folder = Path(shutil.copytree(copy, tmp_path / "folder", ignore=shutil.ignore_patterns(".git")))
    code, output, errors = verify(copy, "--against", "base", "--against", "shifted", "../folder")
    assert code == 2, errors
    title, _, head, *rows = output.splitlines()
    assert (title, head.split()) == ("4 runs: different", [*"abcd"])
    assert [row.split()[:2] for row in rows[:4]] == [["a", "HEAD"], ["b", "base"], ["c", "shifted"], ["d", "../folder"]]
    assert [re.split("  +", row)[2:] for row in rows[:3]] == [
        ["-", "identical", "different", "identical"], ["identical", "-", "different", "identical"],
        ["different", "different", "-", "different"],
    ]  # fmt: skip
    assert "a and c: score: m.json: different: loss: recorded 0.5, found 0.505, off by 0.005 (tolerance 0.01)" in rows
    assert not any(row.startswith(("a and b", "a and d", "b and d")) for row in rows)
    write(folder, "m.json", (folder / "m.json").read_text().replace("0.5,", "0.52,"))
    code, output, errors = verify(copy, "--json", "--against", "base", "../folder")
    assert code == 2, errors
    pairs = {tuple(pair["runs"]): pair for pair in json.loads(output)["pairs"]}
    assert {runs: pair["verdict"] for runs, pair in pairs.items()} == {
        (0, 1): IDENTICAL, (0, 2): DIFFERENT, (1, 2): DIFFERENT,
    }  # fmt: skip
    assert "first" not in pairs[0, 1]
    assert pairs[0, 2]["first"]["differences"][0] == "the file is not the one that the lock records"
    _, output, _ = verify(copy, "--markdown", "--against", "base", "far")
    assert output.splitlines()[2:4] == ["|  | a | b | c |", "| --- | --- | --- | --- |"]


def test_the_first_difference_is_that_of_the_stage_that_runs_first():
    was, now = stages(), stages()
    for name, path in (("b", "o"), ("a", "d")):
        now[name].outputs[path] = Output("2", {})
    was, now = (dict(sorted(side.items(), reverse=True)) for side in (was, now))
    runs = [Run("x", "1", was), Run("y", "2", now), Run("z", "", {})]
    report = compare_each(runs, lambda one, other: compare_runs(one, with_missing(other, one), EXACT))
    assert report["pairs"][0]["first"]["stage"] == "a"
    assert report["pairs"][1]["first"]["differences"] == ["the rerun does not make it"]
    runs = [Run("x", "", now), Run("y", "", was), Run("z", "", was)]
    report = compare_each(runs, lambda one, other: compare_runs(one, other, EXACT))
    assert [pair["verdict"] for pair in report["pairs"]] == [NOT_PROVED, NOT_PROVED, IDENTICAL]
    assert report["verdict"] == NOT_PROVED  # the worst, which is not the last


def test_a_record_proves_a_stage_as_long_as_its_lock_entry_stays(copy):
    write(copy, "params.yaml", "seed: 1\nunused: 1\n")
    head = commit(copy)
    for more, *targets in (2,), (0, "clean"):
        code, _, errors = verify(copy, "--record", "--date", "2026-11-29", *targets)
        assert code == 0, errors
        assert f"note: proofs.jsonl has {more} more lines; commit it" in errors
    clean, score = map(json.loads, (copy / "proofs.jsonl").read_text().splitlines())
    assert (clean["commit"], clean["date"], clean["stage"], clean["verdict"]) == (
        head,
        "2026-11-29",
        "clean",
        IDENTICAL,
    )
    assert clean["outputs"] == {"data.csv": hashlib.md5(b"1\n2\n").hexdigest()}
    assert {"processor", "architecture", "system", "python"} <= clean["machine"].keys()
    commit(copy)
    text = as_text(gate(copy), verbose=True)
    assert "note: proofs.jsonl: 2 of 2 stages are proved as locked, by 1 kind of machine" in text
    assert f"proof: clean: identical on {clean['machine']['processor']}, {clean['machine']['architecture']}" in text
    other = score | {"machine": score["machine"] | {"processor": "other"}}
    write(copy, "proofs.jsonl", "".join(f"{json.dumps(line)}\n" for line in (score, other, clean | {"lock": "0"})))
    assert gate(copy).notes == [
        "proofs.jsonl: 1 of 2 stages are proved as locked, by 2 kinds of machine; not proved: clean"
    ]
    write(copy, "proofs.jsonl", json.dumps(score | {"verdict": DIFFERENT}) + "\n{}")
    assert "unreadable: proofs.jsonl: line 2: expected what `dvc-verify --record` writes" in as_text(gate(copy))
    write(copy, "proofs.jsonl", json.dumps(score | {"verdict": DIFFERENT}))
    assert gate(copy).notes == [
        "proofs.jsonl: 0 of 2 stages are proved as locked; not proved: clean, score; other results elsewhere: score"
    ]
    write(copy, "dvc.lock", (copy / "dvc.lock").read_text().replace("seed: 1", "seed: 3"))
    assert gate(copy).proofs == {"clean": {}, "score": {}}


IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.org")


def test_a_record_has_the_day_of_the_verified_commit_unless_another_is_named(tmp_path, monkeypatch):
    folder, days = create(tmp_path / "made", {"a": "1\n"}), []
    for day in ("2001-02-03", "2004-05-06"):
        dates = {"GIT_COMMITTER_DATE": f"{day}T12:00:00Z"}
        command = ["git", *IDENTITY, "commit", "--allow-empty", "--quiet", "--message", day]
        subprocess.run(command, cwd=folder, env=ENVIRONMENT | PLAIN_GIT | dates, check=True)
    report = {"revision": git(folder, "rev-parse", "HEAD~1"), "verdict": IDENTICAL}
    monkeypatch.setattr("checks.verify.verify", lambda *_: report)
    monkeypatch.setattr(proofs, "append", lambda folder, report, day: days.append(day) or 1)
    for more in ([], ["--date", "2020-01-01"]):
        assert verify(folder, "--json", "--record", *more)[0] == 0
    assert days == ["2001-02-03", "2020-01-01"]


def test_a_record_is_a_new_line_even_if_the_last_one_has_no_line_end(tmp_path):
    machine, proof = {"processor": "p", "architecture": "a"}, {"stage": "s", "lock": "l", "verdict": IDENTICAL}
    report = {"revision": "c", "environment": machine, "stages": [proof | {"outputs": {"o": "1"}}]}
    assert proofs.append(tmp_path, report, "2026-01-02") == 1
    file = tmp_path / proofs.FILE
    line = file.read_text()
    file.write_text(line.rstrip("\n"))
    assert proofs.append(tmp_path, report | {"revision": "d"}, "2026-01-02") == 1
    assert file.read_text() == line + line.replace('"c"', '"d"')
    assert proofs.append(tmp_path, report, "2026-01-02") == 0


def test_an_output_made_from_other_inputs_than_those_of_the_lock_is_not_recorded():
    was, now = stages(), stages(seed=2)
    for side in (was, now):
        for name, stage in side.items():
            stage.digest = f"digest of {name}"
    made = proofs_of(was, now, compare_runs(was, now, EXACT))
    assert made == [{"stage": "c", "lock": "digest of c", "verdict": IDENTICAL, "outputs": {"z": "1"}}]


TRAINING = """\
import hashlib, io, os, zipfile
import h5py
import numpy as np
w = {"kernel": np.arange(12, dtype="f4").reshape(3, 4), "bias": np.zeros(3, "f4")}
rows = ["epoch,weights"]
for epoch in range(1, 5):
    w["kernel"] += 1
    if epoch == int(os.environ.get("PART", "0")):
        w["kernel"][1, 2:] += np.float32(2**-20)
    rows.append(f"{epoch},{hashlib.sha256(w['kernel'].tobytes()).hexdigest()[:16]}")
open("epochs.csv", "w").write("\\n".join(rows) + "\\n")
with h5py.File("weights.h5", "w") as file:
    for name, array in w.items():
        file[f"layers/dense_1/{name}"] = array
    file["layers/dense_1"].attrs["name"] = "last"
with zipfile.ZipFile("model.zip", "w") as archive:
    archive.write("weights.h5")
os.remove("weights.h5")
"""


def test_the_epoch_and_the_weight_in_which_two_trainings_first_differ_are_named(tmp_path):
    pipeline = """\
stages:
  train:
    cmd: python train.py
    deps: [train.py]
    outs: [model.zip]
    plots: [{epochs.csv: {cache: false}}]
"""
    settings = 'tolerance: {weights: any, "*": 0}\nfree: ["*.zip"]\n'
    folder = create(tmp_path / "made", {"train.py": TRAINING, "dvc.yaml": pipeline, "checks.yaml": settings})
    whole = repro(folder)
    repro(folder, force=True, PART="3")
    code, output, errors = verify(folder, "--rev", whole, "--against", "HEAD")
    assert code == 1, errors
    lines = [line.strip() for line in output.splitlines()]
    assert "line 4, epoch 3, is the first row that differs" in lines
    (weight,) = [line for line in lines if line.startswith("weights.h5/")]
    assert weight == (
        "weights.h5/layers/dense_1/kernel (last)[1, 2]: recorded 10.0, found 10.000001; 2 of its 12 numbers differ"
    )


def test_inputs_are_files_that_no_stage_makes_and_a_folder_is_compared_only_if_complete(tmp_path):
    """The outputs: a folder that DVC keeps, one that Git keeps in part, and a file made from the first."""
    code = """\
import os
for name in ("d/x.json", "d/y", "k/x", "k/y"):
    os.makedirs(name[0], exist_ok=True)
    open(name, "w").write(str(0.5 + float(os.environ.get("SHIFT", "0")) if name == "d/x.json" else name))
"""
    pipeline = """\
stages:
  a: {cmd: python a.py, deps: [a.py], params: [s], outs: [d, k: {cache: false}]}
  b: {cmd: cp d/x.json m.json, deps: [d], metrics: [m.json: {cache: false}]}
"""
    files = {"a.py": code, "dvc.yaml": pipeline, "params.yaml": "s: {t: 1, u: 1}\n", ".gitignore": "/k/y\n"}
    folder = create(tmp_path / "made", files | {"checks.yaml": 'tolerance: {"*": 0.01}\n'})
    first = repro(folder)
    repro(folder, force=True, SHIFT="0.005")
    code, output, errors = verify(folder, "--json", "--rev", first, "--against", "HEAD")
    assert code == 1, errors
    report = json.loads(output)
    assert (verdicts(report), report["stale"]) == ({"d": WITHIN, "k": IDENTICAL, "m.json": WITHIN}, {})
    write(folder, "params.yaml", "s: {t: 1, u: 2}\n")
    repro(folder)
    code, output, errors = verify(folder, "--json", "--rev", first, "--against", "HEAD")
    assert code == 0, errors
    assert json.loads(output)["stale"] == {"a": ["params.yaml: s.u: recorded 1, found 2"]}
    for file in (folder / ".dvc/cache/files/md5").rglob("*"):
        if file.is_file() and file.read_bytes() == b"0.5":
            file.unlink()
    code, output, errors = verify(folder, "--rev", first, "--against", "HEAD~1")
    assert code == 2, errors
    assert "the recorded file is not here" in output


def test_a_metric_edited_in_its_last_digit_is_different_and_named(copy):
    write(copy, "m.json", (copy / "m.json").read_text().replace("0.5,", "0.5000001,"))
    commit(copy)
    code, output, errors = verify(copy, "--against", "base")
    assert code == 2, errors
    assert "the file is not the one that the lock records" in output
    assert "loss: recorded 0.5000001, found 0.5" in output
    assert output.count("different") == 2  # the verdict and this file


def test_other_inputs_forbid_all_tolerance_but_not_the_same_bytes(copy):
    write(copy, "params.yaml", "seed: 2\n")
    write(copy, "checks.yaml", 'tolerance: {"*": 1}\nfree: ["*.bin"]\n')
    commit(copy)
    code, output, errors = verify(copy, SHIFT="0.005")
    assert code == 2, errors
    lines = [line.strip() for line in output.splitlines()]
    assert "stale: score: params.yaml: seed: recorded 1, found 2" in lines
    assert lines.count("it was made from other inputs: nothing may differ") == 3
    repro(copy)
    code, output, errors = verify(copy, "--rev", "base", "--against", "HEAD")
    assert code == 0, errors
    assert "stale: score: params.yaml: seed: recorded 1, found 2" in output


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """A project in a folder of a larger repository, with two pipelines, a frozen stage and one that writes outside."""
    top = tmp_path_factory.mktemp("larger")
    outside, folder = top / "outside.txt", top / "repository/sub/project"
    pipeline = f"""\
stages:
  clean: {{frozen: true, cmd: cp raw.csv data.csv, deps: [raw.csv], outs: [data.csv]}}
  score: {{cmd: cat data.csv ../../shared.csv > o, deps: [data.csv, ../../shared.csv], outs: [o: {{cache: false}}]}}
  out: {{cmd: echo 1 > {outside}, outs: [{outside}: {{cache: false}}]}}
"""
    one = "stages: {a: {cmd: cp i o, deps: [i], outs: [{o: {cache: false}}]}}\n"
    write(top, "repository/shared.csv", "1\n")
    git(top / "repository", "init", "--quiet")
    create(folder, {"raw.csv": "1\n", "dvc.yaml": pipeline, "s/i": "1\n", "s/dvc.yaml": one}, subdir=True)
    write(folder, "dvc.yaml", pipeline.replace("frozen: true, ", ""))
    repro(folder)
    write(folder, "dvc.yaml", pipeline)
    commit(top / "repository")
    outside.write_text("another's\n")
    code, output, errors = verify(folder, "--json")
    assert code == 0, errors
    report = json.loads(output)
    return SimpleNamespace(report=report, verdicts=verdicts(report), errors=errors, outside=outside)


def test_a_frozen_stage_is_not_rerun_and_its_data_is_brought(larger):
    assert (larger.verdicts["data.csv"], larger.verdicts["o"]) == ("not rerun", IDENTICAL)
    assert "Running stage 'score'" in larger.errors
    assert "Running stage 'clean'" not in larger.errors


def test_what_a_frozen_stage_made_is_an_input_of_the_stages_that_run(tmp_path):
    pipeline = "stages:\n  a: {cmd: cp i o, deps: [i], outs: [o: {cache: false}]}\n" + (
        "  b: {cmd: cp o m.json, deps: [o], metrics: [m.json: {cache: false}]}\n"
    )
    folder = create(tmp_path / "made", {"i": "0.5\n", "dvc.yaml": pipeline})
    repro(folder)
    write(folder, "dvc.yaml", pipeline.replace("{cmd: cp i", "{frozen: true, cmd: cp i"))
    commit(folder)
    code, _, errors = verify(folder)
    assert code == 0, errors
    write(folder, "o", "0.50000001\n")  # so near that the default tolerance would allow it
    commit(folder)
    code, output, errors = verify(folder, "--json")
    report = json.loads(output)
    assert (code, verdicts(report)) == (2, {"o": "not rerun", "m.json": DIFFERENT}), errors
    assert [line.partition(",")[0][:12] for line in report["stale"]["b"]] == ["o: recorded "]
    assert report["stages"] == []


def test_a_stage_that_writes_outside_the_repository_is_not_rerun(larger):
    assert larger.verdicts[str(larger.outside)] == "not rerun"
    assert larger.outside.read_text() == "another's\n"


def test_every_pipeline_of_a_project_in_a_folder_of_a_larger_repository_is_verified(larger):
    assert {row["stage"]: row["output"] for row in larger.report["results"]} == {
        "clean": "data.csv", "score": "o", "out": str(larger.outside), "s/dvc.yaml:a": "s/o",
    }  # fmt: skip
    assert larger.verdicts["s/o"] == IDENTICAL


def test_where_nothing_ran_again_there_is_no_verdict(copy):
    write(copy, "dvc.yaml", PIPELINE.replace("    cmd:", "    frozen: true\n    cmd:"))
    commit(copy)
    code, output, errors = verify(copy, "--against", "HEAD")
    assert (code, output) == (3, "")
    assert re.fullmatch(r"error: revision: \w{10}: no stage ran again, so nothing is compared\n", errors)


def test_where_no_stage_has_an_output_there_is_no_verdict(tmp_path):
    folder = create(tmp_path / "made", {"raw": "1\n", "dvc.yaml": "stages: {s: {cmd: cat raw, deps: [raw]}}\n"})
    repro(folder)
    code, output, errors = verify(folder)
    assert (code, output) == (3, "")
    assert errors.endswith(": no stage that ran again has an output, so nothing is compared\n")


def test_a_target_runs_with_what_it_depends_on_and_nothing_else(project):
    code, output, errors = verify(project, "--json", "clean")
    assert code == 0, errors
    assert verdicts(json.loads(output)) == {"data.csv": IDENTICAL}
    assert json.loads(output)["target"] == "clean"


def test_raw_data_that_the_cache_lacks_comes_from_the_remote_and_without_one_that_is_an_error(copy, tmp_path, capfd):
    bare = clone(copy, tmp_path / "clone")
    write(bare, "spare.dvc", f"outs: [{{path: spare, hash: md5, md5: {'a' * 32}}}]\n")  # which no stage reads
    commit(bare)
    code, output, errors = verify(bare)
    assert (code, output) == (3, "")
    assert errors.splitlines()[-1].startswith("error: `dvc pull --force raw.csv.dvc` of ")
    assert "raw.csv" in capfd.readouterr().err.splitlines()  # DVC's own
    assert "Traceback" not in errors
    shutil.copytree(copy / ".dvc/cache", tmp_path / "remote")
    write(bare, ".dvc/config.local", f"[core]\n    remote = r\n['remote \"r\"']\n    url = {tmp_path}/remote\n")
    code, output, errors = verify(bare)
    assert code == 0, errors
    assert not (bare / "raw.csv").exists()
    assert not (bare / ".dvc/cache/files").exists()


@pytest.mark.parametrize("no_scm", [False, True])
def test_data_of_which_only_git_has_a_version_is_read_and_called_stale_if_it_is_another_one(tmp_path, no_scm):
    stage = "stages: {s: {cmd: cp a.csv o, deps: [a.csv, b.csv], outs: [o: {cache: false}]}}\n"
    files = {"dvc.yaml": stage, "a.csv": "1\r\n", "b.csv": "1\n"}
    folder = create(tmp_path / "made", files, ("a.csv", "b.csv"), no_scm=no_scm)
    write(folder, ".gitignore", ".dvc/cache\n.dvc/tmp\n")
    repro(folder)
    bare = clone(folder, tmp_path / "same")
    code, _, errors = verify(bare)
    assert (code, errors.count("note: ")) == (0, 1), errors
    write(folder, "a.csv", "1\n")
    write(folder, "b.csv", "2\n")
    commit(folder)
    bare = clone(folder, tmp_path / "edited")
    (bare / ".dvc/cache").mkdir()
    code, output, errors = verify(bare, "--json")
    report = json.loads(output)
    assert (code, verdicts(report)) == (2, {"o": DIFFERENT}), errors
    assert [line.partition(":")[0] for line in (*report["stale"]["s"], *report["line_ends"]["s"])] == ["b.csv", "a.csv"]
    assert "note: a.csv is as in Git, because DVC finds no recorded version\n" in errors
    assert git(bare, "status", "--porcelain") == ""
    git(bare, "rm", "--quiet", "b.csv")
    commit(bare)
    code, _, errors = verify(bare)
    assert (code, errors.splitlines()[-1].startswith("error: `dvc pull --force ")) == (3, True)


@pytest.mark.parametrize(("damaged", "code"), [(False, 0), (True, 3)])
def test_no_file_of_the_users_cache_or_remote_is_removed_or_protected(copy, tmp_path, damaged, code):
    bare = clone(copy, tmp_path / "clone")
    shutil.copytree(copy / ".dvc/cache/files", tmp_path / "remote/files")
    shutil.move(copy / ".dvc/cache", bare / ".dvc/cache")
    write(bare, ".dvc/config.local", f"[core]\n    remote = r\n['remote \"r\"']\n    url = {tmp_path}/remote\n")
    raw = hashlib.md5(FILES["raw.csv"].encode()).hexdigest()
    for folder in (bare / ".dvc/cache", tmp_path / "remote"):
        file = folder / "files/md5" / raw[:2] / raw[2:]
        file.chmod(0o644)
        if damaged:
            file.write_text("2\n")
    files = [file for folder in (bare, tmp_path / "remote") for file in folder.glob("**/files/md5/*/*")]
    before = {file: (file.read_bytes(), file.stat().st_mode) for file in files}
    assert verify(bare)[0] == code
    assert {file: (file.read_bytes(), file.stat().st_mode) for file in files if file.exists()} == before


def test_stages_cannot_reach_the_users_cache_from_which_data_came(copy):
    with inside(copy), checkout() as scratch:
        config, temporary = scratch.folder / ".dvc/config.local", Path(scratch.environment["TMPDIR"])
        before = config.read_text()
        bring_data(scratch, needed(scratch, []))
        assert (scratch.folder / "raw.csv").read_text() == FILES["raw.csv"]
        assert config.read_text() == before
        assert "remote" not in before
        assert not (temporary / "users-cache").is_symlink()


def test_two_recorded_runs_are_compared_without_running_anything(copy):
    write(copy, "score.py", SCRIPT.replace("0.5 + shift", "0.6 + shift"))
    repro(copy)
    code, output, errors = verify(copy, "--rev", "base", "--against", "HEAD")
    assert code == 2, errors
    assert "Running stage" not in errors
    assert "stale: score: score.py: recorded " in output
    assert "loss: recorded 0.5, found 0.6, off by 0.1 (tolerance 0.01)" in output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rev", "nowhere"], "error: revision: expected a commit, got 'nowhere'"),
        (["--rev", "-x"], "error: argument --rev: expected one argument"),
        (["--modle"], "error: unrecognized arguments: --modle"),
        (["clean", "--against", "HEAD"], "error: --against: expected no targets"),
        (["--against", "HEAD", "--attest", "attested.json"], "error: --against: expected no targets"),
        (["--against", "HEAD", "--record"], "error: --against: expected no targets"),
        (["--against", "HEAD", "nowhere"], "error: revision: expected a commit, got 'nowhere'"),
        (
            ["--against", "HEAD", ".dvc"],
            "error: --against: expected a commit or the root of a DVC repository, got .dvc",
        ),
        (["--date", "2026-11-29"], "error: --date: expected --record beside it"),
        (["--record", "--date", "2026-11-31"], "error: argument --date: expected a day such as 2026-11-29"),
        (["no-such-stage"], "error: `dvc repro no-such-stage` of "),
    ],
)
def test_what_cannot_run_says_so_and_has_no_verdict(project, arguments, expected):
    code, output, errors = verify(project, *arguments)
    assert (code, output) == (3, "")
    assert errors.splitlines()[-1].startswith(expected)
    assert "Traceback" not in errors
    assert not (project / "attested.json").exists()


def test_a_commit_without_results_has_no_verdict(tmp_path):
    folder = create(tmp_path / "made", {"i": "1\n", "dvc.yaml": "stages: {a: {cmd: cp i o, deps: [i], outs: [o]}}\n"})
    commit(folder)
    code, output, errors = verify(folder)
    assert (code, output) == (3, "")
    assert "has no lock with a result" in errors
    code, _, errors = verify(tmp_path)
    assert code == 3
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1


def test_gits_own_reason_is_shown(copy):
    (copy / ".git/HEAD").write_text("junk")
    code, _, errors = verify(copy)
    assert code == 3
    assert "fatal: " in errors
    assert len(errors.splitlines()) == 1


def test_the_python_of_the_repository_runs_it_and_the_declared_paths_stay_the_same(copy):
    code = textwrap.dedent("""\
        #!/bin/sh
        echo "the repository's own, $PLACE, $URL, lent <$PYTHONPATH$DVC_STUDIO_TOKEN$GIT_DIR>"
        exec %s "$@"
        """)
    write(copy, ".venv/bin/python", code % shlex.quote(sys.executable))
    (copy / ".venv/bin/python").chmod(0o755)
    write(copy, "checks.yaml", "paths: [PLACE, URL, NONE]\n")
    lent = {"PYTHONPATH": str(ROOT), "PLACE": "here", "DVC_STUDIO_TOKEN": "x", "GIT_DIR": str(copy / ".git")}
    code, _, errors = verify(copy, **lent, VIRTUAL_ENV=None, URL="s3://bucket/x")
    assert code == 0, errors
    assert f"the repository's own, {copy}/here, s3://bucket/x, lent <>" in errors
    with surrounded(**lent, URL="s3://bucket/x", VIRTUAL_ENV=""), inside(copy), checkout() as scratch:
        assert scratch.environment["PATH"] == PROGRAMS  # an activated environment is used, even an empty one
        assert (scratch.environment["PLACE"], scratch.environment["URL"]) == (f"{copy}/here", "s3://bucket/x")


def test_the_users_hooks_for_all_repositories_do_not_run_in_the_checkout(project, tmp_path):
    for name in ("post-checkout", "post-index-change", "reference-transaction"):
        write(tmp_path, f"hooks/{name}", "#!/bin/sh\nexit 1\n")
        (tmp_path / "hooks" / name).chmod(0o755)
    write(tmp_path, ".gitconfig", f"[core]\n    hooksPath = {tmp_path}/hooks\n")
    with surrounded(HOME=str(tmp_path), XDG_CONFIG_HOME=None), inside(project), checkout() as scratch:
        assert scratch.git("status", "--porcelain") == ""
        assert scratch.commit == git(project, "rev-parse", "base")


def test_an_interruption_leaves_neither_folder_nor_process(project, tmp_path):
    ignored = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a shell ignores some signals for background jobs
    process = start(project, "verify", TMPDIR=str(tmp_path), SLEEP="60")
    signal.signal(signal.SIGTERM, ignored)
    for line in process.stderr:
        if "Running stage 'score'" in line:
            break
    assert os.listdir(tmp_path) != []
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()  # returns when no process can write any more
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("ignored", [False, True])
def test_a_signal_ends_a_check_unless_it_was_ignored_from_the_start(name, ignored):
    if not hasattr(signal, name):
        pytest.skip("Windows has no SIGHUP")
    number = getattr(signal, name)

    def check() -> int:
        assert (signal.getsignal(number) == signal.SIG_IGN) == ignored
        signal.raise_signal(number)
        return 7

    with as_command():
        signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
        with pytest.raises(SystemExit) as end:
            command(check)
    assert end.value.code == (7 if ignored else 130)


@pytest.mark.parametrize(
    ("name", "was", "now", "verdict", "line"),
    [
        ("m.json", '{"a": 0.5}', '{"a": 0.50}', SAME, "form differs: number form"),
        ("m.json", '{"a": 1}', '{"a":   1}', SAME, "form differs: white space, quotes or escapes"),
        ("m.csv", "a\r\n1\r\n", "a\n1\n", SAME, "only line ends differ"),
        ("m.csv", 'a\n"x\r\ny"\n', 'a\n"x\ny"\n', SAME, "only line ends differ"),
        ("m.csv", "a\r\n1\r\n", "a\n1.0\n", SAME, "form differs: line ends, number form"),
        ("t.py", "# 한글\n".encode("cp949"), "# 한글\r\n".encode("cp949"), SAME, "only line ends differ"),
        ("t.txt", "a\n".encode("utf-16"), "a\r\n".encode("utf-16"), SAME, "only line ends differ"),
        ("t.bin", b"\0\r\n", b"\0\n", DIFFERENT, "byte 1"),
        ("m.yaml", "a: 0.5\nb: yes\n", "a: .50\nb: 'yes'\n", DIFFERENT, "b: recorded yes, found yes"),
        ("m.yaml", "a: 1e-3\n", "a: 0.001\n", SAME, "the values are equal"),
        ("m.yaml", "a: .nan\n", "a: .NaN\n", SAME, "the values are equal"),
        ("m.yaml", "a: 007\n", "a: 7\n", DIFFERENT, "a: recorded 007, found 7"),
        ("m.csv", "id\n007\n", "id\n7\n", DIFFERENT, "line 2, id: recorded 007, found 7"),
        ("m.csv", "id\n9007199254740993\n", "id\n9007199254740992\n", DIFFERENT, "off by 1 (tolerance 0)"),
        ("m.json", '{"rows": 12345678}', '{"rows": 12345679}', DIFFERENT, "off by 1 (tolerance 0)"),
        ("m.json", '{"loss": 0.5}', '{"loss": 0.5000001}', WITHIN, "off by 1e-07"),
        ("m.json", '{"a": true}', '{"a": 1}', DIFFERENT, "a: recorded True, found 1"),
        ("m.json", '{"a": "1"}', '{"a": 1}', DIFFERENT, "a: recorded 1, found 1"),
        ("m.json", '{"a": 1, "a": 2}', '{"a": 3, "a": 2}', DIFFERENT, "a: recorded 1, found 3"),
        ("m.json", '{"a": 1, "a": 2}', '{"a": 1, "a": 3}', DIFFERENT, "a (again): recorded 2, found 3"),
        ("m.yaml", "a: 1\na: 2\n", "a: 3\na: 2\n", DIFFERENT, "a: recorded 1, found 3"),
        ("m.json", '{"a.b": 1}', '{"a": {"b": 1}}', DIFFERENT, "a.b: recorded 1, found nothing"),
        ("m.json", '{"a": {"0": 1}}', '{"a": [1]}', DIFFERENT, "a.0: recorded 1, found nothing"),
        ("m.json", '{"a": {}}', '{"a": []}', DIFFERENT, "a: recorded"),
        ("m.csv", "0,0\n1,2\n", "0,0\n9,2\n", DIFFERENT, "line 2, column 1: recorded 1, found 9"),
        ("m.csv", "a,2019\n1,2\n", "a,2020\n1,2\n", DIFFERENT, "line 1, column 2: recorded 2019, found 2020"),
        ("m.csv", "a\n\n1\n", "a\n1\n", DIFFERENT, "line 2"),
        ("m.csv", "a,b\n1,2\n3,4\n", "a,b\n3,4\n1,2\n", DIFFERENT, "the same rows in another order"),
    ],
)
def test_a_verdict_by_default_claims_no_more_than_the_values_show(name, was, now, verdict, line):
    sides = (side if isinstance(side, bytes) else side.encode() for side in (was, now))
    actual, lines = compare(name, *sides, CheckSettings())
    assert actual == verdict
    assert any(line in one for one in lines), lines


ALIASES = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("name", "was", "now"),
    [
        ("m.json", '{"a": 1e400}', '{"a": 1e500}'),
        ("m.json", '{"a": 1e999999999}', '{"a": 2e999999999}'),
        ("m.json", '{"a": 1e99999999999999999999}', '{"a": 1}'),
        ("m.json", '{"a": %s1}' % ("9" * 100_000), '{"a": %s2}' % ("9" * 100_000)),
        ("m.json", "[" * 100_000, "[" * 100_001),
        ("m.yaml", "[" * 100_000, "[" * 100_001),
        ("m.yaml", "- " * 100_000, "- " * 100_001),
        ("m.yaml", ALIASES + "b: 1\n", ALIASES + "b: 2\n"),
        ("m.yaml", "&a [*a, 1]", "&a [*a, 2]"),
        ("m.yaml", "a: 1" + ":59" * 100_000, "a: 1" + ":59" * 100_001),
        ("m.csv", "a\nsNaN\n", "a\n1\n"),
        ("m.csv", "a\n" + "1" * 200_000, "a\n" + "2" * 200_000),
    ],
)
def test_numbers_of_any_size_and_aliases_of_any_depth_end_in_a_verdict(name, was, now):
    for settings in (CheckSettings(), LOOSE):
        verdict, lines = compare(name, was.encode(), now.encode(), settings)
        assert verdict == DIFFERENT
        assert all(len(line) < 1000 for line in lines)


def test_an_archive_that_cannot_be_read_or_unpacks_to_more_than_the_memory_is_different():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy(np.zeros(2**25, "f4")))
    bomb, lie = file.getvalue(), npy(ONES).replace(b"(2, 3)", b"(2, 3" + b"0" * 9 + b")")
    encrypted = bytearray(npz(a=ONES))
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1  # flag of the member
    for broken in (bomb, lie, bytes(encrypted), b"\x89HDF\r\n\x1a\n" + bytes(99), npz(a=ONES)[:-9]):
        verdict, (line,) = compare("model.bin", npz(a=ONES), broken, EXACT)
        assert (verdict, "bytes, " in line) == (DIFFERENT, True)


EXACT = CheckSettings({"*": 0})
LOOSE = CheckSettings({"digest": "any", "parameters": 0, "list.z": 0.5, "*": 0.01})


@pytest.mark.parametrize(
    ("name", "was", "now", "verdict", "line"),
    [
        (
            "m.json",
            '{"a": 1, "b": 2}',
            '{"b": 2,\n"a": 1}',
            SAME,
            "the values are equal, their form differs: key order",
        ),
        ("m.json", '{"a": 1.0}', '{"a": 1.01}', WITHIN, "a: recorded 1.0, found 1.01, off by 0.01 (tolerance 0.01)"),
        ("m.json", '{"a": 1.0}', '{"a": 1.011}', DIFFERENT, "a: recorded 1.0, found 1.011, off by 0.011"),
        ("m.json", '{"a": 1.0}', '{"a": "1.0"}', DIFFERENT, "a: recorded 1.0, found 1.0"),
        ("m.json", '{"a": 1.0}', "{}", DIFFERENT, "a: recorded 1.0, found nothing"),
        ("m.json", '{"a": NaN}', '{"a": NaN, "b": NaN}', DIFFERENT, "b: recorded nothing, found nan"),
        ("m.json", '{"a": NaN}', '{"a": 1}', DIFFERENT, "a: recorded nan, found 1"),
        ("m.json", '{"a": true}', '{"a": 1.001}', DIFFERENT, "a: recorded True, found 1.001"),
        ("m.json", '{"parameters": 39053}', '{"parameters": 39054}', DIFFERENT, "parameters: recorded 39053"),
        ("m.json", '{"digest": "ab"}', '{"digest": "cd"}', WITHIN, "digest: recorded ab, found cd"),
        ("m.json", '{"a": [{"b": 1}]}', '{"a": [{"b": 1.001}]}', WITHIN, "a.0.b: recorded 1, found 1.001"),
        ("m.json", '{"a": []}', '{"a": [1]}', DIFFERENT, "a: recorded [], found nothing"),
        ("m.json", "{", '{"a": 1}', DIFFERENT, "line 1: recorded '{', found"),
        ("m.yaml", "a: {b: 1.0}\n", "a: {b: 1.001}\n", WITHIN, "a.b: recorded 1.0, found 1.001"),
        ("p.csv", "x,y\n1,2\n3,4\n", "x,y\n1,2.001\n3,4.005\n", WITHIN, "line 3, y: recorded 4, found 4.005, off by"),
        ("p.csv", "x,y\n1,2\n", "x,y\n1,2\n3,4\n", DIFFERENT, "line 3, x: recorded nothing, found 3"),
        ("p.csv", "x,y\n1,2\n", "x,z\n1,2\n", DIFFERENT, "line 1, column 2: recorded y, found z"),
        ("p.csv", "x,y\n1,2,3,4\n", "x,y\n1,2,9,4\n", DIFFERENT, "line 2, column 3: recorded 3, found 9"),
        ("p.csv", "x,x\n1,2\n", "x,x\n9,2\n", DIFFERENT, "line 2, column 1: recorded 1, found 9"),
        ("m.json", '{"a": 1.0, "b": 1.0}', '{"a": 2.0, "b": 1.001}', DIFFERENT, "b: recorded 1.0, found 1.001"),
        ("m.json", '{"list": [0, {"z": 1}]}', '{"list": [0, {"z": 1.4}]}', WITHIN, "list.1.z: recorded 1, found 1.4"),
        ("m.yml", "a: 1.0\n", "a: 1.001\n", WITHIN, "a: recorded 1.0, found 1.001"),
        ("p.tsv", "x\ty\n1\ta\n", "x\ty\n1.01\ta\n", WITHIN, "line 2, x: recorded 1, found 1.01"),
        ("t.txt", "a\nb\n", "a\nc\n", DIFFERENT, "line 2: recorded 'b', found 'c'"),
        ("t.txt", "a\r\n", "a\n", SAME, "only line ends differ"),
    ],
)
def test_files_are_compared_as_what_they_hold(name, was, now, verdict, line):
    actual, lines = compare(name, was.encode(), now.encode(), LOOSE)
    assert actual == verdict
    if line is not None:
        assert any(one.startswith(line) for one in lines), lines


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


ONES = np.ones((2, 3), "f4")
APART = ONES.copy()
APART[1, 0], APART[1, 2] = np.nextafter(np.float32(1), np.float32(2)), 5


@pytest.mark.parametrize(
    ("was", "now", "line"),
    [
        (npy(ONES), npy(APART), "the array[1, 0]: recorded 1.0, found 1.0000001; 2 of its 6 numbers differ"),
        (npy(ONES[0]), npy(-ONES[0]), "the array[0]: recorded 1.0, found -1.0; 3 of its 3 numbers differ"),
        (npy(np.float32(0)), npy(np.float32(-0.0)), "the array: recorded 0.0, found -0.0; 1 of its 1 numbers differ"),
        (npy(ONES), npy(ONES.T), "the array: recorded float32 [2, 3], found float32 [3, 2]"),
        (npy(ONES), npy(ONES.astype("f8")), "the array: recorded float32 [2, 3], found float64 [2, 3]"),
        (npz(a=ONES, b=ONES, c=ONES), npz(a=ONES, b=APART, c=-ONES),
         "b[1, 0]: recorded 1.0, found 1.0000001; 2 of its 6 numbers differ; 1 more arrays differ"),
        (npz(a=ONES), npz(a=ONES, b=ONES), "b: only the rerun has it"),
        (npy(np.full(2, np.nan)), npy(np.array([np.nan, 1])), "the array[1]: recorded nan, found 1.0; 1 of its 2"),
        (npy(ONES)[:-1], npy(ONES), "151 and 152 bytes, one is the beginning of the other"),
        (b"PK\x03\x04\xff", b"PK\x03\x04\xfe", "5 and 5 bytes, byte 4 is the first that differs"),
    ],
)  # fmt: skip
def test_the_first_array_and_index_that_differ_are_named(was, now, line):
    verdict, (text,) = compare("model.bin", was, now, EXACT)
    assert verdict == DIFFERENT
    assert text.startswith(line)


@pytest.mark.parametrize(
    ("was", "now", "line"),
    [
        ("epoch,digest\n1,a\n2,b\n3,c\n", "epoch,digest\n1,a\n2,x\n3,y\n", "line 3, epoch 2, is the first row that"),
        ("day,x,y\nMo,1,2\nTu,3,4\n", "day,x,y\nMo,1,2\nTu,3,5\n", "line 3, day Tu, is the first row that differs"),
    ],
)
def test_the_first_row_of_a_table_that_differs_is_named(was, now, line):
    _, lines = compare("p.csv", was.encode(), now.encode(), LOOSE)
    assert lines[0].startswith(line)


def test_cells_that_are_shown_alike_because_they_are_cut_are_no_other_order_of_rows():
    sides = (f"a\n{'x' * 300}{last}\n".encode() for last in "12")
    verdict, lines = compare("p.csv", *sides, EXACT)
    assert (verdict, [line.partition(":")[0] for line in lines]) == (DIFFERENT, ["line 2, a"])


def test_a_column_is_reported_by_its_largest_difference():
    _, (line,) = compare("p.csv", b"x\n1\n2\n3\n", b"x\n1.1\n2.5\n3.2\n", EXACT)
    assert line == "line 3, x: recorded 2, found 2.5, off by 0.5 (tolerance 0); 2 more of this key"


def test_the_default_tolerance_is_for_last_digits_and_otherwise_the_first_pattern_that_matches_counts():
    assert compare("m.json", b'{"a": 0.5}', b'{"a": 0.5000004}', CheckSettings())[0] == WITHIN
    assert compare("m.json", b'{"a": 0.5}', b'{"a": 0.5000006}', CheckSettings())[0] == DIFFERENT
    tenth = CheckSettings({"a": "10%"})  # of 0.3, which is 0.02999... in binary
    assert compare("m.json", b'{"a": 0.3}', b'{"a": 0.33}', tenth)[0] == WITHIN
    assert compare("m.json", b'{"a": 0.3}', b'{"a": 0.330001}', tenth)[0] == DIFFERENT
    assert CheckSettings({"*": 0, "loss": 1}).tolerated("loss", 5.0) == 0
    assert CheckSettings({"loss": 1}).tolerated("gain", 5.0) == 0


def stages(**values) -> dict[str, Stage]:
    return {
        "a": Stage({"cmd": "a", **values}, ["i"], {"d": Output("1")}),
        "b": Stage({"cmd": "b"}, ["d/x"], {"o": Output("1")}),
        "c": Stage({"cmd": "c"}, ["j"], {"z": Output("1")}),
    }


def test_a_stage_that_reads_from_a_stale_stage_has_other_inputs():
    assert stale(stages(), stages(seed=2)) == {"a": ["seed: recorded None, found 2"]}
    assert downstream({"a"}, stages()) == {"a", "b"}
    assert {row.verdict for row in compare_runs(stages(), stages(seed=2), EXACT)} == {IDENTICAL}
    others = stages(seed=2)
    others["b"].outputs["o"] = others["c"].outputs["z"] = Output("2", {})
    rows = {row.stage: row for row in compare_runs(stages(), others, CheckSettings(free=("*",)))}
    assert {name: row.verdict for name, row in rows.items()} == {"a": IDENTICAL, "b": DIFFERENT, "c": WITHIN}
    assert rows["b"].differences[-1] == "it was made from other inputs: nothing may differ"


def test_equal_values_in_another_form_are_different_if_they_were_made_from_other_inputs(tmp_path):
    write(tmp_path, "was", '{"a": 0.5}')
    write(tmp_path, "now", '{"a": 0.50}')
    for values, verdict in (({}, SAME), ({"seed": 2}, DIFFERENT)):
        was, now = stages(), stages(**values)
        was["b"].outputs = {"o.json": Output("1", {"": tmp_path / "was"})}
        now["b"].outputs = {"o.json": Output("2", {"": tmp_path / "now"})}
        assert {row.verdict for row in compare_runs(was, now, EXACT) if row.output == "o.json"} == {verdict}


def test_an_input_that_only_one_side_has_is_stale():
    assert stale(stages(seed=2), stages()) == {"a": ["seed: recorded 2, found None"]}
    new = stale({}, stages())
    assert new["b"] == ["cmd: recorded None, found b"]


def test_a_stage_that_reads_a_folder_depends_on_the_results_in_the_folder():
    made = {"a": Stage(outputs={"d/x": Output("1")}), "b": Stage(reads=["d"]), "c": Stage(reads=["d/xy"])}
    assert downstream({"a"}, made) == {"a", "b"}
    assert downstream({"gone"}, made) == {"gone"}


def test_each_output_of_either_side_has_a_row_and_one_that_did_not_run_has_no_digest(tmp_path):
    write(tmp_path, "x", "1")
    was, now = stages(), stages()
    was["a"].outputs["gone"] = Output("1")
    now["a"].outputs["d"].files = {"x": tmp_path / "x"}
    now["a"].outputs["new"] = Output("1")
    now["c"].reruns, now["c"].outputs["z"].files = False, {"": tmp_path / "x"}
    rows = {row.output: (row.stage, row.verdict, row.files) for row in compare_runs(was, now, EXACT)}
    assert rows == {
        "d": ("a", IDENTICAL, {"x": hashlib.sha256(b"1").hexdigest()}),
        "gone": ("a", DIFFERENT, {}), "new": ("a", DIFFERENT, {}),
        "o": ("b", IDENTICAL, {}), "z": ("c", "not rerun", {}),
    }  # fmt: skip


def test_a_file_that_one_side_lacks_is_different_and_the_worst_file_is_the_verdict(tmp_path):
    for name, text in {"1": "1", "2": "1.005", "3": "2"}.items():
        write(tmp_path, f"{name}.json", text)
    one, near, far = (tmp_path / f"{name}.json" for name in "123")
    assert compare_files({"a.json": one}, {"a.json": one}, LOOSE, "d") == (IDENTICAL, [])
    assert compare_files({"a.json": one, "b": one}, {"a.json": one}, LOOSE, "d") == (
        DIFFERENT, ["b: only the revision has it"],
    )  # fmt: skip
    assert compare_files({}, {"": one}, LOOSE, "d") == (DIFFERENT, ["only the rerun has it"])
    sides = {"a.json": one, "b.json": one, "c.json": one}, {"a.json": far, "b.json": near, "c.json": one}
    assert compare_files(*sides, LOOSE, "d")[0] == DIFFERENT
    assert compare_files({"": one}, {"": near}, LOOSE, "d/m.json") == (
        WITHIN, [": recorded 1, found 1.005, off by 0.005 (tolerance 0.01)"],
    )  # fmt: skip


def test_files_too_large_for_memory_are_compared_by_their_bytes_and_not_by_their_size_and_time(tmp_path, monkeypatch):
    monkeypatch.setattr("checks.verify.LARGE", 2)
    for name, text in {"was": "0.5", "same": "0.5", "other": "0.6"}.items():
        write(tmp_path, name, text)
        os.utime(tmp_path / name, (1, 1))
    was, same, other = ({"m.json": tmp_path / name} for name in ("was", "same", "other"))
    assert compare_files(was, same, LOOSE, "d") == (IDENTICAL, [])
    assert compare_files(was, other, LOOSE, "d") == (
        DIFFERENT, ["m.json: 3 and 3 bytes, too many to compare values"],
    )  # fmt: skip


def test_a_verdict_is_by_bytes_even_where_bytes_are_free(tmp_path):
    files = [{"": tmp_path / name} for name in ("was", "now")]
    for (path,) in (side.values() for side in files):
        write(tmp_path, path.name, path.name)
    free, was, now = CheckSettings(free=("d/*",)), Output("1", files[0]), Output("2", files[1])
    lines = ["line 1: recorded 'was', found 'now'", "checks.yaml lets its bytes differ"]
    assert compare_output("d/o", was, Output("1", files[1]), free) == (IDENTICAL, [])
    assert compare_output("d/o", was, now, free) == (WITHIN, lines)
    assert compare_output("o", was, now, free)[0] == DIFFERENT
    edited = Output("1", files[0], edited=True)
    for other in (Output("1", files[0]), now):
        for sides in ((edited, other), (other, edited)):
            verdict, (first, *_) = compare_output("d/o", *sides, free)
            assert (verdict, first) == (DIFFERENT, "the file is not the one that the lock records")
    assert compare_output("o", was, Output("2"), EXACT) == (
        NOT_PROVED,
        ["recorded 1, found 2; the recorded file is not here"],
    )


def test_an_output_that_a_side_lacks_is_different():
    assert compare_output("o", None, Output("1"), EXACT) == (DIFFERENT, ["no lock records it"])
    assert compare_output("o", Output("1"), None, EXACT) == (DIFFERENT, ["the rerun does not make it"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tolerances: {}", "checks.yaml: tolerances: extra keys not allowed; the settings are tolerance, free"),
        ("tolerance: {a: -1}", "checks.yaml: tolerance.a: expected a number >= 0"),
        ("tolerance: {a: some}", "checks.yaml: tolerance.a: "),
        ("free: x", "checks.yaml: free: expected a list"),
        ("free: [", "checks.yaml: expected YAML, got "),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path, text, expected):
    write(tmp_path, "checks.yaml", text)
    with pytest.raises(InputError) as error:
        read_settings(tmp_path)
    assert str(error.value).startswith(expected)
    assert len(str(error.value).splitlines()) == 1


def test_this_repositorys_settings_give_a_new_metric_the_default_tolerance():
    settings = read_settings(ROOT)
    assert settings.tolerated("calibration_error", 0.5) == settings.tolerance["*"] > 0


PLAIN = "stages: {s: {cmd: cat raw.csv > o, deps: [raw.csv], outs: [o: {cache: false}]}}\n"


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A project of one stage that reads a file that DVC tracks."""
    folder = create(tmp_path_factory.mktemp("plain"), {"raw.csv": "1\n", "dvc.yaml": PLAIN}, ("raw.csv",))
    repro(folder)
    return folder


@pytest.mark.parametrize("name", ["C#, a", "100% %(x)s", "$HOME 'q'\udcff"])
def test_a_folder_may_have_any_name(plain, tmp_path, name):
    folder = Path(shutil.copytree(plain, tmp_path / name / "p", symlinks=True))
    code, _, errors = verify(folder)
    assert code == 0, errors


@pytest.mark.parametrize(
    "settings",
    [
        "[protocol.file]\n    allow = never\n",
        "[protocol]\n    allow = never\n",
        "[init]\n    defaultObjectFormat = sha256\n    defaultRefFormat = reftable\n",
        "[init]\n    templateDir = {home}/template\n",
    ],
)
def test_no_setting_of_the_users_git_stops_a_rerun(plain, tmp_path, settings):
    write(tmp_path, "template/hooks/post-checkout", "#!/bin/sh\nexit 1\n")
    (tmp_path / "template/hooks/post-checkout").chmod(0o755)
    write(tmp_path, ".gitconfig", settings.format(home=tmp_path))
    code, _, errors = verify(plain, HOME=str(tmp_path), XDG_CONFIG_HOME=None, GIT_DEFAULT_HASH="sha256")
    assert code == 0, errors


def test_gits_settings_in_the_environment_count(plain):
    variables = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "a.b", "GIT_CONFIG_VALUE_0": "c"}
    with surrounded(**variables, GIT_DIR="nowhere"), inside(plain), checkout() as scratch:
        assert scratch.git("config", "a.b") == "c"
        assert scratch.environment["GIT_CONFIG_COUNT"] == "1"
        assert "GIT_DIR" not in scratch.environment


def test_a_partial_clone_is_rerun_with_what_its_origin_has(plain, tmp_path):
    write(plain, ".git/config", (plain / ".git/config").read_text() + "[uploadpack]\n    allowFilter = true\n")
    folder = clone(plain, tmp_path / "clone", "--filter=blob:none", "--no-checkout")
    git(folder, "reset", "--quiet")
    for name in (".dvc/config", ".dvc/.gitignore"):
        git(folder, "checkout", "--", name)
    shutil.copytree(plain / ".dvc/cache", folder / ".dvc/cache")
    assert "?" in git(folder, "rev-list", "--objects", "--missing=print", "HEAD")
    code, _, errors = verify(folder)
    assert code == 0, errors


def test_the_code_of_a_submodule_is_checked_out(plain, tmp_path):
    library = tmp_path / "library"
    write(library, "code.py", "print(1)\n")
    git(library, "init", "--quiet")
    commit(library)
    stage = "stages: {s: {cmd: python lib/code.py > o, deps: [lib/code.py], outs: [o: {cache: false}]}}\n"
    folder = create(tmp_path / "made", {"dvc.yaml": stage})
    git(folder, "submodule", "--quiet", "add", str(library), "lib")
    repro(folder)
    code, _, errors = verify(folder)
    assert code == 0, errors
    git(library, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(plain), "inner")
    commit(library)
    git(folder / "lib", "pull", "--quiet")
    git(folder / "lib", "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
    write(folder, "dvc.yaml", stage.replace("[lib/code.py]", "[lib/code.py, lib/inner/.dvcignore]"))
    repro(folder)
    code, _, errors = verify(folder)
    assert code == 0, errors
    git(folder, "submodule", "--quiet", "deinit", "--force", "lib")
    code, _, errors = verify(folder)
    assert (code, "note: without the submodule lib: " in errors) == (3, True)


def test_a_variable_that_a_stage_needs_is_declared_or_an_error_names_it_as_withheld(tmp_path):
    stage = "stages: {s: {cmd: python -m app > o, deps: [lib/app.py], outs: [o: {cache: false}]}}\n"
    folder = create(tmp_path / "made", {"dvc.yaml": stage, "lib/app.py": "print(1)\n"})
    repro(folder, PYTHONPATH="lib")
    code, _, errors = verify(folder, PYTHONPATH="lib")
    assert code == 3
    last = errors.splitlines()[-1]
    assert last.endswith(
        "its own error is above. It did not get PYTHONPATH: try `--env PYTHONPATH`, "
        "or name it under `environment` in checks.yaml"
    )
    write(folder, "lib/app.py", "print(2)\n")  # in the user's folder, to which the absolute path below leads
    code, _, errors = verify(folder, "--env", "PYTHONPATH", PYTHONPATH=str(folder / "lib"))
    assert code == 0, errors
    write(folder, "checks.yaml", "environment: [PYTHONPATH]\n")
    code, _, errors = verify(folder, PYTHONPATH="lib")
    assert code == 0, errors


def test_outputs_that_git_keeps_and_dvc_caches_are_run_again_and_compared(tmp_path):
    make = "import os; os.mkdir('d'); n = os.environ['N']; open('o.json', 'w').write(n); open('d/x', 'w').write(n)"
    pipeline = "stages: {s: {cmd: python code.py, deps: [code.py], outs: [o.json, d]}}\n"
    folder = create(tmp_path / "made", {"dvc.yaml": pipeline, "code.py": make})
    repro(folder, N="0.5")
    git(folder, "add", "--force", "o.json", "d")
    commit(folder)
    copy = clone(folder, tmp_path / "clone")
    code, output, errors = verify(copy, "--json", N="0.5")
    assert (code, verdicts(json.loads(output))) == (0, {"d": IDENTICAL, "o.json": IDENTICAL}), errors
    code, output, errors = verify(copy, "--json", N="0.50")  # no cache has the recorded files
    assert (code, verdicts(json.loads(output))) == (2, {"d": DIFFERENT, "o.json": SAME}), errors
    assert git(copy, "status", "--porcelain") == ""
    write(copy, "o.json", "0.7")  # the recorded file is gone
    commit(copy)
    code, output, errors = verify(copy, "--json", N="0.50")
    assert (code, verdicts(json.loads(output))["o.json"]) == (2, NOT_PROVED), errors


@pytest.mark.parametrize(
    ("stage", "named"),
    [
        ("import absent_module", []),  # no folder of PYTHONPATH has it
        ("import lib_module", ["PYTHONPATH"]),
        ("from lib_folder import it", ["PYTHONPATH"]),
        ("import os; os.environ['DVC_SECRET']", ["DVC_SECRET"]),
        ("raise SystemExit('lib_module')", []),
    ],
)
def test_a_failed_stage_shows_its_own_error_and_a_withheld_variable_only_if_that_can_be_the_reason(
    tmp_path, stage, named
):
    pipeline = "stages: {s: {cmd: python code.py, deps: [code.py], outs: [o: {cache: false}]}}\n"
    folder = create(tmp_path / "made", {"dvc.yaml": pipeline, "code.py": "open('o', 'w')\n"})
    repro(folder)
    write(folder, "code.py", f"{stage}\n")
    commit(folder)
    write(tmp_path, "lib/lib_module.py", "")
    write(tmp_path, "lib/lib_folder/it.py", "")
    code, _, errors = verify(folder, PYTHONPATH=str(tmp_path / "lib"), DVC_SECRET="a", DVC_OTHER="b")
    last = errors.splitlines()[-1]
    assert (code, "failed; its own error is above" in last) == (3, True)
    assert re.findall(r"--env (\w+)", last) == named
    assert ("lib_module" if "SystemExit" in stage else "Error: ") in errors


def test_a_stage_is_named_as_the_gate_prints_it_in_any_folder(tmp_path):
    each = "stages: {s: {foreach: [1, 2], do: {cmd: 'echo ${item} > o${item}', outs: ['o${item}': {cache: false}]}}}\n"
    git(tmp_path, "init", "--quiet")
    folder = create(tmp_path / "p", {"a/dvc.yaml": each}, subdir=True)
    repro(folder)
    for start_folder, target, made in (
        (folder / "a", "s@1", ["a/o1"]), (folder, "a/dvc.yaml:s@2", ["a/o2"]),
        (tmp_path, "p/a/dvc.yaml:s@1", ["a/o1"]), (folder / "a", "s", ["a/o1", "a/o2"]),
    ):  # fmt: skip
        code, output, errors = verify(start_folder, "--json", target)
        assert code == 0, errors
        assert list(verdicts(json.loads(output))) == made


def test_a_remote_of_an_unknown_scheme_and_a_dataset_stop_no_rerun(tmp_path):
    git(tmp_path, "init", "--quiet", "data")
    write(tmp_path, "data/d", "1\n")
    first = commit(tmp_path / "data")
    stage = f"""\
datasets: [{{name: d, type: dvc, url: {tmp_path}/data, path: d}}]
stages: {{s: {{cmd: echo 1 > o, deps: ["ds://d"], outs: [o: {{cache: false}}]}}}}
"""
    folder = create(tmp_path / "made", {"dvc.yaml": stage})
    with surrounded(), inside(folder), Repo() as repo:
        repo.datasets.update("d")
    repro(folder)
    write(folder, ".dvc/config", "[core]\n    remote = c\n['remote \"c\"']\n    url = ck://x/y\n")
    commit(folder)
    code, _, errors = verify(folder)
    assert code == 0, errors
    write(tmp_path, "data/d", "2\n")
    second = commit(tmp_path / "data")
    write(folder, "dvc.lock", (folder / "dvc.lock").read_text().replace(first, second, 1))
    commit(folder)
    code, output, errors = verify(folder)
    assert code == 0, errors
    assert "stale: s: ds://d: recorded " in output


def test_an_output_that_is_in_git_before_its_stage_runs_is_not_taken_for_its_result(tmp_path):
    stage = "stages: {s: {cmd: sh run.sh, deps: [run.sh], metrics: [m.json: {cache: false, persist: true}]}}\n"
    script = "[ -e m.json ] || echo 0.8 > m.json\n"
    folder = create(tmp_path / "made", {"dvc.yaml": stage, "run.sh": script, "m.json": "0.99\n"})
    repro(folder)
    code, output, errors = verify(folder)
    assert code == 2, errors
    assert "recorded 0.99, found 0.8" in output


def test_a_device_that_a_stage_makes_ends_the_rerun(tmp_path, capfd):
    stage = "stages: {s: {cmd: mkdir o && %s o/x, outs: [o]}}\n"
    folder = create(tmp_path / "made", {"dvc.yaml": stage % "echo >"})
    repro(folder)
    write(folder, "dvc.yaml", stage % "ln -s /dev/zero")
    commit(folder)
    code, output, errors = verify(folder)
    assert (code, output) == (3, "")
    assert "expected a file, got a device or a pipe" in capfd.readouterr().err  # DVC's own
    assert errors.splitlines()[-1].startswith("error: `dvc repro")


def test_equal_values_in_another_form_are_accepted_where_the_settings_say_so(tmp_path):
    script = "import os; open('m.json', 'w').write(os.environ.get('FORM', '0.5'))\n"
    stage = "stages: {s: {cmd: python s.py, deps: [s.py], metrics: [m.json: {cache: false}]}}\n"
    folder = create(tmp_path / "made", {"dvc.yaml": stage, "s.py": script})
    repro(folder)
    assert verify(folder, FORM="0.50")[0] == 1
    write(folder, "checks.yaml", "accept_same_values: true\n")
    code, output, _ = verify(folder, FORM="0.50")
    assert (code, "same values" in output) == (0, True)
    code, output, _ = verify(folder, FORM="0.50000001")
    assert (code, "within tolerance" in output) == (1, True)


def test_line_ends_of_another_system_are_a_separate_kind_even_without_the_recorded_file(tmp_path):
    stage = "stages: {s: {cmd: python s.py, deps: [s.py], outs: [t.csv, d, n.csv]}}\n"
    script = (
        "import os; end = os.environ.get('END', '\\r\\n'); last = os.environ.get('LAST', '1'); os.mkdir('d')\n"
        "for name in ('t.csv', 'd/a.csv', 'n.csv'):\n"
        "    open(name, 'w', newline=end).write('a\\n' + (last if name == 'n.csv' else '1') + '\\n')\n"
    )
    folder = create(tmp_path / "made", {"dvc.yaml": stage, "s.py": script.replace("\n", "\r\n")})
    repro(folder)
    shutil.rmtree(folder / ".dvc/cache")
    (folder / "s.py").write_bytes(script.encode())
    commit(folder)
    code, output, errors = verify(folder, "--json", END="\n", LAST="2")
    assert code == 2, errors
    report = json.loads(output)
    assert verdicts(report) == {"t.csv": SAME, "d": SAME, "n.csv": NOT_PROVED}
    assert (report["stale"], [*report["line_ends"]], report["stages"]) == ({}, ["s"], [])
    _, output, _ = verify(folder, END="\n")
    assert "line ends: s: s.py: recorded " in output
    assert "* text=auto eol=lf" in output


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="needs git-lfs")
def test_files_of_git_lfs_are_checked_out_whatever_the_user_skips(tmp_path):
    stage = "stages: {s: {cmd: cp big o, deps: [big], outs: [o: {cache: false}]}}\n"
    folder = create(tmp_path / "made", {"dvc.yaml": stage, ".gitattributes": "big filter=lfs -text\n", "big": "1\n"})
    git(folder, "lfs", "install", "--local", "--skip-smudge")
    repro(folder)
    assert "oid sha256" in git(folder, "show", "HEAD:big")
    code, _, errors = verify(folder, GIT_LFS_SKIP_SMUDGE="1")
    assert code == 0, errors
