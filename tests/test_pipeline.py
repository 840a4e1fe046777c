"""dvc.yaml declares what the stages use, and a real `dvc repro` on a made-up corpus does what it declares."""

import ast
import copy
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
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from dvc.repo import Repo
from dvc.utils.serialize import modify_yaml
from ruamel.yaml import YAML

import stages
from demo import __main__ as demo
from demo.project import environment_of
from sentiment import InputError, kinds
from sentiment.data.text import IMDB
from stages.common.files import create_array
from stages.common.splits import read_split
from tests.conftest import MODELS, PARAMS, ROOT, SHOWN, on_cores, shown_of
from tests.projects import Project

CORPUS = "films"  # a corpus that `pipeline` adds to params.yaml, so that the stage `corpus` is there


def pipeline() -> dict:
    """The stages of dvc.yaml by name."""
    with tempfile.TemporaryDirectory() as folder:
        Repo.init(folder, no_scm=True).close()
        shutil.copy(ROOT / "dvc.yaml", folder)
        text = (ROOT / "params.yaml").read_text(encoding="utf-8")
        yaml = YAML(typ="safe")
        values = yaml.load(text)
        values["corpora"] = {CORPUS: {"reviews": "reviews.csv"}}
        yaml.dump(values, Path(folder, "params.yaml"))
        return {stage.name: stage for stage in Repo(folder).index.stages}


STAGES = pipeline()
SECTIONS = {"corpus", "download", "pad", "architecture", "train", "evaluate"}
FIRST, LAST = SHOWN[0], SHOWN[-1]
KERAS, ADAM, LIBLINEAR = (
    shown_of(*pair) for pair in (("cnn_lstm", "keras"), ("ngrams", "compiled"), ("ngrams", "scikit-learn"))
)
WITHOUT_EFFECT = frozenset({  # these change no value, so only the stage `params` depends on them, as dvc.yaml says
    "sentiment/__init__.py", "sentiment/kinds/__init__.py", "sentiment/schema.py", "sentiment/streams.py",
    "stages/__init__.py", "stages/params.py",
})  # fmt: skip
FREE = {
    "stages.params": frozenset({"stages/__init__.py"}),
    "stages.train": WITHOUT_EFFECT | {"stages/environment.py"},  # a list of packages' names
}
"""Files that these stages import without depending on them; for all other stages it is ``WITHOUT_EFFECT``."""


def file_of(module: str) -> Path:
    """The file of a module or package of the project."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def imports(module: str, kind: str) -> set[str]:
    """The project's modules that a module imports itself; ``kind`` as in ``imported``."""
    text, names = file_of(module).read_text(), [module.rpartition(".")[0]]
    if "pkgutil.iter_modules" in text:  # the kinds and the engine's blocks are the files of a folder
        folder = {"sentiment.kinds": "sentiment/kinds", "sentiment.engine.network": "sentiment/engine/blocks"}[module]
        stems = [file.stem for file in ROOT.glob(f"{folder}/[a-z]*.py")]
        some = [kind] if kind and module == "sentiment.kinds" else stems
        names += [f"{folder.replace('/', '.')}.{name}" for name in some]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name for name in names if name.split(".")[0] in ("sentiment", "stages") and file_of(name).exists()}


def imported(module: str, kind: str, free: frozenset[str]) -> set[str]:
    """The project's files that importing a module runs, as paths from the root.

    Args:
        module: Its name.
        kind: The kind of model, which is the name of a file; "" for all kinds.
        free: Files whose own imports do not count, except those of the kind.
    """
    seen, todo = set(), {module}
    while todo:
        seen |= todo
        expanded = {name for name in todo if file_of(name).relative_to(ROOT).as_posix() not in free}
        todo = {name for part in expanded for name in imports(part, kind)} - seen
        if kind and "sentiment.kinds" in seen:
            todo |= {f"sentiment.kinds.{kind}"} - seen
    return {file_of(name).relative_to(ROOT).as_posix() for name in seen}


def parts(kind: str) -> set[str]:
    """The files of the kinds that a kind is made of, whose digests are in ``data/parts``."""
    return {path.relative_to(ROOT).as_posix() for path in kinds.parts(kind).values()} if kind else set()


def dependencies(stage) -> tuple[dict[str, set[str]], set[str]]:
    """Files of the code that a stage depends on, by path in dvc.yaml; and the paths of its other dependencies."""
    code, data = {}, set()
    for path in (dep.def_path for dep in stage.deps):
        if path.endswith(".py"):
            code[path] = {path}
        elif path.startswith(("sentiment", "stages")):
            code[path] = {file.relative_to(ROOT).as_posix() for file in (ROOT / path).rglob("*.py")}
        else:
            data.add(path)
    return code, data


