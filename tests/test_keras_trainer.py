"""Keras trains any network and resumes to the same bits; the layers decide whether Keras predicts, too."""

import numpy as np
import pytest

from benchmarks.cases import Sizes, build, plain, reviews
from sentiment import network, training
from sentiment.engine.trainer import CompiledTrainer
from sentiment.keras import archive, backend, trainer
from sentiment.keras.backend import keras
from sentiment.keras.trainer import KerasTrainer
from sentiment.kinds import gru as gru_kind
from sentiment.schema import Pad
from sentiment.training import digest
from tests.test_training import labelled

SETTINGS = {"batch": 10, "optimizer": "adam", "learning_rate": 0.01, "seed": 4}


def gru():
    """A network that no block computes, with dropouts and weights that are not trained."""
    return keras.Sequential(
        [
            keras.Input((17,), dtype="int32"),
            keras.layers.Embedding(300, 6),
            keras.layers.GRU(9, dropout=0.1),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )


def two_branches():
    """A network that is no sequence of layers."""
    ids = keras.Input((17,), dtype="int32")
    words = keras.layers.Embedding(300, 6)(ids)
    branches = [keras.layers.GlobalMaxPooling1D()(words), keras.layers.LSTM(4)(words)]
    return keras.Model(ids, keras.layers.Dense(1, activation="sigmoid")(keras.layers.Concatenate()(branches)))


def fit(build, *, epochs=range(3), state=None, progress=lambda reviews: None, **changes):
    """The epochs of a training on 33 reviews, 3 batches of 10 and one of 3."""
    trainer = KerasTrainer(build, state, **SETTINGS | changes)
    settings = {"epochs": epochs, "validation_fraction": 0.0, "seed": SETTINGS["seed"]}
    return list(training.fit(trainer, *labelled(33), progress=progress, **settings))


@pytest.mark.parametrize(
    ("make", "changes"),
    [(gru, {}), (two_branches, {"optimizer": "sgd"}), (gru, {"decay": 12, "word_dropout": 0.3})],
    ids=["adam", "sgd", "decay"],
)
def test_training_resumed_after_any_epoch_ends_with_the_same_bits(make, changes):
    whole = fit(make, **changes)
    for stop in (1, 2):
        resumed = fit(make, epochs=range(stop, 3), state=whole[stop - 1].state, **changes)
        assert [epoch.metrics for epoch in resumed] == [epoch.metrics for epoch in whole[stop:]]
        assert resumed[-1].state.keys() == whole[-1].state.keys()
        for name, array in whole[-1].state.items():
            np.testing.assert_array_equal(resumed[-1].state[name], array)


def test_the_seed_decides_the_first_weights_and_the_dropout():
    runs = [fit(gru, epochs=range(1), seed=seed)[-1].state["weights"].tobytes() for seed in (4, 4, 5)]
    assert runs[0] == runs[1] != runs[2]


def test_training_takes_tensorflows_deterministic_operations_alone(monkeypatch):
    """On some machines a run with the other operations has the same bits by chance."""
    called = []
    monkeypatch.setattr(trainer.tf.config.experimental, "enable_op_determinism", lambda: called.append(True))
    KerasTrainer(two_branches, **SETTINGS)
    assert called == [True]


def test_a_telling_word_is_learned():
    epochs = fit(gru, epochs=range(20))
    assert epochs[-1].metrics["loss"] < epochs[0].metrics["loss"] / 2
    assert epochs[-1].metrics["accuracy"] > 0.9


def test_words_that_are_dropped_are_not_learned():
    *_, last = fit(gru, epochs=range(20), word_dropout=1.0)
    assert last.metrics["loss"] > 0.6


def test_progress_counts_every_review():
    seen = []
    fit(two_branches, epochs=range(1), progress=seen.append)
    assert seen == [10, 10, 10, 3]


def test_without_dropout_both_trainers_find_nearly_the_same_weights():
    """From the same first weights, by SGD, because Keras's Adam squares each gradient of a repeated word separately."""
    ids, labels = labelled(33)
    settings = SETTINGS | {"optimizer": "sgd", "decay": 4}
    compiled = CompiledTrainer(plain("average", Sizes()), shards=3, **settings)
    keras_ = KerasTrainer(lambda: build("average", Sizes()), **settings)
    backend.set_weights(keras_.model, compiled.state()["weights"])
    order = np.random.default_rng(0).permutation(33)
    figures = [trainer.epoch(ids, labels, order, 0) for trainer in (compiled, keras_)]
    np.testing.assert_allclose(compiled.state()["weights"], keras_.state()["weights"], atol=1e-5)
    assert figures[0] == pytest.approx(figures[1], rel=1e-3)


def test_the_compiled_trainer_predicts_if_it_has_all_layers_and_keras_otherwise():
    ids, seen = reviews(Sizes(), 12), []
    for make, compiled in ((lambda: build("bidirectional", Sizes()), True), (gru, False), (two_branches, False)):
        model = make()
        opened = network.open_model(archive.pack(model), digest(backend.get_weights(model)))
        assert opened.promise.startswith("compiled arithmetic:" if compiled else "Keras on the CPU:")
        np.testing.assert_array_equal(opened.weights, backend.get_weights(model))
        seen.clear()
        probabilities = opened.predict(ids, batch=5, progress=seen.append)
        assert probabilities.dtype == np.float32
        assert seen == [5, 5, 2]
        np.testing.assert_allclose(probabilities, model.predict(ids.astype("i4"), verbose=0)[:, 0], atol=1e-5)


def test_keras_promises_the_bits_of_this_machine_alone():
    assert "the same bits on this machine only; elsewhere metrics" in trainer.promise()


def test_the_layers_of_a_gru_have_the_sizes_of_its_settings():
    architecture = gru_kind.Architecture(kind="gru", embedding=6, units=9, dropout=0.3)
    layers = gru_kind.build(Pad(max_length=17, vocabulary=300), architecture, keras, labels=3).layers
    assert [layer.name for layer in layers][:3] == ["embedding", "gru", "dropout"]
    assert (layers[0].input_dim, layers[0].output_dim, layers[1].units, layers[2].rate) == (300, 6, 9, 0.3)
    assert layers[3].units == 3
