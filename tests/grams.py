"""Fit a linear model to the demo's reviews by Adam, and print digests of it, of its predictions and of other features.

`python -m tests.grams`: other processes, on any processor, must print the same. Needs neither Keras nor scikit-learn.
"""

import hashlib

import numpy as np
from scipy.sparse import csr_matrix

from demo.corpus import make_corpus
from sentiment.data import ngrams
from sentiment.kinds import ngrams
from sentiment.kinds.ngrams import Features, Model


def made_up(reviews: int, longest: int = 2) -> tuple[np.ndarray, csr_matrix, np.ndarray]:
    """The n-grams, counts and labels of the demo's reviews."""
    lists, labels = make_corpus(reviews, 1)
    lengths = np.array([len(review) for review in lists])
    return *ngrams.learn(np.concatenate(lists), lengths, longest=longest, minimum=1, most=10**9), labels.astype("u1")


def main() -> None:
    """Print them."""
    grams, counts, labels = made_up(40)
    features = Features.learn("naive-bayes", counts, labels)
    weights, bias = linear.fit(features, counts, labels, solver="adam", epochs=2, batch=8, learning_rate=0.01, seed=1)
    tfidf = Features.learn("tfidf", counts, labels)
    found = [weights, linear.predict(Model(features, grams, weights, bias), counts), tfidf.compute(counts).data]
    print([hashlib.sha256(array.tobytes()).hexdigest() for array in found])


if __name__ == "__main__":
    main()
