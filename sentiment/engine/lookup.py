"""Look up the words of many texts, letter by letter in a hash table, without a Python object for each word.

The result is the same as that of ``data.text.words`` and a dictionary, for texts that ``data.text.clean`` has cleaned.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sentiment.data.text import AnyTokens, put_as
from sentiment.engine.vectors import compiled

_SPACE = ord(" ")
# FNV-1a (G. Fowler, L. Noll and K.-P. Vo, 1991).
_BASIS, _PRIME, _HALF = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3), np.uint64(32)


class Table(NamedTuple):
    """Words and their ranks, for compiled code."""

    letters: np.ndarray  # uint8: the bytes of the words in UTF-8, end to end
    ends: np.ndarray  # int64 [words]: end of each word in ``letters``
    ranks: np.ndarray  # int32 [words]
    slots: np.ndarray  # int32 [a power of 2]: hash table with linear probing; the number of a word, or -1


class Lookup:
    """The ranks of the words of texts.

    Args:
        index: Rank of each word, from 1.
        tokens: Rules by which a text is split into words, not characters.

    >>> from sentiment.data.text import IMDB
    >>> ranks, counts = Lookup({"a": 1, "film": 2}, IMDB)(["A good film!", ""])
    >>> ranks.tolist(), counts.tolist()
    ([1, 0, 2], [3, 0])
    """

    def __init__(self, index: dict[str, int], tokens: AnyTokens):
        letters, ends = _joined([*index])
        slots = np.full(1 << (2 * len(index)).bit_length(), -1, np.int32)
        self._table = Table(letters, ends, np.fromiter(index.values(), np.int32, len(index)), slots)
        self._put = np.array([ord(letter) for letter in put_as(tokens)], np.uint8)
        _fill(self._table)

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The rank of each word, int32 [words], 0 if the index lacks it; and the words per text, int64 [texts]."""
        letters, ends = _joined(texts)
        ranks, counts = np.empty(len(letters) // 2 + len(texts), np.int32), np.zeros(len(texts), np.int64)
        return ranks[: _look_up(letters, ends, self._put, self._table, ranks, counts)], counts


def _joined(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of texts in UTF-8, end to end, uint8, and the end of each, int64 [texts]."""
    sizes = [len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts]
    content = "".join(texts).encode("utf-8", "surrogatepass")
    return np.frombuffer(content, np.uint8), np.cumsum(sizes, dtype=np.int64)


@compiled
def _fill(table):
    """Put the number of each word into ``slots``."""
    begin, mask = 0, len(table.slots) - 1
    for word in range(len(table.ends)):
        hashed = _BASIS
        for at in range(begin, table.ends[word]):
            hashed = (hashed ^ np.uint64(table.letters[at])) * _PRIME
        slot = np.int64(hashed >> _HALF) & mask
        while table.slots[slot] >= 0:
            slot = (slot + 1) & mask
        table.slots[slot] = word
        begin = table.ends[word]


@compiled
def _look_up(letters, ends, put, table, ranks, counts):
    """Fill ``ranks`` and ``counts``; see ``Lookup``.

    Args:
        letters: uint8: the bytes of the texts.
        ends: int64 [texts]: the end of each text.
        put: uint8 [256]: the replacement of each byte; spaces separate words.
        table: ``Table``.
        ranks: int32 [words or more], filled.
        counts: int64 [texts], zeros, filled.

    Returns:
        Number of words.
    """
    word_count, at, mask = 0, 0, len(table.slots) - 1
    for text in range(len(ends)):
        end, first = ends[text], word_count
        while at < end:
            begin, hashed = at, _BASIS
            while at < end and put[letters[at]] != _SPACE:
                hashed = (hashed ^ np.uint64(put[letters[at]])) * _PRIME
                at += 1
            if at > begin:
                ranks[word_count] = 0
                slot = np.int64(hashed >> _HALF) & mask
                while table.slots[slot] >= 0 and ranks[word_count] == 0:
                    word = table.slots[slot]
                    start = table.ends[word - 1] if word else 0
                    same = table.ends[word] - start == at - begin
                    n = 0
                    while same and n < at - begin:
                        same = table.letters[start + n] == put[letters[begin + n]]
                        n += 1
                    if same:
                        ranks[word_count] = table.ranks[word]
                    slot = (slot + 1) & mask
                word_count += 1
            at += 1
        at = end
        counts[text] = word_count - first
    return word_count
