"""Score a fitted baseline on the test split: what ``stages.evaluate`` writes of a model."""

from pathlib import Path

import numpy as np

from sentiment import InputError, corpus, linear, ngrams, padding
from stages.common import command
from stages.scores import write_scores
from stages.settings.score import Settings


def main(settings: Settings, name: str) -> None:
    """Read the test split, as ``stages.evaluate`` does, once; the reviews are in the order of that stage's."""
    model = read_model(Path("models", f"{name}.npz"), name)
    print(f"{name}: {len(model.grams):,} n-grams")
    with Path("data/raw", f"{settings.corpus}.npz").open("rb") as file:
        _, order = padding.orders(*(corpus.count(file, split) for split in ("train", "test")))
        labels = corpus.labels(file, "test")
        blocks = (ngrams.count(*block, model.grams) for block in corpus.reviews(file, "test"))
        positive = np.concatenate([linear.predict(model, counts) for counts in blocks])
    weights = np.append(model.weights, np.float32(model.bias))
    write_scores(name, labels[order], positive[order], settings.score.calibration_bins, weights)


def read_model(path: Path, name: str) -> linear.Model:
    """The baseline called ``name``, from its file."""
    with path.open("rb") as file:
        try:
            return linear.read(file)
        except InputError as error:
            raise InputError(f"{path}: {error}; `dvc repro fit@{name}` makes it again") from None


if __name__ == "__main__":
    command(main, Settings, baseline="required")
