"""Every property of a block, for each case in the one table of cases."""

import json
import sys
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher

from benchmarks import cases
from benchmarks.cases import CASES, EDGES, Sizes, cnn_lstm_of, plain, reviews, to_layers
from sentiment import InputError, network
from sentiment.engine import shards as module
from sentiment.engine.blocks import lstm
from sentiment.engine.blocks.dropout import Dropout, factors
from sentiment.engine.matrices import continue_product, product
from sentiment.engine.network import Network
from sentiment.engine.trainer import DRAWS, CompiledPredictor, CompiledTrainer, predict
from sentiment.keras import archive, backend
from sentiment.keras import plain as plain_keras
from sentiment.keras.backend import keras
from sentiment.network import CompiledModel, occlusion

SETTINGS = {"optimizer": "adam", "learning_rate": 0.01, "seed": 4}

every_case = pytest.mark.parametrize("case", CASES)


@pytest.fixture
def exact_keras():
    """Keras in float64, because over 500 words its float32 gradients are less exact than ours."""
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


def trainer_of(plain_layers, weights, batch, shards):
    """A trainer that starts from ``weights``."""
    nothing = np.zeros_like(weights)
    state = {"weights": weights, "momentum": nothing, "velocity": nothing}
    return CompiledTrainer(plain_layers, state, batch=batch, shards=shards, **SETTINGS)


def keras_loss(model, ids, labels, update):
    """Probabilities and mean loss of Keras, whose dropout uses the factors of the compiled trainer."""
    x, dropouts = tf.constant(ids.astype("i4")), 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            x = x * factors(layer.rate, x.shape, [SETTINGS["seed"], DRAWS, update, dropouts])
            dropouts += 1
        else:
            x = layer(x)
    if x.shape[1] > 1:
        return x, tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, x))
    expected = tf.cast(labels[:, None], x.dtype)
    return x[:, 0], tf.reduce_mean(keras.losses.binary_crossentropy(expected, x))


def predicted(model, ids):
    """Predictions of Keras in the shape of ``without_axis``."""
    return without_axis(model.predict(ids.astype("i4"), verbose=0))


def without_axis(probabilities):
    """Probabilities of label 1, [reviews], or of all labels, [reviews, labels]."""
    return probabilities[:, 0] if probabilities.shape[1] == 1 else probabilities


def assert_every_gradient_is_that_of_keras(plain_layers, model, ids, shards, scale=2):
    network_ = Network(plain_layers)
    weights = network_.first_weights(2) * scale
    backend.set_weights(model, weights)
    trainer = trainer_of(plain_layers, weights, len(ids), shards)
    groups = trainer.network.deal(ids, shards)
    labels = groups.order % max(2, network_.output.gives.features)
    probabilities = trainer.find_gradient(groups, labels, update=3)
    with tf.GradientTape() as tape:
        expected, loss = keras_loss(model, ids[groups.order], labels, update=3)
    np.testing.assert_allclose(probabilities, expected, atol=3e-6)
    gradients = tape.gradient(loss, model.trainable_variables)
    ours = np.split(trainer.gradient(), np.cumsum([weight.size for weight in network_.weights])[:-1])
    for weight, mine, theirs in zip(network_.weights, ours, gradients, strict=True):
        theirs = np.ravel(tf.convert_to_tensor(theirs))
        # 3e-8: a probability near 1 is rounded to that, and the gradient of the loss is the probability less the label.
        np.testing.assert_allclose(mine, theirs, atol=2e-5 * np.abs(theirs).max() + 3e-8, err_msg=weight.name)


@every_case
@pytest.mark.parametrize("sizes", EDGES, ids=str)
def test_probabilities_and_every_gradient_are_those_of_keras(case, sizes, request):
    plain_layers = plain(case, sizes)
    request.getfixturevalue("exact_keras")
    model = cases.build(case, sizes)
    for count, shards in ((1, 1), (1, 3), (7, 3), (12, 4)):
        assert_every_gradient_is_that_of_keras(plain_layers, model, reviews(sizes, 12)[-count:], shards)


