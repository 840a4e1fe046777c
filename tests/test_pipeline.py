"""dvc.yaml tells the truth, and a real `dvc repro` does what it says, on a made-up corpus."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML
from sentiment.params import parse

from demo.project import write_project
from tests.conftest import ROOT, on_cores

REVIEWS = 300
STAGES = {stage.addressing: stage for stage in Repo(ROOT).index.stages}
SECTIONS = {"download", "pad", "network", "train", "evaluate"}


def imported(module: str) -> set[str]:
    """The project's files that importing a module runs, as paths from the root."""
    parts = module.split(".")
    path = ROOT.joinpath(*parts).with_suffix(".py")
    if not path.exists():
        path = ROOT.joinpath(*parts, "__init__.py")
    found = {path.relative_to(ROOT).as_posix(), f"{parts[0]}/__init__.py"}
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            ours = name.split(".")[0] in ("sentiment", "stages") and name != module
            target = ROOT.joinpath(*name.split("."))
            if ours and (target.with_suffix(".py").exists() or target.is_dir()):
                found |= imported(name)
    return found


def dependencies(stage, kind):
    return {dep.def_path for dep in stage.deps if dep.def_path.endswith(".py") == (kind == "code")}


@pytest.mark.parametrize("name", STAGES)
def test_the_code_a_stage_depends_on_is_the_code_it_imports(name):
    module = re.search(r"python -m (\S+)", STAGES[name].cmd)[1]
    assert dependencies(STAGES[name], "code") == imported(module)


@pytest.mark.parametrize("name", STAGES)
def test_the_params_a_stage_declares_are_the_sections_it_reads(name):
    module = re.search(r"python -m (\S+)", STAGES[name].cmd)[1]
    tree = ast.parse(ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text())
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & SECTIONS
    declared = {key.split(".")[-1] for param in STAGES[name].params for key in param.params}
    assert declared == read
    model = name.partition("@")[2]
    assert all(key == "download" or key.startswith(f"models.{model}.") for p in STAGES[name].params for key in p.params)


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_says_what_it_does(name):
    assert STAGES[name].desc


def test_the_pipeline_builds_exactly_the_models_of_params_yaml():
    models = set(parse((ROOT / "params.yaml").read_text()).models)
    assert {name.partition("@")[2] for name in STAGES if "@" in name} == models
    pipeline = YAML(typ="safe").load(ROOT / "dvc.yaml")
    files = ("metrics/{}.json", "plots/{}/history/metrics.json")
    assert set(pipeline["metrics"]) == {file.format(model) for model in models for file in files}
    assert set(pipeline["artifacts"]) == models


def test_every_parameter_has_a_comment():
    keys = re.findall(r"^ *(\w+):(.*)$", (ROOT / "params.yaml").read_text(), re.M)
    assert [key for key, rest in keys if "#" not in rest and key not in SECTIONS] == []


def test_only_evaluate_reads_the_test_split():
    readers = [name for name, stage in STAGES.items() if any("_test" in dep for dep in dependencies(stage, "data"))]
    assert {name.partition("@")[0] for name in readers} == {"evaluate"}


class Project:
    """A copy of the pipeline in a folder of its own, with a Git repository and a made-up corpus."""

    def __init__(self, folder: Path):
        self.folder, self.environment = folder, write_project(folder, REVIEWS)

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
        run = subprocess.run(
            command, cwd=self.folder, env=self.environment | environment, capture_output=True, text=True, check=False
        )
        assert not check or run.returncode == 0, run.stdout + run.stderr
        return run

    def files(self) -> dict[str, bytes]:
        """Everything below the folder but caches, by path."""
        hidden = re.compile(r"(^|/)(\.git|\.dvc|__pycache__|corpus)/")
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        names = {path.relative_to(self.folder).as_posix(): path for path in paths}
        return {name: path.read_bytes() for name, path in names.items() if not hidden.search(name)}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A project that has been run once."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.before = set(project.files())
    project.run("dvc", "repro")
    return project


def test_a_run_writes_its_outputs_and_nothing_else(project):
    outputs = [out.def_path for stage in STAGES.values() for out in stage.outs]
    written = set(project.files()) - project.before - {"dvc.lock"}
    written = {name for name in written if not name.endswith(".gitignore")}
    assert all(any(name == out or name.startswith(f"{out}/") for out in outputs) for name in written)
    assert all((project.folder / out).exists() for out in outputs)


def test_a_cold_run_elsewhere_gives_the_same_bytes(project, tmp_path):
    """Another folder, hash seed, core count and thread count."""
    other = Project(tmp_path / "a folder with spaces")
    other.run(*on_cores(1), "dvc", "repro", PYTHONHASHSEED="1", OMP_NUM_THREADS="5")
    theirs, ours = other.files(), project.files()
    assert set(theirs) == set(ours)
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_nothing_tracked_names_a_folder_a_host_or_a_time(project):
    ignored = ("data/", "models/small.keras", "models/full.keras")
    text = b"".join(content for name, content in project.files().items() if not name.startswith(ignored))
    assert str(project.folder).encode() not in text
    assert not re.search(rf"\b{re.escape(os.uname().nodename)}\b".encode(), text)
    assert time.strftime("%Y-%m-%d").encode() not in text


def test_a_second_run_does_nothing(project):
    before = project.files()
    assert "up to date" in project.run("dvc", "repro").stdout
    assert project.files() == before


