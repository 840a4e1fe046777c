"""Reviews of word ids -> sparse matrix of the number of occurrences of each n-gram, and statistics of n-grams.

An n-gram is up to ``MAX_N`` successive known words of one review, encoded in one integer: the lowest ``bits_for``
bits have the id of the first word, the next bits that of the second, and so on. Ids of words are above 0, so n-grams of
different lengths are different integers. With ``ending``, the n-grams within the last words of a review are counted a
second time, as n-grams of their own: the same integers with the bit ``MARK``. The tests compare with
``CountVectorizer`` and ``TfidfVectorizer`` of scikit-learn.
"""

from typing import TYPE_CHECKING

import numpy as np

from sentiment import InputError
from sentiment.data.padding import UNKNOWN, Ragged, words_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BITS = 21
MAX_N = 5
"""Words of the longest n-grams."""


MARK = 1 << 62
"""Bit of n-grams within the last words of a review."""


def bits_for(longest: int, ending: int = 0) -> int:
    """Bits of one word in n-grams of up to ``longest`` words: 21 up to three words, and fewer for longer n-grams.

    If ``ending`` is not 0, there is a bit for ``MARK``, and three words have 20 bits each.
    """
    return min(BITS - 1, 62 // longest) if ending else min(BITS, 63 // longest)


def learn(
    reviews: Ragged, *, longest: int, min_df: int, max_features: int, ending: int = 0
) -> "tuple[np.ndarray, csr_matrix]":
    """Find the n-grams of reviews, and count each in each review.

    Args:
        reviews: Word ids; padding and start ids are skipped.
        longest: Maximum number of words in an n-gram.
        min_df: Minimum number of reviews in which an n-gram occurs.
        max_features: Maximum number of n-grams. Those in the most reviews are kept; of equal ones, the lower integers.
        ending: Number of last words of a review whose n-grams are counted a second time, with ``MARK``.

    Returns:
        grams: int64 [grams], ascending.
        counts: int32 [reviews, grams].

    Raises:
        InputError: A word id is too high, or no n-gram occurs in ``min_df`` reviews.

    >>> grams, counts = learn(Ragged(np.array([7, 8, 7, 8]), np.array([3, 1])), longest=2, min_df=1, max_features=9)
    >>> [words(gram, 21) for gram in grams]
    [(7,), (8,), (8, 7), (7, 8)]
    >>> counts.toarray().tolist()
    [[2, 1, 1, 1], [0, 1, 0, 0]]
    """
    occurrences, rows = _list(reviews, longest, bits_for(longest, ending), ending)
    grams, columns = np.unique(occurrences, return_inverse=True)
    counts = _matrix(rows, columns, (len(reviews), len(grams)))
    kept = common(counts, min_df=min_df, max_features=max_features)
    return grams[kept], counts if len(kept) == len(grams) else counts[:, kept]


def common(counts: "csr_matrix", *, min_df: int, max_features: int) -> np.ndarray:
    """The columns of counts, int32 [reviews, grams], that ``learn`` keeps: int64, ascending.

    Raises:
        InputError: No n-gram occurs in ``min_df`` reviews.
    """
    frequency = document_frequency(counts)
    kept = np.flatnonzero(frequency >= min_df)
    if len(kept) > max_features:
        kept = np.sort(kept[np.argsort(-frequency[kept], kind="stable")[:max_features]])
    if not len(kept):
        raise InputError(
            f"architecture.min_df = {min_df}: no n-gram occurs in so many of {counts.shape[0]} reviews; lower it"
        )
    return kept


def count(reviews: Ragged, grams: np.ndarray, bits: int = BITS, ending: int = 0) -> "csr_matrix":
    """Count the n-grams ``grams``, ascending int64 [grams], in reviews: int32 [reviews, grams]."""
    occurrences, rows = _list(reviews, words_in(grams, bits), bits, ending)
    columns = np.searchsorted(grams, occurrences)
    columns[columns == len(grams)] = 0
    known = grams[columns] == occurrences
    return _matrix(rows[known], columns[known], (len(reviews), len(grams)))


def words(gram: int, bits: int = BITS) -> tuple[int, ...]:
    """The word ids of an n-gram, with or without ``MARK``, from the first to the last."""
    ids = (int(gram) >> bits * n & (1 << bits) - 1 for n in range(63 // bits))
    return tuple(id for id in ids if id)


def words_in(grams: np.ndarray, bits: int = BITS) -> int:
    """Number of words in the longest n-gram of ``grams``, int64 [grams]."""
    return 1 + sum(bool((grams >> bits * n & (1 << bits) - 1).any()) for n in range(1, 63 // bits))


def document_frequency(counts: "csr_matrix") -> np.ndarray:
    """The number of reviews in which each n-gram occurs: int64 [grams]."""
    return np.bincount(counts.indices, minlength=counts.shape[1])


def inverse_document_frequency(counts: "csr_matrix") -> np.ndarray:
    """Inverse document frequency of each n-gram, float32 [grams].

    log((1 + reviews) / (1 + document frequency)) + 1, as in scikit-learn's ``TfidfTransformer``.
    """
    from sentiment.engine.functions import log

    ratio = (1 + counts.shape[0]) / (1 + document_frequency(counts))
    return (log(ratio) + 1).astype(np.float32)


def log_count_ratio(counts: "csr_matrix", labels: np.ndarray) -> np.ndarray:
    """Log-count ratio of each n-gram, its weight in naive Bayes: float32 [grams].

    log((p / sum(p)) / (q / sum(q))), where p is 1 plus the number of reviews of label 1 with the n-gram, and q is 1
    plus that of label 0 (S. Wang and C. Manning, Baselines and Bigrams, 2012, section 2.1, with presence for counts).

    Args:
        counts: int32 [reviews, grams].
        labels: uint8 [reviews], 0 or 1.
    """
    from sentiment.engine.functions import log

    p, q = (1 + document_frequency(counts[np.flatnonzero(labels == label)]) for label in (1, 0))
    return log((p / p.sum()) / (q / q.sum())).astype(np.float32)


def _list(reviews: Ragged, longest: int, bits: int, ending: int) -> tuple[np.ndarray, np.ndarray]:
    """Every n-gram, int64, and its review, int32: first all words, then all pairs, then all triples."""
    reviews = words_of(reviews)
    ids, lengths = reviews.ids, reviews.lengths
    if len(ids) and ids.max() >> bits:
        raise InputError(
            f"n-grams of {longest}: expected word ids below {1 << bits}, got {ids.max()}; set pad.vocabulary to that,"
            " or lower architecture.longest"
        )
    rows = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    left = np.repeat(reviews.ends, lengths) - np.arange(len(ids))  # words from this one to the review's end
    grams, whole, listed, listed_rows = ids.astype(np.int64), ids != UNKNOWN, [], []
    for n in range(longest):
        if n:
            grams = grams[: len(grams) - 1] + (ids[n:].astype(np.int64) << bits * n)
            whole = whole[: len(grams)] & (ids[n:] != UNKNOWN)
        inside = whole & (left[: len(grams)] > n)
        listed.append(grams[inside])
        listed_rows.append(rows[: len(grams)][inside])
        if ending:
            last = inside & (left[: len(grams)] <= ending)
            listed.append(grams[last] | MARK)
            listed_rows.append(rows[: len(grams)][last])
    return np.concatenate(listed), np.concatenate(listed_rows)


def _matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> "csr_matrix":
    """A sparse matrix of the number of times that each pair of row and column occurs: int32 [shape]."""
    from scipy.sparse import coo_matrix

    return coo_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape).tocsr()
