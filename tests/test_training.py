from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from sentiment import InputError, archive, network, training
from sentiment.archive import keras
from sentiment.network import Sizes
from sentiment.params import parse
from sentiment.training import State, Step
from tests.conftest import ROOT
from tests.test_network import AROUND_A_VECTOR, reviews

SETTINGS = dict(epochs=3, batch=10, shards=3, learning_rate=0.01, validation_fraction=0.0, seed=4)


def labelled(sizes, count):
    """Reviews and a label that one word decides."""
    ids = reviews(sizes, count)
    labels = np.arange(count) % 2
    ids[:, -3] = np.where(labels, 11, 22)
    return ids, labels.astype("u1")


def keras_gradient(model, ids, labels):
    """Keras's loss, and its gradients as dense tensors in Keras's order."""
    with tf.GradientTape() as tape:
        positive = model(tf.constant(ids.astype("i4")), training=False)
        loss = tf.reduce_mean(keras.losses.binary_crossentropy(tf.cast(labels[:, None], positive.dtype), positive))
    return loss, [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables)]


EDGES = [
    {},
    {"pool": 1},
    {"pool": 3},
    {"kernel": 1},
    {"kernel": 17, "pool": 17},
    {"max_length": 6, "pool": 6},
    *AROUND_A_VECTOR,
]


@pytest.fixture
def exact_keras():
    """Keras in float64: over 500 words its float32 gradients stray further than ours."""
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


def assert_loss_and_every_gradient_are_those_of_keras(sizes, weights, ids, shards):
    count = len(ids)
    labels = (np.arange(count) % 2).astype("f4")
    batch = network.arrange(sizes, ids, shards)
    step = Step(sizes, State(0, weights, weights, weights), count, shards)
    targets = labels[batch.order]
    logits = step.gradient(batch, targets, np.ones((count, sizes.lstm), "f4")).astype("f8")
    loss = np.mean(np.log1p(np.exp(-logits * (2 * targets - 1))))
    expected_loss, expected = keras_gradient(archive.to_keras(sizes, weights), ids, labels)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    ours = np.split(step.gradient_array(), np.cumsum(sizes.counts)[:-1])
    for place, (mine, theirs) in enumerate(zip(ours, expected, strict=True)):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(mine, np.ravel(theirs), atol=1e-5 * scale, err_msg=f"weight {place}")


@pytest.mark.usefixtures("exact_keras")
@pytest.mark.parametrize("changes", EDGES, ids=str)
@pytest.mark.parametrize(("count", "shards"), [(1, 1), (1, 3), (7, 3), (12, 4)])
def test_loss_and_every_gradient_are_those_of_keras(sizes, changes, count, shards):
    sizes = Sizes(**vars(sizes) | changes)
    weights = network.first_weights(sizes, 2) * 2
    assert_loss_and_every_gradient_are_those_of_keras(sizes, weights, reviews(sizes, 12)[-count:], shards)


@pytest.mark.usefixtures("exact_keras")
@pytest.mark.parametrize("name", ["small", "full"])
def test_loss_and_every_gradient_are_those_of_keras_at_the_real_sizes(name):
    model = parse((ROOT / "params.yaml").read_text()).model(name)
    sizes = Sizes(**model.pad.model_dump(), **model.network.model_dump())
    weights, ids = network.first_weights(sizes, 2), reviews(sizes, model.train.batch)
    assert_loss_and_every_gradient_are_those_of_keras(sizes, weights, ids, model.train.shards)


def test_fifty_steps_give_the_weights_of_keras(sizes):
    sizes = Sizes(**vars(sizes) | {"dropout": 0.0})
    ids, labels = labelled(sizes, 500)
    first = network.first_weights(sizes, SETTINGS["seed"])
    (epoch,) = training.fit(sizes, ids, labels, **SETTINGS | {"epochs": 1})
    order = np.random.default_rng([SETTINGS["seed"], training.ORDER, 0]).permutation(500)
    model = archive.to_keras(sizes, first)
    # Dense gradients: given IndexedSlices, Keras squares each occurrence of a word on its own, which is not Adam.
    adam = keras.optimizers.Adam(SETTINGS["learning_rate"])
    for rows in order.reshape(50, 10):
        _, gradients = keras_gradient(model, ids[rows], labels[rows])
        adam.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    np.testing.assert_allclose(epoch.state.weights, np.concatenate([w.ravel() for w in model.get_weights()]), atol=1e-4)


def test_the_loss_falls_and_a_telling_word_is_learned(sizes):
    ids, labels = labelled(sizes, 200)
    epochs = list(training.fit(sizes, ids, labels, **SETTINGS | {"epochs": 8}))
    losses = [epoch.metrics["loss"] for epoch in epochs]
    assert losses[-1] < losses[0] / 2
    flipped = ids.copy()
    flipped[:, -3] = np.where(labels, 22, 11)
    weights = epochs[-1].state.weights
    assert (((network.predict(sizes, weights, ids, batch=50)) > 0.5) == labels).mean() > 0.95
    assert (((network.predict(sizes, weights, flipped, batch=50)) > 0.5) == labels).mean() < 0.05


def test_the_same_seed_gives_the_same_bits_and_another_does_not(sizes):
    ids, labels = labelled(sizes, 33)  # 33 = 3 batches of 10 and one of 3
    runs = [
        [e.state.weights for e in training.fit(sizes, ids, labels, **SETTINGS | {"seed": s})][-1] for s in (4, 4, 5)
    ]
    assert runs[0].tobytes() == runs[1].tobytes()
    assert runs[0].tobytes() != runs[2].tobytes()


