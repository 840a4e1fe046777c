"""Score a fitted baseline on the test split: what ``stages.evaluate`` writes of a model."""

from pathlib import Path

import numpy as np

from sentiment import corpus, linear, ngrams, padding
from stages.common import command
from stages.scores import write_scores
from stages.settings.score import Settings


def main(settings: Settings, name: str) -> None:
    """Read the test split, as ``stages.evaluate`` does, once; the reviews are in the order of that stage's."""
    with Path("models", f"{name}.npz").open("rb") as file:
        model = linear.read(file)
    with Path("data/raw", f"{settings.corpus}.npz").open("rb") as file:
        _, order = padding.orders(*(corpus.count(file, split) for split in ("train", "test")))
        labels = corpus.labels(file, "test")
        blocks = (ngrams.count(*block, model.grams) for block in corpus.reviews(file, "test"))
        positive = np.concatenate([linear.predict(model, counts) for counts in blocks])
    weights = np.append(model.weights, np.float32(model.bias))
    write_scores(name, labels[order], positive[order], settings.score.calibration_bins, weights)


if __name__ == "__main__":
    command(main, Settings, baseline=True)
