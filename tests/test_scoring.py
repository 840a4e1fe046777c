import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment import InputError, scoring
from stages import evaluate

ABOUT = {"labels": ["negative", "positive"], "corpus": "imdb"}
LABELS = np.array([0, 0, 0, 1, 1, 1, 1], "u1")
POSITIVE = np.array([0.6, 0.7, 0.1, 0.9, 0.4, 0.8, 0.95], "f4")  # calls: 2 of 3 negatives wrong, 3 of 4 positives right


def test_the_figures_are_those_counted_by_hand():
    expected = {
        "accuracy": 4 / 7,
        "matthews": (3 * 1 - 2 * 1) / np.sqrt((3 + 2) * (3 + 1) * (1 + 2) * (1 + 1)),
        "loss": -np.mean(np.log([0.4, 0.3, 0.9, 0.9, 0.4, 0.8, 0.95])),
        "precision": 3 / 5,
        "recall": 3 / 4,
        "f1": 2 / 3,
        "roc_auc": 10 / 12,  # of the 12 pairs, 0.4 scores below 0.6 and 0.7
    }
    assert scoring.figures(LABELS, POSITIVE) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("probability", "accuracy"), [(0.5, 0.5), (np.nextafter(np.float32(0.5), 1), 1.0)])
def test_a_review_is_called_positive_above_one_half(probability, accuracy):
    assert scoring.figures(np.array([0, 1], "u1"), np.array([0.2, probability], "f4"))["accuracy"] == accuracy


@given(st.integers(2, 50), st.integers(0, 2**31))
def test_every_figure_is_within_its_range(reviews, seed):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(reviews) % 2).astype("u1")
    figures = scoring.figures(labels, random.random(reviews, "f4"))
    assert [*figures] == [*scoring.METRICS]
    for name, metric in scoring.METRICS.items():
        assert metric.lowest <= figures[name] <= metric.highest
        assert metric.meaning


def test_perfect_calls_reach_the_best_of_every_range_and_opposite_ones_the_worst():
    best, worst = (scoring.figures(LABELS, calls.astype("f4")) for calls in (LABELS, 1 - LABELS))
    ranges = {name: (metric.lowest, metric.highest) for name, metric in scoring.METRICS.items() if name != "loss"}
    assert {name: (worst[name], best[name]) for name in ranges} == ranges
    assert best["loss"] < 1e-6 < worst["loss"]


def test_no_positive_call_gives_zero_precision_not_nan():
    figures = scoring.figures(LABELS, np.full(7, 0.2, "f4"))
    assert (figures["precision"], figures["f1"], figures["matthews"]) == (0, 0, 0)


def test_certain_mistakes_cost_the_logarithm_of_the_smallest_step_of_a_float64():
    assert scoring.figures(LABELS, 1 - LABELS.astype("f4"))["loss"] == pytest.approx(52 * np.log(2), abs=1e-6)


@pytest.mark.parametrize("label", [0, 1])
def test_one_kind_of_label_is_refused(label):
    with pytest.raises(InputError, match=f"expected both 0 and 1 to score, got only .{label}"):
        scoring.figures(np.full(3, label, "u1"), np.array([0.1, 0.2, 0.3], "f4"))


def test_the_confusion_counts_every_review_once():
    confusion = scoring.curves(LABELS, POSITIVE, 5)["confusion"]
    assert [*zip(confusion["actual"], confusion["predicted"], confusion["reviews"], strict=True)] == [
        ("negative", "negative", 1),
        ("negative", "positive", 2),
        ("positive", "negative", 1),
        ("positive", "positive", 3),
    ]