@pytest.mark.parametrize("name", STAGES)
def test_the_code_a_stage_depends_on_is_the_code_it_imports_except_what_cannot_change_a_value(name):
    """A stage also has paths that only models of another kind import, because `foreach` has one list for all."""
    module = re.search(r"python -E -m (\S+)", STAGES[name].cmd)[1]
    free = FREE.get(module, WITHOUT_EFFECT)
    code, data = dependencies(STAGES[name])
    model = PARAMS.models.get(name.partition("@")[2])
    kind = model.architecture.kind if model else ""
    used = imported(module, kind, free)
    if f"data/parts/{kind}.txt" in data:
        assert parts(kind) <= used
        used -= parts(kind)
    assert used - free == used & set().union(*code.values())
    every = {model.architecture.kind for model in PARAMS.models.values()} if model else {""}
    anywhere = set().union(*(imported(module, kind, free) for kind in every))
    assert [path for path, files in code.items() if not files & anywhere] == []


def declared(stage) -> set[str]:
    """The keys of params.yaml that a stage depends on."""
    return {key for param in stage.params for key in param.params}


@pytest.mark.parametrize("name", sorted(set(STAGES) - {"params"}))
def test_the_params_a_stage_declares_are_the_sections_it_reads(name):
    item = name.partition("@")[2]
    module = re.search(r"python -E -m stages.(\S+)", STAGES[name].cmd)[1]
    files = [f"stages/{module}.py"]
    if module == "train":  # it passes its settings to the trainer of a kind
        kind = PARAMS.models[item].architecture.kind
        files += ["sentiment/network.py", f"sentiment/kinds/{kind}.py", *parts(kind)]
    nodes = [node for file in files for node in ast.walk(ast.parse((ROOT / file).read_text()))]
    readers = {node.id for node in nodes if isinstance(node, ast.Name) and node.id.startswith("read_")}
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute) and is_settings(node.value)}
    expected = {
        "read_model": {f"models.{item}.{section}" for section in read & SECTIONS},
        "read_corpus": {f"corpora.{item}"},
        "read_download": {f"download.{file}.{key}" for file in ("reviews", "word_index") for key in ("sha256", "size")},
    }
    assert declared(STAGES[name]) == set().union(*(expected[reader] for reader in readers & {*expected}))


def is_settings(node: ast.expr) -> bool:
    """True if an expression is the variable of the params that a stage has read."""
    return isinstance(node, ast.Name) and node.id == "settings"


@pytest.mark.parametrize("name", [name for name in STAGES if name.startswith(("train@", "evaluate@"))])
def test_a_stage_depends_on_the_file_of_its_own_kind_and_on_what_this_kind_is_made_of(name):
    code, data = dependencies(STAGES[name])
    kind = PARAMS.models[name.partition("@")[2]].architecture.kind
    assert {path for path in set().union(*code.values()) if "/kinds/" in path} == {f"sentiment/kinds/{kind}.py"}
    assert {path for path in data if "/parts/" in path} == {f"data/parts/{kind}.txt"}


def test_the_whole_params_file_is_checked_before_any_stage_that_reads_it():
    (check,) = STAGES["params"].params
    assert (check.def_path, check.params) == ("params.yaml", [])
    checked = {"data/params-checked.txt"}
    assert checked < {out.def_path for out in STAGES["params"].outs}
    readers = {name for name, stage in STAGES.items() if stage.params and name != "params"}
    expected = {"corpus", "download", "pad", "train", "evaluate"}
    assert {name.partition("@")[0] for name in readers} == expected
    maker = {out.def_path: name for name, stage in STAGES.items() for out in stage.outs}

    def waits(name: str) -> bool:
        """True if a stage depends on the check, directly or through other stages."""
        data = dependencies(STAGES[name])[1]
        return bool(checked & data) or any(waits(maker[path]) for path in data if path in maker)

    assert all(map(waits, readers))


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_says_what_it_does(name):
    assert STAGES[name].desc


def test_the_pipeline_has_seven_stages_for_exactly_the_models_of_params_yaml_and_names_none():
    once, each = {"params", "download", "environment"}, {"pad", "train", "evaluate"}
    expected = once | {f"{stage}@{name}" for stage in each for name in MODELS} | {f"corpus@{CORPUS}"}
    assert {*STAGES} == expected
    assert not re.search(rf"\b({'|'.join(MODELS)})\b", (ROOT / "dvc.yaml").read_text(encoding="utf-8"))


def test_the_run_cache_works_for_every_stage_but_two_that_take_no_time():
    """DVC does not use the run cache for a stage with an output that is neither cached nor a metric or plot."""
    outs = [out for stage in STAGES.values() for out in stage.outs]
    off = [out.def_path for out in outs if not (out.use_cache or out.is_metric or out.is_plot)]
    assert off == ["data/params-checked.txt", "data/parts", "data/environment.json"]


