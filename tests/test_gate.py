"""The gate lets a fresh clone through and names what no longer fits dvc.lock, by stage and by file or key."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from checks.gate import main
from demo.project import write_project
from stages.params import parse
from tests.conftest import MODELS, ROOT

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
Change = Callable[[Path], object]  # one edit of the project in a folder


def git(folder: Path, *command: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    run = ("git", *identity, *command)
    return subprocess.run(run, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """A project that has been run once and committed."""
    folder = tmp_path_factory.mktemp("origin")
    environment = write_project(folder, 300)
    subprocess.run(["dvc", "repro", "--quiet"], cwd=folder, env=environment, capture_output=True, check=True)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "Results")
    return folder


@pytest.fixture
def clone(origin, tmp_path) -> Path:
    """What a reader of the repository has: no data, models or cache."""
    git(tmp_path, "clone", "--quiet", str(origin), "clone")
    assert not list(tmp_path.rglob("*.npy"))
    assert not (tmp_path / "clone/.dvc/cache").exists()
    return tmp_path / "clone"


def edit(name: str, old: str, new: str, count: int = 1) -> Change:
    """Replace a pattern in a file, ``count`` times or, for 0, everywhere."""

    def change(folder: Path) -> None:
        text, edits = re.subn(old, new, (folder / name).read_text(), count=count, flags=re.MULTILINE)
        assert edits
        (folder / name).write_text(text)

    return change


def write(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def record(stage: str, kind: str, path: str, **values: object) -> Change:
    """Change values in what dvc.lock has of a stage's file; None deletes the key, no values the whole."""

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


def commit_data(folder: Path) -> None:
    (folder / INDEX).touch()
    git(folder, "add", "--force", INDEX)


def rename_model(folder: Path) -> None:
    edit("params.yaml", "^  full:", "  big:")(folder)


INDEX, ARRAY, HISTORY = "data/raw/imdb_word_index.json", "data/small/x_train.npy", "plots/small/history/plots/metrics"
PADDING, METRICS = "sentiment/padding.py", "metrics/small.json"
DEP = r"^        - sentiment/padding\.py\n"
ROC = r"^        - plots/.*/roc\.csv:\n( {12}.*\n)+"
EPOCHS = [f"{stage}: params.yaml: models.small.train.epochs" for stage in ("params", "train@small")]
NETWORK = ("embedding", "filters", "kernel", "pool", "units", "bidirectional", "average", "dropout", "dense")
SIZES = [f"train@{name}: params.yaml: models.{name}.network.{key}" for name in MODELS for key in NETWORK]
RENAMED = [f"{stage}@{name}: cmd" for stage in ("pad", "train", "evaluate") for name in ("full", "big")]
RENAMED += [
    f"params: params.yaml: models.{name}.{section}.{key}"
    for section, values in parse((ROOT / "params.yaml").read_text()).model("full").model_dump().items()
    for key in values
    for name in ("full", "big")
]


def pads(what: str) -> list[str]:
    return [f"pad@{name}: {what}" for name in MODELS]


STALE = {  # what happened: how, and the stage and file or key of each line
    "a param edited": (edit("params.yaml", "epochs: 4", "epochs: 3"), EPOCHS),
    "a param edited in the lock": (
        edit("dvc.lock", "epochs: 4", "epochs: 3", 0),
        [line.replace("small", model) for line in EPOCHS for model in MODELS],
    ),
    "a param removed": (
        edit("params.yaml", "^  retries:.*\n", ""),
        [f"{stage}: params.yaml: download.retries" for stage in ("download", "params")],
    ),
    "a param no longer declared": (edit("dvc.yaml", r"^        - models\..*\.network\n", ""), SIZES),
    "code edited": (edit(PADDING, r"\Z", "# more\n"), pads(PADDING)),
    "code removed": (remove(PADDING), pads(PADDING)),
    "a dependency added": (edit("dvc.yaml", DEP, r"\g<0>        - .dvcignore\n"), pads(".dvcignore")),
    "a missing dependency added": (edit("dvc.yaml", DEP, r"\g<0>        - missing.py\n"), pads("missing.py")),
    "an output made a dependency": (edit("dvc.yaml", DEP, rf"\g<0>        - {INDEX}\n"), pads(INDEX)),
    "a dependency removed": (edit("dvc.yaml", DEP, ""), pads(PADDING)),
    "a dependency out of the lock": (record("pad@small", "deps", PADDING), [f"pad@small: {PADDING}"]),
    "a command edited": (edit("dvc.yaml", "python -m stages.pad", "python -Om stages.pad"), pads("cmd")),
    "a stage renamed": (edit("dvc.yaml", "^  environment:", "  locked:"), ["environment: cmd", "locked: cmd"]),
    "a stage out of the lock": (edit("dvc.lock", r"^  train@small:\n(    .*\n)+", ""), ["train@small: cmd"]),
    "a stage only the lock has": (edit("dvc.lock", r"\Z", "  invented:\n    cmd: invented\n"), ["invented: cmd"]),
    "a model renamed": (rename_model, RENAMED),
}

