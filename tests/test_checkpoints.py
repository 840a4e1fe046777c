"""A killed training resumes only if nothing that affects it has changed since."""

import gc
import json
import re
import subprocess
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from sentiment import InputError
from sentiment.data.text import IMDB
from sentiment.kinds import cnn_lstm
from stages import train
from stages.environment import COMPUTING
from stages.params import check_model
from stages.train import Checkpoint
from tests.conftest import ROOT
from tests.repositories import inside

NAME, REVIEWS, LENGTH = "m", 7, 5
STATE = {"weights": np.array([0.5, -0.0], "f4"), "seen": np.arange(3)}
HISTORY = [{"metrics": {"loss": 0.5}, "weights": "ab"}]
SETTINGS = {
    "corpus": "imdb",
    "pad": {"max_length": LENGTH, "vocabulary": 11},
    "architecture": {
        "kind": "cnn_lstm",
        "embedding": 2,
        "filters": 3,
        "kernel": 1,
        "pool": 2,
        "units": 4,
        "bidirectional": False,
    }
    | {"over_time": "last", "dropout": 0.0, "dense": 6},
    "train": {"engine": "compiled", "optimizer": "adam", "epochs": 3, "batch": 2, "shards": 1, "learning_rate": 0.01}
    | {"schedule": "constant", "beta_2": 0.9, "word_dropout": 0.0, "validation_fraction": 0.0, "seed": 1},
    "evaluate": {"batch": 5, "calibration_bins": 3},
}


def test_a_checkpoint_is_loaded_only_with_its_fingerprint_and_until_it_is_removed(tmp_path):
    path = tmp_path / "new/m.npz"
    checkpoint = Checkpoint(path, "a")
    assert checkpoint.load() == (None, [])
    checkpoint.save({"weights": np.zeros(9)}, [])
    checkpoint.save(STATE, HISTORY)
    state, history = Checkpoint(path, "a").load()
    assert history == HISTORY
    assert state.keys() == STATE.keys()
    for name, array in STATE.items():
        assert (state[name].dtype, state[name].tobytes()) == (array.dtype, array.tobytes())
    for other in ("b", "", "A", "aa"):
        assert Checkpoint(path, other).load() == (None, [])
    assert [file.name for file in path.parent.iterdir()] == ["m.npz"]
    checkpoint.remove()
    assert Checkpoint(path, "a").load() == (None, [])


@pytest.mark.parametrize("keep", [0, 1, 100, -1], ids=str)
def test_a_damaged_checkpoint_is_an_error_in_one_line(tmp_path, keep):
    checkpoint = Checkpoint(tmp_path / "m.npz", "a")
    checkpoint.save(STATE, HISTORY)
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:keep])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # NumPy leaves such a file open
        message = fault(checkpoint)
        gc.collect()
    assert re.fullmatch(r".*m\.npz: a damaged checkpoint \(.*\); delete it to train from the start", message)


def fault(checkpoint: Checkpoint) -> str:
    try:
        checkpoint.load()
    except InputError as error:
        return str(error)
    return "no fault"


class Killed(Exception):
    """Raised where a signal would kill the training."""


class Trainer:
    """Trains one epoch, and is killed in the next."""

    promise, epochs = "a stand-in", 3

    def __init__(self):
        self.ended = False

    def epoch(self, *_):
        if self.ended:
            raise Killed
        self.ended = True
        return {"loss": 0.5, "accuracy": 0.5}

    def state(self):
        return STATE


class Project:
    """A folder with a padded corpus and stand-ins for the code."""

    def __init__(self, folder: Path, monkeypatch):
        self.folder, self.settings = folder, check_model(SETTINGS)
        rows = np.arange(REVIEWS * LENGTH, dtype="u1").reshape(REVIEWS, LENGTH) % 11
        self.write("data/m/x_train.npy", rows)
        self.write("data/m/y_train.npy", np.arange(REVIEWS, dtype="u1") % 2)
        self.write("data/m/lengths_train.npy", np.full(REVIEWS, LENGTH, "u4"))
        about = {"labels": ["bad", "good"], "tokens": IMDB._asdict()}
        self.write(f"data/raw/{self.settings.corpus}_about.json", json.dumps(about))
        for name in ("sentiment/used.py", "sentiment/engine/used.py", "stages/train.py", "elsewhere/used.py"):
            self.write(name, "1")
        monkeypatch.setattr(train, "__file__", str(folder / "stages/train.py"))
        monkeypatch.setattr(cnn_lstm, "make_trainer", self.make_trainer)
        monkeypatch.delenv("LAUNCHER", raising=False)

    def write(self, name: str, content: "str | np.ndarray") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content) if isinstance(content, str) else np.save(path, content)

    def make_trainer(self, settings, reviews, labels, state) -> Trainer:
        self.resumed = state
        return Trainer()

    def start(self) -> bool:
        """Train until killed in the second epoch; return True if the training resumed from a checkpoint."""
        with inside(self.folder), pytest.raises(Killed):
            train.main(self.settings, NAME)
        return self.resumed is not None

    def set(self, section: str, key: str, value: object) -> None:
        """Change a param."""
        self.settings = check_model(SETTINGS | {section: SETTINGS[section] | {key: value}})

    def change(self, name: str, at: tuple) -> None:
        """Change a number of an array."""
        array = np.load(self.folder / name)
        array[at] ^= 1
        self.write(name, array)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    return Project(tmp_path, monkeypatch)