def test_params_yaml_is_laid_out_as_dvc_writes_it(tmp_path):
    """Then `dvc exp run --set-param` changes one line. DVC replaces lists together with their comments."""
    copy = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    with modify_yaml(copy) as values:
        for source in ("reviews", "word_index"):
            values["download"][source]["urls"] = [*values["download"][source]["urls"]]
    assert copy.read_text(encoding="utf-8") == (ROOT / "params.yaml").read_text(encoding="utf-8")


def test_every_parameter_has_a_comment():
    keys = re.findall(r"^ *(\w+):(.*)$", (ROOT / "params.yaml").read_text(), re.M)
    assert [key for key, value in keys if "#" not in value and key not in SECTIONS] == []


def test_only_evaluate_reads_the_test_split():
    readers = [name for name, stage in STAGES.items() if any("_test" in dep for dep in dependencies(stage)[1])]
    assert {name.partition("@")[0] for name in readers} == {"evaluate"}


@pytest.mark.parametrize("name", [FIRST, LIBLINEAR])
def test_a_training_needs_no_test_split(finished, tmp_path, name):
    """It needs neither the test arrays of `pad` nor the raw file, which has both splits."""
    project = finished.copy(tmp_path / "train only")
    (project.folder / "data/raw/imdb.npz").unlink()
    for path in (project.folder / "data" / name).glob("*_test.npy"):
        path.unlink()
    before = folder_of(project, name)
    shutil.rmtree(project.folder / "models" / name)
    project.stage("train", name)
    assert folder_of(project, name) == before


def folder_of(project, name: str) -> dict[str, bytes]:
    """The files of a model's folder."""
    return {path.name: path.read_bytes() for path in (project.folder / "models" / name).iterdir()}


def test_a_run_writes_its_outputs_and_nothing_else(finished):
    stages = [stage for name, stage in STAGES.items() if name.partition("@")[2] in ("", *SHOWN)]
    outputs = [out.def_path for stage in stages for out in stage.outs]
    before = finished.run("git", "ls-tree", "-r", "--name-only", "HEAD~1").stdout.splitlines()
    written = {name for name in set(finished.files()) - {*before, "dvc.lock"} if not name.endswith(".gitignore")}
    assert {name for name in written if not any(name == out or name.startswith(f"{out}/") for out in outputs)} == set()
    assert all((finished.folder / out).exists() for out in outputs)


def test_nothing_tracked_names_a_folder_a_host_or_a_time(finished):
    ignored = ("data/", "models/")
    text = b"".join(content for name, content in finished.files().items() if not name.startswith(ignored))
    assert str(finished.folder).encode() not in text
    assert not re.search(rf"\b{re.escape(platform.node())}\b".encode(), text)
    assert time.strftime("%Y-%m-%d").encode() not in text


def test_a_run_elsewhere_gives_the_same_bytes_and_a_second_run_does_nothing(finished, tmp_path):
    """The second run has another folder, hash seed, number of cores and of threads, and an empty cache."""
    other = finished.copy(tmp_path / "a folder with spaces")
    for path in ("dvc.lock", ".dvc/cache", ".dvc/tmp", "data", "models", "metrics", "plots"):
        path = other.folder / path
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    targets = [f"evaluate@{FIRST}", f"evaluate@{ADAM}"]
    other.run(*on_cores(1), "dvc", "repro", *targets, PYTHONHASHSEED="1", OMP_NUM_THREADS="5")
    theirs, ours, yaml = other.files(), finished.files(), YAML(typ="safe")
    lock, other_lock = (yaml.load(files["dvc.lock"].decode())["stages"] for files in (ours, theirs))
    assert {name.partition("@")[0] for name in other_lock} == {name.partition("@")[0] for name in STAGES} - {"corpus"}
    assert {name: lock[name] for name in other_lock} == other_lock
    same = [name for name in theirs if name != "dvc.lock" and not name.endswith(".gitignore")]
    assert [name for name in same if ours[name] != theirs[name]] == []
    assert other.repro(*targets) == []
    assert other.files() == theirs


def test_a_changed_param_reruns_only_its_readers_is_in_the_diff_and_changed_back_trains_nothing(finished, tmp_path):
    project = finished.copy(tmp_path / "changed")
    before = project.files()
    shutil.rmtree(project.folder / "models" / FIRST)
    shutil.rmtree(project.folder / "plots" / FIRST)
    assert project.repro() == []
    assert project.files() == before
    changed = f"models.{FIRST}.train.epochs"
    run = project.run("dvc", "exp", "run", "--set-param", f"{changed}=1")
    assert re.findall(r"Running stage '(.*)'", run.stdout) == ["params", f"train@{FIRST}", f"evaluate@{FIRST}"]
    assert changed in project.run("dvc", "params", "diff").stdout
    diff = project.run("dvc", "metrics", "diff").stdout
    assert f"metrics/{FIRST}.json" in diff
    assert f"metrics/{LAST}.json" not in diff
    project.edit(epochs=4)
    assert project.repro() == ["params"]
    assert project.files() == before