@pytest.mark.parametrize("stop", [1, 2])
def test_training_resumed_after_any_epoch_ends_with_the_same_bits(sizes, stop):
    ids, labels = labelled(sizes, 33)
    whole = list(training.fit(sizes, ids, labels, **SETTINGS))
    resumed = list(training.fit(sizes, ids, labels, **SETTINGS, state=whole[stop - 1].state))
    assert [epoch.metrics for epoch in resumed] == [epoch.metrics for epoch in whole[stop:]]
    for ours, theirs in zip(resumed[-1].state, whole[-1].state, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("batch", "shards"), [(1, 1), (7, 3), (64, 5), (40, 1)])
def test_any_batch_and_shards_train(sizes, batch, shards):
    ids, labels = labelled(sizes, 33)
    seen = []
    settings = SETTINGS | {"batch": batch, "shards": shards}
    *_, last = training.fit(sizes, ids, labels, **settings, progress=seen.append)
    assert np.isfinite(last.state.weights).all()
    assert sum(seen) == 3 * 33


def test_held_out_reviews_are_measured_and_never_trained_on(sizes):
    ids, labels = labelled(sizes, 40)
    settings = SETTINGS | {"validation_fraction": 0.25}
    (*_, held) = training.fit(sizes, ids, labels, **settings)
    (*_, alone) = training.fit(sizes, ids[:30], labels[:30], **SETTINGS)
    np.testing.assert_array_equal(held.state.weights, alone.state.weights)
    positive = network.predict(sizes, held.state.weights, ids[30:], batch=10).astype("f8")
    likelihood = np.where(labels[30:], positive, 1 - positive)
    assert held.metrics["val_accuracy"] == pytest.approx(np.mean((positive > 0.5) == labels[30:]))
    assert held.metrics["val_loss"] == pytest.approx(np.mean(-np.log(likelihood)), rel=1e-5)


@pytest.mark.parametrize("fraction", [0.99, 0.001])
def test_a_validation_fraction_that_leaves_either_side_empty_is_refused(sizes, fraction):
    ids, labels = labelled(sizes, 33)
    with pytest.raises(InputError, match=f"validation_fraction = {fraction} of 33 reviews"):
        next(training.fit(sizes, ids, labels, **SETTINGS | {"validation_fraction": fraction}))


def test_the_dropout_factors_reach_the_gradient(sizes):
    """With no LSTM output kept, nothing below the dense layer's bias reaches the loss."""
    ids, labels = reviews(sizes, 4), np.array([0, 1, 1, 0], "f4")
    weights = network.first_weights(sizes, 2)
    step = Step(sizes, State(0, weights, weights, weights), 4, 2)
    gradients = []
    for kept in (0.0, 1.0, 2.0):
        step.gradient(network.arrange(sizes, ids, 2), labels, np.full((4, sizes.lstm), kept, "f4"))
        gradients.append(np.split(step.gradient_array(), np.cumsum(sizes.counts)[:-1]))
    nothing, once, twice = gradients
    assert not any(np.any(gradient) for gradient in nothing[:7])
    assert all(np.any(gradient) for gradient in (nothing[7], *once))
    np.testing.assert_allclose(twice[6] / once[6], 2, rtol=0.2)


def test_the_padding_of_the_weights_stays_zero(sizes):
    ids, labels = labelled(sizes, 20)
    weights = network.first_weights(sizes, 2)
    step = Step(sizes, State(0, weights, weights * 0, weights * 0), 20, 3)
    batch = network.arrange(sizes, ids, 3)
    for number in range(3):
        step.gradient(batch, labels[batch.order].astype("f4"), training.dropout(sizes, 1, number, 20))
        step.update(0.1, number)
    for vector, flat in zip(step._vectors, step.arrays(), strict=True):
        assert np.count_nonzero(vector) == np.count_nonzero(flat)


def test_dropout_drops_its_share_anew_each_time_and_scales_the_rest(sizes):
    masks = [training.dropout(sizes, 1, number, 1000) for number in range(3)]
    for mask in masks:
        assert set(np.unique(mask)) == {np.float32(0), np.float32(1) / np.float32(0.8)}
        assert np.mean(mask == 0) == pytest.approx(0.2, abs=0.02)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.mean((masks[one] == 0) & (masks[other] == 0)) == pytest.approx(0.04, abs=0.01)
    assert (training.dropout(Sizes(**vars(sizes) | {"dropout": 0.0}), 1, 0, 1000) == 1).all()


def test_no_two_random_choices_share_a_stream():
    tags = [[1, network.FIRST_WEIGHTS]]
    tags += [[1, tag, number] for tag in (training.ORDER, training.DROPOUT) for number in range(3)]
    drawn = {np.random.default_rng(tag).random() for tag in tags}
    assert len(drawn) == len(tags)


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_the_number_of_threads_leaves_the_bits_alone(sizes, threads, monkeypatch):
    ids, labels = labelled(sizes, 40)
    (expected,) = training.fit(sizes, ids, labels, **SETTINGS | {"epochs": 1})
    monkeypatch.setattr("sentiment.numerics._CORES", threads)
    monkeypatch.setattr("sentiment.numerics._threads", ThreadPoolExecutor(threads))
    (found,) = training.fit(sizes, ids, labels, **SETTINGS | {"epochs": 1})
    assert found.state.weights.tobytes() == expected.state.weights.tobytes()


def test_training_that_diverges_is_refused_in_one_line(sizes):
    ids, labels = labelled(sizes, 33)
    with pytest.raises(
        InputError, match=r"^train.learning_rate = 1e\+30: the loss of epoch \d is nan, .* lower the rate$"
    ):
        list(training.fit(sizes, ids, labels, **SETTINGS | {"learning_rate": 1e30}))
