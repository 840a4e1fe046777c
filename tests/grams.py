"""Train a linear model on the demo's reviews by Adam, and print digests of its weights, predictions and features.

`python -m tests.grams`: other processes, on any processor, must print the same. Needs neither Keras nor scikit-learn.
"""

import hashlib
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from demo.corpus import make_corpus
from sentiment.data import ngrams
from sentiment.data.padding import Ragged, orders, whole
from sentiment.kinds import ngrams as kind
from sentiment.schema import check


def made_up(reviews: int, longest: int = 2) -> tuple[np.ndarray, csr_matrix, np.ndarray]:
    """The n-grams, counts and labels of the demo's reviews."""
    words, labels = corpus(reviews)
    return *ngrams.learn(words, longest=longest, min_df=1, max_features=10**9), labels


def corpus(reviews: int, seed: int = 1) -> tuple[Ragged, np.ndarray]:
    """Whole reviews of the demo, word ids, and labels."""
    lists, labels = make_corpus(reviews, seed)
    return whole(np.concatenate(lists), np.array([*map(len, lists)]), None), labels.astype("u1")


def settings(weighting: str = "naive-bayes", longest: int = 2, ending: int = 0, **train: object) -> kind.Settings:
    """Settings of an n-gram model."""
    architecture = {"kind": "ngrams", "longest": longest, "min_df": 1, "max_features": 10**8, "weighting": weighting}
    architecture |= {"ending": ending} if ending else {}
    pad = {"max_length": None, "vocabulary": None}
    return check(kind.Settings, {"pad": pad, "architecture": architecture, "train": {"seed": 1} | train})


def train(settings: kind.Settings, reviews: Ragged, labels: np.ndarray) -> kind.Trainer:
    """A trained trainer. The reviews are shuffled as the stage ``pad`` shuffles them."""
    order = orders(len(labels))[0]
    trainer: Any = kind.make_trainer(settings, reviews[order], labels[order], None)
    for epoch in range(trainer.epochs):
        random = np.random.default_rng([settings.train.seed, 2, epoch])
        trainer.epoch(reviews[order], labels[order], random.permutation(len(labels)), epoch)
    return trainer


def main() -> None:
    """Print the digests."""
    reviews, labels = corpus(40)
    adam = settings(engine="compiled", epochs=2, batch=8, learning_rate=0.01)
    model = train(adam, reviews, labels).model
    _, counts, _ = made_up(40)
    tfidf = kind.Weighting.learn("tfidf", counts, labels).features(counts).data
    arrays = [model.weights, model.predict(reviews), tfidf]
    print([hashlib.sha256(array.tobytes()).hexdigest() for array in arrays])


if __name__ == "__main__":
    main()
