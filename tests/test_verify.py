"""A result is proved by running it again, apart from everything that could lend it one, and by comparing every byte."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from checks.runs import Output, Stage
from checks.settings import Settings, read_settings
from checks.shell import InputError
from checks.values import DIFFERENT, IDENTICAL, WITHIN, compare
from checks.verify import compare_runs, downstream, judge, stale
from tests.conftest import ROOT
from tests.repositories import ENVIRONMENT, clone, commit, create, git, repro, write

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


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [sys.executable, "-m", "checks.verify", *arguments],
        cwd=folder, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT), "PATH": path} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def verify(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    process = start(folder, *arguments, **environment)
    output, errors = process.communicate()
    return process.returncode, output, errors


def verdicts(output: str) -> dict[str, str]:
    return {row["output"]: row["verdict"] for row in json.loads(output)["results"]}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = create(tmp_path_factory.mktemp("project"), FILES, track=("raw.csv",))
    repro(folder)
    return folder


@pytest.fixture
def copy(project, tmp_path) -> Path:
    """With the cache, so that it can be edited."""
    return Path(shutil.copytree(project, tmp_path / "copy", symlinks=True))


def test_a_true_result_is_identical_without_any_cache_and_the_users_tree_stays_as_it_is(copy, tmp_path):
    write(copy, "params.yaml", "unfinished work")
    write(copy, "new", "staged")
    git(copy, "add", "new")
    shared, scratch = tmp_path / "shared", tmp_path / "scratch"
    write(shared, "config", f"[cache]\n    dir = {copy}/.dvc/cache\n")  # which holds every result
    scratch.mkdir()
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    code, output, errors = verify(copy, "--json", DVC_GLOBAL_CONFIG_DIR=str(shared), TMPDIR=str(scratch))
    assert code == 0, errors
    after = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    state = (copy / ".dvc/tmp",)
    assert {p: b for p, b in after.items() if not p.is_relative_to(state[0])} == {
        p: b for p, b in before.items() if not p.is_relative_to(state[0])
    }
    assert set(verdicts(output).values()) == {IDENTICAL}
    assert set(verdicts(output)) == {"data.csv", "model.bin", "m.json", "plots"}
    assert (json.loads(output)["stale"], json.loads(output)["target"]) == ({}, "every pipeline")
    assert [line.split("'")[1] for line in errors.splitlines() if line.startswith("Running stage")] == [
        "clean",
        "score",
    ]
    assert list(scratch.iterdir()) == []


def test_numbers_within_their_tolerance_are_tolerated_and_shown_with_the_largest_difference(project):
    code, output, errors = verify(project, SHIFT="0.005")
    assert code == 2, errors  # m.json: at.k has no tolerance
    assert "loss: recorded 0.5, found 0.505, off by 0.005 (tolerance 0.01)" in output
    assert "at.k.1: recorded 2.0, found 2.005, off by 0.005 (tolerance 0)" in output
    assert "loss.csv: line 3, loss: recorded 0.5, found 0.505, off by 0.005 (tolerance 0.01)" in output


def test_each_output_has_a_verdict_of_its_own(copy):
    write(copy, "checks.yaml", 'tolerance: {loss: 0.01, "at.*": "1%"}\nfree: ["*.bin"]\n')
    code, output, errors = verify(copy, "--json", SHIFT="0.005")
    assert code == 1, errors
    assert verdicts(output) == {"data.csv": IDENTICAL, "model.bin": WITHIN, "m.json": WITHIN, "plots": WITHIN}
    code, output, errors = verify(copy, "--json", SHIFT="0.011")
    assert code == 2, errors
    assert verdicts(output) == {"data.csv": IDENTICAL, "model.bin": WITHIN, "m.json": DIFFERENT, "plots": DIFFERENT}


def test_what_a_stage_promises_by_its_params_is_shown_with_its_verdict(copy):
    write(copy, "params.yaml", "seed: 1\nengine: fast\n")
    write(
        copy, "dvc.yaml", PIPELINE.replace("    params: [seed]\n", "    params: [seed]\n    meta: {by: '${engine}'}\n")
    )
    write(copy, "checks.yaml", FILES["checks.yaml"] + "promise: {by: {exact: identical, fast: within tolerance}}\n")
    repro(copy)
    _, output, errors = verify(copy)
    assert "identical (promised: within tolerance)" in output, errors
    lines = [line for line in output.splitlines() if "promised" in line]
    assert [line.split()[0] for line in lines] == ["score"] * 3
    write(copy, "checks.yaml", "promise: {by: {fast: nearly}}\n")
    code, _, errors = verify(copy)
    assert code == 3
    assert "error: checks.yaml: promise.by.fast:" in errors


def test_bytes_that_are_not_free_are_compared_where_the_recorded_ones_are_at_hand(copy, tmp_path):
    write(copy, "checks.yaml", 'tolerance: {"*": 1}\n')
    code, output, errors = verify(copy, SHIFT="0.005")
    assert code == 2, errors
    assert "3 and 3 bytes, byte 2 is the first that differs" in output
    bare = clone(copy, tmp_path / "clone")
    git(bare, "config", "core.autocrlf", "false")
    git(copy, "add", "checks.yaml")
    with (bare / ".dvc/config.local").open("w") as config:  # the raw data alone
        config.write(f"[cache]\n    dir = {tmp_path}/cache\n")
    shutil.copytree(copy / ".dvc/cache", tmp_path / "cache")
    for file in (tmp_path / "cache/files/md5").rglob("*"):
        if file.is_file() and file.read_bytes() == bytes([0, 255, 0]):
            file.unlink()
    write(bare, "checks.yaml", 'tolerance: {"*": 1}\n')
    code, output, errors = verify(bare, SHIFT="0.005")
    assert code == 2, errors
    assert "the recorded file is not here" in output


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


def test_where_two_trainings_part_is_named_by_epoch_and_by_weight(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )  # whose Python has h5py
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
    repro(folder)
    code, output, errors = verify(folder, PART="3")
    assert code == 1, errors
    lines = [line.strip() for line in output.splitlines()]
    assert "line 4, epoch 3, is the first row that differs" in lines
    (weight,) = [line for line in lines if line.startswith("weights.h5/")]
    assert weight == (
        "weights.h5/layers/dense_1/kernel (last)[1, 2]: recorded 10.0, found 10.000001; 2 of its 12 numbers differ"
    )


def test_a_metric_edited_in_its_last_digit_is_different_and_named(copy):
    write(copy, "m.json", (copy / "m.json").read_text().replace("0.5,", "0.5000001,"))
    commit(copy)
    code, output, errors = verify(copy)
    assert code == 2, errors
    assert "Git keeps another than the lock records" in output
    assert "loss: recorded 0.5000001, found 0.5" in output
    assert output.count("different") == 2  # the verdict and this file


def test_other_inputs_forbid_all_tolerance_but_not_the_same_bytes(copy):
    write(copy, "params.yaml", "seed: 2\n")
    commit(copy)
    code, output, errors = verify(copy)
    assert code == 0, errors
    assert "stale: score: params.yaml: seed: recorded 1, found 2" in output
    write(copy, "checks.yaml", 'tolerance: {"*": 1}\nfree: ["*.bin"]\n')
    code, output, errors = verify(copy, "--markdown", SHIFT="0.005")
    assert code == 2, errors
    assert "made from other inputs" in output


def test_a_frozen_stage_is_not_rerun_and_its_data_is_brought(copy):
    write(copy, "dvc.yaml", PIPELINE.replace("    cmd: cp", "    frozen: true\n    cmd: cp"))
    commit(copy)
    code, output, errors = verify(copy, "--json")
    assert code == 0, errors
    assert verdicts(output)["data.csv"] == "not rerun"
    assert "Running stage 'score'" in errors
    assert "Running stage 'clean'" not in errors


def test_a_stage_that_writes_outside_the_repository_is_not_rerun(tmp_path):
    outside = tmp_path / "outside.txt"
    pipeline = f"""\
