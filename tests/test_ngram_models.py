"""The linear models against their definitions: Keras's Adam, the minimum of the loss, and dense arithmetic."""

import io
import itertools
import os
import subprocess
import sys
import zipfile
from collections import Counter
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from demo.corpus import make_corpus
from sentiment import InputError, training
from sentiment.data.ngrams import words
from sentiment.data.padding import Ragged, orders, whole
from sentiment.keras.backend import keras
from sentiment.kinds import ngrams as ngram_models
from sentiment.kinds.ngrams import Linear, OneVersusRest, Weighting, make_trainer, open_model
from sentiment.training import ORDER
from tests.conftest import PARAMS, ROOT, emulated, on_cores
from tests.grams import corpus, made_up, settings, train

WEIGHTINGS = ("counts", "presence", "tfidf", "naive-bayes")
TRAIN = {
    "log_loss": {"engine": "scikit-learn", "loss": "log_loss", "c": 0.7, "seed": 5},
    "squared_hinge": {"engine": "scikit-learn", "loss": "squared_hinge", "c": 0.3, "interpolation": 0.6, "seed": 5},
    "adam": {"engine": "compiled", "epochs": 2, "batch": 7, "learning_rate": 0.02, "seed": 5},
}
NGRAMS = {name: model for name, model in PARAMS.models.items() if model.architecture.kind == "ngrams"}