def test_one_model_goes_to_a_remote_and_comes_back(finished, tmp_path):
    """The outputs of the other models are neither in the cache nor on the remote."""
    project = finished.copy(tmp_path / "shared")
    project.run("dvc", "remote", "add", "--default", "shelf", str(tmp_path / "shelf"))
    model, other = (project.folder / "models" / name for name in (FIRST, LAST))
    before = folder_of(project, FIRST)
    project.run("dvc", "push", "--with-deps", f"evaluate@{FIRST}")
    shutil.rmtree(project.folder / ".dvc/cache")
    shutil.rmtree(model)
    shutil.rmtree(other)
    project.run("dvc", "pull", "--with-deps", f"evaluate@{FIRST}")
    assert folder_of(project, FIRST) == before
    assert not other.exists()


def test_another_python_than_that_of_the_environment_is_told_to_activate_it(finished):
    """This happens if `.venv/bin/dvc repro` is run by its path: DVC then starts the system's Python."""
    bare = [sys.executable, "-S", "-m", "stages.params"]  # without site-packages
    run = subprocess.run(bare, cwd=finished.folder, capture_output=True, text=True, check=False)
    line = "is not the Python of .venv; run `source .venv/bin/activate` first"
    assert (run.returncode, run.stderr) == (1, f"error: {sys.executable} {line}\n")


def test_a_mistyped_param_costs_nothing(finished, tmp_path):
    """Without the stage `params`, DVC would delete the outputs of a stage before the stage can refuse."""
    project = finished.copy(tmp_path / "mistyped")
    before = project.files()
    wrong = f"models.{FIRST}.train.epochs=banana"
    run = project.run("dvc", "exp", "run", "--set-param", wrong, f"evaluate@{FIRST}", code=255)
    assert f"error: params.yaml: models.{FIRST}.train.epochs = 'banana': Input should be a valid integer" in run.stderr
    assert "Traceback" not in run.stderr
    after = project.files()
    assert {name for name in before | after if after.get(name) != before.get(name)} == {"params.yaml"}
    old, new = (files["params.yaml"].decode().splitlines() for files in (before, after))
    changed = [pair for pair in zip(old, new, strict=True) if pair[0] != pair[1]]
    assert len(changed) == 1
    assert re.search(r"epochs: banana +#", changed[0][1])


def start_training(project, *command: str, name: str = FIRST) -> subprocess.Popen:
    """Start the training of a model, and return when its first epoch is saved."""
    process = subprocess.Popen(
        command or [sys.executable, "-m", "stages.train", name],
        cwd=project.folder, env=project.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (project.folder / ".checkpoints" / f"{name}.npz").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    return process


def test_dependencies_edited_while_their_stage_runs_end_it_in_one_line_and_are_not_recorded(finished, tmp_path):
    project = finished.copy(tmp_path / "edited", seed=7)
    process = start_training(project, "dvc", "repro", f"train@{FIRST}")
    entry = re.compile(rf"^  train@{FIRST}:\n(    .*\n)+", re.MULTILINE)
    recorded = entry.search((project.folder / "dvc.lock").read_text())[0]
    edited = ["data/environment.json", f"data/{FIRST}/x_train.npy", "sentiment/engine/groups.py", "params.yaml"]
    for path in (project.folder / name for name in edited[:-1]):
        content = path.read_bytes()
        path.unlink()  # DVC's files are links to its cache
        path.write_bytes(content + b"\n")
    (project.folder / "sentiment/engine/new.py").touch()
    project.edit(learning_rate=0.002)
    _, errors = process.communicate()
    assert process.returncode != 0
    message = re.search(
        "^error: (.*): expected no change while the stage ran, but it changed; run `dvc repro`", errors, re.M
    )
    assert sorted(message[1].split(", ")) == sorted([*edited, "sentiment/engine/new.py"])
    assert "Traceback" not in errors
    assert entry.search((project.folder / "dvc.lock").read_text())[0] == recorded
    assert f"train@{FIRST}" in project.run("dvc", "status").stdout


def test_a_layer_that_the_compiled_trainer_lacks_is_refused_by_name(finished, tmp_path):
    project = finished.copy(tmp_path / "gru")
    project.take_a_gru()
    refused = project.stage("train", FIRST, code=1)
    assert re.match(r"error: layer 'lstm' \(GRU\): .*; set train.engine: keras", refused.stderr)
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "affected"),
    [
        ("cnn_lstm", {"cnn_lstm", "wide_deep"}), ("gru", {"gru"}), ("ngrams", {"ngrams", "wide_deep"}),
        ("wide_deep", {"wide_deep"}),
    ],
)  # fmt: skip
def test_an_edited_kind_makes_stale_its_models_and_those_of_kinds_made_of_it(finished, tmp_path, kind, affected):
    """The gate finds the same in a clone without data, after ``params`` has run."""
    project = finished.copy(tmp_path / "edited")
    with (project.folder / f"sentiment/kinds/{kind}.py").open("a") as file:
        file.write("# edited\n")
    project.tool("checks.gate", code=1)
    assert project.repro("params") == ["params"]
    project.commit()
    stale = {
        f"{stage}@{name}"
        for name in SHOWN
        if PARAMS.models[name].architecture.kind in affected
        for stage in ("train", "evaluate")
    }
    status = project.run("dvc", "status").stdout
    assert set(re.findall(r"^([\w@-]+):$", status, re.MULTILINE)) == stale
    clone = Project(tmp_path / "clone")
    project.run("git", "clone", "--quiet", ".", str(clone.folder))
    report = json.loads(clone.tool("checks.gate", "--json", code=bool(stale)).stdout)
    assert {finding["stage"] for finding in report["findings"]} == stale