@pytest.mark.parametrize(
    "changes", [{}, {"over_time": "average"}, {"over_time": "maximum"}, {"bidirectional": True}], ids=str
)
def test_probabilities_and_every_gradient_are_those_of_keras_at_the_size_of_full(changes, request):
    sizes = {"max_length": 500, "vocabulary": 5000, "units": 100} | changes
    plain_layers = to_layers(cnn_lstm_of(**sizes))
    request.getfixturevalue("exact_keras")
    ids = reviews(Sizes(max_length=500, vocabulary=5000), 64)
    assert_every_gradient_is_that_of_keras(plain_layers, cnn_lstm_of(**sizes), ids, 4, scale=1)


@every_case
def test_predictions_are_those_of_keras_for_any_batch(case):
    for sizes in EDGES:
        model = cases.build(case, sizes)
        plain_layers = to_layers(model)
        weights = Network(plain_layers).first_weights(2) * 3
        backend.set_weights(model, weights)
        ids = reviews(sizes, 6)
        expected = without_axis(np.asarray(model(ids.astype("i4"), training=False)))
        for count, batch in ((1, 1), (6, 6), (6, 4), (5, 100)):
            probabilities = predict(plain_layers, weights, ids[:count], batch=batch)
            np.testing.assert_allclose(probabilities, expected[:count], atol=1e-5)


@every_case
def test_the_bits_of_a_prediction_depend_on_no_other_review(case):
    plain_layers, ids = plain(case, Sizes()), reviews(Sizes(), 100)
    weights = Network(plain_layers).first_weights(2) * 3
    together = predict(plain_layers, weights, ids, batch=100)
    alone = [predict(plain_layers, weights, row[None], batch=1) for row in ids[:20]]
    np.testing.assert_array_equal(together[:20], np.concatenate(alone))
    np.testing.assert_array_equal(together, predict(plain_layers, weights, ids, batch=33))


@every_case
@pytest.mark.parametrize("sizes", [Sizes(), EDGES[2], EDGES[8]], ids=str)
def test_similar_reviews_have_the_bits_of_each_alone(case, sizes):
    """Some reviews are equal, and in some one word is unknown. Equal parts of neighbours are computed once."""
    plain_layers, ids = plain(case, sizes), np.repeat(reviews(sizes, 6), 12, axis=0)
    for at, row in enumerate(ids):
        row[row == row[-1 - at % 9]] = min(2, row[-1 - at % 9])
    model = CompiledModel(plain_layers, Network(plain_layers).first_weights(2) * 3)
    alone = [predict(plain_layers, model.weights, row[None], batch=1) for row in ids]
    np.testing.assert_array_equal(model.predict(ids, batch=64), np.concatenate(alone))


