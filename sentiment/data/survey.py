"""Survey of all rows of a corpus: counts of words, labels and faults, and texts that are in both splits."""

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sentiment.data.labelled import BadRow, Row, fingerprint

SHOWN = 10  # maximum number of faults that are shown, one per line
MOST_WORDS = 2_000_000  # maximum number of different words; their counts need about 200 MB


LocatedRow = tuple[str, str, Row | BadRow]
"""Position of a row in its file, its split (of a fault, any text), and the row."""


class Survey(NamedTuple):
    """Counts over all rows of a corpus.

    Attributes:
        words: Number of occurrences of each word in the training split.
        dropped: A word that occurs at most this many times may be missing in ``words``, and the number of any other
            word may be too low by at most this much.
        labels: uint16 [reviews] of each split, in the order of the rows.
        common: Number of test reviews whose words are those of a training review.
        repeated: Number of reviews whose words are those of an earlier review.
        contradicting: Number of reviews whose words are those of a review with another label.
        kinds: Number of faults of each kind.
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
    """Read the rows once.

    Memory is needed for the counts of words, and for ten bytes per review: its label and the fingerprint of its text.
    Above ``MOST_WORDS`` different words, those with a count of 1 are dropped, the next time those with a count of at
    most 2, and so on (lossy counting, G. Manku and R. Motwani, 2002).
    """
    words, kinds, faults, least, dropped = Counter(), Counter(), [], 0, 0
    labels = {"train": array("H"), "test": array("H")}
    texts = {split: array("Q") for split in labels}
    for position, split, row in rows:
        if isinstance(row, BadRow):
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
    """The number of texts that repeat an earlier one, and of texts whose copies have different labels.

    The texts are fingerprints.

    >>> _repeated(np.array([7, 8, 7, 9, 8]), np.array([0, 1, 1, 0, 1]))
    (2, 2)
    """
    order = np.argsort(texts, kind="stable")
    texts, labels = texts[order], labels[order]
    group = np.cumsum(np.append(0, texts[1:] != texts[:-1])[: len(texts)])
    different = np.append(False, (texts[1:] == texts[:-1]) & (labels[1:] != labels[:-1]))[: len(texts)]
    mixed = np.bincount(group, different, minlength=1) > 0
    return len(texts) - (int(group[-1]) + 1 if len(texts) else 0), int(mixed[group].sum()) if len(texts) else 0
