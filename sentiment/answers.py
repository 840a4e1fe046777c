"""Texts -> answers of a trained model: the label, its probability, and the words that moved it."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from sentiment.padding import FIRST_WORD, UNKNOWN, dtype_for
from sentiment.text import clean, encode, words

TOGETHER = 4096
"""Reviews predicted at once, at most, to find which words moved an answer: memory against speed."""


class Answer(NamedTuple):
    """What the model says of a text."""

    label: str
    probability: float  # of the second label, as `evaluate` has it
    words: list[tuple[str, float]]  # that moved the probability most, and by how much each
    unknown: int  # words of the text that are not in the vocabulary
    truncated: bool  # whether the text is longer than the model reads, which is its end


class Asker:
    """Asks a model about texts.

    Args:
        predict: From ids, int [n, max_length], to the probability of the second label, float32 [n].
        index: The rank of each word, from 1.
        max_length: Ids in a review.
        vocabulary: Ids from here on are unknown.
        labels: What probabilities near 0 and near 1 are called.
    """

    def __init__(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        index: dict[str, int],
        *,
        max_length: int,
        vocabulary: int,
        labels: Sequence[str],
    ):
        self.predict, self.index, self.labels = predict, index, labels
        self.max_length, self.vocabulary = max_length, vocabulary
        known = vocabulary - FIRST_WORD
        self._word = {rank + FIRST_WORD: word for word, rank in index.items() if rank < known}

    def ask(self, texts: Sequence[str], words: int = 0) -> list[Answer | str]:
        """An answer to each text, or why there is none.

        Args:
            texts: Any number of them.
            words: How many words to name that moved the answer, at most, towards either label.
        """
        cleaned = [clean(text, self.index, self.vocabulary) for text in texts]
        ids = [encode(text, self.index, self.vocabulary) for text in cleaned]
        rows = np.zeros((len(texts), self.max_length), dtype_for(self.vocabulary))
        for row, review in zip(rows, ids, strict=True):
            row[-len(review) :] = review[-self.max_length :]
        asked = np.flatnonzero((rows > UNKNOWN).any(axis=1))
        answers: list[Answer | str] = [self._refusal(text) for text in cleaned]
        if len(asked):
            rows = rows[asked]
            positive = self.predict(rows)
            moved = self._effects(rows, positive, words) if words else [[] for _ in asked]
            for at, probability, effects in zip(asked, positive, moved, strict=True):
                label = self.labels[int(probability > 0.5)]  # as `evaluate` counts
                unknown, truncated = self._unknown(cleaned[at]), len(ids[at]) > self.max_length
                answers[at] = Answer(label, float(probability), effects, unknown, truncated)
        return answers

    def _effects(self, rows: np.ndarray, positive: np.ndarray, words: int) -> list[list[tuple[str, float]]]:
        """By how much each word of a review raised its probability, the largest first, so many each way.

        It is the probability less that of the same review with the word, wherever it stands, made unknown: occlusion
        (M. Zeiler and R. Fergus, 2014; J. Li, W. Monroe and D. Jurafsky, 2016, for words). A word that stands there
        twice counts once: with one of the two left, the review would still have said it.
        """
        pairs = [(review, id) for review, row in enumerate(rows) for id in np.unique(row[row > UNKNOWN])]
        found: list[list[tuple[str, float]]] = [[] for _ in rows]
        rest = iter(pairs)
        while part := [*islice(rest, TOGETHER)]:
            reviews, ids = np.array(part).T
            without = rows[reviews]
            without[without == ids[:, None]] = UNKNOWN
            for review, id, effect in zip(reviews, ids, positive[reviews] - self.predict(without), strict=True):
                found[review].append((self._word[id], float(effect)))
        return [strongest(effects, words) for effects in found]

    def _unknown(self, text: str) -> int:
        return sum(self.index.get(word, self.vocabulary) + FIRST_WORD >= self.vocabulary for word in words(text))

    def _refusal(self, text: str) -> str:
        if not text.strip():
            return "the text is empty; expected words"
        return "no word of it that the model reads is in its vocabulary; expected English text with common words"


def strongest(effects: list[tuple[str, float]], count: int) -> list[tuple[str, float]]:
    """The ``count`` effects above 0 and below 0 that are largest, in order of their size; words decide ties.

    >>> strongest([("a", 0.1), ("b", -0.3), ("c", 0.2), ("d", 0.0)], 1)
    [('b', -0.3), ('c', 0.2)]
    """
    ordered = sorted(effects, key=lambda pair: (-abs(pair[1]), pair[0]))
    return sorted(
        (pair for sign in (1, -1) for pair in islice((pair for pair in ordered if sign * pair[1] > 0), count)),
        key=ordered.index,
    )
