"""Train a model: models/<model>.keras, its layer table .txt and what asking it takes, .json; and its history.

plots/<model>/history has the figures of each epoch, plots/<model>/weights.csv a digest of the weights after each, which
tells where two trainings part.
"""

import hashlib
import json
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tokenize import TokenError

import numpy as np
from dvclive import Live
from scmrepo.exceptions import SCMError
from tqdm import tqdm

from sentiment import DECIMALS, InputError, archive, network
from sentiment.engine import shards
from sentiment.engine.trainer import CompiledTrainer
from sentiment.keras_trainer import KerasTrainer
from sentiment.training import Epoch, Trainer, digest, fit, split
from stages.common import command, read_split, replacing, write_csv, write_json, write_text
from stages.launcher import launch, requested
from stages.settings.train import Settings, Train

ZIP = (zipfile.BadZipFile, zlib.error)
"""What a damaged archive raises besides."""


class Checkpoint:
    """The state after the last finished epoch in one file, good only for the inputs it was made from."""

    def __init__(self, path: Path, fingerprint: str):
        self.path, self.fingerprint = path, fingerprint

    def load(self) -> tuple[dict[str, np.ndarray] | None, list[dict]]:
        """The state and the history so far; ``None`` and an empty list where there is nothing to go on from."""
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
        """Replace the checkpoint, whole or not at all."""
        arrays = {f"state/{name}": array for name, array in state.items()}
        with replacing(self.path) as path, path.open("wb") as file:
            np.savez(file, fingerprint=self.fingerprint, history=json.dumps(history), **arrays)

    def remove(self) -> None:
        """Training has ended."""
        self.path.unlink(missing_ok=True)


def main(settings: Settings, name: str) -> None:
    """Train the model called ``name``, going on from the last finished epoch of a run that was cut short."""
    if settings.train.engine == "compiled":
        if launch():
            return
    elif requested():
        print(f"{name}: Keras trains in one process, so the launcher is not used; train.engine: compiled uses it")
    ids, labels = read_split(name, "train")
    made_from = shards.share(partial(fingerprint, settings.model_dump_json(), ids, labels))
    checkpoint = Checkpoint(Path(".checkpoints", f"{name}.npz"), made_from)
    state, history = shards.share(checkpoint.load)
    build = partial(network.build, **settings.pad.model_dump(), **settings.network.model_dump())
    trainer = make_trainer(settings.train, build, state, len(ids))
    if shards.PLACE:  # the first process writes
        for _ in epochs(settings.train, trainer, ids, labels, len(history)):
            pass
        return
    print(f"{name}: {trainer.promise}")
    train(name, settings.train, trainer, ids, labels, history, checkpoint)
    model = build()
    network.set_weights(model, trainer.state()["weights"])
    write_text(Path("models", f"{name}.txt"), archive.table(model))
    write_json(Path("models", f"{name}.json"), _about(settings, network.get_weights(model)))
    with replacing(Path("models", f"{name}.keras")) as path:
        path.write_bytes(archive.pack(model))
    checkpoint.remove()
    print(archive.table(model))


def make_trainer(
    settings: Train, build: Callable[[], network.keras.Model], state: dict[str, np.ndarray] | None, reviews: int
) -> Trainer:
    """The trainer that the params name, of the network that ``build`` makes, in the state it was left in."""
    own = settings.model_dump(include={"batch", "optimizer", "learning_rate", "word_dropout", "seed"})
    if settings.optimizer == "adam":
        own["beta_2"] = settings.beta_2
    if settings.schedule == "linear":
        own["decay"] = settings.epochs * -(-split(reviews, settings.validation_fraction)[0] // settings.batch)
    if settings.engine == "keras":
        return KerasTrainer(build, state, **own)
    network.use_no_gpu()
    return CompiledTrainer(network.to_layers(build()), state, shards=settings.shards, **own)


def epochs(
    settings: Train, trainer: Trainer, ids, labels, done: int, progress: Callable[[int], None] = lambda reviews: None
) -> Iterator[Epoch]:
    """The epochs of ``fit`` after the first ``done``."""
    numbers = settings.model_dump(include={"validation_fraction", "seed"})
    return fit(trainer, ids, labels, epochs=range(done, settings.epochs), **numbers, progress=progress)


def train(name: str, settings: Train, trainer: Trainer, ids, labels, history: list, checkpoint: Checkpoint) -> None:
    """Train on from ``history``; each epoch is logged, shown and kept in the checkpoint as it ends.

    ``history`` has the figures of each epoch, and a digest of the weights after it.
    """
    reviews, _ = split(len(ids), settings.validation_fraction)
    total, done = settings.epochs * reviews, len(history) * reviews
    bar = tqdm(total=total, initial=done, unit=" reviews", desc=f"train {name}", disable=None)
    with _live(f"plots/{name}/history") as live, bar:
        if history:
            bar.write(f"resuming after epoch {len(history)} of {settings.epochs}")
        for epoch in history:
            _log(live, epoch["metrics"])
        for epoch in epochs(settings, trainer, ids, labels, len(history), bar.update):
            metrics = {key: round(value, DECIMALS) for key, value in epoch.metrics.items()}
            history.append({"metrics": metrics, "weights": digest(epoch.state["weights"])})
            checkpoint.save(epoch.state, history)
            _log(live, metrics)
            figures = ", ".join(f"{key} {value:.4f}" for key, value in metrics.items())
            bar.write(f"epoch {len(history)}: {figures}")
    digests = [epoch["weights"] for epoch in history]
    write_csv(Path("plots", name, "weights.csv"), {"epoch": range(1, len(digests) + 1), "weights": digests})


def _about(settings: Settings, weights: np.ndarray) -> dict:
    """What turns a text into the model's ids and its answer into a label, and digests of what they belong to."""
    raw = Path("data/raw")
    return {
        "corpus": settings.corpus,
        "labels": json.loads((raw / f"{settings.corpus}_labels.json").read_bytes()),
        "weights": digest(weights),
        "word_index": hashlib.sha256((raw / f"{settings.corpus}_word_index.json").read_bytes()).hexdigest(),
        **settings.pad.model_dump(),
    }


def fingerprint(settings: str, *arrays: np.ndarray) -> str:
    """A hash of all that shapes a training: settings, data, the project's code in use, what computes."""
    versions = [version(name) for name in ("numba", "keras", "tensorflow")]
    seen = hashlib.sha256(f"{versions} {settings}".encode())
    for array in arrays:
        seen.update(array)
    root = Path(__file__).parents[1]
    files = {Path(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
    for file in sorted(file for file in files if {root / "sentiment", root / "stages"} & {*file.parents}):
        seen.update(file.read_bytes())
    return seen.hexdigest()


def _live(folder: str) -> Live:
    try:
        live = Live(folder, save_dvc_exp=False, dvcyaml=None)
    except SCMError as error:
        raise InputError(f"Git: DVCLive needs a repository with a commit ({error}); run `git commit` first") from None
    live.step = 1  # epochs count from 1
    return live


def _log(live: Live, metrics: dict[str, float]) -> None:
    for key, value in metrics.items():
        split, name = ("eval", key[4:]) if key.startswith("val_") else ("train", key)
        live.log_metric(f"{split}/{name}", value)  # where DVCLive's own callbacks have them
    live.next_step()


if __name__ == "__main__":
    command(
        main,
        Settings,
        model="required",
        interrupted="interrupted; run the same command again to go on from the last finished epoch",
    )