def test_the_curves_are_those_counted_by_hand_as_the_threshold_falls():
    """Below 0.95, 0.9 and 0.8 the positives are called so, below 0.7 and 0.6 two negatives, below 0.4 a positive."""
    curves = scoring.curves(LABELS, POSITIVE, 5)
    roc, precision_recall = curves["roc"], curves["precision_recall"]
    true_positives, calls = np.array([0, 1, 2, 3, 3, 3, 4, 4]), np.arange(8)
    np.testing.assert_allclose(roc["true_positive_rate"], true_positives / 4, atol=1e-6)
    np.testing.assert_allclose(roc["false_positive_rate"], (calls - true_positives) / 3, atol=1e-6)
    np.testing.assert_allclose(precision_recall["recall"], true_positives / 4, atol=1e-6)
    np.testing.assert_allclose(precision_recall["precision"][1:], true_positives[1:] / calls[1:], atol=1e-6)
    assert precision_recall["precision"][0] == 1  # by definition, where nothing is called positive


def test_calibration_is_the_mean_of_each_bin():
    calibration = scoring.curves(LABELS, POSITIVE, 2)["calibration"]
    np.testing.assert_allclose(
        calibration["predicted"], [np.mean([0.1, 0.4]), np.mean([0.6, 0.7, 0.8, 0.9, 0.95])], atol=1e-6
    )
    np.testing.assert_allclose(calibration["observed"], [1 / 2, 3 / 5], atol=1e-6)


@given(st.integers(2, 700), st.integers(0, 2**31))
def test_curves_run_from_end_to_end_in_few_points(reviews, seed):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(reviews) % 2).astype("u1")
    curves = scoring.curves(labels, random.random(reviews, "f4"), 10)
    roc, precision_recall = curves["roc"], curves["precision_recall"]
    for column in roc.values():
        assert (column[0], column[-1]) == (0, 1)
        assert (np.diff(column) >= 0).all()
    assert (precision_recall["recall"][0], precision_recall["recall"][-1]) == (0, 1)
    assert max(len(column) for table in curves.values() for column in table.values()) <= scoring.POINTS


def test_a_long_curve_keeps_evenly_spaced_points_of_its_own_and_a_short_one_all():
    for length, step in ((1001, 5), (201, 1), (7, 1)):
        column = np.arange(length) ** 2 / 7
        np.testing.assert_allclose(scoring._thin({"x": column})["x"], column[::step], atol=1e-6)


def test_what_is_written_of_a_model_is_its_figures_its_curves_and_its_probabilities(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights, ids = np.array([0.25, -1.5, 3], ">f4"), np.zeros((7, 4), "u1")
    asked = []

    def predict(reviews, *, batch, progress):
        asked.append((reviews, batch))
        return POSITIVE

    model = SimpleNamespace(weights=weights, predict=predict, parallel=False, promise="a stand-in")
    monkeypatch.setattr(evaluate.model, "read", lambda folder: (model, ABOUT, b""))
    monkeypatch.setattr(evaluate, "read_split", lambda *key: {("m", "test", 2): (ids, LABELS)}[key])
    evaluate.main(SimpleNamespace(evaluate=SimpleNamespace(batch=3, calibration_bins=2)), "m")
    assert asked == [(ids, 3)]
    metrics = json.loads(Path("metrics/m.json").read_text())
    digest = hashlib.sha256(weights.astype("<f4").tobytes()).hexdigest()
    assert (metrics.pop("parameters"), metrics.pop("weights")) == (3, digest[:16])
    assert metrics == scoring.figures(LABELS, POSITIVE)
    np.testing.assert_array_equal(np.load("data/m/predicted.npy"), POSITIVE)
    assert {path.name: path.read_text().partition("\n")[0] for path in Path("plots/m").iterdir()} == {
        "calibration.csv": "predicted,observed",
        "confusion.csv": "actual,predicted,reviews",
        "precision_recall.csv": "recall,precision",
        "roc.csv": "false_positive_rate,true_positive_rate",
    }
    assert Path("plots/m/confusion.csv").read_text().splitlines()[1:3] == ["negative,negative,1", "negative,positive,2"]
    assert Path("plots/m/calibration.csv").read_text() == "predicted,observed\n0.25,0.5\n0.79,0.6\n"
