"""Train a model. Write the model file, the settings of its text, and the table of layers to models/<model>/.

plots/<model>/history has the metrics of each epoch. plots/<model>/weights.csv has a digest of the weights after each
epoch, which shows the first epoch in which two trainings differ.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tokenize import TokenError

import numpy as np
from tqdm import tqdm

from sentiment import InputError, kinds
from sentiment import model as models
from sentiment.engine import shards
from sentiment.schema import ModelSettings
from sentiment.training import DECIMALS, Epoch, Trainer, digest, fit, split
from stages.common.command import command
from stages.common.files import replacing, write_csv, write_json, write_text
from stages.common.launcher import launch, requested
from stages.common.splits import read_split
from stages.environment import COMPUTING
from stages.params import read_model

ZIP = (zipfile.BadZipFile, zlib.error)
"""Further errors that a damaged archive raises."""


class Checkpoint:
    """A file with the state after the last finished epoch, used only if the inputs of the training are the same."""

    def __init__(self, path: Path, fingerprint: str):
        self.path, self.fingerprint = path, fingerprint

    def load(self) -> tuple[dict[str, np.ndarray] | None, list[dict]]:
        """The state and the history; ``None`` and an empty list if there is no checkpoint of the same inputs."""
        if not self.path.exists():
            return None, []
        try:
            with np.load(self.path, allow_pickle=False) as saved:
                if saved["fingerprint"] != self.fingerprint:
                    return None, []
                state = {name.removeprefix("state/"): saved[name] for name in saved if name.startswith("state/")}
                return state, json.loads(str(saved["history"]))
        except (ValueError, TypeError, KeyError, EOFError, RuntimeError, TokenError, *ZIP) as error:
            raise InputError(
                f"{self.path}: a damaged checkpoint ({error}); delete it to train from the start"
            ) from None

    def save(self, state: dict[str, np.ndarray], history: list[dict]) -> None:
        """Replace the checkpoint; the file is never half-written."""
        arrays = {f"state/{name}": array for name, array in state.items()}
        with replacing(self.path) as path, path.open("wb") as file:
            np.savez(file, fingerprint=self.fingerprint, history=json.dumps(history), **arrays)

    def remove(self) -> None:
        """Delete the checkpoint after the end of the training."""
        self.path.unlink(missing_ok=True)


def main(settings: ModelSettings, name: str) -> None:
    """Train the model called ``name``. An interrupted training is resumed after its last finished epoch."""
    kind, train = kinds.find(settings.architecture.kind), settings.train
    if train.engine == "compiled" and kind.PARALLEL:
        if launch():
            return
    elif requested():
        print(f"{name}: one process trains it, so the launcher is not used")
    folder, raw = Path("models", name), Path("data/raw")
    corpus = json.loads((raw / f"{settings.corpus}_about.json").read_bytes())
    reviews, labels = read_split(name, "train", len(corpus["labels"]))
    arrays = getattr(reviews, "ids", reviews), getattr(reviews, "lengths", labels), labels
    shapes = settings.model_dump_json(exclude={"evaluate"})
    made_from = shards.share(partial(fingerprint, shapes, *arrays))
    checkpoint = Checkpoint(Path(".checkpoints", f"{name}.npz"), made_from)
    state, history = shards.share(checkpoint.load)
    trainer = kind.make_trainer(settings, reviews, labels, state)
    if shards.processes().rank:  # the first process writes
        for _ in epochs(settings, trainer, reviews, labels, len(history)):
            pass
        return
    print(f"{name}: {trainer.promise}")
    train_on(name, settings, trainer, reviews, labels, history, checkpoint)
    table = trainer.table()
    index = (raw / f"{settings.corpus}_word_index.json").read_bytes()
    about = models.describe(
        kind=settings.architecture.kind, corpus=settings.corpus, pad=settings.pad, index=index,
        labels=corpus["labels"], tokens=corpus["tokens"], weights=trainer.state()["weights"],
    )  # fmt: skip
    write_json(folder / models.ABOUT, about)
    write_text(folder / models.LAYERS, table)
    for file, content in {models.INDEX: index, kind.FILE: trainer.save()}.items():
        with replacing(folder / file) as path:
            path.write_bytes(content)
    print(table)  # before the checkpoint is deleted, because an error of standard output fails the stage
    checkpoint.remove()


def epochs(
    settings: ModelSettings, trainer: Trainer, reviews, labels, done: int,
    progress: Callable[[int], None] = lambda reviews: None,
) -> Iterator[Epoch]:  # fmt: skip
    """The epochs of ``fit`` after the first ``done``."""
    return fit(
        trainer, reviews, labels, epochs=range(done, trainer.epochs), validation_fraction=held_out(settings),
        seed=settings.train.seed, progress=progress,
    )  # fmt: skip


def held_out(settings: ModelSettings) -> float:
    """The fraction of the training reviews that is held out; 0 for kinds without such a setting."""
    return getattr(settings.train, "validation_fraction", 0.0)


def train_on(
    name: str, settings: ModelSettings, trainer: Trainer, reviews, labels, history: list, checkpoint: Checkpoint
) -> None:
    """Continue training after ``history``. Each epoch is logged, printed and saved in the checkpoint when it ends.

    ``history`` has the metrics of each epoch, and a digest of the weights after it.
    """
    each, _ = split(len(labels), held_out(settings))
    total, done = trainer.epochs * each, len(history) * each
    folder = Path("plots", name, "history")
    bar = tqdm(total=total, initial=done, unit=" reviews", desc=f"train {name}", disable=None)
    with bar:
        if history:
            bar.write(f"resuming after epoch {len(history)} of {trainer.epochs}")
            write_history(folder, history)
        for epoch in epochs(settings, trainer, reviews, labels, len(history), bar.update):
            metrics = {key: round(value, DECIMALS) for key, value in epoch.metrics.items()}
            history.append({"metrics": metrics, "weights": digest(epoch.state["weights"])})
            checkpoint.save(epoch.state, history)
            write_history(folder, history)
            figures = ", ".join(f"{key} {value:.4f}" for key, value in metrics.items())
            bar.write(f"epoch {len(history)}: {figures}")
    digests = [epoch["weights"] for epoch in history]
    write_csv(Path("plots", name, "weights.csv"), {"epoch": range(1, len(digests) + 1), "weights": digests})


def fingerprint(settings: str, *arrays: np.ndarray) -> str:
    """A hash of everything that a training depends on: settings, data, the project's code, and packages."""
    versions = [version(name) for name in COMPUTING]
    seen = hashlib.sha256(f"{versions} {settings}".encode())
    for array in arrays:
        seen.update(array)
    root = Path(__file__).parents[1]
    for file in sorted(file for folder in ("sentiment", "stages") for file in (root / folder).rglob("*.py")):
        seen.update(file.read_bytes())
    return seen.hexdigest()


def write_history(folder: Path, history: list[dict]) -> None:
    """Write the metrics of the epochs in DVCLive's format. Importing DVCLive can take longer than an epoch."""
    last: dict[str, dict[str, float]] = {}
    for key in dict.fromkeys(key for epoch in history for key in epoch["metrics"]):
        split, name = ("eval", key[4:]) if key.startswith("val_") else ("train", key)
        rows = [(step, epoch["metrics"][key]) for step, epoch in enumerate(history, 1) if key in epoch["metrics"]]
        last.setdefault(split, {})[name] = rows[-1][1]
        text = "".join(f"{step}\t{value}\n" for step, value in [("step", name), *rows])
        write_text(folder / "plots/metrics" / split / f"{name}.tsv", text)
    write_text(folder / "metrics.json", json.dumps(last | {"step": len(history)}, indent=4) + "\n")


if __name__ == "__main__":
    command(
        main,
        read_model,
        name="model",
        interrupted="interrupted; run the same command again to go on from the last finished epoch",
    )
