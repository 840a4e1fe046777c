"""Train a model: models/<model>.keras, its layer table models/<model>.txt and the history in plots/<model>/history."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from dvclive import Live
from scmrepo.exceptions import SCMError
from tqdm import tqdm

from sentiment import InputError, archive
from sentiment.network import Sizes
from sentiment.numerics import tf
from sentiment.params import Params
from sentiment.training import State, fit
from stages.common import command, read_array, replacing, write_text

DECIMALS = 6  # of the tracked history: NumPy's log differs between instruction sets by units in the last place


def main(params: Params, name: str) -> None:
    """Train the model called ``name``, going on from the last finished epoch of a run that was cut short."""
    model = params.model(name)
    sizes = Sizes(**model.pad.model_dump(), **model.network.model_dump())
    ids, labels = (read_array(Path("data", name, f"{kind}_train.npy")) for kind in "xy")
    if ids.shape[1] != sizes.max_length or len(ids) != len(labels):
        raise InputError(f"data/{name}: expected {sizes.max_length} ids a review; run `dvc repro pad@{name}`")
    checkpoint = Checkpoint(Path(".checkpoints", f"{name}.npz"), _fingerprint(model, ids, labels))
    state, history = checkpoint.load()
    if history:
        print(f"resuming after epoch {len(history)} of {model.train.epochs}")
    with (
        _live(f"plots/{name}/history") as live,
        tqdm(total=model.train.epochs * len(ids), unit=" reviews", desc=f"train {name}") as bar,
    ):
        for metrics in history:
            _log(live, metrics)
            bar.update(len(ids))
        for epoch in fit(sizes, ids, labels, **model.train.model_dump(), state=state, progress=bar.update):
            history.append({key: round(value, DECIMALS) for key, value in epoch.metrics.items()})
            checkpoint.save(epoch.state, history)
            _log(live, history[-1])
            bar.write(f"epoch {len(history)}: " + ", ".join(f"{key} {value:.4f}" for key, value in history[-1].items()))
            state = epoch.state
    trained = archive.to_keras(sizes, state.weights)
    write_text(Path("models", f"{name}.txt"), archive.table(trained))
    with replacing(Path("models", f"{name}.keras")) as path:
        path.write_bytes(archive.pack(trained))
    checkpoint.remove()
    print(archive.table(trained))


class Checkpoint:
    """The state after the last finished epoch in one file, good only for the inputs it was made from."""

    def __init__(self, path: Path, fingerprint: str):
        self.path, self.fingerprint = path, fingerprint

    def load(self) -> tuple[State | None, list[dict[str, float]]]:
        """The state and the history so far; ``None`` and an empty list where there is nothing to go on from."""
        if not self.path.exists():
            return None, []
        with np.load(self.path, allow_pickle=False) as saved:
            if saved["fingerprint"] != self.fingerprint:
                return None, []
            history = json.loads(str(saved["history"]))
            return State(len(history), *(saved[field] for field in State._fields[1:])), history

    def save(self, state: State, history: list[dict[str, float]]) -> None:
        """Replace the checkpoint, whole or not at all."""
        arrays = dict(zip(State._fields[1:], state[1:], strict=True))
        with replacing(self.path) as path, path.open("wb") as file:
            np.savez(file, fingerprint=self.fingerprint, history=json.dumps(history), **arrays)

    def remove(self) -> None:
        """Training has ended."""
        self.path.unlink(missing_ok=True)


def _fingerprint(model, *arrays: np.ndarray) -> str:
    """A hash of all that shapes the training: parameters, data, the project's code in use, TensorFlow."""
    seen = hashlib.sha256(f"{tf.__version__} {model.model_dump_json(exclude={'evaluate'})}".encode())
    for array in arrays:
        seen.update(array)
    root = Path(__file__).parents[1]
    files = {Path(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
    for file in sorted(file for file in files if file.parent.parent == root):
        seen.update(file.read_bytes())
    return seen.hexdigest()


def _live(folder: str) -> Live:
    try:
        return Live(folder, save_dvc_exp=False, dvcyaml=None)
    except SCMError as error:
        raise InputError(f"Git: DVCLive needs a repository with a commit ({error}); run `git commit` first") from None


def _log(live: Live, metrics: dict[str, float]) -> None:
    for key, value in metrics.items():
        live.log_metric(key, value)
    live.next_step()


if __name__ == "__main__":
    command(main)
