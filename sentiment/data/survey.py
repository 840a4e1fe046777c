"""Survey of all rows of a corpus: counts of words, labels and faults, and texts that both splits have."""

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sentiment.data.labelled import Fault, Row, fingerprint

SHOWN = 10  # faults, each in a line
MOST_WORDS = 2_000_000  # different ones, whose counts take about 200 MB


LocatedRow = tuple[str, str, Row | Fault]
"""Position of a row, its split (any, for a fault), and the row."""


class Survey(NamedTuple):
    """Counts over all rows of a corpus.

    Attributes:
        words: How often each word occurs in the training split.
        dropped: How many occurrences of a word may be missing in ``words``, and of how many at most a word may be.
        labels: uint16 [reviews] of each split, in the order of the rows.
        common: How many test reviews have the words of a training review.
        repeated: How many reviews have the words of another one.
        contradicting: How many reviews have the words of another one, with another label.
        kinds: How many faults of each kind.
        faults: A line for each of the first ``SHOWN`` faults.
    """

    words: Counter[str]
    dropped: int
    labels: dict[str, np.ndarray]
    common: int
    repeated: int
    contradicting: int
    kinds: Counter[str]
    faults: list[str]


def survey(rows: Iterable[LocatedRow]) -> Survey:
    """Go through the rows once.

    The counts of the words are held, and ten bytes a review: its label and the fingerprint of its text. Above
    ``MOST_WORDS`` different words, those counted least are dropped, once and then twice and so on (lossy counting, G.
    Manku and R. Motwani, 2002): a word is missing only if it occurs at most ``dropped`` times.
    """
    words, kinds, faults, least, dropped = Counter(), Counter(), [], 0, 0
    labels = {"train": array("H"), "test": array("H")}
    texts = {split: array("Q") for split in labels}
    for position, split, row in rows:
        if isinstance(row, Fault):
            kinds[row.kind] += 1
            if len(faults) < SHOWN:
                faults.append(f"{position}: {row.kind}: {row.detail}")
            continue
        labels[split].append(row.label)
        texts[split].append(fingerprint(row.words))
        if split == "train":
            words.update(row.words)
            while len(words) > MOST_WORDS:
                least += 1
                dropped += least
                words = Counter({word: count for word, count in words.items() if count > least})
    train, test = (np.frombuffer(texts[split], np.uint64) for split in ("train", "test"))
    arrays = {split: np.frombuffer(values, np.uint16) for split, values in labels.items()}
    repeated, contradicting = _repeated(np.concatenate([train, test]), np.concatenate([*arrays.values()]))
    return Survey(words, dropped, arrays, int(np.isin(test, train).sum()), repeated, contradicting, kinds, faults)


def _repeated(texts: np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    """The number of texts, as fingerprints, that stand there before, and of those among copies with different labels.

    >>> _repeated(np.array([7, 8, 7, 9, 8]), np.array([0, 1, 1, 0, 1]))
    (2, 2)
    """
    order = np.argsort(texts, kind="stable")
    texts, labels = texts[order], labels[order]
    group = np.cumsum(np.append(0, texts[1:] != texts[:-1])[: len(texts)])
    different = np.append(False, (texts[1:] == texts[:-1]) & (labels[1:] != labels[:-1]))[: len(texts)]
    mixed = np.bincount(group, different, minlength=1) > 0
    return len(texts) - (int(group[-1]) + 1 if len(texts) else 0), int(mixed[group].sum()) if len(texts) else 0
