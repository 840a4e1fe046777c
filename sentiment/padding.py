"""Reviews of word ranks -> rows of word ids of one length, element for element as Keras makes them.

The ids: 0 padding, 1 start of review, 2 unknown (rank + 3 >= vocabulary), rank + 3 otherwise. Padding and truncation
act at the front. Oracle: ``keras.datasets.imdb.load_data(num_words)`` then ``keras.utils.pad_sequences(maxlen)``.
"""

from collections.abc import Sequence

import numpy as np

PADDING, START, UNKNOWN, FIRST_WORD = 0, 1, 2, 3


def drop_words(ids: np.ndarray, share: float, draw: Sequence[int]) -> None:
    """Turn a share of the words of some reviews into ``UNKNOWN``, in place, so that no word is relied on.

    Args:
        ids: int [reviews, length].
        share: From 0, nothing, to 1: the probability of each word.
        draw: The seed of the choice.

    >>> ids = np.array([[0, 1, 7, 8, 9]])
    >>> drop_words(ids, 1.0, [1])
    >>> ids
    array([[0, 1, 2, 2, 2]])
    """
    if share:
        ids[(np.random.default_rng(draw).random(ids.shape, np.float32) < share) & (ids >= FIRST_WORD)] = UNKNOWN


def dtype_for(vocabulary: int) -> np.dtype:
    """The smallest unsigned integer type that holds every id below ``vocabulary``.

    >>> dtype_for(256), dtype_for(257)
    (dtype('uint8'), dtype('uint16'))
    """
    return np.min_scalar_type(vocabulary - 1)


def pad(ranks: np.ndarray, lengths: np.ndarray, max_length: int, vocabulary: int) -> np.ndarray:
    """Pad or cut reviews at the front to ``max_length`` ids.

    Args:
        ranks: int [sum(lengths)], word ranks from 1, the reviews end to end.
        lengths: int [reviews], words per review.
        max_length: Ids per row, the start id included where it fits.
        vocabulary: Ids from here on become ``UNKNOWN``.

    Returns:
        [reviews, max_length] of ``dtype_for(vocabulary)``.

    >>> pad(np.array([1, 2, 9]), np.array([2, 1, 0]), max_length=4, vocabulary=10)
    array([[0, 1, 4, 5],
           [0, 0, 1, 2],
           [0, 0, 0, 1]], dtype=uint8)
    """
    kept = np.minimum(lengths, max_length).astype(np.int32)
    ends = np.cumsum(lengths, dtype=np.int32)
    ids = np.append(np.arange(FIRST_WORD, vocabulary), UNKNOWN).astype(dtype_for(vocabulary))  # of each rank
    rows = np.zeros((len(lengths), max_length), ids.dtype)
    # Both masks run row by row from the first kept word to the last, so one copy pairs them up.
    target = np.arange(max_length, dtype=np.int32) >= max_length - kept[:, None]
    source = np.arange(len(ranks), dtype=np.int32) >= np.repeat(ends - kept, lengths)
    rows[target] = ids.take(ranks[source], mode="clip")
    short = np.flatnonzero(lengths < max_length)
    rows[short, max_length - 1 - lengths[short]] = START
    return rows


def orders(*reviews: int) -> list[np.ndarray]:
    """Where ``load_data`` takes each row from: row ``i`` of a split is its raw review ``orders(...)[split][i]``.

    Keras shuffles one split after the other from one ``RandomState(113)`` (``keras/src/datasets/imdb.py``), so a
    split's order depends on the sizes of those before it.

    Args:
        reviews: The number of reviews of each split, in the order train, test.
    """
    random = np.random.RandomState(113)
    return [random.permutation(count) for count in reviews]