def test_of_ten_words_of_the_demos_reviews_one_has_a_sentiment_which_is_four_of_five_times_that_of_the_label():
    lists, labels = make_corpus(400, 3)
    assert labels.tolist() == [1] * 200 + [0] * 200  # positive ones first, as in the real file
    assert {len(review) for review in lists} <= {*range(10, 150)}
    for label in (0, 1):
        ranks = np.concatenate(lists[labels == label])
        telling = ranks[ranks <= 20]  # praise has even ranks
        assert len(telling) / len(ranks) == pytest.approx(0.1, abs=0.01)
        assert (telling % 2 == 0).mean() == pytest.approx(0.8 if label else 0.2, abs=0.03)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_probability_is_the_sigmoid_of_the_features_times_the_weights_in_dense_arithmetic(weighting):
    reviews, labels = corpus(24)
    grams, counts, _ = made_up(24)
    weighting = Weighting.learn(weighting, counts, labels)
    dense = counts.toarray() if weighting.name in ("counts", "tfidf") else counts.toarray() > 0
    dense = dense * weighting.scale.astype("f8")
    if weighting.name == "tfidf":
        dense /= np.sqrt((dense**2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(weighting.features(counts).toarray(), dense, rtol=1e-12)
    weights = np.append(np.random.default_rng(2).standard_normal(len(grams)), 0.5).astype("f4")
    model = Linear(weighting, grams, weights)
    expected = 1 / (1 + np.exp(-(dense @ weights[:-1] + 0.5)))
    done = []
    np.testing.assert_allclose(model.predict(reviews, batch=7, progress=done.append), expected, rtol=1e-5)
    assert done == [7, 7, 7, 3]
    assert (weighting.scale != 1).any() == (weighting.name in ("tfidf", "naive-bayes"))
    every = model.effects(reviews, model.predict(reviews))
    for row, effects in enumerate(every):
        expected = {words(grams[at]): dense[row, at] * weights[at] for at in np.flatnonzero(dense[row])}
        assert dict(effects) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("layer", "batch"), [("embedding", 1), ("dense", 10)])
def test_adam_finds_the_weights_that_keras_finds(layer, batch):
    """The Keras model: sigmoid of the sum of ratios times an ``Embedding`` of zeros; most n-grams are in few batches.

    Where a batch has an n-gram twice, Keras on TensorFlow adds the squares of an embedding's two gradients, which is
    not Adam's square of their sum. So for batches of several reviews the same model is a ``Dense`` layer.
    """
    reviews, labels = corpus(37)
    grams, counts, _ = made_up(37)
    features = Weighting.learn("naive-bayes", counts, labels).features(counts)
    width = np.diff(features.indptr).max() if layer == "embedding" else len(grams)
    ids, ratios = np.zeros((37, width), "i4"), np.zeros((37, width), "f4")
    inputs = keras.Input((width,), dtype="int32"), keras.Input((width,))
    if layer == "dense":
        ratios[:] = features.toarray()
        weights = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        inputs, arrays, summed = inputs[1:], [ratios], weights(inputs[1])
    else:
        for row, (begin, end) in enumerate(itertools.pairwise(features.indptr)):
            ids[row, : end - begin], ratios[row, : end - begin] = features.indices[begin:end], features.data[begin:end]
        weights = keras.layers.Embedding(len(grams), 1, embeddings_initializer="zeros")
        arrays, summed = [ids, ratios], keras.layers.Dot(1)([keras.layers.Flatten()(weights(inputs[0])), inputs[1]])
    model = keras.Model(inputs, keras.layers.Activation("sigmoid")(summed))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    for epoch in range(3):
        order = np.random.default_rng([5, ORDER, epoch]).permutation(37)
        for rows in np.split(order, range(batch, 37, batch)):
            model.train_on_batch([array[rows] for array in arrays], labels[rows, None])
    adam = settings(engine="compiled", epochs=3, batch=batch, learning_rate=0.01, seed=5)
    *ours, bias = train(adam, reviews, labels).weights
    theirs = weights.get_weights()[0][:, 0]
    np.testing.assert_allclose(
        ours, theirs, rtol=2e-3, atol=2e-4
    )  # a sum near 0 is rounded differently, and Adam divides by it
    assert (bias, np.abs(theirs).max() > 0.05) == (0, True)


@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
def test_the_weights_are_a_minimum_of_the_loss(loss):
    """The gradient of half the squares plus c times the loss, whose definition is written here again, is about 0."""
    reviews, labels = corpus(60)
    _, counts, _ = made_up(60)
    chosen = TRAIN[loss] | {"c": 0.1} | ({"interpolation": 1.0} if loss == "squared_hinge" else {})
    weights = train(settings("presence", **chosen), reviews, labels).weights
    x, y = np.column_stack([counts.toarray() > 0, np.ones(60)]), 2.0 * labels - 1

    def gradient(at):
        margin = y * (x @ at)
        slope = -1 / (1 + np.exp(margin)) if loss == "log_loss" else -2 * np.maximum(0, 1 - margin)
        return at + 0.1 * (slope * y) @ x

    assert np.abs(gradient(weights)).max() < 0.01 * np.abs(gradient(np.zeros_like(weights))).max()


def test_interpolation_goes_from_naive_bayes_to_the_svm():
    reviews, labels = corpus(60)
    _, counts, _ = made_up(60)
    features = Weighting.learn("naive-bayes", counts, labels).features(counts)
    machine = LinearSVC(C=0.3, max_iter=1000, random_state=5).fit(features, labels).coef_[0]
    for share in (0.0, 0.25, 1.0):
        weights = train(settings(**TRAIN["squared_hinge"] | {"interpolation": share}), reviews, labels).weights
        expected = share * machine + (1 - share) * np.mean(np.abs(machine))
        np.testing.assert_array_equal(weights[:-1], expected.astype("f4"))


@pytest.mark.parametrize("how", TRAIN)
def test_the_seed_decides_the_weights_of_every_trainer(how):
    reviews, labels = corpus(60)
    runs = [train(settings(**TRAIN[how] | {"seed": seed}), reviews, labels) for seed in (5, 5, 6)]
    first, again, other = (run.weights.tobytes() for run in runs)
    assert first == again != other


def test_the_logistic_weights_and_bias_are_those_of_scikit_learn():
    reviews, labels = corpus(60)
    _, counts, _ = made_up(60)
    theirs = LogisticRegression(solver="liblinear", dual=True, C=0.7, max_iter=1000, random_state=5)
    theirs.fit(Weighting.learn("naive-bayes", counts, labels).features(counts), labels)
    weights = train(settings(**TRAIN["log_loss"]), reviews, labels).weights
    np.testing.assert_array_equal(weights, np.append(theirs.coef_[0], theirs.intercept_).astype("f4"))


@pytest.mark.parametrize("how", TRAIN)
def test_the_history_has_the_loss_and_accuracy_of_the_training_reviews(how):
    reviews, labels = corpus(60)
    order = orders(60)[0]
    trainer: Any = make_trainer(settings(**TRAIN[how]), reviews[order], labels[order], None)
    done = []
    epochs = [
        *training.fit(
            trainer, reviews[order], labels[order], epochs=range(trainer.epochs), seed=5, progress=done.append
        )
    ]
    assert sum(done) == 60 * len(epochs) == 60 * (2 if how == "adam" else 1)
    if how == "adam":  # before each update, as in Keras
        assert epochs[0].metrics["loss"] > epochs[1].metrics["loss"] > 0
    else:
        assert epochs[0].metrics == training.measure(trainer.predict(reviews), labels)


def test_adam_resumed_after_an_epoch_ends_with_the_bits_of_one_training():
    reviews, labels = corpus(60)
    order, chosen = orders(60)[0], settings(**TRAIN["adam"] | {"epochs": 3})
    states, state = [], None
    for pieces in ([range(3)], [range(1), range(1, 3)]):
        state = None
        for piece in pieces:
            trainer = make_trainer(chosen, reviews[order], labels[order], state)
            for epoch in training.fit(trainer, reviews[order], labels[order], epochs=piece, seed=5):
                state = {name: array.copy() for name, array in epoch.state.items()}
        states.append(trainer.save())
    assert states[0] == states[1]


@pytest.mark.parametrize("name", NGRAMS)
def test_every_n_gram_model_of_params_yaml_learns_reviews_it_has_not_seen(name):
    reviews, labels = corpus(400, 2)
    unseen, answers = corpus(200, 3)
    assert ((train(NGRAMS[name], reviews, labels).predict(unseen) > 0.5) == answers).mean() > 0.8


@pytest.mark.parametrize("how", TRAIN)
def test_one_label_alone_is_refused(how):
    reviews, _ = corpus(8)
    with pytest.raises(InputError, match=r"labels: expected both 0 and 1 to train, got only \[1\]"):
        make_trainer(settings(**TRAIN[how]), reviews, np.ones(8, "u1"), None)
    with pytest.raises(InputError, match=r"labels: expected each from 0 to 2 to train, got only \[0, 2\]"):
        make_trainer(settings(**TRAIN[how]), reviews, (np.arange(8) % 2 * 2).astype("u1"), None)


def test_a_training_that_does_not_converge_says_so(monkeypatch):
    reviews, labels = corpus(60)
    monkeypatch.setattr(ngram_models, "ITERATIONS", 1)
    with pytest.raises(InputError, match=r"train\.c = 1000.0: no convergence in 1 iterations; lower it"):
        train(settings(**TRAIN["log_loss"] | {"c": 1000.0}), reviews, labels)
    adam = settings(**TRAIN["adam"])
    too_high = adam.model_copy(update={"train": adam.train.model_copy(update={"learning_rate": 1e38})})
    trainer = make_trainer(too_high, reviews, labels, None)
    with pytest.raises(InputError, match=r"train\.learning_rate: after epoch 1 the loss is .* lower the rate"):
        [*training.fit(trainer, reviews, labels, epochs=range(2), seed=5)]


@pytest.mark.parametrize(("max_length", "vocabulary"), [(None, None), (40, None), (None, 30), (40, 30)])
def test_reviews_may_be_padded_or_whole_and_the_words_limited(max_length, vocabulary):
    """The n-grams are those of the remaining words."""
    lists, labels = make_corpus(30, 4)
    lengths = np.array([*map(len, lists)])
    kept = [[rank + 3 for rank in review][-(max_length or 10**6) :] for review in lists]
    known = [[id for id in review if id < (vocabulary or 10**6)] for review in kept]
    reviews = whole(np.concatenate(lists), lengths, vocabulary)
    if max_length:
        from sentiment.data.padding import pad

        reviews = pad(np.concatenate(lists), lengths, max_length, vocabulary)
    model = train(settings("counts", longest=1, **TRAIN["log_loss"]), reviews, labels.astype("u1")).model
    assert model.grams.tolist() == sorted({id for review in known for id in review})
    alone = Ragged(np.concatenate(known), np.array([*map(len, known)]))
    np.testing.assert_array_equal(model.predict(reviews), model.predict(alone))


def test_a_model_file_gives_the_model_back_and_its_bytes_are_a_function_of_it():
    reviews, labels = corpus(8)
    grams, counts, _ = made_up(8)
    model = Linear(Weighting.learn("tfidf", counts, labels), grams, np.arange(len(grams) + 1, dtype="f4"))
    assert model.save() == model.save()
    read = open_model(model.save(), "")
    np.testing.assert_array_equal(read.predict(reviews), model.predict(reviews))
    assert (read.weights[-1], read.weighting.name) == (len(grams), "tfidf")


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_n_grams_of_the_last_words_are_features_of_their_own_of_half_the_value(weighting):
    reviews, labels = corpus(24)
    model = train(settings(weighting, ending=9, **TRAIN["adam"]), reviews, labels).model
    last = np.array([gram >> 62 for gram in model.grams.tolist()])
    counts = np.array([[*count] for count in model.count(reviews).toarray()])
    for at, ids in enumerate(np.split(reviews.ids, reviews.ends[:-1])):
        for half, listed in enumerate((ids, ids[-9:])):
            pairs = Counter([(id,) for id in listed.tolist()] + [*itertools.pairwise(listed.tolist())])
            expected = [pairs[words(gram, 20)] for gram in model.grams[last == half]]
            assert counts[at, last == half].tolist() == expected
    learned = Weighting.learn(weighting, model.count(reviews), labels).scale * np.where(last, 0.5, 1)
    np.testing.assert_array_equal(model.weighting.scale, learned.astype("f4"))
    positive = model.predict(reviews)
    features = model.weighting.features(model.count(reviews)).toarray() * model.weights[:-1]
    for row, effects in enumerate(model.effects(reviews, positive)):
        assert len({pair for pair, _ in effects}) == len(effects)
        assert sum(effect for _, effect in effects) == pytest.approx(features[row].sum())
        total = {pair: 0.0 for pair, _ in effects}
        for at in np.flatnonzero(features[row]):
            total[words(model.grams[at], 20)] += features[row, at]
        assert dict(effects) == pytest.approx(total)
    again = open_model(model.save(), "")
    np.testing.assert_array_equal(again.predict(reviews), positive)
    assert [name for name in zipfile.ZipFile(io.BytesIO(model.save())).namelist() if name[0] == "e"] == ["ending.npy"]


def test_the_table_counts_the_n_grams_of_each_length_and_of_the_last_words():
    reviews = whole(np.array([1, 2, 3, 1, 2]), np.array([3, 2]), None)
    for ending, printed in {
        0: "1-grams                  3\n2-grams                  2\nTotal params: 6\n",
        1: "1-grams                              3\n2-grams                              2\n"
        "1-grams of the last 1 words             2\nTotal params: 8\n",
    }.items():
        trainer = make_trainer(settings(ending=ending, **TRAIN["adam"]), reviews, np.array([0, 1], "u1"), None)
        assert trainer.table().split() == printed.split()


def test_a_file_of_a_model_that_no_training_makes_is_refused_in_one_line():
    weighting, grams, weights = Weighting("presence", np.ones(5, "f4")), np.arange(1, 6), np.ones(6, "f4")
    one, endless = Linear(weighting, grams, weights), weighting._replace(scale=np.full(5, np.inf, "f4"))
    for model, reason in (
        (Linear(weighting, grams, np.ones(5, "f4")), r"\(5,\) n-grams, \(5,\) scales, \(4,\) weights, \(\) biases"),
        (OneVersusRest([one] * 2), r"\(5,\) n-grams, \(5,\) scales, \(2, 5\) weights, \(2,\) biases"),
        (Linear(weighting, grams, weights, bits=20), "bits: got 20"),
        (Linear(weighting, grams, weights, ending=3), "bits: got 21"),
        (Linear(weighting, grams, weights, bits=20, ending=-1), "ending: got -1"),
        (Linear(endless, grams, weights), "scale: expected finite numbers"),
    ):
        with pytest.raises(InputError, match=rf"^not a readable file of n-grams \({reason}\)$"):
            open_model(model.save(), "")
    assert open_model(OneVersusRest([one] * 3).save(), "").labels == 3


@pytest.mark.parametrize("damage", ["nothing", "half", "no weights"])
def test_a_damaged_model_file_is_refused_in_one_line(damage):
    weighting, grams = Weighting("presence", np.ones(5, "f4")), np.arange(1, 6)
    whole = Linear(weighting, grams, np.ones(6, "f4")).save()
    if damage == "no weights":
        with zipfile.ZipFile(io.BytesIO(whole)) as saved, zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
            for name in set(saved.namelist()) - {"weights.npy"}:
                archive.writestr(name, saved.read(name))
        broken = file.getvalue()
    else:
        broken = {"nothing": b"", "half": whole[: len(whole) // 2]}[damage]
    with pytest.raises(InputError, match=r"^not a readable file of n-grams \(.*\)$"):
        open_model(broken, "")


class Call:
    """Object whose unpickling creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_model_file_of_pickles_is_refused_and_nothing_in_it_is_called(tmp_path):
    grams = np.array([Call(tmp_path / "called")], object)
    np.savez(file := io.BytesIO(), grams=grams, scale=grams, weights=grams, weighting="presence", bias=0)
    with pytest.raises(InputError, match=r"^not a readable file of n-grams \(Object arrays cannot be loaded"):
        open_model(file.getvalue(), "")
    assert [*tmp_path.iterdir()] == []


def bits(*prefix: str, **environment: str) -> str:
    """Digests of Adam's weights, their probabilities and the features of TF-IDF, made in a separate process."""
    command = [*prefix, sys.executable, "-m", "tests.grams"]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_cores_threads_and_settings_leave_the_bits_of_adam_and_of_the_features_alone():
    here = bits()
    assert bits(*on_cores(1), NUMBA_OPT="0", NPY_DISABLE_CPU_FEATURES="AVX2 FMA3 AVX512F", PYTHONHASHSEED="1") == here


def test_emulated_processors_give_the_bits_of_adam_and_of_the_features(emulator):
    assert emulated(emulator, "tests.grams") == bits()
