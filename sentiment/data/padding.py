"""Reviews of word ranks -> arrays of word ids, equal to Keras's in every element.

The ids: 0 padding, 1 start of review, 2 unknown (rank + 3 >= vocabulary), rank + 3 otherwise. Padding and truncation
are at the front. The tests compare with ``keras.datasets.imdb.load_data(num_words)`` and
``keras.utils.pad_sequences(maxlen)``.
"""

from collections.abc import Sequence

import numpy as np

PADDING, START, UNKNOWN, FIRST_WORD = 0, 1, 2, 3


class Ragged:
    """Reviews of different lengths, end to end in one array.

    Args:
        ids: Unsigned int [sum(lengths)]; of a memory map, only the selected reviews are read.
        lengths: int [reviews].

    >>> reviews = Ragged(np.array([1, 7, 1, 8, 9]), np.array([2, 3]))
    >>> reviews[np.array([1])].ids.tolist(), reviews[:1].ids.tolist(), len(reviews)
    ([1, 8, 9], [1, 7], 2)
    """

    def __init__(self, ids: np.ndarray, lengths: np.ndarray):
        self.ids, self.lengths = ids, np.asarray(lengths, np.int64)
        self.ends = np.cumsum(self.lengths)

    def __len__(self) -> int:
        """Number of reviews."""
        return len(self.lengths)

    def __getitem__(self, rows: "slice | np.ndarray") -> "Ragged":
        """A copy of the selected reviews."""
        if isinstance(rows, slice) and rows.step in (None, 1):
            begin, end, _ = rows.indices(len(self))
            first, last = (int(self.ends[at - 1]) if at else 0 for at in (begin, end))
            return Ragged(np.array(self.ids[first:last]), self.lengths[begin:end])
        lengths = self.lengths[rows]
        positions = np.repeat(self.ends[rows] - np.cumsum(lengths), lengths) + np.arange(lengths.sum())
        return Ragged(self.ids[positions], lengths)


Reviews = np.ndarray | Ragged
"""Word ids of reviews: unsigned int [reviews, length], padded at the front, or reviews of different lengths."""


def words_of(reviews: Reviews) -> Ragged:
    """Reviews without padding and start ids.

    >>> words_of(np.array([[0, 1, 7], [1, 8, 2]])).lengths.tolist()
    [1, 2]
    """
    if isinstance(reviews, Ragged):
        words = reviews.ids >= UNKNOWN
        before = np.concatenate([[0], np.cumsum(words)])
        return Ragged(reviews.ids[words], before[reviews.ends] - before[reviews.ends - reviews.lengths])
    words = reviews >= UNKNOWN
    return Ragged(reviews[words], words.sum(axis=1))


def drop_words(ids: np.ndarray, share: float, seed: Sequence[int]) -> None:
    """Replace a random fraction of the words by ``UNKNOWN``, in place, so that the model depends less on single words.

    Args:
        ids: int [reviews, length].
        share: Probability that a word is replaced, from 0 to 1.
        seed: Seed of the choice.

    >>> ids = np.array([[0, 1, 7, 8, 9]])
    >>> drop_words(ids, 1.0, [1])
    >>> ids
    array([[0, 1, 2, 2, 2]])
    """
    if share:
        ids[(np.random.default_rng(seed).random(ids.shape, np.float32) < share) & (ids >= FIRST_WORD)] = UNKNOWN


def dtype_for(vocabulary: int | None) -> np.dtype:
    """The smallest unsigned integer type that holds every id below ``vocabulary``; uint32 for all words.

    >>> dtype_for(256), dtype_for(257), dtype_for(None)
    (dtype('uint8'), dtype('uint16'), dtype('uint32'))
    """
    return np.dtype(np.uint32) if vocabulary is None else np.min_scalar_type(vocabulary - 1)


