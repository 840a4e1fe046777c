"""Train some networks on a few batches, predict a few reviews, and print digests of the bits.

`python -m tests.bits FILE` reads a JSON object of names and ``Run``s. For each it prints a line for the first weights,
one per update, one for the predictions and one for the estimated effects of words; other processes, on any processor,
must print the same. Needs no Keras.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from demo.corpus import make_padded
from sentiment.engine import shards
from sentiment.engine.trainer import CompiledPredictor, CompiledTrainer, predict


class Run(NamedTuple):
    """Settings of a training."""

    layers: list[dict]  # of a Keras model
    updates: int
    batch: int
    shards: int
    optimizer: str = "adam"
    predictions: int = 40  # more than are predicted together
    tuning: dict | None = None  # other settings of the trainer; if there are any, an epoch follows the updates


TUNING = {"word_dropout": 0.3, "decay": 9, "beta_2": 0.95}


def main(name: str, run: Run) -> None:
    """Print a digest of the weights after each update, and one of the predictions."""
    settings = {"batch": run.batch, "shards": run.shards, "optimizer": run.optimizer}
    trainer = CompiledTrainer(run.layers, learning_rate=0.001, seed=1, **settings, **(run.tuning or {}))
    network, labels = trainer.network, max(2, trainer.network.output.gives.features)
    ids = make_padded(network.length, network.words.vocabulary, max(run.batch * run.updates, run.predictions))
    say(name, "first", digest(trainer.state()["weights"]))
    for number, rows in enumerate(np.split(ids[: run.batch * run.updates], run.updates)):
        groups = network.deal(rows, run.shards, tasks_of=shards.tasks_of)
        positive = trainer.find_gradient(groups, groups.order % labels, number)
        trainer.update(number)
        say(name, number, digest(trainer.state()["weights"]), digest(positive))
    if run.tuning:
        trained = ids[: run.batch * run.updates]
        trainer.epoch(trained, np.arange(len(trained)) % labels, np.arange(len(trained))[::-1], 1)
        say(name, "epoch", digest(trainer.state()["weights"]))
    weights, asked = trainer.state()["weights"], ids[: run.predictions]
    say(name, "predictions", digest(predict(run.layers, weights, asked, batch=run.predictions)))
    _, effects = CompiledPredictor(run.layers, weights, batch=run.predictions, explains=True).explain(asked)
    say(name, "effects", digest(np.concatenate([each for _, each in effects])))


def say(*words: object) -> None:
    """Print a line once, after checking that all processes have the same line."""
    line = " ".join(map(str, words))
    shards.agree(line, "bits")
    if shards.processes().rank == 0:
        print(line, flush=True)


def digest(array: np.ndarray) -> str:
    """The SHA-256 of an array's bytes, in hex."""
    return hashlib.sha256(array.tobytes()).hexdigest()


if __name__ == "__main__":
    for name, run in json.loads(Path(sys.argv[1]).read_text()).items():
        main(name, Run(**run))