NEW = "no"  # a name that older YAML takes for false


def add_a_model_of_a_new_kind(project) -> None:
    """Do what the docs say: copy the file of a kind, and add a section."""
    project.add_a_kind("mine")
    with modify_yaml(project.folder / "params.yaml") as values:
        model = copy.deepcopy(values["models"][KERAS])
        model["architecture"] = {"kind": "mine", "embedding": 3, "units": 5, "dropout": 0.2}
        model["train"] |= {"epochs": 12}
        values["models"][NEW] = model


@pytest.fixture(scope="module")
def grown(finished, tmp_path_factory):
    """The project with one more model, of a new kind, and the output of `dvc repro`."""
    project = finished.copy(tmp_path_factory.mktemp("pipeline") / "one more")
    add_a_model_of_a_new_kind(project)
    return project, project.run("dvc", "repro").stdout


def test_an_architecture_is_one_file_and_one_section_and_no_other_model_becomes_stale(finished, grown, tmp_path):
    project, printed = grown
    assert re.findall(r"Running stage '(.*)'", printed) == ["params", f"pad@{NEW}", f"train@{NEW}", f"evaluate@{NEW}"]
    before, after = finished.files(), project.files()
    changed = {name for name in before if after[name] != before[name] and not name.endswith(".gitignore")}
    assert changed == {"params.yaml", "dvc.lock"}
    assert f"metrics/{NEW}.json" in project.run("dvc", "metrics", "show").stdout
    assert f"plots/{NEW}/roc.csv" in project.run("dvc", "plots", "show", "--json").stdout
    project.commit()  # the gate requires that Git tracks the new file
    project.tool("checks.gate")
    assert printed.count(f"{NEW}: Keras on the CPU: the same bits on this machine only;") == 2
    assert "  GRU  " in (project.folder / f"models/{NEW}/layers.txt").read_text()
    edited = project.copy(tmp_path / "edited")
    with (edited.folder / "sentiment/kinds/mine.py").open("a") as file:
        file.write("# edited\n")
    status = edited.run("dvc", "status").stdout
    assert set(re.findall(r"^([\w@-]+):$", status, re.MULTILINE)) == {"params", f"train@{NEW}", f"evaluate@{NEW}"}


def test_a_kind_that_the_compiled_trainer_has_no_block_for_is_refused_before_anything_is_deleted(grown, tmp_path):
    project = grown[0].copy(tmp_path / "no block")
    before = project.files()
    with modify_yaml(project.folder / "params.yaml") as values:
        values["models"][NEW]["train"]["engine"] = "compiled"
    run = project.run("dvc", "repro", code=255)
    (line,) = (line for line in run.stderr.splitlines() if line.startswith("error: "))
    assert line.startswith(f"error: params.yaml: models.{NEW}: layer ")
    assert re.search(r": the compiled trainer has no arithmetic for it here, .*; set train.engine: keras", line)
    after = project.files()
    assert {name for name in before | after if after.get(name) != before.get(name)} == {"params.yaml"}


def test_a_training_by_keras_that_is_killed_and_started_again_ends_with_the_same_bytes(grown, tmp_path):
    project, name = grown[0].copy(tmp_path / "killed"), NEW
    expected = project.files()
    (project.folder / "plots" / name / "weights.csv").unlink()
    for folder in (f"plots/{name}/history", f"models/{name}"):
        shutil.rmtree(project.folder / folder)
    process = start_training(project, name=name)
    process.kill()
    process.communicate()
    assert not (project.folder / "models" / name).exists()
    assert "resuming after epoch" in project.stage("train", name).stdout
    assert project.files() == expected


