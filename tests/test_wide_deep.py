"""N-grams and a CNN-LSTM with added logits, compared with the two parts alone and with separate arithmetic."""

import json
import math
from typing import Any

import numpy as np
import pytest

from export.graph import served
from sentiment import InputError, network
from sentiment.data import ngrams, padding
from sentiment.data.archives import members, pack_members
from sentiment.data.padding import FIRST_WORD, START, UNKNOWN, Ragged
from sentiment.data.text import decode
from sentiment.kinds import cnn_lstm, wide_deep
from sentiment.kinds import ngrams as linear
from sentiment.kinds.wide_deep import CLIP, WideDeep, make_trainer, open_model
from sentiment.model import TextModel
from sentiment.schema import check
from sentiment.training import digest, fit
from tests.conftest import about_of
from tests.grams import corpus
from tests.test_export import HARD, assert_same_answers

LENGTH, VOCABULARY, WEIGHT, ENDING = 17, 60, 0.7, 9
WIDE = {"epochs": 2, "batch": 8, "learning_rate": 0.02}
DEEP = {
    "optimizer": "adam", "epochs": 3, "batch": 10, "shards": 3, "learning_rate": 0.01, "schedule": "linear",
    "beta_2": 0.95, "word_dropout": 0.2,
}  # fmt: skip


def settings(**deep: object) -> wide_deep.Settings:
    """Settings of a small model; ``deep`` changes the network's architecture."""
    layers = {
        "kind": "cnn_lstm", "max_length": LENGTH, "vocabulary": VOCABULARY, "embedding": 5, "filters": 6, "kernel": 3,
        "pool": 2, "units": 4, "bidirectional": True, "over_time": "maximum", "dropout": 0.3, "dense": 0,
    }  # fmt: skip
    grams = {"kind": "ngrams", "longest": 2, "min_df": 1, "max_features": 700, "weighting": "naive-bayes"}
    grams |= {"ending": ENDING}
    architecture = {"kind": "wide_deep", "weight": WEIGHT, "wide": grams, "deep": layers | deep}
    train = {"engine": "compiled", "seed": 3, "wide": WIDE, "deep": DEEP}
    pad = {"max_length": None, "vocabulary": None}
    return check(wide_deep.Settings, {"pad": pad, "architecture": architecture, "train": train})


def train(trainer: Any, reviews, labels, epochs: int, begin: int = 0, progress=lambda reviews: None) -> list:
    """Train from epoch ``begin`` on; return the epochs."""
    return [*fit(trainer, reviews, labels, epochs=range(begin, epochs), seed=3, progress=progress)]


@pytest.fixture(scope="module")
def reviews() -> tuple[Ragged, np.ndarray]:
    return corpus(60)


@pytest.fixture(scope="module")
def trained(reviews) -> tuple[Any, list]:
    """A trainer after its last epoch, and its epochs."""
    trainer = make_trainer(settings(), *reviews, None)
    return trainer, train(trainer, *reviews, 3)


@pytest.fixture(scope="module")
def model(trained) -> WideDeep:
    return open_model(trained[0].save(), "")


def rows_of(reviews: Ragged) -> np.ndarray:
    """The reviews padded as the network reads them, by Keras's rules in plain Python."""
    rows = np.zeros((len(reviews), LENGTH), int)
    for row, end, length in zip(rows, reviews.ends, reviews.lengths, strict=True):
        ids = [id if id < VOCABULARY else UNKNOWN for id in reviews.ids[end - length : end].tolist()][-LENGTH:]
        row[LENGTH - len(ids) :] = ids
    return rows


