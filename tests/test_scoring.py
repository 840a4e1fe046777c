import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment import InputError, scoring

LABELS = np.array([0, 0, 0, 1, 1, 1, 1], "u1")
POSITIVE = np.array([0.1, 0.6, 0.5, 0.9, 0.4, 0.7, 0.8], "f4")  # calls: 1 of 3 negatives wrong, 3 of 4 positives right


def test_the_figures_are_those_counted_by_hand():
    figures = scoring.figures(LABELS, POSITIVE)
    pairs = [(p > n) for p in POSITIVE[3:] for n in POSITIVE[:3]]
    expected = {
        "accuracy": 5 / 7,
        "matthews": (3 * 2 - 1 * 1) / np.sqrt(4 * 4 * 3 * 3),
        "loss": -np.mean(np.log([0.9, 0.4, 0.5, 0.9, 0.4, 0.7, 0.8])),
        "precision": 3 / 4,
        "recall": 3 / 4,
        "f1": 3 / 4,
        "roc_auc": sum(pairs) / len(pairs),
    }
    assert figures == pytest.approx(expected, abs=1e-6)


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


def test_certain_mistakes_cost_a_finite_loss():
    assert np.isfinite(scoring.figures(LABELS, 1 - LABELS.astype("f4"))["loss"])


@pytest.mark.parametrize("label", [0, 1])
def test_one_kind_of_label_is_refused(label):
    with pytest.raises(InputError, match=f"expected both 0 and 1 to score, got only .{label}"):
        scoring.figures(np.full(3, label, "u1"), np.array([0.1, 0.2, 0.3], "f4"))


def test_the_confusion_counts_every_review_once():
    confusion = scoring.curves(LABELS, POSITIVE, 5)["confusion"]
    rows = set(zip(confusion["actual"], confusion["predicted"], confusion["reviews"], strict=True))
    assert rows == {
        ("negative", "negative", 2),
        ("negative", "positive", 1),
        ("positive", "negative", 1),
        ("positive", "positive", 3),
    }


def test_calibration_is_the_mean_of_each_bin():
    calibration = scoring.curves(LABELS, POSITIVE, 2)["calibration"]
    np.testing.assert_allclose(
        calibration["predicted"], [np.mean([0.1, 0.4, 0.5]), np.mean([0.6, 0.7, 0.8, 0.9])], atol=1e-6
    )
    np.testing.assert_allclose(calibration["observed"], [1 / 3, 3 / 4], atol=1e-6)


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
