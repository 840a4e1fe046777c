"""The comparison and the folds, run for real on made-up reviews."""

import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest

from experiments import compare, folds
from experiments.compare import (
    LINE,
    SIZE,
    Point,
    Training,
    chart,
    label_heights,
    line_heights,
    mistakes,
    paired,
    sample,
    summarize,
    table,
)
from experiments.folds import assign_folds, near
from sentiment import InputError, kinds
from sentiment.data import padding, raw
from stages.params import parse
from tests.conftest import PARAMS, ROOT, SHOWN, shown_of
from tests.test_processes import NEEDS_MPI, on

NAMES = [SHOWN[0], shown_of("ngrams", "scikit-learn"), shown_of("ngrams", "compiled")]
NETWORK = NAMES[0]


def run(project, module, *arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{module}", *arguments],
        cwd=project.folder, env=project.environment | {"PYTHONPATH": str(ROOT)} | more,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    return finished.copy(tmp_path_factory.mktemp("experiments") / "project")


def test_the_comparison_has_every_size_and_name_and_the_metrics_of_the_pipeline_for_all_reviews(project):
    folder = project.folder
    names = [NETWORK, NAMES[-1]]
    done = run(project, "compare", "--names", ",".join(names), "--sizes", "40,300", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(names) * 2
    table = (folder / "experiments/comparison.md").read_text()
    for name in names:
        metrics = json.loads((folder / "metrics" / f"{name}.json").read_text())
        (row,) = re.findall(rf"^\| `{name}` \| ([\d,]+) \| \d+ \| ([\d.]+)(?: ± [\d.]+)? \| ([\d.]+) \|$", table, re.M)
        assert (row[0], row[2]) == (f"{metrics['parameters']:,}", f"{metrics['accuracy']:.4f}")
    assert (folder / "experiments/comparison.png").read_bytes().startswith(b"\x89PNG")
    assert all(f">{name}<" in (folder / "experiments/comparison.svg").read_text() for name in names)


def test_mistakes_are_those_counted_from_the_probabilities(project, monkeypatch):
    folder = project.folder
    monkeypatch.chdir(folder)
    names = {name: "network" if name == NETWORK else "n-grams" for name in NAMES}
    with (folder / "data/raw/imdb.npz").open("rb") as file:
        labels = raw.labels(file, "test")[padding.orders(300, 300)[1]]
    wrong = {name: (np.load(folder / "data" / name / "predicted.npy") > 0.5) != labels for name in names}
    for name in names:
        accuracy = json.loads((folder / "metrics" / f"{name}.json").read_text())["accuracy"]
        assert abs(1 - wrong[name].mean() - accuracy) < 1e-6
    network, *grams = wrong.values()
    expected = [network & grams[0] & grams[1], network & ~grams[0] & ~grams[1], ~network & grams[0] & grams[1]]
    page = mistakes(names, folder / "data/raw/imdb.npz")
    assert [int(number) for number in re.findall(r"^(\d+) reviews;", page, re.M)] == [int(x.sum()) for x in expected]
    rows = re.findall(r"^\| `(\S+)` \| (0\.\d{4}) \|", page, re.M)
    assert dict(rows) == {name: f"{1 - wrong[name].mean():.4f}" for name in names}


def test_the_p_value_of_a_difference_is_that_of_the_sign_test():
    """McNemar's exact test is the sign test of the reviews that only one of two models has right."""
    random = np.random.default_rng(4)
    best = random.random(400) < 0.8
    other = best ^ (random.random(400) < 0.1)
    lines = paired({"other": other, "best": best, "same": best.copy()}).splitlines()
    cells = {line.split("`")[1]: [*map(str.strip, line.split("|")[2:-1])] for line in lines[2:]}
    assert cells["best"][1:] == [""] * 5
    lost, won = int((best & ~other).sum()), int((other & ~best).sum())
    assert lost > won > 3
    p = 2 * sum(math.comb(lost + won, k) for k in range(won + 1)) / 2 ** (lost + won)
    each = other.astype(int) - best
    assert cells["other"][1:] == [
        str(lost), str(won), f"{each.mean():+.4f}", f"{each.std() / math.sqrt(400):.4f}", f"{p:.2g}"
    ]  # fmt: skip
    assert cells["same"][1:] == ["0", "0", "+0.0000", "0.0000", "1"]


def test_names_in_the_picture_do_not_overlap_and_are_at_their_points_if_possible():
    seconds, accuracy = [3, 3, 3, 3, 90, 12], [0.89, 0.8899, 0.88, 0.8895, 0.889, 0.82]
    points = [
        Point(f"n{at}", "network", 9, *values, 0.0) for at, values in enumerate(zip(seconds, accuracy, strict=True))
    ]
    heights = label_heights(points)
    unit = (max(accuracy) - min(accuracy)) / SIZE
    near = sorted(heights[f"n{at}"] for at in range(4))
    assert min(np.diff(near)) >= LINE * unit - 1e-9
    assert {name for name, height in heights.items() if height == pytest.approx(accuracy[int(name[1])])} == {
        "n0", "n4", "n5", "n2"
    }  # fmt: skip


def test_folds_score_an_n_gram_model_and_models_with_nearby_values(project, tmp_path):
    films = tmp_path / "films.txt"
    films.write_text("".join(f"{number // 3}\n" for number in range(300)))
    done = run(project, "folds", NAMES[1], "--films", str(films), "--folds", "3", "--held", "2")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| `(.*)` \| (.*) \| (0\.\d{4}) \| (.*) \|$", done.stdout, re.M)
    settings = parse((project.folder / "params.yaml").read_text()).models[NAMES[1]]
    assert [row[1] for row in rows] == ["as it is", *(what for what, _ in near(settings))]
    assert all(float(row[2]) > 0.7 for row in rows)
    assert [bool(row[3]) for row in rows] == [True] + [False] * (len(rows) - 1)


def test_folds_train_a_network_with_other_values(project, tmp_path):
    films = tmp_path / "films.txt"
    films.write_text("".join(f"{number // 3}\n" for number in range(300)))
    changes = ["train.learning_rate=1e-9", "train.learning_rate=1e-2,train.batch=4,architecture.dense=0"]
    options = [f"--try={change}" for change in changes]
    done = run(project, "folds", NAMES[0], "--films", str(films), "--folds", "3", "--held", "1", *options)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| `(.*)` \| (.*) \| (0\.\d{4}) \| (.*) \|$", done.stdout, re.M)
    assert [row[1] for row in rows] == ["as it is", *(f"`{change}`" for change in changes)]
    assert float(rows[1][2]) < 0.7 < float(rows[2][2])  # a network that learns nothing is right by chance


@NEEDS_MPI
def test_a_launcher_is_for_the_folds_of_n_gram_models(project, tmp_path):
    films = tmp_path / "films.txt"
    films.write_text("".join(f"{number}\n" for number in range(300)))
    done = run(project, "folds", NAMES[0], "--films", str(films), **on(2))
    assert done.returncode == 3
    assert done.stderr == f"error: LAUNCHER: {NAMES[0]} is a network, which is trained in one process; unset LAUNCHER\n"


@NEEDS_MPI
def test_folds_on_two_processes_give_the_table_of_one(project, tmp_path):
    films = tmp_path / "films.txt"
    films.write_text("".join(f"{number // 3}\n" for number in range(300)))
    request = [NAMES[1], "--films", str(films), "--folds", "3", "--held", "1"]
    alone, shared = (run(project, "folds", *request, **more) for more in ({}, on(2)))
    assert shared.returncode == 0, shared.stderr
    assert shared.stdout == alone.stdout != ""


@pytest.mark.parametrize(
    ("module", "arguments", "expected"),
    [
        ("compare", ["--names", "tiny"], f"error: names: expected some of {', '.join(SHOWN)}, got 'ti"),
        ("compare", ["--sizes", "many"], "error: "),
        ("folds", ["tiny", "--films", "f"], f"error: names: expected some of {', '.join(SHOWN)}, got 't"),
        (
            "folds",
            [NAMES[0], "--films", "f", "--try", "train.speed=2"],
            "error: try: expected KEY=VALUE, the key one of pad.max_length, ",
        ),
        (
            "folds",
            [NAMES[0], "--films", "f", "--try", "train.batch=0"],
            f"error: try: models.{NAMES[0]}.train.batch = 0: Input should be greater than or equal to 1",
        ),
        ("folds", [NAMES[0], "--films", "f", "--try", "train.batch=["], "error: try: not readable as YAML: "),
        ("folds", [NAMES[1], "--films", "none"], "error: films: [Errno 2] No such file or directory: 'none'; name"),
        ("folds", [NAMES[1], "--films", "params.yaml"], "error: params.yaml: expected a line for each of 300 reviews"),
        ("folds", [NAMES[1], "--films", "f", "--held", "6"], "error: folds: expected at least 2, and as many to hold"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(project, monkeypatch, module, arguments, expected):
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(InputError) as refused:
        {"compare": compare, "folds": folds}[module].main()
    assert f"error: {refused.value}".startswith(expected)
    assert "\n" not in str(refused.value)


def test_folds_keep_films_whole_or_cut_them_and_have_every_review():
    films = np.arange(600) // 5
    assigned = assign_folds(films, 4, seed=1)
    assert all(len(set(assigned["whole"][films == film])) == 1 for film in range(120))
    assert any(len(set(assigned["cut"][films == film])) > 1 for film in range(120))
    assert all(set(kind) == {0, 1, 2, 3} for kind in assigned.values())


def test_what_is_held_out_is_not_trained_on(monkeypatch):
    """Each review is a different word, so the model has seen no word of a held-out review."""
    labels, reviews = (np.arange(60) % 2).astype("u1"), padding.Ragged(np.arange(4, 64), np.ones(60, int))
    monkeypatch.setattr(folds, "read_reviews", lambda *_: (reviews, labels))
    model = PARAMS.models[shown_of("ngrams", "compiled")]
    architecture = model.architecture.model_copy(update={"min_df": 1})
    probabilities = folds.positive(model.model_copy(update={"architecture": architecture}), np.arange(60) < 20)
    assert probabilities.tolist() == [0.5] * 20


def test_a_fold_trains_a_network_on_all_reviews_that_are_not_held_out(monkeypatch):
    """A linear schedule counts the updates on these reviews, so none of them may be held out for validation."""
    seen = []

    class Trainer:
        epochs = 1

        def epoch(self, ids, labels, order, epoch, progress):
            seen.append(ids[:, 0].tolist())
            assert sorted(order) == [*range(15)]
            return {"loss": 0.5}

        def state(self):
            return {"weights": np.zeros(1)}

        def predict(self, ids):
            return ids[:, 0]

    def make_trainer(settings, reviews, labels, state):
        seen.append(settings.train.validation_fraction)
        return Trainer()

    model = PARAMS.models[shown_of("cnn_lstm", "compiled")]
    train = model.train.model_copy(update={"validation_fraction": 0.25})
    monkeypatch.setattr(kinds.find("cnn_lstm"), "make_trainer", make_trainer)
    monkeypatch.setattr(folds, "read_reviews", lambda *_: (np.arange(20)[:, None], np.arange(20) % 2))
    held = np.arange(20) % 4 == 1
    assert folds.positive(model.model_copy(update={"train": train}), held).tolist() == [1, 5, 9, 13, 17]
    rows = [row for row in range(20) if row % 4 != 1]
    assert seen == [0.0, [rows[at] for at in padding.orders(15)[0]]]  # as `pad` shuffles a corpus of these reviews


def test_runs_with_several_seeds_are_summarized_by_mean_median_and_noise():
    runs = [Training("net", "network", 50, seed, *values) for seed, values in enumerate([(3, 0.8), (9, 0.9), (4, 0.7)])]
    runs += [Training("net", "network", 20, 0, 1, 0.6), Training("words", "n-grams", 50, 0, 2, 0.5)]
    runs += [Training("words", "n-grams", 20, 0, 2, 0.5)]
    points = summarize(runs)
    assert [(point.reviews, point.seconds) for point in points["net"]] == [(20, 1), (50, 4)]
    assert points["net"][1][4:] == pytest.approx((0.8, 0.1))
    assert table(points, {"net": 39053, "words": 7}).splitlines() == [
        "|  | parameters | seconds | 20 reviews | 50 reviews |",
        "|---|---|---|---|---|",
        "| `net` | 39,053 | 4 | 0.6000 | 0.8000 ± 0.1000 |",
        "| `words` | 7 | 2 | 0.5000 | 0.5000 |",
    ]
    drawn = [layer["encoding"]["y"]["field"] for view in chart(points)["hconcat"] for layer in view["layer"]]
    assert drawn == ["low", "accuracy", "label", "low", "accuracy", "end"]
    last = [row[-1] for row in points.values()]
    assert line_heights(last, 0.001) == {"net": pytest.approx(0.8), "words": 0.5}
    assert line_heights(last, 0.1) == {"net": pytest.approx(0.8), "words": pytest.approx(0.8 - LINE * 0.1)}


def test_a_sample_has_equally_many_reviews_of_each_label_and_depends_on_the_seed():
    labels = (np.arange(90) < 30).astype("u1")
    drawn = sample(labels, 21, seed=1)
    assert (len(set(drawn)), labels[drawn].sum()) == (21, 11)
    assert drawn.tolist() == sorted(drawn)
    assert set(sample(labels, 21, seed=2)) != set(drawn)
