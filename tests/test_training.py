"""Epochs of the compiled trainer: learning, held-out reviews, randomness and resuming."""

import csv
import hashlib
import json
import string
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import cases
from benchmarks.cases import Sizes, build, plain, reviews
from sentiment import InputError, scoring, training
from sentiment.data.padding import FIRST_WORD, UNKNOWN
from sentiment.data.text import IMDB
from sentiment.engine import trainer as compiled_trainer
from sentiment.engine.network import FIRST_WEIGHTS, Network
from sentiment.engine.trainer import DRAWS, CompiledTrainer, predict
from sentiment.keras import archive, backend
from sentiment.keras import plain as plain_keras
from sentiment.keras import trainer as keras_module
from sentiment.keras.backend import keras
from sentiment.keras.trainer import KerasTrainer
from sentiment.kinds import cnn_lstm
from stages import evaluate
from stages import train as train_stage
from stages.params import check_model
from stages.train import Checkpoint, train_on
from tests.test_blocks import keras_loss
from tests.test_ngram_models import Call

LAYERS = plain("dropout", Sizes())
SETTINGS = {"batch": 10, "shards": 3, "optimizer": "adam", "learning_rate": 0.01, "seed": 4}


def labelled(count, case="dropout"):
    """Reviews and a label that one word decides."""
    ids, labels = reviews(Sizes(), count), cases.labels(case, count)
    ids[:, -3] = np.array([22, 11, 33])[labels]
    return ids, labels


def fit(
    ids, labels, *, epochs=range(3), state=None, validation_fraction=0.0, progress=lambda reviews: None, layers=LAYERS,
    **changes,
):  # fmt: skip
    """The epochs of a training."""
    settings = SETTINGS | changes
    trainer = CompiledTrainer(layers, state, **settings)
    settings = {"epochs": epochs, "validation_fraction": validation_fraction, "seed": settings["seed"]}
    return list(training.fit(trainer, ids, labels, progress=progress, **settings))


@pytest.mark.parametrize(
    ("case", "name", "settings"),
    [
        ("dropout", "adam", {"beta_2": 0.9, "decay": 60}),
        ("dropout", "adam", {"decay": 50}),
        ("dropout", "adam", {}),
        ("dropout", "sgd", {"decay": 50}),
        ("dropout", "sgd", {}),
        ("softmax", "adam", {}),
    ],
    ids=str,
)
def test_fifty_steps_give_the_weights_of_keras(case, name, settings):
    ids, labels = labelled(500, case)
    layers = plain(case, Sizes())
    (epoch,) = fit(ids, labels, epochs=range(1), optimizer=name, layers=layers, **settings)
    order = np.random.default_rng([SETTINGS["seed"], training.ORDER, 0]).permutation(500)
    model = build(case, Sizes())
    backend.set_weights(model, Network(layers).first_weights(SETTINGS["seed"]))
    rate, decay = SETTINGS["learning_rate"], settings.get("decay")
    rate = keras.optimizers.schedules.PolynomialDecay(rate, decay, end_learning_rate=0.0) if decay else rate
    adam = keras.optimizers.Adam(rate, beta_2=settings.get("beta_2", 0.999))
    optimizer = {"adam": adam, "sgd": keras.optimizers.SGD(rate, momentum=0.9)}[name]
    trainer = CompiledTrainer(layers, **SETTINGS)
    for update, rows in enumerate(np.sort(order.reshape(50, 10))):
        groups = trainer.network.deal(ids[rows], SETTINGS["shards"])  # dropout is drawn in the order of the groups
        with tf.GradientTape() as tape:
            _, loss = keras_loss(model, groups.ids[1:], labels[rows][groups.order], update)
        # Dense gradients: of IndexedSlices Keras squares each occurrence of a word separately, which is not Adam.
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables)]
        optimizer.apply(gradients, model.trainable_variables)
    np.testing.assert_allclose(epoch.state["weights"], backend.get_weights(model), atol=1e-4)


def test_the_loss_falls_and_a_telling_word_is_learned():
    ids, labels = labelled(200)
    epochs = fit(ids, labels, epochs=range(10))
    losses = [epoch.metrics["loss"] for epoch in epochs]
    assert losses[-1] < losses[0] / 2
    flipped = ids.copy()
    flipped[:, -3] = np.where(labels, 22, 11)
    weights = epochs[-1].state["weights"]
    assert ((predict(LAYERS, weights, ids, batch=50) > 0.5) == labels).mean() > 0.95
    assert ((predict(LAYERS, weights, flipped, batch=50) > 0.5) == labels).mean() < 0.05


