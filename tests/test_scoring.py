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
POSITIVE = np.array([0.6, 0.7, 0.1, 0.9, 0.4, 0.8, 0.95], "f4")  # wrong: 2 of 3 negatives and 1 of 4 positives


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


def test_perfect_predictions_reach_the_best_of_every_range_and_opposite_ones_the_worst():
    best, worst = (scoring.figures(LABELS, calls.astype("f4")) for calls in (LABELS, 1 - LABELS))
    ranges = {name: (metric.lowest, metric.highest) for name, metric in scoring.METRICS.items() if name != "loss"}
    assert {name: (worst[name], best[name]) for name in ranges} == ranges
    assert best["loss"] < 1e-6 < worst["loss"]


def test_without_positive_predictions_the_precision_is_zero_and_not_nan():
    figures = scoring.figures(LABELS, np.full(7, 0.2, "f4"))
    assert (figures["precision"], figures["f1"], figures["matthews"]) == (0, 0, 0)


def test_certain_mistakes_cost_the_logarithm_of_the_smallest_step_of_a_float64():
    assert scoring.figures(LABELS, 1 - LABELS.astype("f4"))["loss"] == pytest.approx(52 * np.log(2), abs=1e-6)


@pytest.mark.parametrize("label", [0, 1])
def test_reviews_of_one_label_are_refused(label):
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
    """Thresholds below 0.95, 0.9 and 0.8 each add a true positive, 0.7 and 0.6 a false one, and 0.4 a true one."""
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


def test_a_long_curve_keeps_evenly_spaced_points_and_a_short_one_all():
    for length, step in ((1001, 5), (201, 1), (7, 1)):
        column = np.arange(length) ** 2 / 7
        np.testing.assert_allclose(scoring._thin({"x": column})["x"], column[::step], atol=1e-6)


def test_evaluate_writes_the_figures_the_curves_and_the_probabilities_of_a_model(tmp_path, monkeypatch):
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


THREE = np.array([0, 0, 1, 1, 2, 2], "u1")
EACH = np.array(
    [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7], [0.5, 0.2, 0.3]], "f4"
)  # predicted: 0, 1, 1, 1, 2, 0
NAMES = ["bad", "good", "mixed"]


def test_the_figures_of_three_labels_are_those_counted_by_hand():
    figures = scoring.figures_of_several(THREE, EACH, NAMES)
    assert figures["accuracy"] == pytest.approx(4 / 6, abs=1e-6)
    assert figures["loss"] == pytest.approx(-np.mean(np.log([0.6, 0.2, 0.8, 0.4, 0.7, 0.3])), abs=1e-6)
    assert [figures[f"precision/{name}"] for name in NAMES] == pytest.approx([1 / 2, 2 / 3, 1], abs=1e-6)
    assert [figures[f"recall/{name}"] for name in NAMES] == [0.5, 1, 0.5]
    assert [figures[f"f1/{name}"] for name in NAMES] == pytest.approx([1 / 2, 4 / 5, 2 / 3], abs=1e-6)
    assert figures["f1"] == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3, abs=1e-6)
    assert figures["roc_auc/bad"] == pytest.approx(6 / 8)  # 0.6 above four, 0.2 above two of four 0.1 0.3 0.1 0.5


def test_the_confusion_and_the_curves_of_three_labels_have_their_names():
    curves = scoring.curves_of_several(THREE, EACH, 5, NAMES)
    confusion = curves["confusion"]
    counts = {key: n for *key, n in zip(*confusion.values(), strict=True) for key in [tuple(key)]}
    assert {key: n for key, n in counts.items() if n} == {
        ("bad", "bad"): 1, ("bad", "good"): 1, ("good", "good"): 2, ("mixed", "mixed"): 1, ("mixed", "bad"): 1,
    }  # fmt: skip
    assert len(counts) == 9
    assert [*dict.fromkeys(curves["roc"]["label"])] == NAMES
    mixed = curves["roc"]["label"] == "mixed"
    expected = scoring.curves(THREE == 2, EACH[:, 2], 5)["roc"]
    np.testing.assert_array_equal(curves["roc"]["true_positive_rate"][mixed], expected["true_positive_rate"])
    calibration = scoring.curves_of_several(THREE, EACH, 2, NAMES)["calibration"]  # 14 of 18 are 0.5 or less, 3 right
    assert calibration["predicted"] == pytest.approx([3.2 / 14, 2.8 / 4], abs=1e-6)
    assert calibration["observed"] == pytest.approx([3 / 14, 3 / 4], abs=1e-6)


def test_an_accuracy_is_printed_with_its_interval_and_the_share_of_the_commonest_label():
    labels = np.array([0] * 60 + [1] * 40, "u1")
    ids = np.array([[1, 7]] * 97 + [[1, 2]] * 3, "u1")

    def remarks(right):
        figures = {"accuracy": right / 100} | scoring.chance(labels, right / 100)
        assert figures["accuracy_low"] < right / 100 < figures["accuracy_high"]
        return evaluate.remarks(figures, ids, np.array([0, 1] * 50), ["bad", "good"])

    first, *others = remarks(90)
    assert first.startswith("accuracy 0.9000, 95% interval 0.8256 to 0.9448; always giving the commonest label: 0.6000")
    assert others == ["warning: 3 of 100 test reviews have no token that the model knows"]
    assert "does not beat" in remarks(60)[1]
    assert "too few to tell" in remarks(65)[1]
    figures = {"accuracy": 0.95} | scoring.chance(labels[50:70], 0.95)  # 10 of each label
    assert figures["accuracy_low"] > 0.75 > figures["accuracy_commonest"] == 0.5
    few = evaluate.remarks(figures, ids[:20], labels[50:70], ["bad", "good"])
    assert few[1:] == ["warning: 20 test reviews are too few to tell how good the model is"]
    many = np.arange(10_000).astype("u1") % 2
    for accuracy, expected in ((0.49, "does not beat"), (0.54, "hardly beats"), (0.56, "")):
        figures = {"accuracy": accuracy} | scoring.chance(many, accuracy)
        warnings = evaluate.remarks(figures, np.array([[1, 7]] * 10_000, "u1"), many, ["bad", "good"])[1:]
        assert expected in "".join(warnings)
        assert bool(warnings) == bool(expected)
    rare = (np.arange(10_000) < 2000).astype("u1")
    for accuracy, expected in ((0.815, True), (0.825, False)):  # a tenth of the error of 0.2 is 0.02
        figures = {"accuracy": accuracy} | scoring.chance(rare, accuracy)
        warnings = evaluate.remarks(figures, np.array([[1, 7]] * 10_000, "u1"), rare, ["bad", "good"])[1:]
        assert ["hardly beats" in warning for warning in warnings] == [True] * expected
    figures = {"accuracy": 0.6} | scoring.chance(labels, 0.6)
    assert "gives every test review the label 'bad'" in "".join(
        evaluate.remarks(figures, ids, labels * 0, ["bad", "x"])
    )
