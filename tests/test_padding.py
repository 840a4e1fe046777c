import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment import scoring
from sentiment.data import padding, raw
from sentiment.data.text import IMDB
from sentiment.keras.backend import keras
from sentiment.kinds import ngrams as ngram_models
from stages import evaluate, train
from stages import pad as stage
from stages.common.splits import read_split
from stages.params import check_model
from tests import grams
from tests.repositories import git

reviews = st.lists(st.lists(st.integers(1, 40), max_size=12), max_size=8)


def keras_rows(reviews, max_length, vocabulary):
    """Array that `load_data` and `pad_sequences` make from raw reviews, in the same order."""
    ids = [[1] + [rank + 3 for rank in review] for review in reviews]
    ids = [[word if word < vocabulary else 2 for word in review] for review in ids]
    return keras.utils.pad_sequences(ids, maxlen=max_length)


def end_to_end(reviews):
    """Concatenated ranks and the lengths of reviews."""
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
def test_the_start_id_comes_before_the_first_word_if_the_row_is_long_enough(length, start_at):
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
    ids = np.random.default_rng(3).integers(0, 6, (31, 17)).astype("u1")  # half of them special ids
    dropped = ids.copy()
    padding.drop_words(dropped, share, [8, 4, 2])
    drawn = np.random.default_rng([8, 4, 2]).random((31, 17), "f4") < share
    np.testing.assert_array_equal(dropped, np.where((ids > 2) & drawn, 2, ids))


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Raw reviews of two splits of different sizes, read a few at a time, and the arrays that Keras loads."""
    random, splits = np.random.default_rng(2), {}
    for split, count in (("train", 23), ("test", 14)):
        lengths, labels = random.integers(1, 12, count), random.integers(0, 2, count)
        splits[split] = [random.integers(1, 40, length).tolist() for length in lengths], labels
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(raw, "BLOCK", 3)
    monkeypatch.setattr(raw, "WINDOW", 64)
    monkeypatch.setattr(raw, "PREAMBLE", 320)
    Path("data/raw").mkdir(parents=True)
    with open("data/raw/mine.npz", "wb") as file:
        raw.write(file, splits)
    monkeypatch.setattr("keras.src.datasets.imdb.get_file", lambda **download: "data/raw/mine.npz")
    return splits, keras.datasets.imdb.load_data(num_words=30)


def settings(max_length, vocabulary, **train):
    """A model of n-grams of the corpus `mine`."""
    architecture = {"kind": "ngrams", "longest": 2, "min_df": 2, "max_features": 20, "weighting": "naive-bayes"}
    pad = {"max_length": max_length, "vocabulary": vocabulary}
    evaluate = {"batch": 5, "calibration_bins": 3}
    train = train or {"engine": "scikit-learn", "loss": "log_loss", "c": 2.0, "seed": 7}
    return check_model(
        {"corpus": "mine", "pad": pad, "architecture": architecture, "train": train, "evaluate": evaluate}
    )


@pytest.mark.parametrize("max_length", [7, None])
def test_the_stage_pads_and_shuffles_both_splits_as_keras_does(corpus, max_length):
    """Whole reviews are concatenated."""
    _, loaded = corpus
    stage.main(settings(max_length, 30), "m")
    for split, (x, y) in zip(("train", "test"), loaded, strict=True):
        expected = np.concatenate(x) if max_length is None else keras.utils.pad_sequences(x, maxlen=max_length)
        np.testing.assert_array_equal(np.load(f"data/m/x_{split}.npy"), expected)
        np.testing.assert_array_equal(np.load(f"data/m/y_{split}.npy"), y)
        lengths = [min(len(review), max_length or len(review)) for review in x]
        assert np.load(f"data/m/lengths_{split}.npy").tolist() == lengths
        reviews, labels = read_split("m", split, 2)
        rows = [reviews[at : at + 1].ids.tolist() for at in range(len(y))] if max_length is None else reviews.tolist()
        assert rows == (x.tolist() if max_length is None else expected.tolist())
        np.testing.assert_array_equal(labels, y)


def test_without_a_vocabulary_every_word_keeps_its_id(corpus):
    splits, _ = corpus
    stage.main(settings(None, None), "m")
    order = padding.orders(23, 14)[0]
    expected = [[1, *(rank + 3 for rank in splits["train"][0][at])] for at in order]
    ids = np.load("data/m/x_train.npy")
    assert (ids.dtype, ids.tolist()) == (np.dtype("u4"), [id for review in expected for id in review])


@pytest.mark.parametrize(
    "how",
    [
        {"engine": "scikit-learn", "loss": "log_loss", "c": 2.0, "seed": 7},
        {"engine": "scikit-learn", "loss": "squared_hinge", "c": 2.0, "interpolation": 0.5, "seed": 7},
        {"engine": "compiled", "epochs": 3, "batch": 4, "learning_rate": 0.1, "seed": 7},
    ],
    ids=lambda how: how.get("loss", "adam"),
)
def test_an_n_gram_model_is_trained_on_the_training_split_and_scored_on_the_test_split(corpus, how):
    """The model is trained in the order of the raw file; the probabilities have the order of Keras."""
    splits, (_, (_, labels)) = corpus
    git(Path(), "init", "--quiet")
    git(Path(), "commit", "--quiet", "--allow-empty", "--message", "Start")
    Path("data/raw/mine_about.json").write_text(json.dumps({"labels": ["bad", "good"], "tokens": IMDB._asdict()}))
    Path("data/raw/mine_word_index.json").write_text(json.dumps({f"w{rank}": rank for rank in range(1, 40)}))
    chosen = settings(None, None, **how)
    for step in (stage, train, evaluate):
        step.main(chosen, "b")
    reviews = padding.whole(*end_to_end(splits["train"][0]), None)
    expected = grams.train(chosen, reviews, splits["train"][1].astype("u1")).model
    model = ngram_models.open_model(Path("models/b/model.npz").read_bytes(), "")
    np.testing.assert_array_equal(model.grams, expected.grams)
    np.testing.assert_array_equal(model.weights, expected.weights)
    order = np.arange(23 + 14)
    random = np.random.RandomState(113)
    random.shuffle(order[:23])
    random.shuffle(order[23:])
    test = [splits["test"][0][at - 23] for at in order[23:]]
    positive = expected.predict(padding.whole(*end_to_end(test), None))
    np.testing.assert_array_equal(np.load("data/b/predicted.npy"), positive)
    metrics = json.loads(Path("metrics/b.json").read_text())
    assert {name: metrics[name] for name in scoring.METRICS} == scoring.figures(labels, positive)
    assert metrics["parameters"] == len(expected.weights)
    history = Path("plots/b/weights.csv").read_text().splitlines()
    assert history[0] == "epoch,weights"
    assert len(history) == 1 + how.get("epochs", 1)
    assert history[-1].endswith(f",{metrics['weights']}")


@pytest.mark.parametrize(("max_length", "vocabulary"), [(100, 500), (500, 5000)])
def test_the_real_arrays_are_those_of_keras(imdb, monkeypatch, max_length, vocabulary):
    monkeypatch.setattr("keras.src.datasets.imdb.get_file", lambda **download: str(imdb / "imdb.npz"))
    (x_train, y_train), (x_test, y_test) = keras.datasets.imdb.load_data(num_words=vocabulary)
    with (imdb / "imdb.npz").open("rb") as file:
        orders = padding.orders(raw.length(file, "train"), raw.length(file, "test"))
        for split, order, x, y in zip(("train", "test"), orders, (x_train, x_test), (y_train, y_test), strict=True):
            blocks = [padding.pad(*block, max_length, vocabulary) for block in raw.reviews(file, split)]
            np.testing.assert_array_equal(
                np.concatenate(blocks)[order], keras.utils.pad_sequences(x, maxlen=max_length)
            )
            np.testing.assert_array_equal(raw.labels(file, split)[order], y)
