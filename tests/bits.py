"""Train a few batches of a model of params.yaml at its real size, score a few, and print what the bits were.

`python -m tests.bits small 3` prints a line for the first weights, one per step and one for the scores; other processes
must print the same.
"""

import hashlib
import sys

import numpy as np

from sentiment.network import Sizes, arrange, first_weights, predict
from sentiment.training import State, Step, dropout
from stages.common import read_params


def reviews(sizes: Sizes, count: int) -> np.ndarray:
    """Padded ids whose words and lengths are spread as in real reviews: rare words are many, long reviews few."""
    random = np.random.default_rng(1)
    ids = np.minimum(random.zipf(1.3, (count, sizes.max_length)), sizes.vocabulary - 1)
    lengths = np.minimum(random.lognormal(5.2, 0.7, count).astype(int) + 10, sizes.max_length)
    ids[np.arange(sizes.max_length) < sizes.max_length - lengths[:, None]] = 0
    return ids


def main(name: str, steps: int) -> None:
    """Print a digest of the weights after each of ``steps`` updates, and one of a batch's probabilities."""
    model = read_params().model(name)
    sizes = Sizes(**model.pad.model_dump(), **model.network.model_dump())
    weights = first_weights(sizes, model.train.seed)
    step = Step(sizes, State(0, weights, weights * 0, weights * 0), model.train.batch, model.train.shards)
    ids = reviews(sizes, max(model.train.batch * steps, model.evaluate.batch))
    print("first", digest(weights), flush=True)
    for number, rows in enumerate(np.split(ids[: model.train.batch * steps], steps)):
        batch = arrange(sizes, rows, model.train.shards)
        keep = dropout(sizes, model.train.seed, number, len(rows))
        logits = step.gradient(batch, (batch.order % 2).astype(np.float32), keep)
        step.update(model.train.learning_rate, number)
        print(number, digest(step.arrays()[0]), digest(logits), flush=True)
    settings = model.evaluate
    scored = predict(sizes, step.arrays()[0], ids[: settings.batch], batch=settings.batch)
    print("scores", digest(scored), flush=True)


def digest(array: np.ndarray) -> str:
    """The SHA-256 of an array's bytes, in hex."""
    return hashlib.sha256(array.tobytes()).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
