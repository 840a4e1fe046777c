"""The linear models against what defines them: Keras's Adam, the optimum of what they make least, dense arithmetic."""

import io
import itertools
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from demo.corpus import make_corpus
from sentiment import InputError
from sentiment.data import ngrams
from sentiment.keras.backend import keras
from sentiment.kinds import ngrams
from sentiment.kinds.ngrams import SOLVERS, Features, Model
from sentiment.training import ORDER
from tests.conftest import BASELINES, ROOT, on_cores
from tests.grams import made_up
from tests.test_bits import SAFE, instructions

VALUES = ("counts", "presence", "tfidf", "naive-bayes")


@pytest.mark.parametrize("values", VALUES)
def test_a_probability_is_the_sigmoid_of_the_features_times_the_weights_in_dense_arithmetic(values):
    grams, counts, labels = made_up(24)
    features = Features.learn(values, counts, labels)
    dense = counts.toarray() if values in ("counts", "tfidf") else counts.toarray() > 0
    dense = dense * features.scale.astype("f8")
    if values == "tfidf":
        dense /= np.sqrt((dense**2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(features.compute(counts).toarray(), dense, rtol=1e-12)
    weights = np.random.default_rng(2).standard_normal(len(grams)).astype("f4")
    expected = 1 / (1 + np.exp(-(dense @ weights + 0.5)))
    np.testing.assert_allclose(linear.predict(Model(features, grams, weights, 0.5), counts), expected, rtol=1e-5)
    assert (features.scale != 1).any() == (values in ("tfidf", "naive-bayes"))


@pytest.mark.parametrize(("layer", "batch"), [("embedding", 1), ("dense", 10)])
def test_adam_finds_the_weights_that_keras_finds(layer, batch):
    """Of an ``Embedding`` of zeros times ratios, summed, in a sigmoid; most n-grams are in few batches.

    Where a batch has an n-gram twice, Keras on TensorFlow adds the squares of an embedding's two gradients, which is
    not Adam's square of their sum: there the same model is a ``Dense`` layer, of all n-grams.
    """
    grams, counts, labels = made_up(37)
    features = Features.learn("naive-bayes", counts, labels).compute(counts)
    width = np.diff(features.indptr).max() if layer == "embedding" else len(grams)
    ids, ratios = np.zeros((37, width), "i4"), np.zeros((37, width), "f4")
    inputs = keras.Input((width,), dtype="int32"), keras.Input((width,))
    if layer == "dense":
        ratios[:] = features.toarray()
        weights = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        inputs, given, summed = inputs[1:], [ratios], weights(inputs[1])
    else:
        for row, (begin, end) in enumerate(itertools.pairwise(features.indptr)):
            ids[row, : end - begin], ratios[row, : end - begin] = features.indices[begin:end], features.data[begin:end]
        weights = keras.layers.Embedding(len(grams), 1, embeddings_initializer="zeros")
        given, summed = [ids, ratios], keras.layers.Dot(1)([keras.layers.Flatten()(weights(inputs[0])), inputs[1]])
    model = keras.Model(inputs, keras.layers.Activation("sigmoid")(summed))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    for epoch in range(3):
        order = np.random.default_rng([5, ORDER, epoch]).permutation(37)
        for rows in np.split(order, range(batch, 37, batch)):
            model.train_on_batch([array[rows] for array in given], labels[rows, None])
    ours, bias = linear.adam(features, labels, epochs=3, batch=batch, learning_rate=0.01, seed=5)
    theirs = weights.get_weights()[0][:, 0]
    np.testing.assert_allclose(
        ours, theirs, rtol=2e-3, atol=2e-4
    )  # a sum near 0 is rounded otherwise; Adam divides by it
    assert (bias, np.abs(theirs).max() > 0.05) == (0, True)


@pytest.mark.parametrize("solver", ["logistic", "svm"])
def test_the_weights_are_where_no_direction_leads_down(solver):
    """The gradient of half the squares plus c times the loss, whose definition is written here again, is about 0."""
    _, counts, labels = made_up(60)
    features = Features.learn("presence", counts, labels).compute(counts)
    settings = {"logistic": {}, "svm": {"interpolation": 1.0}}[solver]
    weights, bias = SOLVERS[solver](features, labels, c=0.1, seed=1, **settings)
    x, y = np.column_stack([features.toarray(), np.ones(60)]), 2.0 * labels - 1
    found = np.append(weights, bias)

    def gradient(at):
        margin = y * (x @ at)
        slope = -1 / (1 + np.exp(margin)) if solver == "logistic" else -2 * np.maximum(0, 1 - margin)
        return at + 0.1 * (slope * y) @ x

    assert np.abs(gradient(found)).max() < 0.01 * np.abs(gradient(np.zeros_like(found))).max()


def test_interpolation_goes_from_naive_bayes_to_the_machine():
    _, counts, labels = made_up(60)
    features = Features.learn("naive-bayes", counts, labels).compute(counts)
    machine = LinearSVC(C=0.1, max_iter=1000, random_state=1).fit(features, labels).coef_[0]
    for share in (0, 0.25, 1):
        weights, _ = linear.svm(features, labels, c=0.1, interpolation=share, seed=1)
        np.testing.assert_allclose(weights, share * machine + (1 - share) * np.mean(np.abs(machine)))


SETTINGS = {
    "logistic": {"c": 0.7, "seed": 5},
    "svm": {"c": 0.3, "interpolation": 0.6, "seed": 5},
    "adam": {"epochs": 2, "batch": 7, "learning_rate": 0.02, "seed": 5},
}


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_seed_decides_the_weights_of_every_solver(solver):
    _, counts, labels = made_up(60)
    features = Features.learn("naive-bayes", counts, labels)
    fits = [linear.fit(features, counts, labels, solver=solver, **SETTINGS[solver] | {"seed": n}) for n in (5, 5, 6)]
    first, again, other = (weights.tobytes() for weights, _ in fits)
    assert first == again != other


def test_the_logistic_weights_and_bias_are_those_of_scikit_learn():
    _, counts, labels = made_up(60)
    features = Features.learn("naive-bayes", counts, labels)
    theirs = LogisticRegression(solver="liblinear", dual=True, C=0.7, max_iter=1000, random_state=5)
    theirs.fit(features.compute(counts), labels)
    weights, bias = linear.fit(features, counts, labels, solver="logistic", **SETTINGS["logistic"])
    np.testing.assert_array_equal(weights, theirs.coef_[0].astype("f4"))
    assert bias == np.float32(theirs.intercept_[0])


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_of_params_yaml_learns_reviews_it_has_not_seen(name):
    baseline = BASELINES[name]
    lists, labels = make_corpus(400, 2)
    lengths, labels = np.array([len(review) for review in lists]), labels.astype("u1")
    grams, counts = ngrams.learn(np.concatenate(lists), lengths, **baseline.grams.model_dump(exclude={"values"}))
    features = Features.learn(baseline.grams.values, counts, labels)
    model = Model(features, grams, *linear.fit(features, counts, labels, **baseline.fit.model_dump()))
    unseen, answers = make_corpus(200, 3)
    found = linear.predict(
        model, ngrams.count(np.concatenate(unseen), np.array([len(review) for review in unseen]), grams)
    )
    assert ((found > 0.5) == answers).mean() > 0.8


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_kind_of_label_is_refused(solver):
    _, counts, labels = made_up(8)
    with pytest.raises(InputError, match=r"labels: expected both 0 and 1 to fit, got only \[1\]"):
        linear.fit(Features.learn("presence", counts, labels), counts, np.ones(8, "u1"), solver=solver)


def test_a_solver_that_does_not_arrive_says_so(monkeypatch):
    _, counts, labels = made_up(60)
    features = Features.learn("naive-bayes", counts, labels)
    monkeypatch.setattr(linear, "ITERATIONS", 1)
    with pytest.raises(InputError, match=r"fit\.c = 1000: not fitted in 1 iterations; lower it"):
        linear.fit(features, counts, labels, solver="logistic", c=1000, seed=1)
    with pytest.raises(InputError, match=r"fit\.learning_rate = 1e\+38: not every weight is finite; lower the rate"):
        linear.fit(features, counts, labels, solver="adam", epochs=9, batch=4, learning_rate=1e38, seed=1)


def test_a_model_file_gives_the_model_back_and_its_bytes_are_a_function_of_it():
    grams, counts, labels = made_up(8)
    model = Model(Features.learn("tfidf", counts, labels), grams, np.arange(len(grams), dtype="f4"), 0.25)
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        linear.write(file, model)
    assert files[0].getvalue() == files[1].getvalue()
    files[0].seek(0)
    read = linear.read(files[0])
    np.testing.assert_array_equal(linear.predict(read, counts), linear.predict(model, counts))
    assert (read.bias, read.features.values) == (0.25, "tfidf")


@pytest.mark.parametrize("damage", ["nothing", "half", "no weights", "another length"])
def test_a_damaged_model_file_is_refused_in_one_line(damage):
    file, grams = io.BytesIO(), np.arange(1, 6)
    linear.write(file, Model(Features("presence", np.ones(5, "f4")), grams, np.ones(5, "f4"), 0.0))
    whole, broken = file.getvalue(), io.BytesIO()
    if damage == "another length":
        linear.write(broken, Model(Features("presence", np.ones(5, "f4")), grams, np.ones(4, "f4"), 0.0))
    elif damage == "no weights":
        with zipfile.ZipFile(io.BytesIO(whole)) as saved, zipfile.ZipFile(broken, "w") as archive:
            for name in set(saved.namelist()) - {"weights.npy"}:
                archive.writestr(name, archive.read(name))
    else:
        broken = io.BytesIO({"nothing": b"", "half": whole[: len(whole) // 2]}[damage])
    broken.seek(0)
    with pytest.raises(InputError, match=r"^not a readable file of n-grams \(.*\)$"):
        linear.read(broken)


class Call:
    """Pickled as a call that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_model_file_of_pickles_is_refused_and_nothing_in_it_is_called(tmp_path):
    grams = np.array([Call(tmp_path / "called")], object)
    np.savez(file := io.BytesIO(), grams=grams, scale=grams, weights=grams, values="presence", bias=0)
    file.seek(0)
    with pytest.raises(InputError, match=r"^not a readable file of n-grams \(Object arrays cannot be loaded"):
        linear.read(file)
    assert [*tmp_path.iterdir()] == []


def bits(*prefix: str, **environment: str) -> str:
    """Digests of Adam's weights, their probabilities and the features of TF-IDF, made in a process of its own."""
    command = [*prefix, sys.executable, "-m", "tests.grams"]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_cores_threads_and_settings_leave_the_bits_of_adam_and_of_the_features_alone():
    here = bits()
    assert bits(*on_cores(1), NUMBA_OPT="0", NPY_DISABLE_CPU_FEATURES="AVX2 FMA3 AVX512F", PYTHONHASHSEED="1") == here


def test_emulated_processors_give_the_bits_of_adam_and_of_the_features(emulator):
    assert bits(*emulator.split()) == bits()


def test_only_instructions_known_to_be_safe_are_in_the_compiled_code():
    _, counts, labels = made_up(8)
    features = Features.learn("tfidf", counts, labels).compute(counts)
    linear.adam(features, labels, epochs=1, batch=4, learning_rate=0.1, seed=1)
    functions = [function for function in vars(linear).values() if isinstance(function, Dispatcher)]
    kernels = [function for function in functions if function.__module__ == linear.__name__]
    assert kernels
    assert all(kernel.signatures for kernel in kernels)
    assert set().union(*(instructions(kernel.py_func, kernel.signatures) for kernel in kernels)) <= SAFE