def release(package: str, monkeypatch) -> None:
    """Make ``train`` see another version of a package."""
    monkeypatch.setattr(train, "version", lambda name: version(name) + (".1" if name == package else ""))


SAME = {
    "nothing": lambda project, _: None,
    "how the test split is scored": lambda project, _: project.set("evaluate", "batch", 6),
    "code of others": lambda project, _: project.write("elsewhere/used.py", "2"),
    "the version of another package": lambda _, monkeypatch: release("pytest", monkeypatch),
}
OTHER = {
    "a param of the training": lambda project, _: project.set("train", "learning_rate", 0.02),
    "a param of the network": lambda project, _: project.set("architecture", "dropout", 0.5),
    "a param of the reviews": lambda project, _: project.set("pad", "vocabulary", 12),
    "more epochs": lambda project, _: project.set("train", "epochs", 4),
    "an id": lambda project, _: project.change("data/m/x_train.npy", (REVIEWS - 1, LENGTH - 1)),
    "a label": lambda project, _: project.change("data/m/y_train.npy", (REVIEWS - 1,)),
    "code": lambda project, _: project.write("sentiment/used.py", "2"),
    "code in a folder": lambda project, _: project.write("sentiment/engine/used.py", "2"),
    "the stage itself": lambda project, _: project.write("stages/train.py", "2"),
    "another file of code": lambda project, _: project.write("stages/more.py", "1"),
    **{
        f"the version of {package}": lambda _, monkeypatch, package=package: release(package, monkeypatch)
        for package in COMPUTING
    },
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_a_killed_training_resumes_if_nothing_that_affects_it_has_changed(project, monkeypatch, capsys, change):
    assert not project.start()
    change(project, monkeypatch)
    capsys.readouterr()
    assert project.start()
    assert project.resumed.keys() == STATE.keys()
    assert "resuming after epoch 1 of 3" in capsys.readouterr().out


def test_a_killed_training_of_whole_reviews_starts_again_if_the_length_of_a_review_changed(project):
    project.write("data/m/x_train.npy", np.arange(REVIEWS * LENGTH, dtype="u1") % 11)
    assert not project.start()
    lengths = np.full(REVIEWS, LENGTH, "u4")
    lengths[:2] = LENGTH + 1, LENGTH - 1  # the concatenated ids are the same
    project.write("data/m/lengths_train.npy", lengths)
    assert not project.start()


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_a_killed_training_starts_again_if_something_that_affects_it_has_changed(project, monkeypatch, capsys, change):
    assert not project.start()
    change(project, monkeypatch)
    assert not project.start()
    assert "resuming" not in capsys.readouterr().out
    assert project.start()  # resumes from the new checkpoint


DVCLIVE = """
import sys, json
from dvclive import Live
with Live(sys.argv[1], save_dvc_exp=False, dvcyaml=None) as live:
    for live.step, metrics in enumerate(json.loads(sys.argv[2]), start=1):
        for key, value in metrics.items():
            live.log_metric(key.replace("val_", "eval/") if key.startswith("val_") else f"train/{key}", value)
        live.make_summary()
"""


def test_the_history_has_the_bytes_that_dvclive_writes(tmp_path):
    """Importing DVCLive takes a second, so `train` writes the files itself."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    epochs = [{"loss": 0.25, "accuracy": 1.0, "val_loss": 1e-05}, {"loss": 0.123456, "accuracy": 0.5, "val_loss": 7.5}]
    train.write_history(ours, [{"metrics": metrics} for metrics in epochs])
    subprocess.run([sys.executable, "-c", DVCLIVE, theirs, json.dumps(epochs)], cwd=ROOT, check=True)
    files = {path.relative_to(theirs) for path in theirs.rglob("*.*")}
    assert files == {path.relative_to(ours) for path in ours.rglob("*.*")}
    for file in files:
        assert (ours / file).read_bytes() == (theirs / file).read_bytes()