def test_each_part_is_trained_as_it_is_alone(reviews, trained, model):
    wide_settings, deep_settings = settings().parts()
    rows, labels = rows_of(reviews[0]).astype("u1"), reviews[1]
    wide: Any = linear.make_trainer(wide_settings, *reviews, None)
    deep: Any = cnn_lstm.make_trainer(deep_settings, rows, labels, None)
    alone = {"wide": train(wide, *reviews, 2), "deep": train(deep, rows, labels, 3)}
    assert model.wide.weights.tobytes() == wide.weights.tobytes()
    assert model.deep.weights.tobytes() == deep.state()["weights"].tobytes()
    expected = [{}, {}, {}]
    for part, epochs in alone.items():
        for figures, epoch in zip(expected, epochs, strict=False):
            figures |= {f"{part}_{key}": value for key, value in epoch.metrics.items()}
    assert [epoch.metrics for epoch in trained[1]] == expected


def test_the_log_odds_are_those_of_the_n_grams_and_the_weight_times_those_of_the_network(reviews, model):
    probabilities = model.predict(reviews[0], batch=7)
    wide = model.wide.logits(ngrams.count(padding.words_of(reviews[0]), model.wide.grams, 20, ENDING))
    deep = model.deep.predict(rows_of(reviews[0]), batch=60)
    clipped = [min(max(float(p), CLIP), 1 - CLIP) for p in deep]
    logits = [w + WEIGHT * math.log(p / (1 - p)) for w, p in zip(wide, clipped, strict=True)]
    assert max(map(abs, logits)) > 1
    np.testing.assert_allclose(probabilities, [1 / (1 + math.exp(-logit)) for logit in logits], atol=1e-6)
    assert probabilities.tobytes() == model.predict(reviews[0], batch=60).tobytes()
    certain = wide_deep.log_odds(np.array([0, 1e-9, 0.25, 1], "f4"))
    np.testing.assert_allclose(certain, [math.log(p / (1 - p)) for p in (CLIP, CLIP, 0.25, 1 - CLIP)], rtol=1e-14)


def test_the_trainer_predicts_as_its_saved_model_and_the_digest_is_that_of_all_weights(reviews, trained, model):
    trainer, epochs = trained
    assert trainer.predict(reviews[0]).tobytes() == model.predict(reviews[0], batch=60).tobytes()
    assert digest(model.weights) == digest(epochs[-1].state["weights"])
    weights = [*model.wide.weights, *model.deep.weights, np.float32(WEIGHT)]
    np.testing.assert_array_equal(model.weights, weights)  # their order is that of the recorded digest
    files = members(trainer.save())
    about = json.loads(files["sum.json"]) | {"weight": 0.25}
    other = open_model(pack_members(files | {"sum.json": json.dumps(about).encode()}), "")
    assert digest(other.weights) != digest(model.weights)


@pytest.mark.parametrize("done", [1, 2])
def test_training_resumed_after_any_epoch_ends_with_the_same_bytes(reviews, trained, done):
    trainer, epochs = trained
    resumed, seen = make_trainer(settings(), *reviews, epochs[done - 1].state), []
    remaining = train(resumed, *reviews, 3, begin=done, progress=seen.append)
    assert sum(seen) == 60 * (3 - done)  # each review once in an epoch, though two parts train on it
    assert [epoch.metrics for epoch in remaining] == [epoch.metrics for epoch in epochs[done:]]
    assert resumed.save() == trainer.save()


def test_effects_are_those_of_the_n_grams_plus_the_change_of_the_network_without_the_word(reviews, model):
    some = reviews[0][:3]
    rows = rows_of(some)
    positive, every = model.explain(some, batch=3, count=-1)
    wide = model.wide.effects(some, positive)
    np.testing.assert_array_equal(positive, model.predict(some, batch=3))
    for at, effects in enumerate(every):
        assert len({gram for gram, _ in effects}) == len(effects)
        expected = dict(wide[at])
        for id in set(rows[at].tolist()) - {0, START, UNKNOWN}:
            without = np.where(rows[at] == id, UNKNOWN, rows[at])
            before, after = wide_deep.log_odds(model.deep.predict(np.stack([rows[at], without]), batch=2))
            expected[id,] = expected.get((id,), 0.0) + WEIGHT * (before - after)
        assert dict(effects) == pytest.approx(expected, abs=1e-5)


