"""Text -> words -> ids and back."""

import string
from collections import Counter

from sentiment.padding import FIRST_WORD, START, UNKNOWN

_SEPARATORS = string.punctuation.replace("'", "") + "\t\n"
_NORMAL = str.maketrans(string.ascii_uppercase + _SEPARATORS, string.ascii_lowercase + " " * len(_SEPARATORS))
_SPECIAL = {0: "", START: "", UNKNOWN: "?"}


def words(text: str) -> list[str]:
    """The words of a text, as the data set's authors cut the reviews.

    Lower-cased (ASCII), every ASCII punctuation character but the apostrophe a space, split at spaces.

    >>> words("A film, isn't it?")
    ['a', 'film', "isn't", 'it']
    """
    return [word for word in text.translate(_NORMAL).split(" ") if word]


def make_index(counts: Counter[str]) -> dict[str, int]:
    """The rank of each word, 1 for the most frequent; equally frequent ones by their code points.

    >>> make_index(Counter({"film": 2, "the": 5, "a": 2}))
    {'the': 1, 'a': 2, 'film': 3}
    """
    return {word: rank for rank, word in enumerate(sorted(counts, key=lambda word: (-counts[word], word)), start=1)}


def encode(text: str, index: dict[str, int], vocabulary: int) -> list[int]:
    """The ids of a text, as the data set's authors made them from the reviews; words that the index lacks are dropped.

    Args:
        text: Any text.
        index: The rank of each word, from 1.
        vocabulary: Ids from here on become ``UNKNOWN``.

    Returns:
        ``START``, then an id per word.

    >>> encode("A film, isn't it?", {"a": 1, "film": 2, "isn't": 9}, vocabulary=10)
    [1, 4, 5, 2]
    """
    ranks = [index[word] for word in words(text) if word in index]
    return [START, *(rank + FIRST_WORD if rank + FIRST_WORD < vocabulary else UNKNOWN for rank in ranks)]


def decode(ids: list[int], index: dict[str, int]) -> str:
    """The words of ids with single spaces between them; "?" for ``UNKNOWN``, nothing for padding and ``START``.

    >>> decode([0, 1, 4, 5, 2], {"a": 1, "film": 2})
    'a film ?'
    """
    words = {rank + FIRST_WORD: word for word, rank in index.items()} | _SPECIAL
    return " ".join(filter(None, (words[id] for id in ids)))
