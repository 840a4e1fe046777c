"""Reviews of word ranks -> how often each n-gram is in each, as a sparse matrix, and what those counts are worth.

An n-gram is up to ``LONGEST`` words in a row of one review, in one whole number: the rank of its first word in the
lowest ``BITS`` bits, of its second in the next. Ranks start at 1, so that shorter ones are never mistaken for longer.
Oracle: ``CountVectorizer`` and ``TfidfVectorizer`` of scikit-learn.
"""

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix

from sentiment import InputError
from sentiment.engine.functions import log

BITS = 21
LONGEST = 63 // BITS


def learn(
    ranks: np.ndarray, lengths: np.ndarray, *, longest: int, minimum: int, most: int
) -> tuple[np.ndarray, csr_matrix]:
    """The n-grams that some reviews have, and how often each review has each.

    Args:
        ranks: int [sum(lengths)], word ranks from 1, the reviews end to end.
        lengths: int [reviews], words per review.
        longest: Words in an n-gram, at most.
        minimum: Reviews that an n-gram must be in.
        most: N-grams to keep at most, those in the most reviews; of equals, the lower numbers.

    Returns:
        grams: int64 [grams], ascending.
        counts: int32 [reviews, grams].

    Raises:
        InputError: A rank is too high, or no n-gram is left.

    >>> grams, counts = learn(np.array([7, 8, 7, 8]), np.array([3, 1]), longest=2, minimum=1, most=9)
    >>> [(int(gram % 2**BITS), int(gram >> BITS)) for gram in grams]
    [(7, 0), (8, 0), (8, 7), (7, 8)]
    >>> counts.toarray().tolist()
    [[2, 1, 1, 1], [0, 1, 0, 0]]
    """
    found, reviews = _list(ranks, lengths, longest)
    grams, columns = np.unique(found, return_inverse=True)
    counts = _matrix(reviews, columns, (len(lengths), len(grams)))
    kept = common(counts, minimum=minimum, most=most)
    return grams[kept], counts if len(kept) == len(grams) else counts[:, kept]


def common(counts: csr_matrix, *, minimum: int, most: int) -> np.ndarray:
    """The columns of counts, int32 [reviews, grams], that ``learn`` keeps: int64, ascending; raises as it does."""
    frequency = document_frequency(counts)
    kept = np.flatnonzero(frequency >= minimum)
    if len(kept) > most:
        kept = np.sort(kept[np.argsort(-frequency[kept], kind="stable")[:most]])
    if not len(kept):
        raise InputError(f"grams.minimum = {minimum}: no n-gram is in so many of {counts.shape[0]} reviews; lower it")
    return kept


def count(ranks: np.ndarray, lengths: np.ndarray, grams: np.ndarray) -> csr_matrix:
    """How often reviews have given n-grams, ascending int64 [grams]: int32 [reviews, grams]; others are left out."""
    found, reviews = _list(ranks, lengths, words_in(grams))
    columns = np.searchsorted(grams, found)
    columns[columns == len(grams)] = 0
    known = grams[columns] == found
    return _matrix(reviews[known], columns[known], (len(lengths), len(grams)))


def words_in(grams: np.ndarray) -> int:
    """The number of words in the longest of some n-grams, int64 [grams]."""
    return 1 + sum(bool((grams >> BITS * n).any()) for n in range(1, LONGEST))


def document_frequency(counts: csr_matrix) -> np.ndarray:
    """The number of reviews that each n-gram is in: int64 [grams]."""
    return np.bincount(counts.indices, minlength=counts.shape[1])


def inverse_document_frequency(counts: csr_matrix) -> np.ndarray:
    """What a rare n-gram weighs more than a frequent one, float32 [grams].

    log((1 + reviews) / (1 + reviews with it)) + 1, as in scikit-learn's ``TfidfTransformer``.
    """
    ratio = (1 + counts.shape[0]) / (1 + document_frequency(counts))
    return (log(ratio) + 1).astype(np.float32)


def log_count_ratio(counts: csr_matrix, labels: np.ndarray) -> np.ndarray:
    """How much an n-gram speaks for a positive review, by naive Bayes: float32 [grams].

    log((p / sum(p)) / (q / sum(q))), where p is 1 plus the number of positive reviews with the n-gram, and q of
    negative ones (S. Wang and C. Manning, Baselines and Bigrams, 2012, section 2.1, with presence for counts).

    Args:
        counts: int32 [reviews, grams].
        labels: uint8 [reviews], 0 or 1.
    """
    p, q = (1 + document_frequency(counts[np.flatnonzero(labels == label)]) for label in (1, 0))
    return log((p / p.sum()) / (q / q.sum())).astype(np.float32)


def _list(ranks: np.ndarray, lengths: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Every n-gram, int64, and the review it is in, int32: first all words, then all pairs, then all triples."""
    if len(ranks) and ranks.max() >> BITS:
        raise InputError(f"expected word ranks below {1 << BITS}, got {ranks.max()}")
    reviews = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(ranks))  # words from this one to the review's end
    grams = ranks.astype(np.int64)
    found, where = [grams], [reviews]
    for n in range(1, longest):
        grams = grams[: len(grams) - 1] + (ranks[n:].astype(np.int64) << BITS * n)
        inside = left[: len(grams)] > n
        found.append(grams[inside])
        where.append(reviews[: len(grams)][inside])
    return np.concatenate(found), np.concatenate(where)


def _matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    """How often each place is named, its columns ascending in each row: int32 [shape]."""
    return coo_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape).tocsr()