INCONSISTENT = {
    "a metric edited": (edit(METRICS, "accuracy.*", 'accuracy": 0.9,'), [f"evaluate@small: {METRICS}"]),
    "a metric removed": (remove(METRICS), [f"evaluate@small: {METRICS}"]),
    "a metric no stage writes": (
        edit("dvc.yaml", r"\Z", "metrics:\n  - metrics/best.json\n"),
        ["dvc.yaml: metrics/best.json"],
    ),
    "a plot edited": (edit("plots/full/roc.csv", r"\Z", "1,1\n"), ["evaluate@full: plots/full/roc.csv"]),
    "a plot edited in a folder": (edit(f"{HISTORY}/train/loss.tsv", r"\Z", "\n"), [f"train@small: {HISTORY}"]),
    "a plot added to a folder": (write(f"{HISTORY}/more.tsv", b""), [f"train@small: {HISTORY}"]),
    "a hash of made data edited": (record("pad@small", "outs", ARRAY, md5="0" * 32), [f"train@small: {ARRAY}"]),
    "a hash of read data edited": (record("train@small", "deps", ARRAY, md5="0" * 32), [f"train@small: {ARRAY}"]),
    "a size of data edited": (record("pad@small", "outs", ARRAY, size=1), [f"train@small: {ARRAY}"]),
    "a size of code edited": (record("pad@small", "deps", PADDING, size=1), [f"pad@small: {PADDING}"]),
    "a count of files edited": (record("train@small", "outs", HISTORY, nfiles=3), [f"train@small: {HISTORY}"]),
    "a count of files missing": (record("train@small", "outs", HISTORY, nfiles=None), [f"train@small: {HISTORY}"] * 2),
    "a hash cut short": (record("download", "outs", INDEX, md5="abc"), [f"download: {INDEX}"]),
    "a hash missing": (record("download", "outs", INDEX, md5=None), [f"download: {INDEX}"]),
    "a record in the form of DVC 2": (record("pad@small", "deps", PADDING, hash=None), [f"pad@small: {PADDING}"]),
    "an output recorded twice": (
        edit("dvc.lock", rf"    - path: {INDEX}\n(      .*\n)+", r"\g<0>" * 2),
        [f"download: {INDEX}"],
    ),
    "an output out of the lock": (record("download", "outs", INDEX), [f"download: {INDEX}"]),
    "a result out of the lock": (record("evaluate@small", "outs", METRICS), [f"evaluate@small: {METRICS}"]),
    "an output only the lock has": (
        edit("dvc.yaml", ROC, ""),
        [f"evaluate@{m}: plots/{m}/roc.csv" for m in MODELS],
    ),
    "data in Git": (commit_data, [f"download: {INDEX}"]),
}

FORGED = {  # what is wrong with a metrics file that dvc.lock agrees with: how
    "a percentage": lambda values: text(values | {"accuracy": 82.55}),
    "no finite number": lambda values: text(values | {"loss": float("inf")}),
    "a number in quotes": lambda values: text(values | {"recall": "0.8"}),
    "half a parameter": lambda values: text(values | {"parameters": 39053.5}),
    "a time": lambda values: text(values | {"seconds": 1.5}),
    "no digest of the weights": lambda values: text({key: values[key] for key in values if key != "weights"}),
    "keys out of order": lambda values: json.dumps(dict(reversed(values.items())), indent=2) + "\n",
    "a key twice": lambda values: text(values).replace("{", '{\n  "accuracy": 0.9,', 1),
    "no JSON": lambda values: "82.55%\n",
}

