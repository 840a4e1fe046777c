"""`make compare`: accuracy of each model by training time and by number of training reviews.

The commands of the stages train and score every model of params.yaml in turn, in a scratch copy of this commit, with
several seeds. They train on all training reviews, which is timed, and on fewer reviews. These are drawn with each seed,
equally many of each label. The results are experiments/comparison.md, .svg and .png. experiments/mistakes.md has a
paired test of the models, from the probabilities in data/<model>/predicted.npy.

Only the stage `evaluate` reads the test split to score. `mistakes` prints texts of it; no choice depends on them.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import vl_convert
from ruamel.yaml import YAML

from checks.scratch import Scratch, checkout, command, project
from sentiment import InputError
from sentiment.data import padding, raw
from sentiment.data.text import decode
from stages.common import launcher
from stages.common.files import replacing, write_text
from stages.download import REVIEWS, WORD_INDEX
from stages.params import IMDB, Params, read

RAW = Path("data/raw")
SIZES = (1000, 2500, 5000, 10_000, 25_000)
SHOWN, WORDS = 20, 60  # most mistakes of each kind, and most words of each
GROUPS = {"ngrams": "n-grams", "wide_deep": "both"}  # by kind; all other kinds are networks
SIZE, LETTER, LINE = 330, 5.5, 11  # pixels: side of a chart, width and height of a label's characters


class Training(NamedTuple):
    """One training: model, group, number of reviews, seed, seconds and test accuracy."""

    name: str
    group: str
    reviews: int
    seed: int
    seconds: float
    accuracy: float


def groups(params: Params) -> dict[str, str]:
    """Return the group, ``network``, ``n-grams`` or ``both``, of each model of the IMDB reviews."""
    return {
        name: GROUPS.get(model.architecture.kind, "network")
        for name, model in params.models.items()
        if model.corpus == IMDB
    }


def sample(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw ``count`` rows, int [count], ascending, from labels, uint8 [reviews]: equally many of each, or one more."""
    random = np.random.default_rng([seed, count])
    halves = [random.permutation(np.flatnonzero(labels == label)) for label in (1, 0)]
    return np.sort(np.concatenate([halves[0][: count - count // 2], halves[1][: count // 2]]))


def write_raw(source: Path, folder: Path, count: int, seed: int) -> int:
    """Write raw files with at most ``count`` training reviews and all test reviews; return the number of the former."""
    splits = {split: read_raw(source, split) for split in ("train", "test")}
    lists, labels = splits["train"]
    if count < len(labels):
        rows = sample(labels, count, seed)
        splits["train"] = [lists[row] for row in rows], labels[rows]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / REVIEWS).open("wb") as file:
        raw.write(file, splits)
    (folder / WORD_INDEX).write_bytes(source.with_name(WORD_INDEX).read_bytes())
    return min(count, len(labels))


def read_raw(source: Path, split: str) -> tuple[list[list[int]], np.ndarray]:
    """Read the reviews of a split, lists of word ranks, and their labels, uint8 [reviews]."""
    with source.open("rb") as file:
        lists = [
            review.tolist()
            for ranks, lengths in raw.reviews(file, split)
            for review in np.split(ranks, np.cumsum(lengths)[:-1])
        ]
        return lists, raw.labels(file, split)


def pin(scratch: Scratch, folder: Path, seed: int) -> None:
    """Set the raw files and the seed of all models in the scratch copy, and run its stage ``download``."""
    yaml, path = YAML(), scratch.folder / "params.yaml"
    params = yaml.load(path)
    for model in params["models"].values():
        model["train"]["seed"] = seed
    for key, name in {"reviews": REVIEWS, "word_index": WORD_INDEX}.items():
        content = (folder / name).read_bytes()
        params["download"][key] |= {"sha256": sha256(content).hexdigest(), "size": len(content)}
    yaml.dump(params, path)
    stage(scratch, "download", IMDB_SOURCE=str(folder))


def stage(scratch: Scratch, *arguments: str, **environment: str) -> float:
    """Run a stage in the scratch copy, with its output on standard error; return its seconds."""
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-E", "-m", f"stages.{arguments[0]}", *arguments[1:]],
        cwd=scratch.folder, env=scratch.environment | environment, stdout=sys.stderr, check=False,
    )  # fmt: skip
    if run.returncode:
        raise InputError(f"`{' '.join(arguments)}` failed; its own error is above")
    return time.perf_counter() - start


def train(scratch: Scratch, name: str) -> tuple[float, float]:
    """Train and score a model; return the seconds of ``pad`` and ``train``, and the accuracy."""
    seconds = sum(stage(scratch, step, name) for step in ("pad", "train"))
    stage(scratch, "evaluate", name)
    return seconds, json.loads((scratch.folder / "metrics" / f"{name}.json").read_text())["accuracy"]


def train_all(names: dict[str, str], source: Path, sizes: list[int], seeds: int) -> Iterator[Training]:
    """Yield all runs: for each size and seed, each model in turn."""
    with checkout() as scratch:
        folder = scratch.folder.parent / "raw"
        scratch.environment.pop(launcher.NAME, None)  # each run is one process
        stage(scratch, "environment")
        for size in sorted(set(sizes), reverse=True):
            for seed in range(1, 1 + seeds):
                reviews = write_raw(source, folder, size, seed)
                pin(scratch, folder, seed)
                for name, group in names.items():
                    yield Training(name, group, reviews, seed, *train(scratch, name))


class Point(NamedTuple):
    """Results of a model trained on a number of reviews, over the seeds."""

    name: str
    group: str
    reviews: int
    seconds: float  # the median
    accuracy: float  # the mean
    noise: float  # the standard deviation of the accuracy; 0 for a single seed


def summarize(runs: list[Training]) -> dict[str, list[Point]]:
    """Return the points of each model, from the fewest reviews to the most."""
    points = {}
    for name in dict.fromkeys(run.name for run in runs):
        for size in sorted({run.reviews for run in runs if run.name == name}):
            same = [run for run in runs if (run.name, run.reviews) == (name, size)]
            seconds, accuracy = statistics.median(run.seconds for run in same), [run.accuracy for run in same]
            noise = statistics.stdev(accuracy) if len(same) > 1 else 0.0
            points.setdefault(name, []).append(
                Point(name, same[0].group, size, seconds, statistics.mean(accuracy), noise)
            )
    return points


def table(points: dict[str, list[Point]], parameters: dict[str, int]) -> str:
    """Return a Markdown table: parameters, seconds on the most reviews, and accuracy at each size, a line per model."""
    head = ["", "parameters", "seconds", *(f"{point.reviews:,} reviews" for point in next(iter(points.values())))]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, row in points.items():
        cells = [f"`{name}`", f"{parameters[name]:,}", f"{row[-1].seconds:.0f}"]
        cells += [f"{point.accuracy:.4f} ± {point.noise:.4f}".removesuffix(" ± 0.0000") for point in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def label_heights(points: list[Point]) -> dict[str, float]:
    """Return the accuracy at which each point's name is written, so that no two names overlap.

    Names are placed from the most accurate point down. A name is to the right of its point, or below that if another
    name is there already.
    """

    def pixels(values: list[float]) -> np.ndarray:
        low, high = min(values), max(values)
        return (np.array(values) - low) / ((high - low) or 1) * SIZE

    accuracy = [point.accuracy for point in points]
    lefts, heights = pixels([math.log(point.seconds) for point in points]), pixels(accuracy)
    unit = (max(accuracy) - min(accuracy) or 1) / SIZE
    placed: list[tuple[float, float, float]] = []  # left end, right end, height
    labels = {}
    for at in np.argsort(-heights, kind="stable"):
        name, left, height = points[at].name, lefts[at], heights[at]
        right = left + LETTER * len(name) + 12
        for other_left, other_right, other in sorted(placed, key=lambda label: -label[2]):
            if left < other_right and other_left < right and abs(other - height) < LINE:
                height = other - LINE
        placed.append((left, right, height))
        labels[name] = min(accuracy) + height * unit
    return labels


def line_heights(points: list[Point], unit: float) -> dict[str, float]:
    """Return the accuracy at which the name of each line is written, at its end, so that no two names overlap.

    Args:
        points: The last point of each line.
        unit: Accuracy per pixel.
    """
    heights, free = {}, math.inf
    for point in sorted(points, key=lambda point: -point.accuracy):
        heights[point.name] = min(point.accuracy, free)
        free = heights[point.name] - LINE * unit
    return heights


def chart(points: dict[str, list[Point]]) -> dict:
    """Return a Vega-Lite chart: accuracy by seconds on the most reviews, and by reviews, with bars of the noise."""
    every = [point for row in points.values() for point in row]
    most, sizes = max(point.reviews for point in every), sorted({point.reviews for point in every})
    last = [row[-1] for row in points.values()]
    low, high = min(point.accuracy - point.noise for point in every), max(point.accuracy for point in every)
    label, end = label_heights(last), line_heights(last, (high - low) / SIZE)
    rows = [
        point._asdict()
        | {"low": point.accuracy - point.noise, "high": point.accuracy + point.noise}
        | {"label": label[point.name], "end": end[point.name]}
        for point in every
    ]
    accuracy = {"type": "quantitative", "title": "test accuracy", "scale": {"zero": False}, "axis": {"format": ".2f"}}
    group = {"field": "group", "type": "nominal", "title": None}
    log = {"scale": {"type": "log", "nice": False, "padding": 15}, "type": "quantitative"}
    noise = {
        "mark": {"type": "rule", "strokeWidth": 2},
        "encoding": {"y": accuracy | {"field": "low"}, "y2": {"field": "high"}},
    }
    left = {
        "title": f"Accuracy by training time, {most:,} reviews", "width": SIZE, "height": SIZE,
        "transform": [{"filter": f"datum.reviews == {most}"}],
        "encoding": {"x": {"field": "seconds", "title": "seconds to train", **log}, "color": group},
        "layer": [noise, {
            "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
            "encoding": {"y": accuracy | {"field": "accuracy"}, "shape": group | {"legend": None}},
        }, {
            "mark": {"type": "text", "align": "left", "dx": 8, "fontSize": 10},
            "encoding": {"y": accuracy | {"field": "label"}, "text": {"field": "name"}, "color": {"value": "#333"}},
        }],
    }  # fmt: skip
    right = {
        "title": "Accuracy by number of training reviews", "width": SIZE, "height": SIZE,
        "encoding": {
            "x": {"field": "reviews", "title": "training reviews", **log, "axis": {"values": sizes, "format": ","}},
            "color": group,
        },
        "layer": [noise, {
            "mark": {"type": "line", "point": True},
            "encoding": {"y": accuracy | {"field": "accuracy"}, "detail": {"field": "name"}},
        }, {
            "transform": [{"filter": f"datum.reviews == {most}"}],
            "mark": {"type": "text", "align": "left", "dx": 8, "fontSize": 10, "clip": False},
            "encoding": {"y": accuracy | {"field": "end"}, "text": {"field": "name"}},
        }],
    }  # fmt: skip
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json", "background": "white",
        "data": {"values": rows}, "hconcat": [left, right],
    }  # fmt: skip


def read_predicted(names: Iterable[str], order: np.ndarray) -> dict[str, np.ndarray]:
    """Read the probabilities that the stage ``evaluate`` wrote, in the order of the raw file, by model.

    Args:
        names: The models.
        order: Row of each review, see ``padding.orders``.

    Raises:
        InputError: The file of a model is missing, or has another number of reviews than the raw file.
    """
    predicted = {}
    for name in names:
        path = Path("data", name, "predicted.npy")
        if not path.exists() or len(probabilities := np.load(path)) != len(order):
            raise InputError(f"{path}: missing, or made from other reviews; `make repro` makes it")
        predicted[name] = np.empty(len(order))
        predicted[name][order] = probabilities
    return predicted


def paired(right: dict[str, np.ndarray]) -> str:
    """Return a Markdown table of the differences from the most accurate model, and their probabilities by chance.

    The standard error of the difference and the exact test of Q. McNemar (1947) use the reviews that exactly one of the
    two models has right. They estimate the result of the same weights on another test split.

    Args:
        right: For each model, True for each review that it has right, bool [reviews].
    """
    from scipy.stats import binomtest

    best = max(right, key=lambda name: right[name].mean())
    lines = [
        f"| | right | only `{best}` right | only this model right | difference | standard error | p (McNemar, exact) |",
        "|---" * 7 + "|",
    ]
    for name in sorted(right, key=lambda name: -right[name].mean()):
        count, cells = len(right[name]), [f"`{name}`", f"{right[name].mean():.4f}"]
        if name != best:
            lost, won = int((right[best] & ~right[name]).sum()), int((right[name] & ~right[best]).sum())
            difference, changed = (won - lost) / count, (won + lost) / count
            error = math.sqrt((changed - difference**2) / count)
            p = binomtest(won, won + lost).pvalue if won + lost else 1.0
            shown = f"{p:.2g}" if p else "below 1e-300"
            cells += [f"{lost:,}", f"{won:,}", f"{difference:+.4f}", f"{error:.4f}", shown]
        lines.append(f"| {' | '.join(cells + [''] * (7 - len(cells)))} |")
    return "\n".join(lines) + "\n"


def seeds(names: Iterable[str]) -> str:
    """Return a Markdown table of the standard deviation of the accuracy over seeds, from metrics/noise."""
    lines = ["| | seeds | standard deviation of the accuracy |", "|---|---|---|"]
    for name in names:
        path = Path("metrics/noise", f"{name}.json")
        if path.exists():
            noise = json.loads(path.read_text(encoding="utf-8"))
            lines.append(f"| `{name}` | {len(noise['seeds'])} | {noise['accuracy']['std']:.4f} |")
    return "\n".join(lines) + "\n"


def mistakes(names: dict[str, str], source: Path) -> str:
    """Return a Markdown page: a paired test of the models, the mistakes of all groups, and the mistakes of one group.

    Raises:
        InputError: A file of probabilities is missing or does not fit, see ``read_predicted``.
    """
    with source.open("rb") as file:
        order = padding.orders(*(raw.length(file, split) for split in ("train", "test")))[1]
    lists, labels = read_raw(source, "test")
    with source.with_name(WORD_INDEX).open("rb") as file:
        index = raw.word_index(file)
    predicted = read_predicted(names, order)
    right = {name: (positive > 0.5) == labels for name, positive in predicted.items()}
    wrong, sure = {}, {}
    for group in ("network", "n-grams"):
        models = [name for name in names if names[name] == group]
        wrong[group] = ~np.stack([right[name] for name in models])
        sure[group] = np.mean([np.abs(predicted[name] - labels) for name in models], axis=0)
    networks, grams = wrong["network"], wrong["n-grams"]
    chapters = {
        "Wrong by every network and every n-gram model": (networks.all(0) & grams.all(0), sum(sure.values())),
        "Right by every n-gram model, wrong by every network": (networks.all(0) & ~grams.any(0), sure["network"]),
        "Right by every network, wrong by every n-gram model": (grams.all(0) & ~networks.any(0), sure["n-grams"]),
    }
    parts = [
        f"# Mistakes\n\nMistakes on {len(labels):,} test reviews. `make compare` writes this page.\n\n"
        "## Which differences are real\n\n"
        "There are two kinds of noise. The first table is about the test split: could other reviews rank the same"
        " trained models differently? The second table is about seeds: how much does the accuracy on these reviews"
        " change when the same model is trained again?\n",
        paired(right),
        seeds(names),
    ]
    for title, (chosen, weight) in chapters.items():
        rows = np.flatnonzero(chosen)
        shown = f"the {SHOWN} most confident mistakes" if len(rows) > SHOWN else "the most confident mistakes first"
        parts.append(f"## {title}\n\n{len(rows):,} reviews; {shown}.\n")
        for row in rows[np.argsort(-weight[rows], kind="stable")][:SHOWN]:
            words = decode([rank + padding.FIRST_WORD for rank in lists[row]], index).split(" ")
            text = " ".join(words if len(words) <= WORDS else [*words[: WORDS // 2], "[...]", *words[-WORDS // 2 :]])
            plain = re.sub(r"([*_`<>|])", r"\\\1", text)
            parts.append(f"- {'positive' if labels[row] else 'negative'}: {plain}")
        parts.append("")
    return "\n".join(parts)


def main() -> int:
    """Measure, and write the tables, the picture and the mistakes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", default=",".join(map(str, SIZES)), help="numbers of training reviews, comma-separated"
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="trainings of each model on each number of reviews; 3 by default"
    )
    parser.add_argument("--names", default="", help="models, comma-separated; all by default")
    parser.add_argument("--only-mistakes", action="store_true", help="only write mistakes.md, and train nothing")
    arguments = parser.parse_args()
    os.chdir(project())
    every, source, target = groups(read()), RAW / REVIEWS, Path("experiments")
    names = {name: every.get(name, "") for name in filter(None, arguments.names.split(","))} or every
    if unknown := [name for name, group in names.items() if not group]:
        raise InputError(f"names: expected some of {', '.join(every)}, got {unknown[0]!r}")
    if not source.exists():
        raise InputError(f"{source} is missing; `make repro` makes it")
    if {"network", "n-grams"} <= {*names.values()}:
        write_text(target / "mistakes.md", mistakes(names, source))
    if arguments.only_mistakes:
        return 0
    try:
        sizes = [int(size) for size in arguments.sizes.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 2 or arguments.seeds < 1:
        raise InputError(f"sizes and seeds: expected numbers from 2 and 1, got {arguments.sizes}, {arguments.seeds}")
    runs = []
    for run in train_all(names, source, sizes, arguments.seeds):
        print(f"{run.name} on {run.reviews:,}: {run.accuracy:.4f} in {run.seconds:.1f} s", flush=True)
        runs.append(run)
    parameters = {name: json.loads(Path("metrics", f"{name}.json").read_text())["parameters"] for name in names}
    points = summarize(runs)
    picture = chart(points)
    write_text(target / "comparison.md", table(points, parameters))
    write_text(target / "comparison.svg", vl_convert.vegalite_to_svg(picture))
    with replacing(target / "comparison.png") as path:
        path.write_bytes(vl_convert.vegalite_to_png(picture, scale=2))
    return 0


if __name__ == "__main__":
    command(main, InputError)
