"""What a first reading of all rows of a corpus finds: the words, the labels, the faults, and texts on both sides."""

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sentiment import InputError
from sentiment.data.labelled import Fault, Row, fingerprint

SHOWN = 10  # faults, each in a line
MOST_WORDS = 10_000_000  # different ones, whose counts take about a gigabyte


Placed = tuple[str, str, Row | Fault]
"""Where a row begins, its split (no matter of a fault), and the row."""


class Survey(NamedTuple):
    """What there is.

    Attributes:
        words: How often each word occurs in the training split.
        labels: uint8 [reviews] of each split, in the order of the rows.
        common: How many test reviews have the words of a training review.
        kinds: How many faults of each kind.
        faults: A line for each of the first ``SHOWN`` faults.
    """

    words: Counter[str]
    labels: dict[str, np.ndarray]
    common: int
    kinds: Counter[str]
    faults: list[str]


def survey(rows: Iterable[Placed]) -> Survey:
    """Go through the rows once.

    The counts of the words are held, and nine bytes a review: its label and the fingerprint of its text.

    Raises:
        InputError: More than ``MOST_WORDS`` different words.
    """
    words, kinds, faults = Counter(), Counter(), []
    labels = {"train": bytearray(), "test": bytearray()}
    texts = {split: array("Q") for split in labels}
    for place, split, row in rows:
        if isinstance(row, Fault):
            kinds[row.kind] += 1
            if len(faults) < SHOWN:
                faults.append(f"{place}: {row.kind}: {row.found}")
            continue
        labels[split].append(row.label)
        texts[split].append(fingerprint(row.words))
        if split == "train":
            words.update(row.words)
            if len(words) > MOST_WORDS:
                raise InputError(
                    f"{place}: more than {MOST_WORDS:,} different words so far; are words parted by spaces?"
                )
    train, test = (np.frombuffer(texts[split], np.uint64) for split in ("train", "test"))
    arrays = {split: np.frombuffer(values, np.uint8) for split, values in labels.items()}
    return Survey(words, arrays, int(np.isin(test, train).sum()), kinds, faults)