def test_an_interrupted_training_says_how_to_resume(finished, tmp_path):
    project = finished.copy(tmp_path / "interrupted", epochs=10_000)
    process = start_training(project)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGINT
    assert errors.endswith("\ninterrupted; run the same command again to go on from the last finished epoch\n")
    assert "Traceback" not in errors
    checkpoints = project.folder / ".checkpoints"
    assert [*checkpoints.iterdir()] == [checkpoints / f"{FIRST}.npz"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_stage_ends_though_a_thread_never_ends_and_leaves_nothing_half_written(tmp_path, number):
    (tmp_path / "stage.py").write_text(f'''"""A stage."""
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from stages.common.command import command
from stages.common.files import replacing

def main():
    lock, pool = Lock(), ThreadPoolExecutor(1)
    lock.acquire()  # never released
    pool.submit(lock.acquire)
    with replacing(Path("out/file")) as path:
        path.write_text("half")
        print("half-way")
        signal.raise_signal({int(number)})

command(main)
''')
    shutil.copy(ROOT / "params.yaml", tmp_path)
    run = subprocess.run(
        [sys.executable, "stage.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (128 + number, "half-way\n", "\ninterrupted\n")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("command", "module"),
    [
        (["stages.params"], "pydantic"), (["stages.train", FIRST], "numpy"), (["demo"], "ruamel"),
        (["checks.gate"], "dvc"), (["checks.report"], "vl_convert"), (["benchmarks"], "numpy"),
        (["experiments.compare"], "vl_convert"),
    ],
    ids=lambda value: value[0],
)  # fmt: skip
def test_a_command_interrupted_while_it_imports_ends_without_a_traceback(tmp_path, command, module):
    (tmp_path / f"{module}.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    run = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["pad", "tiny"], f"error: model: expected one of {', '.join(MODELS)}, got 'tiny'"),
        (["pad", ADAM], f"error: data/raw/{PARAMS.models[ADAM].corpus}.npz is missing; `dvc repro` runs the stages"),
        (["train", LAST], f"error: data/{LAST}/x_train.npy is missing; `dvc repro` runs the stages that make it first"),
        (["train", FIRST], f"error: data/{FIRST}/x_train.npy: not an array of numbers"),
        (
            ["evaluate", FIRST],
            f"error: models/{FIRST}/model.keras: not a readable .keras file (File is not a zip file)",
        ),
        (["evaluate", ADAM], f"error: models/{ADAM}/model.npz: not a readable file of n-grams ("),
        (["evaluate", LIBLINEAR], f"error: models/{LIBLINEAR}: expected a model's folder, with model.json in it; `dvc"),
    ],
)
def test_a_stage_run_by_hand_on_bad_input_says_so_in_one_line(tmp_path, command, expected):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "data" / FIRST).mkdir(parents=True)
    (tmp_path / "data" / FIRST / "x_train.npy").write_bytes(b"no array")
    (tmp_path / "data/raw").mkdir()
    about = {"labels": ["negative", "positive"], "tokens": IMDB._asdict()}
    for corpus in {model.corpus for model in PARAMS.models.values()}:
        (tmp_path / f"data/raw/{corpus}_about.json").write_text(json.dumps(about))
    for name, file in ((FIRST, "model.keras"), (ADAM, "model.npz")):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / file).write_bytes(b"no model")
        about = dict.fromkeys(["labels", "pad", "tokens", "weights", "word_index"], "")
        about |= {"kind": PARAMS.models[name].architecture.kind}
        (folder / "model.json").write_text(json.dumps(about))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", f"stages.{command[0]}", command[1]],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.startswith(expected)
    assert len(run.stderr.splitlines()) == 1


