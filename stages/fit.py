"""Fit a linear model to the n-grams of the training reviews: models/<baseline>.npz."""

from pathlib import Path

import numpy as np

from sentiment import corpus, linear, ngrams
from stages.common import command, replacing
from stages.settings.fit import Settings


def main(settings: Settings, name: str) -> None:
    """Fit the baseline called ``name``."""
    with Path("data/raw", f"{settings.corpus}.npz").open("rb") as file:
        labels = corpus.labels(file, "train")
        ranks, lengths = (np.concatenate(parts) for parts in zip(*corpus.reviews(file, "train"), strict=True))
    grams, counts = ngrams.learn(ranks, lengths, **settings.grams.model_dump(exclude={"values"}))
    print(f"{name}: {len(grams):,} n-grams of {len(labels):,} reviews; {linear.PROMISES[settings.fit.solver]}")
    features = linear.Features.learn(settings.grams.values, counts, labels)
    weights, bias = linear.fit(features, counts, labels, **settings.fit.model_dump())
    with replacing(Path("models", f"{name}.npz")) as path, path.open("wb") as file:
        linear.write(file, linear.Model(features, grams, weights, bias))


if __name__ == "__main__":
    command(main, Settings, baseline=True)