def test_some_of_the_effects_are_the_largest_of_all_and_no_other_values(reviews, model, monkeypatch):
    some = reviews[0][:5]
    monkeypatch.setattr(network, "MORE", 2)
    _, every = model.explain(some, batch=5, count=-1)
    positive, few = model.explain(some, batch=5, count=1)
    np.testing.assert_array_equal(positive, model.predict(some, batch=5))
    assert sum(map(len, few)) < sum(map(len, every))
    for all_effects, effects in zip(every, few, strict=True):
        assert dict(effects) == pytest.approx({gram: dict(all_effects)[gram] for gram, _ in effects}, abs=1e-6)
        for best in (max, min):
            assert best(value for _, value in effects) == pytest.approx(best(value for _, value in all_effects))


def test_the_graph_answers_as_the_model(reviews, trained, model):
    index = {f"w{rank}": rank for rank in range(1, 100)} | {"good": 100, "film": 101, "naïve": 102}
    text: Any = TextModel(model, index, about_of(max_length=None, vocabulary=None))
    texts = [decode(reviews[0][at : at + 1].ids.tolist()[1:], index) for at in range(9)]
    last = VOCABULARY - 1 - FIRST_WORD  # rank of the last word that the network knows
    texts += [f"w{rank}" for rank in (last, last + 1, last + 2)]
    assert_same_answers(served(text, trained[0].save()), text, [*texts, *HARD])
    answers = text.predict(texts)
    assert max(len(each.split()) for each in texts) > LENGTH
    assert np.ptp([answer.probability for answer in answers]) > 0.1


BAD = {
    "cut reviews": ({"pad": {"max_length": 9, "vocabulary": None}}, "pad.max_length and pad.vocabulary must be empty"),
    "a filter wider than a review": ({"max_length": 2}, "of the network: architecture.kernel = 3 must not exceed"),
    "no length": ({"max_length": None}, r"architecture\.deep\.max_length = None: Input should be a valid integer"),
    "no weight": ({"weight": 0.0}, r"architecture\.weight = 0\.0: Input should be greater than 0"),
    "Keras": ({"engine": "keras"}, r"train\.engine = 'keras': Input should be 'compiled'"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_invalid_settings_are_one_line(change, message):
    values = settings().model_dump()
    for section in (values, values["architecture"], values["architecture"]["deep"], values["train"]):
        section |= {key: value for key, value in change.items() if key in section}
    values["pad"] = change.get("pad", {"max_length": None, "vocabulary": None})
    with pytest.raises(InputError, match=rf"^params\.yaml: .*{message}[^\n]*$"):
        check(wide_deep.Settings, values)


def test_more_than_two_labels_are_refused(reviews):
    labels = np.arange(len(reviews[1])).astype("u1") % 3
    with pytest.raises(InputError, match=r"^architecture\.kind = wide_deep is for 2 labels, and the corpus has 3; "):
        make_trainer(settings(), reviews[0], labels, None)


def test_a_file_whose_parts_do_not_fit_is_one_line(trained, model):
    files = members(trained[0].save())
    about = json.loads(files["sum.json"])
    wrong = {
        "no n-grams": {name: content for name, content in files.items() if name != "wide.npz"},
        "another length": files | {"sum.json": json.dumps(about | {"max_length": 5}).encode()},
        "another vocabulary": files | {"sum.json": json.dumps(about | {"vocabulary": 99}).encode()},
        "a weight that is none": files | {"sum.json": json.dumps(about | {"weight": "x"}).encode()},
        "n-grams of three labels": files | {"wide.npz": linear.OneVersusRest([model.wide] * 3).save()},
        "n-grams for a network": files | {"deep.keras": files["wide.npz"]},
        "a network for n-grams": files | {"wide.npz": files["deep.keras"]},
    }
    for contents in wrong.values():
        with pytest.raises(InputError, match=r"^not a readable file of two parts \([^\n]+\)$"):
            open_model(pack_members(contents), "")
    with pytest.raises(InputError, match=r"^not a readable file of two parts"):
        open_model(b"PK", "")