def ids_of(ranks: np.ndarray, vocabulary: int | None) -> np.ndarray:
    """Ids of word ranks, ``dtype_for(vocabulary)`` of the same shape.

    >>> ids_of(np.array([1, 9]), 10), ids_of(np.array([1, 9]), None)
    (array([4, 2], dtype=uint8), array([ 4, 12], dtype=uint32))
    """
    if vocabulary is None:
        return (ranks + FIRST_WORD).astype(dtype_for(None))
    # The id of each rank from 0 on; the last one is that of all higher ranks.
    ids = np.append(np.arange(FIRST_WORD, vocabulary), UNKNOWN).astype(dtype_for(vocabulary))
    return ids.take(ranks, mode="clip")


def whole(ranks: np.ndarray, lengths: np.ndarray, vocabulary: int | None) -> Ragged:
    """Whole reviews, each with ``START`` before its words, as ``load_data`` returns them.

    Args:
        ranks: int [sum(lengths)], word ranks from 1, the reviews end to end.
        lengths: int [reviews], words per review.
        vocabulary: Ids from this number on become ``UNKNOWN``; ``None`` keeps all.

    >>> whole(np.array([1, 2, 9]), np.array([2, 1, 0]), 10).ids
    array([1, 4, 5, 1, 2, 1], dtype=uint8)
    """
    begins = np.cumsum(lengths) - lengths
    return Ragged(np.insert(ids_of(ranks, vocabulary), begins, START), lengths + 1)


def pad(ranks: np.ndarray, lengths: np.ndarray, max_length: int, vocabulary: int | None) -> np.ndarray:
    """Pad or cut reviews at the front to ``max_length`` ids.

    Args:
        ranks: int [sum(lengths)], word ranks from 1, the reviews end to end.
        lengths: int [reviews], words per review.
        max_length: Ids per row; the start id is one of them, unless it is cut off.
        vocabulary: Ids from this number on become ``UNKNOWN``; ``None`` keeps all.

    Returns:
        [reviews, max_length] of ``dtype_for(vocabulary)``.

    >>> pad(np.array([1, 2, 9]), np.array([2, 1, 0]), max_length=4, vocabulary=10)
    array([[0, 1, 4, 5],
           [0, 0, 1, 2],
           [0, 0, 0, 1]], dtype=uint8)
    """
    kept = np.minimum(lengths, max_length).astype(np.int32)
    ends = np.cumsum(lengths, dtype=np.int32)
    rows = np.zeros((len(lengths), max_length), dtype_for(vocabulary))
    # Both masks select the kept words in the same order, row by row, so one assignment copies them.
    target = np.arange(max_length, dtype=np.int32) >= max_length - kept[:, None]
    source = np.arange(len(ranks), dtype=np.int32) >= np.repeat(ends - kept, lengths)
    rows[target] = ids_of(ranks[source], vocabulary)
    short = np.flatnonzero(lengths < max_length)
    rows[short, max_length - 1 - lengths[short]] = START
    return rows


def pad_whole(reviews: Ragged, max_length: int, vocabulary: int | None) -> np.ndarray:
    """``pad`` of whole reviews, the result of ``whole`` without a limit of the vocabulary.

    >>> pad_whole(Ragged(np.array([1, 4, 5, 1, 12, 1]), np.array([3, 2, 1])), max_length=3, vocabulary=10)
    array([[1, 4, 5],
           [0, 1, 2],
           [0, 0, 1]], dtype=uint8)
    """
    words = words_of(reviews)
    return pad(words.ids - FIRST_WORD, words.lengths, max_length, vocabulary)


def orders(*reviews: int) -> list[np.ndarray]:
    """Order of the rows of ``load_data``: row ``i`` of a split is the raw review ``orders(...)[split][i]``.

    Keras shuffles one split after the other by one ``RandomState(113)`` (``keras/src/datasets/imdb.py``), so the order
    of a split depends on the sizes of the splits before it.

    Args:
        reviews: The number of reviews of each split, in the order train, test.
    """
    random = np.random.RandomState(113)
    return [random.permutation(count) for count in reviews]