def test_a_changed_param_reruns_its_readers_alone_and_shows_in_the_diff(project, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(project.folder, changed, symlinks=True)
    project = Project.__new__(Project)
    project.folder, project.environment = changed, dict(os.environ)
    project.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    project.run(*git, "add", ".")
    project.run(*git, "commit", "--quiet", "--message", "Results")
    params = changed / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 4", "epochs: 3", 1))
    run = project.run("dvc", "repro")
    assert re.findall(r"Running stage '(.*)'", run.stdout) == ["train@small", "evaluate@small"]
    assert "models.small.train.epochs" in project.run("dvc", "params", "diff").stdout
    diff = project.run("dvc", "metrics", "diff").stdout
    assert "metrics/small.json" in diff
    assert "metrics/full.json" not in diff


def copy_with_epochs(project, folder: Path, epochs: int) -> Path:
    """A copy of a project whose models train for longer, or shorter."""
    shutil.copytree(project.folder, folder, symlinks=True)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 4", f"epochs: {epochs}"))
    return folder


def start_training(folder: Path, model: str) -> subprocess.Popen:
    """Training, at least one of whose epochs has been kept."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.train", model],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (folder / ".checkpoints" / f"{model}.npz").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    return process


def test_killed_training_resumes_and_ends_with_the_same_bytes(project, tmp_path):
    folder = copy_with_epochs(project, tmp_path / "killed", 12)
    command = [sys.executable, "-m", "stages.train", "small"]

    def results():
        paths = [*(folder / "models").glob("small.*"), *(folder / "plots/small/history").rglob("*")]
        return {path: path.read_bytes() for path in paths if path.is_file()}

    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    expected = results()
    assert len(expected) == 5
    process = start_training(folder, "small")
    process.kill()
    process.communicate()
    for path in expected:
        path.unlink(missing_ok=True)
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert "resuming after epoch" in run.stdout
    assert results() == expected
    assert not (folder / ".checkpoints/small.npz").exists()


def test_a_checkpoint_of_other_params_data_or_code_is_ignored_and_a_damaged_one_is_named(project, tmp_path):
    folder = tmp_path / "stale"
    shutil.copytree(project.folder, folder, symlinks=True)
    checkpoint, command = folder / ".checkpoints" / "small.npz", [sys.executable, "-m", "stages.train", "small"]
    checkpoint.parent.mkdir(exist_ok=True)

    def train():
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    np.savez(checkpoint, fingerprint="of something else")
    run = train()
    assert run.returncode == 0
    assert "resuming" not in run.stdout
    checkpoint.write_bytes(b"PK damaged")
    run = train()
    assert run.returncode == 1
    assert run.stderr.startswith("error: .checkpoints/small.npz: a damaged checkpoint")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_says_how_to_go_on(project, tmp_path, number):
    folder = copy_with_epochs(project, tmp_path / "interrupted", 10_000)
    process = start_training(folder, "full")
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number
    assert errors.endswith("\ninterrupted; run the same command again to go on from the last finished epoch\n")
    assert "Traceback" not in errors
    assert list((folder / ".checkpoints").iterdir()) == [folder / ".checkpoints/full.npz"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_stage_ends_though_a_thread_waits_for_ever_and_leaves_nothing_half_written(tmp_path, number):
    (tmp_path / "stage.py").write_text(f'''"""A stage."""
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from stages.common import command, replacing

def main(params):
    lock, pool = Lock(), ThreadPoolExecutor(1)
    lock.acquire()  # for ever
    pool.submit(lock.acquire)
    with replacing(Path("out/file")) as path:
        path.write_text("half")
        print("half-way")
        signal.raise_signal({int(number)})

command(main, model=False)
''')
    shutil.copy(ROOT / "params.yaml", tmp_path)
    run = subprocess.run(
        [sys.executable, "stage.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (128 + number, "half-way\n", "\ninterrupted\n")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_stage_interrupted_while_it_imports_ends_without_a_traceback(tmp_path):
    (tmp_path / "numpy.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    run = subprocess.run(
        [sys.executable, "-m", "stages.train", "small"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["pad", "tiny"], "error: model: expected one of small, full, got 'tiny'"),
        (["train", "full"], "error: data/full/x_train.npy is missing; `dvc repro` runs the stages that make it first"),
        (["train", "small"], "error: data/small/x_train.npy: not an array of numbers"),
        (["evaluate", "small"], "error: model: not a readable .keras file"),
    ],
)
def test_a_stage_run_by_hand_on_bad_input_says_so_in_one_line(tmp_path, command, expected):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "data/small").mkdir(parents=True)
    (tmp_path / "data/small/x_train.npy").write_bytes(b"no array")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/small.keras").write_bytes(b"no model")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", f"stages.{command[0]}", command[1]],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.startswith(expected)
    assert len(run.stderr.splitlines()) == 1


def test_a_folder_without_params_is_told_where_to_run(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", "stages.pad", "small"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.startswith("error: params.yaml: ")
    assert "run from the project's root" in run.stderr


def test_the_demo_ends_in_a_table_and_touches_nothing_tracked():
    before = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, check=True).stdout
    run = subprocess.run([sys.executable, "-m", "demo"], cwd=ROOT, capture_output=True, text=True, check=True)
    table = run.stdout[run.stdout.rindex("Path") :].splitlines()
    header = table[0].split()
    for line in table[1:]:
        assert float(line.split()[header.index("accuracy")]) > 0.8
    assert len(table) == 3
    assert subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, check=True).stdout == before


def test_the_demo_refuses_a_folder_that_is_in_use(tmp_path):
    (tmp_path / "mine").touch()
    run = subprocess.run(
        [sys.executable, "-m", "demo", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "is not an empty folder" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