def keras_effects(model, row, words):
    """The effect of each word in float64: Keras's slope of the log-odds times the change of the pooled outputs."""
    x = tf.constant(np.concatenate([row[None], np.where(row == words[:, None], 2, row)]).astype("i4"))
    for layer in model.layers[:3]:
        x = layer(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x[:1]
        for layer in model.layers[3:]:
            y = layer(y, training=False) if isinstance(layer, keras.layers.Dropout) else layer(y)
        y = tf.reduce_max(y, axis=1) if y.shape[1] > 1 else y[:, 0]
        logit = tf.math.log(y / (1 - y))
    slopes = tape.gradient(logit, x)[:1]
    changes = tf.reduce_sum(slopes * (x[:1] - x[1:]), axis=(1, 2))
    return (y[0] - tf.sigmoid(logit[0] - changes)).numpy()


@every_case
@pytest.mark.parametrize("sizes", [EDGES[0], EDGES[6], EDGES[8]], ids=str)
def test_the_estimated_effect_of_a_word_is_keras_s_slope_times_the_change_of_the_first_block(case, sizes, exact_keras):
    plain_layers, model, ids = plain(case, sizes), cases.build(case, sizes), reviews(sizes, 5)
    weights = Network(plain_layers).first_weights(2) * 3
    backend.set_weights(model, weights)
    positive, effects = CompiledPredictor(plain_layers, weights, batch=3, explains=True).explain(ids)
    np.testing.assert_array_equal(positive, predict(plain_layers, weights, ids, batch=5))
    for row, (words, ours) in zip(ids, effects, strict=True):
        np.testing.assert_array_equal(words, np.unique(row[row > 2]))
        np.testing.assert_allclose(ours, keras_effects(model, row, words), atol=3e-6)
    _, alone = CompiledPredictor(plain_layers, weights, batch=1, explains=True).explain(ids[-1:])
    np.testing.assert_array_equal(alone[0], effects[-1])


@pytest.mark.parametrize("case", ["lstm", "bidirectional, maximum", "softmax"])
def test_an_effect_is_the_fall_of_the_probability_without_the_word(case, monkeypatch):
    plain_layers, ids = plain(case, Sizes()), reviews(Sizes(), 40)
    ids[5, -3:] = ids[6, -3:] = 44, 9, 44  # a word that occurs twice
    monkeypatch.setattr(network, "MORE", 2)
    monkeypatch.setattr(network, "TOGETHER", 50)  # so that the words of some reviews are split over two parts
    model = CompiledModel(plain_layers, Network(plain_layers).first_weights(2) * 3)

    def effect(row, word):
        before, after = (model.predict(each[None], batch=1)[0] for each in (row, np.where(row == word, 2, row)))
        label = before.argmax() if before.shape else ()
        return float(before[label] - after[label])

    expected = [{(word,): effect(row, word) for word in np.unique(row[row > 2]).tolist()} for row in ids]
    positive, every = model.explain(ids, batch=7, count=-1)
    np.testing.assert_array_equal(positive, model.predict(ids, batch=40))
    assert [dict(effects) for effects in every] == expected
    _, some = model.explain(ids, batch=7, count=1)
    assert {len(effects) for effects in some} == {0, 1, 2, 3, 4, 5, 6}
    for effects, right in zip(some, expected, strict=True):
        assert dict(effects).items() <= right.items()
        assert len(effects) == min(len(right), 6)


def test_where_the_rest_of_the_network_is_linear_the_estimate_is_the_effect():
    plain_layers, ids = plain("average of words", Sizes()), reviews(Sizes(), 40)
    model = CompiledModel(plain_layers, Network(plain_layers).first_weights(2) * 3)
    positive, estimates = CompiledPredictor(plain_layers, model.weights, batch=7, explains=True).explain(ids)
    for (words, estimated), exact in zip(estimates, occlusion(model.predict, ids, positive, 7), strict=True):
        assert [(word,) for word in words] == [gram for gram, _ in exact]
        np.testing.assert_allclose(estimated, [effect for _, effect in exact], atol=1e-6)


@every_case
def test_the_bits_of_a_probability_depend_on_no_shard(case):
    ids = reviews(Sizes(), 12)
    probabilities = []
    for shards in (1, 3, 12):
        plain_layers = [layer for layer in plain(case, Sizes()) if layer["class_name"] != "Dropout"]
        trainer = trainer_of(plain_layers, Network(plain_layers).first_weights(2) * 3, 12, shards)
        groups = trainer.network.deal(ids, shards)
        positive = trainer.find_gradient(groups, np.zeros(12, "f4"), 0)
        probabilities.append(positive[np.argsort(groups.order)])
    np.testing.assert_array_equal(probabilities[0], probabilities[1])
    np.testing.assert_array_equal(probabilities[0], probabilities[2])


@every_case
def test_the_number_of_threads_leaves_the_bits_alone(case, monkeypatch):
    plain_layers, ids = plain(case, Sizes()), reviews(Sizes(), 40)
    labels, states = cases.labels(case, 40), []
    for threads in (1, 3, 8):
        alone = module.Processes(None, 0, 1, cores=threads)
        monkeypatch.setattr(module, "processes", lambda alone=alone: alone)
        trainer = CompiledTrainer(plain_layers, batch=10, shards=4, **SETTINGS)
        trainer.epoch(ids, labels, np.arange(40), 0)
        states.append(trainer.state()["weights"].tobytes())
    assert states[0] == states[1] == states[2]


def test_no_kernel_is_compiled_twice(monkeypatch):
    """The products are the exception, because their matrices have three layouts in memory."""
    for kernel in (lstm._forward, lstm._backward):
        monkeypatch.setattr(kernel, "_cache", NullCache())  # otherwise the kernels that it calls are not compiled
    modules = [vars(module) for name, module in sys.modules.items() if name.startswith("sentiment.engine")]
    kernels = {kernel for names in modules for kernel in names.values() if isinstance(kernel, Dispatcher)}
    kernels -= {product, continue_product}
    for kernel in kernels:
        kernel._reset_overloads()  # which other tests compiled
    for case in ("dense", "softmax"):
        trainer = CompiledTrainer(plain(case, Sizes(vocabulary=12)), batch=20, shards=3, **SETTINGS)
        for count in (40, 1):  # with every word of the vocabulary, and with few
            ids = reviews(Sizes(vocabulary=12), 40)[-count:]
            trainer.epoch(ids, cases.labels(case, count), np.arange(count), 0)
    assert {kernel.__name__: kernel.signatures for kernel in kernels if len(kernel.signatures) > 1} == {}


@every_case
def test_the_padding_of_the_weights_stays_zero(case):
    trainer = CompiledTrainer(plain(case, Sizes()), batch=20, shards=3, **SETTINGS)
    trainer.epoch(reviews(Sizes(), 40), cases.labels(case, 40), np.arange(40), 0)
    for name, flat in trainer.state().items():
        assert np.count_nonzero(trainer._vectors[name]) == np.count_nonzero(flat), name


@every_case
def test_no_step_allocates_memory(case):
    """Except views and a few numbers per review: a single array of a step's rows is larger than the limit."""
    sizes = Sizes(max_length=200, units=40)
    trainer = CompiledTrainer(plain(case, sizes), batch=30, shards=3, **SETTINGS)
    groups, labels = trainer.network.deal(reviews(sizes, 30), 3), np.zeros(30, "f4")
    trainer.find_gradient(groups, labels, 0)
    tracemalloc.start()
    trainer.find_gradient(groups, labels, 1)
    trainer.update(1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000 < 4 * 30 * 100 * 16


@every_case
def test_a_model_has_the_parameters_of_keras_and_first_weights_of_the_same_spread(case):
    sizes = Sizes(vocabulary=2000, embedding=32, filters=48, units=64, dense=60)
    keras.utils.set_random_seed(1)
    model = cases.build(case, sizes)
    network_ = Network(to_layers(model))
    assert network_.parameters == model.count_params()
    pieces = np.split(network_.first_weights(1), np.cumsum([weight.size for weight in network_.weights])[:-1])
    for weight, mine, theirs in zip(network_.weights, pieces, model.weights, strict=True):
        assert weight.shape == tuple(theirs.shape)
        if weight.name == "bias":
            np.testing.assert_array_equal(mine, np.ravel(theirs))
        else:
            np.testing.assert_allclose(np.std(mine), np.std(theirs), rtol=0.15)
            np.testing.assert_allclose(np.abs(mine).max(), np.abs(theirs).max(), rtol=0.2)


@every_case
def test_a_trained_model_is_saved_and_scores_the_same_in_plain_keras(case):
    model, ids = cases.build(case, Sizes()), reviews(Sizes(), 40)
    trainer = CompiledTrainer(to_layers(model), batch=10, shards=2, **SETTINGS)
    trainer.epoch(ids, cases.labels(case, 40), np.arange(40), 0)
    backend.set_weights(model, trainer.state()["weights"])
    packed = archive.pack(model)
    opened = archive.unpack(packed)
    assert archive.pack(opened) == packed
    np.testing.assert_array_equal(backend.get_weights(opened), trainer.state()["weights"])
    assert to_layers(opened) == json.loads(json.dumps(to_layers(model)))
    np.testing.assert_allclose(predicted(opened, ids), trainer.predict(ids), atol=1e-5)


def test_the_published_run_has_its_parameters():
    small = cnn_lstm_of(max_length=100, vocabulary=500)
    full = cnn_lstm_of(max_length=500, vocabulary=5000, units=100)
    assert [Network(to_layers(model)).parameters for model in (small, full)] == [39053, 220903]


def test_first_steps_are_the_first_that_see_a_word():
    """By brute force: a step sees a word if one of its pooled windows has a word."""
    for sizes in EDGES:
        ids, steps = reviews(sizes, 40), sizes.max_length // sizes.pool
        padded = np.pad(ids, ((0, 0), (sizes.kernel // 2, sizes.kernel // 2)))
        expected = []
        for row in padded:
            sees = [row[s * sizes.pool : s * sizes.pool + sizes.pool - 1 + sizes.kernel].any() for s in range(steps)]
            expected.append(sees.index(True) if any(sees) else None)
        first = Network(plain("lstm", sizes)).words.first_steps(ids)
        assert all(a in (None, b) for a, b in zip(expected, first, strict=True))  # without a word, any step is right
        assert all(0 <= step < steps for step in first)


def words(**changes):
    """First layers of every network."""
    settings = {"filters": 7, "kernel_size": 5, "padding": "same", "activation": "relu"} | changes
    return [keras.Input((17,), dtype="int32"), keras.layers.Embedding(30, 6), keras.layers.Conv1D(**settings)]


def stack(*middle, top=True, **convolution):
    """The layers ``words``, max pooling unless ``middle`` begins with a pooling layer, ``middle``, and Dense(1)."""
    pooling = [] if "Pooling" in type(middle[0]).__name__ else [keras.layers.MaxPooling1D(2)]
    end = [keras.layers.Dense(1, activation="sigmoid", name="top")] if top else []
    return keras.Sequential([*words(**convolution), *pooling, *middle, *end])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: stack(keras.layers.GRU(4, name="gru")), r"layer 'gru' \(GRU\): .* no arithmetic"),
        (lambda: stack(keras.layers.GlobalAveragePooling1D()), r"\(Embedding\): .* no arithmetic"),
        (lambda: stack(keras.layers.MaxPooling1D(2)), r"layer 'top' \(Dense\): .* no arithmetic"),
        (lambda: stack(keras.layers.LSTM(4), top=False), r"\(LSTM\): .* no arithmetic for it here"),
        (
            lambda: stack(keras.layers.LSTM(4), keras.layers.Dense(3), top=False),
            r"\(Dense\): .* no arithmetic for it here, .* last Dense\(1, activation='sigmoid'\) or Dense\(labels, act",
        ),
        (
            lambda: stack(keras.layers.LSTM(4), keras.layers.Dense(3, activation="sigmoid"), top=False),
            r"\(Dense\): units = 3, .* has only 1;",
        ),
        (
            lambda: stack(keras.layers.LSTM(4), keras.layers.Dense(1, activation="softmax"), top=False),
            r"\(Dense\): units = 1, .* only 2 or more with softmax;",
        ),
        (lambda: stack(keras.layers.LSTM(4), kernel_size=4), r"kernel_size = \[4\], .* only odd sizes"),
        (lambda: stack(keras.layers.LSTM(4), padding="causal"), "padding = 'causal', .* 'same';"),
        (
            lambda: stack(keras.layers.MaxPooling1D(3, 2), keras.layers.LSTM(4)),
            r"strides = \[2\], .* pool_size, \[3\];",
        ),
        (lambda: stack(keras.layers.LSTM(4, activation="relu")), "activation = 'relu', .* 'tanh'"),
        (lambda: stack(keras.layers.LSTM(4, recurrent_dropout=0.1)), "recurrent_dropout = 0.1,"),
        (lambda: stack(keras.layers.LSTM(4, kernel_regularizer="l2")), "kernel_regularizer = L2"),
        (lambda: stack(keras.layers.LSTM(4, kernel_initializer="zeros")), "kernel_initializer = Zeros"),
        (lambda: stack(keras.layers.LSTM(4, trainable=False)), "trainable = False, .* only True;"),
        (
            lambda: stack(keras.layers.LSTM(4), keras.layers.Dense(3, activation="gelu")),
            "'gelu', .* only linear or relu",
        ),
        (
            lambda: stack(keras.layers.Bidirectional(keras.layers.LSTM(4), merge_mode="sum")),
            "merge_mode = 'sum', .* 'concat'",
        ),
        (
            lambda: stack(keras.layers.Bidirectional(keras.layers.GRU(4))),
            r"\(Bidirectional\): layer = GRU, .* only LSTM;",
        ),
    ],
)
def test_what_no_block_computes_is_refused_in_one_line(make, message):
    with pytest.raises(InputError, match=message) as refusal:
        Network(to_layers(make()))
    assert str(refusal.value).endswith("; set train.engine: keras, which trains any network")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("build", "got"),
    [
        (lambda keras: keras.layers.Embedding(30, 6)(keras.Input((17,))), "Embedding called"),
        (lambda keras: keras.Model(), "keras.Model"),
        (lambda keras: keras.layers.Dense(1, kernel_initializer=keras.initializers.Ones()), "keras.initializers"),
    ],
)
def test_a_network_that_is_no_sequence_of_stock_layers_is_refused_in_one_line(build, got):
    with pytest.raises(InputError, match=rf"expected a keras.Sequential .* got {got}; set train.engine: keras"):
        build(plain_keras)


@pytest.mark.parametrize("wrong", ["long", "unknown", "negative"])
def test_ids_that_are_not_the_networks_are_refused(wrong):
    ids = reviews(Sizes(), 3).astype("i4")
    ids = np.pad(ids, ((0, 0), (1, 0))) if wrong == "long" else ids
    ids[-1, -1] = {"long": 1, "unknown": 300, "negative": -1}[wrong]
    plain_layers = plain("lstm", Sizes())
    with pytest.raises(InputError, match="ids: expected 17 per review, from 0 to 299, got"):
        predict(plain_layers, Network(plain_layers).first_weights(2), ids, batch=2)


def test_a_batch_larger_than_there_are_reviews_costs_no_more():
    plain_layers, ids, peaks = plain("lstm", Sizes()), reviews(Sizes(), 40), []
    weights = Network(plain_layers).first_weights(2)
    for batch in (40, 40, 10**9):
        tracemalloc.start()
        predict(plain_layers, weights, ids, batch=batch)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1]


