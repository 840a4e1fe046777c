import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stages.settings.fit import Settings as Fit
from stages.settings.pad import Settings as Pad
from stages.settings.score import Settings as Score

from sentiment import scoring
from sentiment.data import ngrams, padding, raw
from sentiment.keras.backend import keras
from sentiment.kinds import ngrams
from stages import fit, score
from stages import pad as stage

reviews = st.lists(st.lists(st.integers(1, 40), max_size=12), max_size=8)


def keras_rows(reviews, max_length, vocabulary):
    """What `load_data` and `pad_sequences` make of raw reviews, in their order."""
    ids = [[1] + [rank + 3 for rank in review] for review in reviews]
    ids = [[word if word < vocabulary else 2 for word in review] for review in ids]
    return keras.utils.pad_sequences(ids, maxlen=max_length)


def end_to_end(reviews):
    """Ranks and lengths."""
    lengths = np.array([len(review) for review in reviews], np.int64)
    return np.array([rank for review in reviews for rank in review], np.int32), lengths


def pad(reviews, max_length, vocabulary):
    return padding.pad(*end_to_end(reviews), max_length, vocabulary)


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


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_words_that_are_drawn_become_unknown_and_no_special_id(share):
    ids = np.random.default_rng(3).integers(0, 6, (31, 17)).astype("u1")  # half of them special
    dropped = ids.copy()
    padding.drop_words(dropped, share, [8, 4, 2])
    drawn = np.random.default_rng([8, 4, 2]).random((31, 17), "f4") < share
    np.testing.assert_array_equal(dropped, np.where((ids > 2) & drawn, 2, ids))


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """Reviews of two splits of other sizes, in a folder to work in, read a few at a time, and what Keras loads."""
    random, splits = np.random.default_rng(2), {}
    for split, count in (("train", 23), ("test", 14)):
        lengths, labels = random.integers(1, 12, count), random.integers(0, 2, count)
        splits[split] = [random.integers(1, 40, length).tolist() for length in lengths], labels
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(corpus, "BLOCK", 3)
    monkeypatch.setattr(corpus, "WINDOW", 64)
    monkeypatch.setattr(corpus, "PREAMBLE", 320)
    Path("data/raw").mkdir(parents=True)
    with open("data/raw/own.npz", "wb") as file:
        raw.write(file, splits)
    monkeypatch.setattr("keras.src.datasets.imdb.get_file", lambda **download: "data/raw/own.npz")
    return splits, keras.datasets.imdb.load_data(num_words=30)


def test_the_stage_pads_and_shuffles_both_splits_as_keras_does(raw):
    _, loaded = raw
    stage.main(Pad(corpus="own", pad={"max_length": 7, "vocabulary": 30}), "m")
    for split, (x, y) in zip(("train", "test"), loaded, strict=True):
        np.testing.assert_array_equal(np.load(f"data/m/x_{split}.npy"), keras.utils.pad_sequences(x, maxlen=7))
        np.testing.assert_array_equal(np.load(f"data/m/y_{split}.npy"), y)


@pytest.mark.parametrize(
    "solver",
    [
        {"solver": "logistic", "c": 2.0, "seed": 7},
        {"solver": "svm", "c": 2.0, "interpolation": 0.5, "seed": 7},
        {"solver": "adam", "epochs": 3, "batch": 4, "learning_rate": 0.1, "seed": 7},
    ],
    ids=lambda solver: solver["solver"],
)
def test_a_baseline_is_fitted_on_the_training_split_and_scored_on_the_test_split_in_the_order_of_keras(raw, solver):
    splits, (_, (_, labels)) = raw
    grams = {"longest": 2, "minimum": 2, "most": 20, "values": "naive-bayes"}
    fit.main(Fit(corpus="own", grams=grams, fit=solver), "b")
    score.main(Score(corpus="own", score={"calibration_bins": 3}), "b")
    found, counts = ngrams.learn(*end_to_end(splits["train"][0]), longest=2, minimum=2, most=20)
    features = linear.Features.learn("naive-bayes", counts, splits["train"][1])
    model = linear.Model(features, found, *linear.fit(features, counts, splits["train"][1], **solver))
    with open("models/b.npz", "rb") as file:
        read = linear.read(file)
    np.testing.assert_array_equal(read.grams, found)
    np.testing.assert_array_equal(read.weights, model.weights)
    assert read.bias == model.bias
    order = np.arange(23 + 14)
    random = np.random.RandomState(113)
    random.shuffle(order[:23])
    random.shuffle(order[23:])
    test = [splits["test"][0][at - 23] for at in order[23:]]
    expected = linear.predict(model, ngrams.count(*end_to_end(test), found))
    np.testing.assert_array_equal(np.load("data/b/predicted.npy"), expected)
    metrics = json.loads(Path("metrics/b.json").read_text())
    assert {name: metrics[name] for name in scoring.METRICS} == scoring.figures(labels, expected)
    assert metrics["parameters"] == len(found) + 1


@pytest.mark.parametrize(("max_length", "vocabulary"), [(100, 500), (500, 5000)])
def test_the_real_arrays_are_those_of_keras(imdb, monkeypatch, max_length, vocabulary):
    monkeypatch.setattr("keras.src.datasets.imdb.get_file", lambda **download: str(imdb / "imdb.npz"))
    (x_train, y_train), (x_test, y_test) = keras.datasets.imdb.load_data(num_words=vocabulary)
    with (imdb / "imdb.npz").open("rb") as file:
        orders = padding.orders(raw.count(file, "train"), raw.count(file, "test"))
        for split, order, x, y in zip(("train", "test"), orders, (x_train, x_test), (y_train, y_test), strict=True):
            blocks = [padding.pad(*block, max_length, vocabulary) for block in raw.reviews(file, split)]
            np.testing.assert_array_equal(
                np.concatenate(blocks)[order], keras.utils.pad_sequences(x, maxlen=max_length)
            )
            np.testing.assert_array_equal(raw.labels(file, split)[order], y)