UNREADABLE = {  # what is: how, and a part of the message
    "no lock": (remove("dvc.lock"), "dvc.lock is missing; `dvc repro` writes it"),
    "an empty lock": (write("dvc.lock", b""), "dvc.lock' validation failed: required key not provided"),
    "a lock that is no YAML": (
        edit("dvc.lock", "^stages:", "stages: ["),
        "dvc.lock', YAML file structure is corrupted",
    ),
    "a lock in conflict": (edit("dvc.lock", "^stages:", "<<<<<<< ours\nstages:"), "dvc.lock', YAML file structure"),
    "a lock with a stage twice": (edit("dvc.lock", r"\Z", "  download:\n    cmd: x\n"), 'duplicate key "download"'),
    "a lock of another schema": (edit("dvc.lock", "^schema: .*", "schema: '1.0'"), "invalid schema version"),
    "no pipeline": (remove("dvc.yaml"), "dvc.yaml' does not exist"),
    "a pipeline that is no YAML": (write("dvc.yaml", b"stages: ["), "dvc.yaml', YAML file structure is corrupted"),
    "a pipeline that is no text": (write("dvc.yaml", b"\xff\xfe"), "dvc.yaml', is not valid utf-8"),
    "a pipeline of another form": (write("dvc.yaml", b"stages: 3"), "dvc.yaml' validation failed"),
    "a pipeline's param with a value": (edit("dvc.yaml", "- download$", "- download: 3"), "Expected list of params"),
    "an output of two stages": (edit("dvc.yaml", f"- {INDEX}", "- data/environment.json"), "is specified in"),
    "no params": (remove("params.yaml"), "Could not find 'models'"),
    "params that are no YAML": (write("params.yaml", b"models: ["), "params.yaml', YAML file structure is corrupted"),
    "params that are no text": (write("params.yaml", b"\xff\xfe"), "params.yaml', is not valid utf-8"),
    "params that are a list": (write("params.yaml", b"[1]"), "params.yaml"),
    "no DVC": (lambda folder: (folder / ".dvc").rename(folder / "dvc"), "not inside of a DVC repository"),
    "no Git": (lambda folder: (folder / ".git").rename(folder / "git"), "not a git repository"),
    "no folder": (lambda folder: folder.rename(folder.with_name("moved")), "does not exist"),
}


def text(values: dict) -> str:
    """A metrics file as a stage writes it, whatever the values."""
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def findings(output: str, kind: str) -> list[str]:
    """The stage and file or key of each line, all of which must be of one kind."""
    matches = [re.fullmatch(rf"{kind}: (.*?): recorded .*, found .*", line) for line in output.splitlines()]
    assert all(matches), output
    return sorted(match[1] for match in matches)


def test_a_fresh_clone_passes_without_tensorflow_and_nothing_is_written(clone):
    command = [sys.executable, "-W", "error", "-X", "importtime", "-m", "checks.gate"]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"dvc.lock describes this tree: {3 + 3 * len(MODELS)} stages")
    assert len(run.stdout.splitlines()) == 1
    imported = set(re.findall(r"\| +([\w.]+)$", run.stderr, re.MULTILINE))
    assert "dvc.repo" in imported
    assert not imported & {"tensorflow", "keras", "sentiment"}
    assert git(clone, "status", "--porcelain", "--ignored").split() == ["!!", ".dvc/tmp/"]


def test_comments_and_layout_of_params_are_free(clone):
    edit("params.yaml", " *#.*", "", 0)(clone)
    edit("params.yaml", "^ *epochs: 4", r"\n\g<0>   # another word")(clone)
    edit("params.yaml", "learning_rate: 0.001", "learning_rate:  1e-3", 0)(clone)
    assert main(clone) == 0


@pytest.mark.parametrize(("change", "expected"), STALE.values(), ids=STALE)
def test_a_tree_that_moved_on_is_stale(clone, capsys, change, expected):
    change(clone)
    assert main(clone) == 1
    assert findings(capsys.readouterr().out, "stale") == sorted(expected)


@pytest.mark.parametrize(("change", "expected"), INCONSISTENT.values(), ids=INCONSISTENT)
def test_what_no_run_writes_is_inconsistent(clone, capsys, change, expected):
    change(clone)
    assert main(clone) == 2
    assert findings(capsys.readouterr().out, "inconsistent") == sorted(expected)


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_metrics_of_another_form_are_inconsistent_even_where_the_lock_agrees(clone, capsys, forge):
    content = forge(json.loads((clone / METRICS).read_text())).encode()
    write(METRICS, content)(clone)
    record("evaluate@small", "outs", METRICS, md5=hashlib.md5(content).hexdigest(), size=len(content))(clone)
    assert main(clone) == 2
    assert findings(capsys.readouterr().out, "inconsistent") == [f"evaluate@small: {METRICS}"]


@pytest.mark.parametrize(("change", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_said_in_one_line(clone, capsys, change, message):
    change(clone)
    assert main(clone) == 3
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("error: ")
    assert message in errors
    assert len(errors.splitlines()) == 1


def test_a_line_shows_both_sides_and_the_worst_finding_is_the_exit_code(clone, capsys):
    edit("params.yaml", "epochs: 4", "epochs: 3")(clone)
    content = (clone / METRICS).read_bytes()
    remove(METRICS)(clone)
    assert main(clone) == 2
    output, errors = capsys.readouterr()
    was = f"{hashlib.md5(content).hexdigest()} of {len(content)} bytes"
    assert output.splitlines() == [
        "stale: params: params.yaml: models.small.train.epochs: recorded 4, found 3",
        "stale: train@small: params.yaml: models.small.train.epochs: recorded 4, found 3",
        f"inconsistent: evaluate@small: {METRICS}: recorded {was}, found nothing",
    ]
    assert [line.partition(":")[0] for line in errors.splitlines()] == ["stale", "inconsistent"]