def test_of_three_labels_each_telling_word_is_learned_and_training_resumed_ends_with_the_same_bits():
    layers = plain("softmax", Sizes())
    ids, labels = labelled(120, "softmax")
    epochs = fit(ids, labels, epochs=range(10), layers=layers, validation_fraction=0.25)
    assert epochs[-1].metrics["loss"] < epochs[0].metrics["loss"] / 2
    probabilities = predict(layers, epochs[-1].state["weights"], ids, batch=50)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.95
    held = training.measure(probabilities[90:], labels[90:])
    assert {name: epochs[-1].metrics[f"val_{name}"] for name in held} == held
    resumed = fit(ids, labels, epochs=range(9, 10), state=epochs[8].state, layers=layers, validation_fraction=0.25)
    assert resumed[-1].metrics == epochs[-1].metrics
    np.testing.assert_array_equal(resumed[-1].state["weights"], epochs[-1].state["weights"])


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    ids, labels = labelled(33)  # 3 batches of 10 and one of 3
    runs = [fit(ids, labels, seed=seed)[-1].state["weights"].tobytes() for seed in (4, 4, 5)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("changes", [{}, {"optimizer": "sgd"}, {"decay": 12, "word_dropout": 0.3}], ids=str)
@pytest.mark.parametrize("stop", [1, 2])
def test_training_resumed_after_any_epoch_ends_with_the_same_bits(stop, changes):
    ids, labels = labelled(33)
    whole = fit(ids, labels, **changes)
    resumed = fit(ids, labels, epochs=range(stop, 3), state=whole[stop - 1].state, **changes)
    assert [epoch.metrics for epoch in resumed] == [epoch.metrics for epoch in whole[stop:]]
    assert resumed[-1].state.keys() == whole[-1].state.keys()
    for name, array in whole[-1].state.items():
        np.testing.assert_array_equal(resumed[-1].state[name], array)


@pytest.mark.parametrize(("batch", "shards"), [(1, 1), (7, 3), (7, 7), (64, 5), (40, 1)])
def test_any_batch_and_shards_train(batch, shards):
    seen = []
    *_, last = fit(*labelled(33), batch=batch, shards=shards, progress=seen.append)
    assert np.isfinite(last.state["weights"]).all()
    assert sum(seen) == 3 * 33


def test_held_out_reviews_are_measured_and_never_trained_on():
    ids, labels = labelled(40)
    *_, held = fit(ids, labels, validation_fraction=0.25)
    *_, alone = fit(ids[:30], labels[:30])
    np.testing.assert_array_equal(held.state["weights"], alone.state["weights"])
    positive = predict(LAYERS, held.state["weights"], ids[30:], batch=10).astype("f8")
    likelihood = np.where(labels[30:], positive, 1 - positive)
    assert held.metrics["val_accuracy"] == pytest.approx(np.mean((positive > 0.5) == labels[30:]))
    assert held.metrics["val_loss"] == pytest.approx(np.mean(-np.log(likelihood)), rel=1e-5)


def test_each_update_of_a_training_drops_other_words_and_a_prediction_drops_none():
    """Reviews of the same length without words are equal, so the loss stays that of chance."""
    ids, labels = labelled(200)
    for share, learned in ((0.0, True), (1.0, False)):
        *_, last = fit(ids, labels, epochs=range(10), word_dropout=share)
        assert (last.metrics["loss"] < 0.3) == learned
    trainer, seen = CompiledTrainer(LAYERS, word_dropout=0.5, **SETTINGS), []
    find_gradient, kept = trainer.find_gradient, ids.copy()
    trainer.find_gradient = lambda groups, *others: seen.append(groups.ids[1:].copy()) or find_gradient(groups, *others)
    for epoch in range(2):
        trainer.epoch(ids, labels, np.arange(200), epoch)
    np.testing.assert_array_equal(ids, kept)
    whole = np.concatenate([trainer.network.deal(ids[at : at + 10], 3).ids[1:] for at in range(0, 200, 10)])
    first, second = np.concatenate(seen).reshape(2, 200, -1)
    words = whole >= FIRST_WORD
    for dropped in (first != whole, second != whole):
        assert dropped[words].mean() == pytest.approx(0.5, abs=0.03)
        assert not dropped[~words].any()
    assert set(first[first != whole]) == {UNKNOWN}
    assert ((first != whole) & (second != whole))[words].mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_array_equal(trainer.predict(ids), predict(LAYERS, trainer.state()["weights"], ids, batch=10))


@pytest.mark.parametrize("fraction", [0.99, 0.001])
def test_a_validation_fraction_that_leaves_either_side_empty_is_refused(fraction):
    with pytest.raises(InputError, match=f"validation_fraction = {fraction} of 33 reviews"):
        fit(*labelled(33), validation_fraction=fraction)


def test_no_two_random_choices_share_a_stream():
    tags = [[1, FIRST_WEIGHTS]]
    tags += [[1, training.ORDER, number] for number in range(3)]
    tags += [[1, training.WORDS, number] for number in range(3)]
    tags += [[1, DRAWS, number, dropout] for number in range(3) for dropout in range(2)]
    drawn = {np.random.default_rng(tag).random() for tag in tags}
    assert len(drawn) == len(tags)


class Recorder:
    """A trainer that records its arguments; its loss halves in each epoch."""

    epochs = 3

    promise = "nothing"

    def __init__(self, done=0):
        self.done, self.ran, self.orders, self.predicted = done, [], [], []

    def epoch(self, ids, labels, order, epoch, progress=lambda reviews: None):
        self.ran.append(epoch)
        self.orders.append(order)
        self.done += 1
        progress(len(order))
        return {"loss": 0.5**self.done, "accuracy": 1 - 0.5**self.done}

    def predict(self, ids):
        self.predicted.append(ids)
        return np.linspace(0.25, 0.75, len(ids), dtype="f4")

    def state(self):
        return {"weights": np.float32([self.done, 3]), "slot": np.float32([7, 8, 9])}


def test_each_epoch_has_another_order_and_the_seed_decides_it():
    """The numbers of the stream decide the bits of all results."""
    ids, labels = labelled(40)
    orders = {}
    for seed in (5, 6):
        recorder = Recorder()
        list(training.fit(recorder, ids, labels, epochs=range(1, 4), validation_fraction=0.25, seed=seed))
        assert recorder.ran == [1, 2, 3]
        for epoch, order in zip((1, 2, 3), recorder.orders, strict=True):
            np.testing.assert_array_equal(order, np.random.default_rng([seed, 2, epoch]).permutation(30))
            orders[seed, epoch] = tuple(order)
    assert len(set(orders.values())) == len(orders)


@pytest.mark.parametrize("engine", ["compiled", "keras"])
def test_the_updates_are_numbered_through_all_epochs(engine, monkeypatch):
    """33 reviews in batches of 10 are 4 updates per epoch; each update draws dropped words from its number."""
    ids, labels = labelled(33)
    drawn, computed, applied = [], [], []
    module = {"compiled": compiled_trainer, "keras": keras_module}[engine]
    monkeypatch.setattr(module, "drop_words", lambda ids, share, seed: drawn.append((share, tuple(seed))))
    settings = {"batch": 10, "optimizer": "sgd", "learning_rate": 0.01, "word_dropout": 0.5, "seed": 4}
    if engine == "compiled":
        trainer = CompiledTrainer(LAYERS, shards=3, **settings)
        find_gradient, update = trainer.find_gradient, trainer.update
        trainer.find_gradient = lambda *arguments: computed.append(arguments[2]) or find_gradient(*arguments)
        trainer.update = lambda number: applied.append(number) or update(number)
    else:
        trainer = KerasTrainer(lambda: build("dropout", Sizes()), **settings)
    for epoch in range(2):
        trainer.epoch(ids, labels, np.arange(33), epoch)
    assert sorted(set(drawn)) == [(0.5, (4, 4, update)) for update in range(8)]  # Keras draws some batches twice
    if engine == "compiled":
        assert computed == applied == [*range(8)]
        assert len(drawn) == 8


def test_a_trainer_that_gets_other_reviews_keeps_nothing_of_the_first_ones():
    ids, labels = labelled(40)
    others = reviews(Sizes(), 40, seed=1)
    trainer = CompiledTrainer(LAYERS, **SETTINGS)
    trainer.epoch(ids, labels, np.arange(40), 0)
    fresh = CompiledTrainer(LAYERS, trainer.state(), **SETTINGS)
    for one in (trainer, fresh):
        one.epoch(others, labels, np.arange(40), 1)
    np.testing.assert_array_equal(trainer.state()["weights"], fresh.state()["weights"])


def test_after_each_epoch_the_processes_compare_a_digest_of_their_weights(monkeypatch):
    compared, (ids, labels) = [], labelled(33)
    monkeypatch.setattr(compiled_trainer.shards, "agree", lambda digest, what: compared.append((what, digest)))
    for seed in (4, 4, 5):
        fit(ids, labels, epochs=range(2), seed=seed)
    first, same, other = compared[:2], compared[2:4], compared[4:]
    assert [what for what, _ in first] == ["weights after epoch 1", "weights after epoch 2"]
    assert first == same
    assert len({digest for _, digest in first + other}) == 4


@pytest.mark.parametrize("chunk", [1, 7, 39, 40])
def test_the_first_steps_of_many_reviews_are_those_of_each_review(chunk, monkeypatch):
    monkeypatch.setattr(compiled_trainer, "CHUNK", chunk)
    network_, ids = Network(LAYERS), reviews(Sizes(), 40)
    expected = [network_.first_steps(row[None])[0] for row in ids]
    assert compiled_trainer.first_steps(network_, ids).tolist() == expected


def test_the_learning_rate_falls_linearly_over_all_updates():
    trainer, rates = CompiledTrainer(LAYERS, decay=8, **SETTINGS), []
    trainer.optimizer = type(
        "", (), {"update": lambda self, weights, slots, gradient, step, rate: rates.append(rate)}
    )()
    for number in range(8):
        trainer.update(number)
    np.testing.assert_allclose(rates, 0.01 * np.arange(8, 0, -1) / 8, rtol=1e-12)


def test_a_certain_mistake_costs_the_logarithm_of_a_ten_millionth():
    positive = np.float32([1, 0, 0.75, 0.5])
    for labels, losses, accuracy in (
        ([0, 1, 1, 1], [16.118096, 16.118096, 0.287682, 0.693147], 0.25),
        ([1, 0, 0, 0], [0, 0, 1.386294, 0.693147], 0.75),
    ):
        figures = training.measure(positive, np.array(labels, "u1"))
        assert figures == pytest.approx({"loss": np.mean(losses), "accuracy": accuracy}, abs=1e-6)


def test_certain_mistakes_do_not_end_training_as_diverged():
    ids, labels = labelled(33)  # 17 of them with label 0
    state = CompiledTrainer(LAYERS, **SETTINGS).state()
    state["weights"][-1] = 100  # the last bias: every probability is 1
    (epoch,) = fit(ids, labels, epochs=range(1), state=state, batch=33, optimizer="adam", learning_rate=1e-9)
    assert epoch.metrics == pytest.approx({"loss": 16.118096 * 17 / 33, "accuracy": 16 / 33}, rel=1e-6)


def rows(path: str) -> list[list[str]]:
    """The rows of a table in a file."""
    text = Path(path).read_text().splitlines()
    return [*csv.reader(text, delimiter="\t" if path.endswith("tsv") else ",")]


@pytest.mark.parametrize("done", [0, 2])
def test_a_training_logs_and_saves_each_epoch_from_1_on_and_resumes_after_those_it_has(tmp_path, monkeypatch, done):
    monkeypatch.chdir(tmp_path)
    settings = settings_of(
        optimizer="adam", epochs=3, batch=10, shards=2, learning_rate=0.02, beta_2=0.95, validation_fraction=0.25,
        seed=1,
    )  # fmt: skip
    ids, labels = labelled(40)
    whole = training.fit(Recorder(), ids, labels, epochs=range(3), validation_fraction=0.25, seed=1)
    expected = [{"metrics": epoch.metrics, "weights": training.digest(epoch.state["weights"])} for epoch in whole]
    checkpoint, recorder, history = Checkpoint(Path("kept.npz"), "of this"), Recorder(done), expected[:done]
    train_on("m", settings, recorder, ids, labels, history, checkpoint)
    assert recorder.ran == [*range(done, 3)]
    np.testing.assert_array_equal(recorder.predicted[-1], ids[30:])
    state, kept = checkpoint.load()
    assert state is not None
    assert {name: array.tolist() for name, array in state.items()} == {"weights": [3, 3], "slot": [7, 8, 9]}
    assert Checkpoint(Path("kept.npz"), "of another").load() == (None, [])
    assert [epoch["weights"] for epoch in kept] == [epoch["weights"] for epoch in expected]
    for epoch, one in zip(kept, expected, strict=True):
        assert epoch["metrics"] == pytest.approx(one["metrics"], abs=5e-7)
    assert rows("plots/m/weights.csv") == [
        ["epoch", "weights"], *([str(n), epoch["weights"]] for n, epoch in enumerate(expected, 1))
    ]  # fmt: skip
    plots = "plots/m/history/plots/metrics"
    assert rows(f"{plots}/train/loss.tsv") == [["step", "loss"], ["1", "0.5"], ["2", "0.25"], ["3", "0.125"]]
    assert rows(f"{plots}/train/accuracy.tsv")[1:] == [["1", "0.5"], ["2", "0.75"], ["3", "0.875"]]
    for name in ("loss", "accuracy"):
        held = [[str(n), str(epoch["metrics"][f"val_{name}"])] for n, epoch in enumerate(kept, 1)]
        assert rows(f"{plots}/eval/{name}.tsv") == [["step", name], *held]


def test_a_training_killed_after_its_last_epoch_writes_its_history_and_digests(tmp_path, monkeypatch):
    """Nothing is left to train, and DVC has deleted the outputs."""
    monkeypatch.chdir(tmp_path)
    ids, labels = labelled(40)
    history = [{"metrics": {"loss": 1 / n, "accuracy": n / 8}, "weights": f"digest {n}"} for n in (1, 2, 4)]
    recorder, checkpoint = Recorder(3), Checkpoint(Path("kept.npz"), "of this")
    settings = settings_of(epochs=3, batch=10, shards=2, optimizer="adam", learning_rate=0.02)
    train_on("m", settings, recorder, ids, labels, history, checkpoint)
    assert recorder.ran == []
    assert rows("plots/m/weights.csv")[1:] == [["1", "digest 1"], ["2", "digest 2"], ["3", "digest 4"]]
    plots = "plots/m/history/plots/metrics/train"
    assert rows(f"{plots}/loss.tsv") == [["step", "loss"], ["1", "1.0"], ["2", "0.5"], ["3", "0.25"]]
    assert rows(f"{plots}/accuracy.tsv")[1:] == [["1", "0.125"], ["2", "0.25"], ["3", "0.5"]]


def test_the_stages_train_on_the_training_split_and_score_the_test_split(tmp_path, monkeypatch):
    """The splits have different sizes, so that one used for the other fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAUNCHER", raising=False)
    splits = {"train": labelled(33), "test": labelled(14)}
    for folder in ("data/m", "data/raw"):
        Path(folder).mkdir(parents=True)
    for split, arrays in splits.items():
        lengths = (arrays[0] > 0).sum(axis=1).astype("u4")
        for kind, array in {"x": arrays[0], "y": arrays[1], "lengths": lengths}.items():
            np.save(f"data/m/{kind}_{split}.npy", array)
    Path("data/raw/mine_about.json").write_text(json.dumps({"labels": ["bad", "good"], "tokens": IMDB._asdict()}))
    Path("data/raw/mine_word_index.json").write_text('{"a": 1}')
    settings = settings_of(epochs=2, schedule="linear", beta_2=0.9, word_dropout=0.1)
    train_stage.main(settings, "m")
    evaluate.main(settings, "m")
    changes = {"decay": 2 * 4, "beta_2": 0.9, "word_dropout": 0.1}
    layers = cnn_lstm.build(settings.pad, settings.architecture, plain_keras).layers
    trainer = CompiledTrainer(layers, **SETTINGS, **changes)
    *_, last = training.fit(trainer, *splits["train"], epochs=range(2), validation_fraction=0.0, seed=SETTINGS["seed"])
    model = archive.unpack(Path("models/m/model.keras").read_bytes())
    np.testing.assert_array_equal(backend.get_weights(model), last.state["weights"])
    digest = training.digest(last.state["weights"])
    assert rows("plots/m/weights.csv")[-1] == ["2", digest]
    assert json.loads(Path("models/m/model.json").read_text()) == {
        "corpus": "mine",
        "kind": "cnn_lstm",
        "labels": ["bad", "good"],
        "pad": {"max_length": 17, "vocabulary": 300},
        "tokens": {"lowercase": True, "separators": string.punctuation.replace("'", "") + "\t\n"},
        "weights": digest,
        "word_index": hashlib.sha256(b'{"a": 1}').hexdigest(),
        "words": 1,
    }
    assert Path("models/m/word_index.json").read_text() == '{"a": 1}'
    assert Path("models/m/layers.txt").read_text() == archive.table(backend.rows(model))
    assert [*Path(".checkpoints").iterdir()] == []
    ids, labels = splits["test"]
    predicted = np.load("data/m/predicted.npy")
    np.testing.assert_allclose(predicted, model.predict(ids.astype("i4"), verbose=0)[:, 0], atol=1e-5)
    metrics = json.loads(Path("metrics/m.json").read_text())
    assert (metrics["parameters"], metrics["weights"]) == (model.count_params(), digest)
    assert {name: metrics[name] for name in scoring.METRICS} == scoring.figures(labels, predicted)


def test_a_checkpoint_of_pickles_is_refused_and_nothing_in_it_is_called(tmp_path):
    called = np.array([Call(tmp_path / "called")], object)
    np.savez(tmp_path / "kept.npz", fingerprint="of this", history="[]", **{"state/weights": called})
    with pytest.raises(InputError, match=r"kept\.npz: a damaged checkpoint \(Object arrays cannot be loaded"):
        Checkpoint(tmp_path / "kept.npz", "of this").load()
    assert [file.name for file in tmp_path.iterdir()] == ["kept.npz"]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_first_weights_are_drawn_from_a_stream_of_the_seed(seed):
    """The embedding is drawn first. The numbers of the stream decide the bits of all results."""
    drawn = 0.05 * (2 * np.random.default_rng([seed, 1]).random(300 * 6) - 1)
    np.testing.assert_array_equal(Network(LAYERS).first_weights(seed)[: 300 * 6], drawn.astype("f4"))


def test_training_that_diverges_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"^train.learning_rate: after epoch \d the loss is .* lower the rate$"):
        fit(*labelled(33), learning_rate=1e30)


def test_a_weight_that_is_no_number_is_refused_though_the_loss_is_finite():
    trainer = CompiledTrainer(LAYERS, **SETTINGS)
    state = trainer.state()
    state["weights"][:6] = np.nan  # the embedding of the padding
    with pytest.raises(InputError, match=r"after epoch 1 the loss is 0\..* not every weight is finite"):
        fit(*labelled(33), state=state)


def settings_of(**train):
    """Settings of a model for the arrays of ``labelled``; ``train`` changes ``SETTINGS`` of the trainer."""
    sizes = {"kind": "cnn_lstm", "embedding": 6, "filters": 7, "kernel": 5, "pool": 2, "units": 9, "dense": 4}
    architecture = sizes | {"bidirectional": False, "over_time": "last", "dropout": 0.1}
    plain = {"engine": "compiled", "epochs": 3, "schedule": "constant", "beta_2": 0.999, "word_dropout": 0.0}
    return check_model(
        {
            "corpus": "mine",
            "pad": {"max_length": 17, "vocabulary": 300},
            "architecture": architecture,
            "train": plain | {"validation_fraction": 0.0} | SETTINGS | train,
            "evaluate": {"batch": 5, "calibration_bins": 3},
        }
    )


def settings_in(trainer):
    """The learning rate, the updates in which it falls, and beta_2, word dropout, batch and seed of a trainer."""
    if isinstance(trainer, CompiledTrainer):
        rate = trainer.learning_rate, trainer.decay
    else:
        assert isinstance(trainer, KerasTrainer)
        schedule = trainer.optimizer.get_config()["learning_rate"]
        config = schedule["config"] if isinstance(schedule, dict) else {"initial_learning_rate": schedule}
        rate = config["initial_learning_rate"], config.get("decay_steps")
    return *rate, trainer.optimizer.beta_2, trainer.word_dropout, trainer.batch, trainer.seed


@pytest.mark.parametrize("engine", ["compiled", "keras"])
def test_the_trainer_has_what_the_params_say(engine):
    """Of 33 reviews 4 are held out, so 3 epochs of 3 batches are 9 updates."""
    ids, labels = labelled(33)
    for schedule, decay in (("linear", 9), ("constant", None)):
        settings = settings_of(
            engine=engine, epochs=3, batch=10, shards=2, learning_rate=0.02, schedule=schedule, beta_2=0.95,
            word_dropout=0.3, validation_fraction=0.12, seed=1,
        )  # fmt: skip
        trainer = cnn_lstm.make_trainer(settings, ids, labels, None)
        assert (trainer.epochs, trainer.parallel) == (3, engine == "compiled")
        values = settings_in(trainer.epoch.__self__)
        assert values == (pytest.approx(0.02), decay, 0.95, 0.3, 10, 1)