stages:
  a: {{cmd: echo 1 > {outside}, outs: [{{{outside}: {{cache: false}}}}]}}
  b: {{cmd: cp i o, deps: [i], outs: [o]}}
"""
    folder = create(tmp_path / "made", {"i": "1\n", "dvc.yaml": pipeline})
    repro(folder)
    outside.write_text("another's\n")
    code, output, errors = verify(folder, "--json")
    assert code == 0, errors
    assert verdicts(output) == {str(outside): "not rerun", "o": IDENTICAL}
    assert outside.read_text() == "another's\n"


def test_a_target_runs_with_what_it_depends_on_and_nothing_else(project):
    code, output, errors = verify(project, "--json", "clean")
    assert code == 0, errors
    assert verdicts(output) == {"data.csv": IDENTICAL}


def test_raw_data_comes_from_the_remote_where_the_cache_lacks_it_and_else_it_says_so(copy, tmp_path):
    bare = clone(copy, tmp_path / "clone")
    code, output, errors = verify(bare)
    assert (code, output) == (3, "")
    assert errors.splitlines()[-1].startswith("error: `dvc pull --quiet raw.csv.dvc` of ")
    assert "Traceback" not in errors
    shutil.copytree(copy / ".dvc/cache", tmp_path / "remote")
    write(bare, ".dvc/config.local", f"[core]\n    remote = r\n['remote \"r\"']\n    url = {tmp_path}/remote\n")
    code, output, errors = verify(bare)
    assert code == 0, errors
    assert not (bare / "raw.csv").exists()
    assert not (bare / ".dvc/cache/files").exists()


def test_a_project_in_a_folder_of_a_larger_repository_is_verified(tmp_path):
    git(tmp_path, "init", "--quiet")
    place = tmp_path / "sub/project"
    for name, content in FILES.items():
        write(
            place,
            name,
            content.replace("deps: [raw.csv]", "deps: [../../shared.csv]").replace("cp raw", "cp ../../shared"),
        )
    write(tmp_path, "shared.csv", "1\n")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--subdir"], cwd=place, env=ENVIRONMENT, check=True)
    repro(place)
    commit(tmp_path)
    code, output, errors = verify(place)
    assert code == 0, errors
    assert "m.json" in output


def test_every_pipeline_of_a_repository_is_verified(tmp_path):
    one = "stages: {a: {cmd: cp i o, deps: [i], outs: [{o: {cache: false}}]}}\n"
    files = {"s/i": "1\n", "s/dvc.yaml": one, "t/i": "1\n", "t/dvc.yaml": one}
    folder = create(tmp_path / "made", files)
    repro(folder)
    code, output, errors = verify(folder)
    assert code == 0, errors
    assert "s/dvc.yaml:a  s/o  identical" in output
    assert "t/dvc.yaml:a  t/o  identical" in output


def test_two_recorded_runs_are_compared_without_running_anything(copy):
    before = git(copy, "rev-parse", "HEAD")
    write(copy, "score.py", SCRIPT.replace("0.5 + shift", "0.6 + shift"))
    repro(copy)
    code, output, errors = verify(copy, "--rev", before, "--against", "HEAD")
    assert code == 2, errors
    assert "Running stage" not in errors
    assert "stale: score: score.py: recorded " in output
    assert "loss: recorded 0.5, found 0.6, off by 0.1 (tolerance 0.01)" in output
    code, output, errors = verify(copy, "--against", "HEAD")
    assert code == 0, errors


def test_an_attestation_names_every_file_by_its_digest_and_the_verdict(copy, tmp_path):
    git(copy, "remote", "add", "origin", "https://user:secret@example.org/x.git")
    code, _, errors = verify(copy, "--attest", str(tmp_path / "a.json"))
    assert code == 0, errors
    statement = json.loads((tmp_path / "a.json").read_text())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    digests = {subject["name"]: subject["digest"] for subject in statement["subject"]}
    assert set(digests) == {"commit", "data.csv", "model.bin", "m.json", "plots/loss.csv", "plots/note.txt"}
    assert digests["m.json"]["sha256"] == hashlib.sha256((copy / "m.json").read_bytes()).hexdigest()
    assert digests["commit"]["gitCommit"] == git(copy, "rev-parse", "HEAD")
    predicate = statement["predicate"]
    assert (predicate["verificationResult"], predicate["verifiedLevels"]) == ("PASSED", ["DVC_REPRODUCED_IDENTICALLY"])
    assert predicate["resourceUri"].startswith("https://example.org/x.git@")
    code, _, _ = verify(copy, "--attest", str(tmp_path / "b.json"), SHIFT="0.1")
    assert code == 2
    assert json.loads((tmp_path / "b.json").read_text())["predicate"]["verificationResult"] == "FAILED"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rev", "nowhere"], "error: revision: expected a commit, got 'nowhere'"),
        (["--rev", "-x"], "error: argument --rev: expected one argument"),
        (["--modle"], "error: unrecognized arguments: --modle"),
        (["--against", "HEAD", "clean"], "error: --against: expected it alone"),
        (["no-such-stage"], "error: `dvc repro no-such-stage` of "),
    ],
)
def test_what_cannot_run_says_so_and_has_no_verdict(project, arguments, expected):
    code, output, errors = verify(project, *arguments)
    assert (code, output) == (3, "")
    assert errors.splitlines()[-1].startswith(expected)
    assert "Traceback" not in errors


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


def test_the_repositorys_own_python_runs_it_and_named_paths_stay_what_they_were(copy):
    code = textwrap.dedent("""\
        #!/bin/sh
        echo "the repository's own, $PLACE" >&2
        echo "lent <$PYTHONPATH$DVC_STUDIO_TOKEN$GIT_DIR>" >&2
        exec %s "$@"
        """)
    write(copy, ".venv/bin/python", code % sys.executable)
    (copy / ".venv/bin/python").chmod(0o755)
    write(copy, "checks.yaml", "paths: [PLACE]\n")
    code, _, errors = verify(copy, PLACE="here", VIRTUAL_ENV="")
    assert code == 0, errors
    assert f"the repository's own, {copy}/here" not in errors  # an activated one wins, even an empty one
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "VIRTUAL_ENV"}
    environment |= {"PYTHONPATH": str(ROOT), "PLACE": "here", "DVC_STUDIO_TOKEN": "x", "GIT_DIR": str(copy / ".git")}
    command = [sys.executable, "-m", "checks.verify"]
    run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert f"the repository's own, {copy}/here" in run.stderr
    assert "lent <>" in run.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_interruption_leaves_neither_folder_nor_process(project, tmp_path, name):
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip("Windows has no SIGHUP")
    ignored = signal.signal(number, signal.SIG_DFL)  # a shell ignores some for what it runs in the background
    process = start(project, TMPDIR=str(tmp_path), SLEEP="60")
    signal.signal(number, ignored)
    for line in process.stderr:
        if "Running stage 'score'" in line:
            break
    assert os.listdir(tmp_path) != []
    process.send_signal(number)
    _, errors = process.communicate()  # returns when nobody is left to write
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert os.listdir(tmp_path) == []


EXACT = Settings({"*": 0})
LOOSE = Settings({"digest": "any", "parameters": 0, "*": 0.01})


@pytest.mark.parametrize(
    ("name", "was", "now", "verdict", "line"),
    [
        ("m.json", '{"a": 1, "b": 2}', '{"b": 2,\n"a": 1}', IDENTICAL, None),
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
        ("m.json", '{"a": []}', '{"a": [1]}', DIFFERENT, "a.0: recorded nothing, found 1"),
        ("m.json", "{", '{"a": 1}', DIFFERENT, "line 1: recorded '{', found"),
        ("m.yaml", "a: {b: 1.0}\n", "a: {b: 1.001}\n", WITHIN, "a.b: recorded 1.0, found 1.001"),
        ("p.csv", "x,y\n1,2\n3,4\n", "x,y\n1,2.001\n3,4.005\n", WITHIN, "line 3, y: recorded 4.0, found 4.005, off by"),
        ("p.csv", "x,y\n1,2\n", "x,y\n1,2\n3,4\n", DIFFERENT, "line 3, x: recorded nothing, found 3.0"),
        ("p.csv", "x,y\n1,2\n", "x,z\n1,2\n", DIFFERENT, "line 1, column 2: recorded y, found z"),
        ("p.tsv", "x\ty\n1\ta\n", "x\ty\n1.01\ta\n", WITHIN, "line 2, x: recorded 1.0, found 1.01"),
        ("t.txt", "a\nb\n", "a\nc\n", DIFFERENT, "line 2: recorded 'b', found 'c'"),
        ("t.txt", "a\r\n", "a\n", DIFFERENT, "only line ends differ"),
    ],
)
def test_files_are_compared_as_what_they_hold(name, was, now, verdict, line):
    found, lines = compare(name, was.encode(), now.encode(), LOOSE)
    assert found == verdict
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
        (npy(ONES)[:-1], npy(ONES), "151 and 152 bytes, one is the other's beginning"),
        (b"PK\x03\x04\xff", b"PK\x03\x04\xfe", "5 and 5 bytes, byte 4 is the first that differs"),
    ],
)  # fmt: skip
def test_the_first_array_and_place_that_differ_are_named(was, now, line):
    verdict, (found,) = compare("model.bin", was, now, EXACT)
    assert verdict == DIFFERENT
    assert found.startswith(line)


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


def test_the_worst_of_a_column_stands_for_it():
    _, (line,) = compare("p.csv", b"x\n1\n2\n3\n", b"x\n1.1\n2.5\n3.2\n", EXACT)
    assert line == "line 3, x: recorded 2.0, found 2.5, off by 0.5 (tolerance 0); 2 more of this key"


def test_a_default_tolerance_is_for_last_digits():
    assert compare("m.json", b'{"a": 0.123456789}', b'{"a": 0.123456788}', Settings())[0] == WITHIN
    assert compare("m.json", b'{"a": 0.1234}', b'{"a": 0.1235}', Settings())[0] == DIFFERENT


def stages(**values) -> dict[str, Stage]:
    made = Output("1")
    return {
        "a": Stage({"cmd": "a", **values}, ["i"], {"d": made}),
        "b": Stage({"cmd": "b"}, ["d/x"], {"o": made}),
        "c": Stage({"cmd": "c"}, ["j"], {"z": made}),
    }


def test_what_reads_from_a_stale_stage_is_made_from_other_inputs():
    assert stale(stages(), stages(seed=2)) == {"a": ["seed: recorded None, found 2"]}
    assert downstream({"a"}, stages()) == {"a", "b"}
    assert {row.verdict for row in compare_runs(stages(), stages(seed=2), EXACT)} == {IDENTICAL}


def test_an_output_that_a_side_lacks_is_different():
    assert judge("o", None, Output("1"), EXACT) == (DIFFERENT, ["no lock records it"])
    assert judge("o", Output("1"), None, EXACT) == (DIFFERENT, ["the rerun does not make it"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tolerances: {}", "checks.yaml: tolerances: extra keys not allowed; it may have tolerance, free"),
        ("tolerance: {a: -1}", "checks.yaml: tolerance.a: expected a number from 0"),
        ("tolerance: {a: some}", "checks.yaml: tolerance.a: "),
        ("free: x", "checks.yaml: free: expected a list"),
        ("free: [", "checks.yaml: expected YAML, got "),
    ],
)
def test_settings_that_are_wrong_are_said_in_one_line(tmp_path, text, expected):
    write(tmp_path, "checks.yaml", text)
    with pytest.raises(InputError) as error:
        read_settings(tmp_path)
    assert str(error.value).startswith(expected)
    assert len(str(error.value).splitlines()) == 1


def test_this_repositorys_settings_give_a_new_metric_the_default_tolerance():
    settings = read_settings(ROOT)
    assert settings.tolerated("calibration_error", 0.5) == settings.tolerance["*"] > 0
