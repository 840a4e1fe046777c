import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment import corpus, padding
from sentiment.archive import keras

reviews = st.lists(st.lists(st.integers(1, 40), max_size=12), max_size=8)


def keras_rows(reviews, max_length, vocabulary):
    """What `load_data` and `pad_sequences` make of raw reviews, in their order."""
    ids = [[1] + [rank + 3 for rank in review] for review in reviews]
    ids = [[word if word < vocabulary else 2 for word in review] for review in ids]
    return keras.utils.pad_sequences(ids, maxlen=max_length)


def pad(reviews, max_length, vocabulary):
    lengths = np.array([len(review) for review in reviews], np.int64)
    ranks = np.array([rank for review in reviews for rank in review], np.int32)
    return padding.pad(ranks, lengths, max_length, vocabulary)


@given(reviews, st.integers(1, 15), st.integers(4, 50))
def test_rows_equal_those_of_keras(reviews, max_length, vocabulary):
    rows = pad(reviews, max_length, vocabulary)
    assert rows.shape == (len(reviews), max_length)
    np.testing.assert_array_equal(rows, keras_rows(reviews, max_length, vocabulary).reshape(rows.shape))


@given(reviews, st.integers(1, 15), st.integers(4, 50))
def test_a_row_depends_on_its_review_alone(reviews, max_length, vocabulary):
    alone = [pad([review], max_length, vocabulary)[0] for review in reviews]
    np.testing.assert_array_equal(pad(reviews, max_length, vocabulary), np.reshape(alone, (-1, max_length)))


@pytest.mark.parametrize(("length", "start_at"), [(0, 4), (3, 1), (4, 0), (5, None), (6, None)])
def test_the_start_id_stands_before_the_first_word_where_there_is_room(length, start_at):
    row = pad([[7] * length], max_length=5, vocabulary=50)[0]
    assert np.flatnonzero(row == padding.START).tolist() == ([] if start_at is None else [start_at])


@pytest.mark.parametrize(("rank", "expected"), [(6, 9), (7, 2)])
def test_the_first_id_outside_the_vocabulary_is_unknown(rank, expected):
    assert pad([[rank]], max_length=1, vocabulary=10).item() == expected


@pytest.mark.parametrize(
    ("vocabulary", "dtype"), [(256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")]
)
def test_ids_take_the_smallest_type_that_fits(vocabulary, dtype):
    rows = pad([[vocabulary - 4]], max_length=2, vocabulary=vocabulary)
    assert rows.dtype == dtype
    assert rows.max() == vocabulary - 1


@pytest.mark.parametrize(("max_length", "vocabulary"), [(100, 500), (500, 5000)])
def test_the_real_arrays_are_those_of_keras(imdb, monkeypatch, max_length, vocabulary):
    monkeypatch.setattr("keras.src.datasets.imdb.get_file", lambda **download: str(imdb / "imdb.npz"))
    (x_train, y_train), (x_test, y_test) = keras.datasets.imdb.load_data(num_words=vocabulary)
    with (imdb / "imdb.npz").open("rb") as file:
        orders = padding.orders(corpus.count(file, "train"), corpus.count(file, "test"))
        for split, order, x, y in zip(("train", "test"), orders, (x_train, x_test), (y_train, y_test), strict=True):
            blocks = [padding.pad(*block, max_length, vocabulary) for block in corpus.reviews(file, split)]
            np.testing.assert_array_equal(
                np.concatenate(blocks)[order], keras.utils.pad_sequences(x, maxlen=max_length)
            )
            np.testing.assert_array_equal(corpus.labels(file, split)[order], y)