def npy(array: np.ndarray) -> bytes:
    """An array as a file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


WHOLE = {
    "x": npy(np.ones((3, 5), np.uint16)), "y": npy(np.zeros(3, np.uint8)), "lengths": npy(np.full(3, 4, np.uint32))
}  # fmt: skip
IDS = WHOLE["x"]
DAMAGED = {
    "empty": ({"x": b""}, "not an array of numbers"),
    "cut": ({"x": IDS[:-1]}, "not an array of numbers"),
    "header cut": ({"x": IDS.replace(b"}", b" ")}, "not an array of numbers"),
    "header of other keys": ({"x": IDS.replace(b"'descr'", b"b'desc'")}, "not an array of numbers"),
    "archive": ({"x": b"PK\x03\x04" + IDS}, "not an array of numbers"),
    "objects": ({"x": npy(np.array([[1, None]] * 3))}, "not an array of numbers"),
    "fractions": ({"x": npy(np.ones((3, 5)))}, "got train ids float64 [3, 5]"),
    "fewer labels": ({"y": npy(np.zeros(2, np.uint8))}, "and labels uint8 [2]"),
    "no review": (
        {"x": npy(np.ones((0, 5), np.uint16)), "y": npy(np.zeros(0, np.uint8)), "lengths": npy(np.ones(0, np.uint32))},
        "and labels uint8 [0]",
    ),
    "one row": ({"x": npy(np.ones(3, np.uint16))}, "got train ids uint16 [3]"),
    "a third label": ({"y": npy(np.array([0, 1, 2], np.uint8))}, "a label, 0 to 1,"),
    "no lengths": ({"lengths": b""}, "not an array of numbers"),
    "fewer lengths": ({"lengths": npy(np.full(2, 4, np.uint32))}, "lengths uint32 [2]"),
    "negative lengths": ({"lengths": npy(np.full(3, -4))}, "lengths int64 [3]"),
    "longer reviews": ({"x": npy(np.ones(11, np.uint16))}, "got train ids uint16 [11]"),
}


@pytest.mark.parametrize(("damaged", "expected"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_arrays_are_refused_in_one_line_that_names_them_and_the_remedy(
    tmp_path, monkeypatch, damaged, expected
):
    monkeypatch.chdir(tmp_path)
    Path("data/m").mkdir(parents=True)
    for name, content in (WHOLE | damaged).items():
        Path(f"data/m/{name}_train.npy").write_bytes(content)
    with pytest.raises(InputError, match=rf"^data/m.*{re.escape(expected)}.*; `dvc repro.*` makes (it|them) again$"):
        read_split("m", "train", 2)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no ulimit")
@pytest.mark.parametrize("stage", ["params", "download", "environment", "pad"])
def test_a_disk_that_takes_no_more_is_one_line_and_leaves_nothing_half_made(finished, tmp_path, stage):
    """The limit of a file is 0 bytes. Arrays and models are written by the same functions as the files here."""
    folder = finished.copy(tmp_path / "full").folder
    (folder / "data/raw/imdb_word_index.json").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    model = FIRST if stage == "pad" else ""
    run = subprocess.run(
        ["sh", "-c", f"ulimit -f 0; exec {shlex.quote(sys.executable)} -B -m stages.{stage} {model}"],
        cwd=folder, env=finished.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    line = r"error: \[Errno \d+\] File too large: '(\S+)'; make room and run the same command again\n"
    assert re.fullmatch(line, run.stderr)[1].startswith("data/")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_too_little_address_space_is_one_line_though_libraries_would_hang(tmp_path):
    least = stages.ADDRESS_SPACE >> 10
    for kibibytes, line in {
        100_000: rf"error: address space: expected {least >> 10} MiB at least, got 97; .*\n",
        least: "error: requirements.txt is missing; .*\n",  # the stage starts
    }.items():
        command = f"ulimit -v {kibibytes}; exec {shlex.quote(sys.executable)} -m stages.environment"
        run = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert run.returncode == 1
        assert re.fullmatch(line, run.stderr)


def test_the_disk_space_of_a_mapped_array_is_allocated_before_it_is_written(tmp_path):
    """Otherwise a full disk would end the process by a signal, without an error message."""
    if sys.platform == "win32":
        pytest.skip("a new file has its blocks, but their number cannot be read")
    array = create_array(tmp_path / "x.npy", np.uint16, (1000, 700))
    assert os.stat(tmp_path / "x.npy").st_blocks * 512 >= array.nbytes == 1_400_000


@pytest.mark.parametrize(
    ("do", "reason"), [("np.empty(2**56)", "Unable to allocate 512. PiB"), ("bytes(2**62)", "no more is available")]
)
def test_a_stage_that_runs_out_of_memory_says_so_in_one_line(tmp_path, do, reason):
    (tmp_path / "stage.py").write_text(f'''"""A stage."""
import numpy as np
from stages.common.command import command

def main():
    {do}  # more than any machine addresses

command(main)
''')
    run = subprocess.run(
        [sys.executable, "stage.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.startswith(f"error: out of memory ({reason}")
    assert len(run.stderr.splitlines()) == 1


def test_a_folder_without_params_is_told_where_to_run(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", "stages.pad", FIRST],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.startswith("error: params.yaml: ")
    assert "run from the project's root" in run.stderr


def test_the_demo_ends_in_a_table_of_every_model(finished):
    """The demo made the project ``finished``."""
    printed = finished.folder.with_name("demo.out").read_text()
    table = printed[printed.rindex("Path") :].splitlines()
    header = table[0].split()
    rows = {line.split()[0]: line.split() for line in table[1:]}
    assert [*rows] == [f"metrics/{name}.json" for name in SHOWN]
    for file, row in rows.items():
        accuracy = json.loads((finished.folder / file).read_text())["accuracy"]
        assert float(row[header.index("accuracy")]) == pytest.approx(accuracy, abs=1e-5)


def test_the_demo_gives_no_hints_of_a_scratch_folder_and_imports_keras_only_if_asked(monkeypatch, tmp_path):
    """A hint such as `git add` is of no use in a folder that is deleted."""
    commands = []
    monkeypatch.setattr(demo, "run", lambda command, folder, environment: commands.append(command))
    for kept in (False, True):
        demo.main(tmp_path / str(kept), 20, kept=kept, keras=kept)
    assert [command for command in commands if "repro" in command] == [["dvc", "repro", "--quiet"], ["dvc", "repro"]]
    shown = [command[3:] for command in commands if "metrics" in command]
    assert shown[1] == [f"metrics/{name}.json" for name in SHOWN]
    assert [*set(shown[1]) - set(shown[0])] == [f"metrics/{shown_of('cnn_lstm', 'keras')}.json"]


@pytest.mark.parametrize("kept", [(), ("kept",)], ids=len)
def test_an_interrupted_demo_is_one_line_and_leaves_nothing(tmp_path, kept):
    if sys.platform == "win32":
        pytest.skip("no process groups")
    demo = subprocess.Popen(
        [sys.executable, "-m", "demo", *(str(tmp_path / name) for name in kept)],
        cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not [*tmp_path.glob("*/data/raw/imdb.npz")]:  # a stage has run, others are to come
        assert demo.poll() is None, demo.stderr.read()
        time.sleep(0.01)
    os.killpg(demo.pid, signal.SIGINT)
    _, errors = demo.communicate()
    assert (demo.returncode, errors) == (130, "\ninterrupted; the folder of the demo is deleted\n")
    assert [*tmp_path.iterdir()] == []


def test_the_demo_refuses_fewer_reviews_than_the_models_need(tmp_path):
    command = [sys.executable, "-m", "demo", "--reviews", "19", str(tmp_path / "none")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.endswith("error: --reviews: expected at least 20, got 19\n")
    assert [*tmp_path.iterdir()] == []


def test_the_users_settings_of_dvc_and_git_do_not_reach_the_demo(tmp_path, monkeypatch):
    for name in ("DVC_ROOT", "DVC_STUDIO_TOKEN", "GIT_DIR", "NUMBA_CACHE_DIR", "LAUNCHER"):
        monkeypatch.setenv(name, "mine")
    environment = environment_of(tmp_path)
    assert {name for name in environment if name.startswith(("DVC_", "GIT_"))} == set()
    assert (environment["NUMBA_CACHE_DIR"], environment["LAUNCHER"]) == ("mine", "mine")
    assert environment["IMDB_SOURCE"] == str(tmp_path / "corpus")
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_the_demo_refuses_a_folder_that_is_in_use(tmp_path):
    (tmp_path / "mine").touch()
    run = subprocess.run(
        [sys.executable, "-m", "demo", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "is not an empty folder" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["repro", "MODEL=typo"], f"error: model: expected one of {', '.join(MODELS)}, got 'typo'"),
        (["noise"], f"error: name: expected one of {', '.join(MODELS)}, got none; `make noise MODEL={MODELS[0]}`"),
    ],
)
def test_make_with_a_wrong_model_or_none_says_so_in_one_line(command, expected):
    run = subprocess.run(
        ["make", "--silent", "PYTHON=true", *command],  # which installs nothing
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"},
    )  # fmt: skip
    assert run.returncode == 2
    assert [line for line in run.stderr.splitlines() if not line.startswith("make")] == [expected]
    assert run.stdout == ""


TEXTS = ["It cost $100 $(shell echo x)", "100%, $$ and ${HOME}", "'quoted' \"twice\" `ls` \\ #1; ls & > y", "-- --json"]


@pytest.mark.skipif(not shutil.which("make") or sys.platform == "win32", reason="needs make and a shell")
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("variable", ["of make", "of the shell"])
def test_make_predict_passes_a_text_on_unchanged(tmp_path, variable, text):
    """The Python here prints its arguments."""
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    python.chmod(0o755)
    arguments, environment = ([f"TEXT={text}"], {}) if variable == "of make" else ([], {"TEXT": text})
    run = subprocess.run(
        ["make", "--silent", "-f", str(ROOT / "Makefile"), "PYTHON=true", "predict", f"MODEL={ADAM}", *arguments],
        cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["-m", "sentiment", "--model", ADAM, "--", text]


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_predict_answers_a_text_with_dollars(finished):
    text = f"A wonderful film. {TEXTS[0]}"
    make = ["make", "--silent", "-f", str(ROOT / "Makefile"), "PYTHON=true", "predict", f"MODEL={ADAM}"]
    printed = finished.run(*make, f"TEXT={text}").stdout
    assert printed == finished.run(sys.executable, "-m", "sentiment", "--model", ADAM, "--", text).stdout
    assert "wonderful" in printed