def test_progress_counts_every_review():
    plain_layers, seen = plain("lstm", Sizes()), []
    weights = Network(plain_layers).first_weights(2)
    predict(plain_layers, weights, reviews(Sizes(), 7), batch=3, progress=seen.append)
    assert seen == [3, 3, 1]


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_each_dropout_mask_is_drawn_independently_and_scales_what_it_keeps(rate):
    drawn = [factors(rate, (1000, 9), [1, 2, number]) for number in range(3)]
    for mask in drawn:
        assert (
            set(np.unique(mask)) == {np.float32(0), np.float32(1) / np.float32(1 - rate)} if rate else {np.float32(1)}
        )
        assert np.mean(mask == 0) == pytest.approx(rate, abs=0.02)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.mean((drawn[one] == 0) & (drawn[other] == 0)) == pytest.approx(rate**2, abs=0.01)


def test_two_dropout_layers_draw_different_masks():
    trainer = CompiledTrainer(plain("dropout", Sizes()), batch=12, shards=2, **SETTINGS)
    trainer.find_gradient(trainer.network.deal(reviews(Sizes(), 12), 2), np.zeros(12, "f4"), 0)
    first, second = (block._factors[1:13, :9] == 0 for block in trainer.network.blocks if isinstance(block, Dropout))
    assert first.any()
    assert not second[first].all()  # if both drew the same numbers, it would be all, because the second drops more
