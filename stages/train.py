"""Train a model: models/<model>.keras, its layer table models/<model>.txt and the history in plots/<model>/history."""

import hashlib
import json
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from dvclive import Live
from scmrepo.exceptions import SCMError
from tqdm import tqdm

from sentiment import DECIMALS, InputError, archive, numerics
from sentiment.network import Sizes
from sentiment.training import State, fit, split
from stages.common import command, read_split, replacing, write_text
from stages.settings.train import Settings, Train


class Checkpoint:
    """The state after the last finished epoch in one file, good only for the inputs it was made from."""

    def __init__(self, path: Path, fingerprint: str):
        self.path, self.fingerprint = path, fingerprint

    def load(self) -> tuple[State | None, list[dict[str, float]]]:
        """The state and the history so far; ``None`` and an empty list where there is nothing to go on from."""
        if not self.path.exists():
            return None, []
        try:
            with np.load(self.path, allow_pickle=False) as saved:
                if saved["fingerprint"] != self.fingerprint:
                    return None, []
                history = json.loads(str(saved["history"]))
                return State(len(history), *(saved[field] for field in State._fields[1:])), history
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{self.path}: a damaged checkpoint ({error}); delete it to train from the start"
            ) from None

    def save(self, state: State, history: list[dict[str, float]]) -> None:
        """Replace the checkpoint, whole or not at all."""
        arrays = dict(zip(State._fields[1:], state[1:], strict=True))
        with replacing(self.path) as path, path.open("wb") as file:
            np.savez(file, fingerprint=self.fingerprint, history=json.dumps(history), **arrays)

    def remove(self) -> None:
        """Training has ended."""
        self.path.unlink(missing_ok=True)


def main(settings: Settings, name: str) -> None:
    """Train the model called ``name``, going on from the last finished epoch of a run that was cut short."""
    layers = settings.network.model_dump(exclude={"units", "bidirectional", "average"})
    sizes = Sizes(**settings.pad.model_dump(), **layers, lstm=settings.network.units)
    ids, labels = read_split(name, "train")
    print(f"{name}: {numerics.promise()}")
    checkpoint = Checkpoint(Path(".checkpoints", f"{name}.npz"), _fingerprint(settings, ids, labels))
    trained = archive.to_keras(sizes, train(name, settings.train, sizes, ids, labels, checkpoint))
    write_text(Path("models", f"{name}.txt"), archive.table(trained))
    with replacing(Path("models", f"{name}.keras")) as path:
        path.write_bytes(archive.pack(trained))
    checkpoint.remove()
    print(archive.table(trained))


def train(name: str, settings: Train, sizes: Sizes, ids, labels, checkpoint: Checkpoint) -> np.ndarray:
    """The trained weights; each epoch is logged, shown and kept in the checkpoint as it ends."""
    numbers = settings.model_dump(exclude={"engine", "optimizer"})
    state, history = checkpoint.load()
    reviews, _ = split(len(ids), settings.validation_fraction)
    total, done = settings.epochs * reviews, len(history) * reviews
    bar = tqdm(total=total, initial=done, unit=" reviews", desc=f"train {name}", disable=None)
    with _live(f"plots/{name}/history") as live, bar:
        if history:
            bar.write(f"resuming after epoch {len(history)} of {settings.epochs}")
        for metrics in history:
            _log(live, metrics)
        for epoch in fit(sizes, ids, labels, **numbers, state=state, progress=bar.update):
            state = epoch.state
            history.append({key: round(value, DECIMALS) for key, value in epoch.metrics.items()})
            checkpoint.save(state, history)
            _log(live, history[-1])
            figures = ", ".join(f"{key} {value:.4f}" for key, value in history[-1].items())
            bar.write(f"epoch {len(history)}: {figures}")
    return state.weights


def _fingerprint(settings: Settings, *arrays: np.ndarray) -> str:
    """A hash of all that shapes the training: parameters, data, the project's code in use, the compiler."""
    seen = hashlib.sha256(f"{version('numba')} {settings.model_dump_json()}".encode())
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
