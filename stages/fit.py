"""Fit a linear model to the n-grams of the training reviews: models/<baseline>.npz."""

from pathlib import Path

import numpy as np

from sentiment import InputError, corpus, linear, ngrams
from stages.common import command, replacing
from stages.settings.fit import Settings


def main(settings: Settings, name: str) -> None:
    """Fit the baseline called ``name``."""
    ranks, lengths, labels = read_reviews(settings.corpus)
    grams, counts = ngrams.learn(ranks, lengths, **settings.grams.model_dump(exclude={"values"}))
    print(f"{name}: {len(grams):,} n-grams of {len(labels):,} reviews; {linear.PROMISES[settings.fit.solver]}")
    features = linear.Features.learn(settings.grams.values, counts, labels)
    weights, bias = linear.fit(features, counts, labels, **settings.fit.model_dump())
    with replacing(Path("models", f"{name}.npz")) as path, path.open("wb") as file:
        linear.write(file, linear.Model(features, grams, weights, bias))


def read_reviews(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The training reviews of a corpus: ranks and lengths as in ``corpus.reviews``, end to end, and labels."""
    with Path("data/raw", f"{name}.npz").open("rb") as file:
        labels = corpus.labels(file, "train")
        if not len(labels):
            raise InputError(f"data/raw/{name}.npz: no training reviews to fit; add some")
        ranks, lengths = (np.concatenate(parts) for parts in zip(*corpus.reviews(file, "train"), strict=True))
    return ranks, lengths, labels


if __name__ == "__main__":
    command(main, Settings, baseline="required")
