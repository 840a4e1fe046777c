"""`make compare`: accuracy of each model by training time and by number of training reviews.

Every model of params.yaml is trained and scored by the stages' own commands, each in turn, in a scratch copy of this
commit, under several seeds: on all training reviews, timed; then on fewer, drawn for each seed, as many of either
label. Writes experiments/comparison.md, .svg and .png; and experiments/mistakes.md, with a paired test of the models,
from the probabilities that `make repro` left.

The test split is read by the stage `evaluate` alone; `mistakes` prints texts of it, and decides nothing.
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
SHOWN, WORDS = 20, 60  # mistakes of each kind, and words of each that are shown
GROUPS = {"ngrams": "n-grams", "wide_deep": "both"}  # by kind; all others are networks
SIZE, LETTER, LINE = 330, 5.5, 11  # pixels: side of a chart, width and height of a label's characters


class Run(NamedTuple):
    """One training: the model, number of reviews, seed, seconds and test accuracy."""

    name: str
    group: str
    reviews: int
    seed: int
    seconds: float
    accuracy: float


def groups(params: Params) -> dict[str, str]:
    """The group, ``network``, ``n-grams`` or ``both``, of each model of the IMDB reviews."""
    return {
        name: GROUPS.get(model.architecture.kind, "network")
        for name, model in params.models.items()
        if model.corpus == IMDB
    }


def draw(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """``count`` reviews, int [count], ascending, drawn from uint8 [reviews]: as many of either label, or one more."""
    random = np.random.default_rng([seed, count])
    halves = [random.permutation(np.flatnonzero(labels == label)) for label in (1, 0)]
    return np.sort(np.concatenate([halves[0][: count - count // 2], halves[1][: count // 2]]))


def write_raw(source: Path, folder: Path, count: int, seed: int) -> int:
    """Write the raw files with ``count`` of the training reviews at most, all test reviews; how many there are."""
    splits = {split: read_raw(source, split) for split in ("train", "test")}
    lists, labels = splits["train"]
    if count < len(labels):
        rows = draw(labels, count, seed)
        splits["train"] = [lists[row] for row in rows], labels[rows]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / REVIEWS).open("wb") as file:
        raw.write(file, splits)
    (folder / WORD_INDEX).write_bytes(source.with_name(WORD_INDEX).read_bytes())
    return min(count, len(labels))


def read_raw(source: Path, split: str) -> tuple[list[list[int]], np.ndarray]:
    """The reviews of a split, lists of word ranks, and their labels, uint8 [reviews]."""
    with source.open("rb") as file:
        lists = [
            review.tolist()
            for ranks, lengths in raw.reviews(file, split)
            for review in np.split(ranks, np.cumsum(lengths)[:-1])
        ]
        return lists, raw.labels(file, split)


def pin(scratch: Scratch, folder: Path, seed: int) -> None:
    """Take the raw files of a folder for the data set of the scratch copy, and a seed for all that is trained on it."""
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
    """Run a stage in the scratch copy, its output going to standard error; seconds from its start to its end."""
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-E", "-m", f"stages.{arguments[0]}", *arguments[1:]],
        cwd=scratch.folder, env=scratch.environment | environment, stdout=sys.stderr, check=False,
    )  # fmt: skip
    if run.returncode:
        raise InputError(f"`{' '.join(arguments)}` failed; its own error is above")
    return time.perf_counter() - start


def train(scratch: Scratch, name: str) -> tuple[float, float]:
    """Train from nothing and score: seconds of ``pad`` and ``train``, and the accuracy."""
    seconds = sum(stage(scratch, step, name) for step in ("pad", "train"))
    stage(scratch, "evaluate", name)
    return seconds, json.loads((scratch.folder / "metrics" / f"{name}.json").read_text())["accuracy"]


def measure(names: dict[str, str], source: Path, sizes: list[int], seeds: int) -> Iterator[Run]:
    """All runs: for each size and seed, each name in turn."""
    with checkout() as scratch:
        folder = scratch.folder.parent / "raw"
        scratch.environment.pop(launcher.NAME, None)  # side by side, each in one process
        stage(scratch, "environment")
        for size in sorted(set(sizes), reverse=True):
            for seed in range(1, 1 + seeds):
                found = write_raw(source, folder, size, seed)
                pin(scratch, folder, seed)
                for name, group in names.items():
                    yield Run(name, group, found, seed, *train(scratch, name))


class Point(NamedTuple):
    """Results of a model on a number of reviews, over the seeds."""

    name: str
    group: str
    reviews: int
    seconds: float  # the median
    accuracy: float  # the mean
    noise: float  # the standard deviation of the accuracy; 0 if there is one seed


def summarize(runs: list[Run]) -> dict[str, list[Point]]:
    """The points of each name, from the fewest reviews to the most."""
    points = {}
    for name in dict.fromkeys(run.name for run in runs):
        for size in sorted({run.reviews for run in runs if run.name == name}):
            own = [run for run in runs if (run.name, run.reviews) == (name, size)]
            seconds, accuracy = statistics.median(run.seconds for run in own), [run.accuracy for run in own]
            noise = statistics.stdev(accuracy) if len(own) > 1 else 0.0
            points.setdefault(name, []).append(
                Point(name, own[0].group, size, seconds, statistics.mean(accuracy), noise)
            )
    return points


def table(points: dict[str, list[Point]], parameters: dict[str, int]) -> str:
    """Markdown: a line per name with its parameters, the seconds on most reviews, and the accuracy at each size."""
    head = ["", "parameters", "seconds", *(f"{point.reviews:,} reviews" for point in next(iter(points.values())))]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, own in points.items():
        cells = [f"`{name}`", f"{parameters[name]:,}", f"{own[-1].seconds:.0f}"]
        cells += [f"{point.accuracy:.4f} ± {point.noise:.4f}".removesuffix(" ± 0.0000") for point in own]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def label_heights(points: list[Point]) -> dict[str, float]:
    """The accuracy at which the name of each point is written, so that no two names overlap, by name.

    A name is written to the right of its point, from the most accurate one down: at the point, or as far below it as
    names that are there demand.
    """

    def pixels(values: list[float]) -> np.ndarray:
        low, high = min(values), max(values)
        return (np.array(values) - low) / ((high - low) or 1) * SIZE

    accuracy = [point.accuracy for point in points]
    lefts, heights = pixels([math.log(point.seconds) for point in points]), pixels(accuracy)
    unit = (max(accuracy) - min(accuracy) or 1) / SIZE
    placed: list[tuple[float, float, float]] = []  # left end, right end, height
    found = {}
    for at in np.argsort(-heights, kind="stable"):
        name, left, height = points[at].name, lefts[at], heights[at]
        right = left + LETTER * len(name) + 12
        for other_left, other_right, other in sorted(placed, key=lambda label: -label[2]):
            if left < other_right and other_left < right and abs(other - height) < LINE:
                height = other - LINE
        placed.append((left, right, height))
        found[name] = min(accuracy) + height * unit
    return found


def chart(points: dict[str, list[Point]]) -> dict:
    """Vega-Lite: accuracy by seconds on most reviews, beside accuracy by reviews; bars reach as far as the noise."""
    every = [point for own in points.values() for point in own]
    most, sizes = max(point.reviews for point in every), sorted({point.reviews for point in every})
    label = label_heights([own[-1] for own in points.values()])
    rows = [
        point._asdict()
        | {"low": point.accuracy - point.noise, "high": point.accuracy + point.noise, "label": label[point.name]}
        for point in every
    ]
    accuracy = {"type": "quantitative", "title": "test accuracy", "scale": {"zero": False}, "axis": {"format": ".2f"}}
    color = {"field": "name", "type": "nominal", "title": None, "sort": [*points], "scale": {"scheme": "category20"}}
    group = {"field": "group", "type": "nominal", "title": None}
    log = {"scale": {"type": "log", "nice": False, "padding": 15}, "type": "quantitative"}
    noise = {
        "mark": {"type": "rule", "strokeWidth": 2},
        "encoding": {"y": accuracy | {"field": "low"}, "y2": {"field": "high"}},
    }
    left = {
        "title": f"on {most:,} reviews", "width": SIZE, "height": SIZE,
        "transform": [{"filter": f"datum.reviews == {most}"}],
        "encoding": {"x": {"field": "seconds", "title": "seconds to train", **log}, "color": color},
        "layer": [noise, {
            "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
            "encoding": {"y": accuracy | {"field": "accuracy"}, "shape": group},
        }, {
            "mark": {"type": "text", "align": "left", "dx": 8, "fontSize": 10},
            "encoding": {"y": accuracy | {"field": "label"}, "text": {"field": "name"}, "color": {"value": "#333"}},
        }],
    }  # fmt: skip
    right = {
        "title": "on fewer", "width": SIZE, "height": SIZE,
        "encoding": {
            "x": {"field": "reviews", "title": "training reviews", **log, "axis": {"values": sizes, "format": ","}},
            "color": color,
        },
        "layer": [noise, {
            "mark": {"type": "line", "point": True},
            "encoding": {"y": accuracy | {"field": "accuracy"}, "strokeDash": group | {"legend": None}},
        }],
    }  # fmt: skip
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json", "background": "white",
        "data": {"values": rows}, "hconcat": [left, right],
    }  # fmt: skip


def read_predicted(names: Iterable[str], order: np.ndarray) -> dict[str, np.ndarray]:
    """The probabilities that `make repro` left, in the order of the raw file, by model.

    Args:
        names: The models.
        order: See ``padding.orders``.

    Raises:
        InputError: Those of a model are not there, or not of the raw file's reviews.
    """
    predicted = {}
    for name in names:
        path = Path("data", name, "predicted.npy")
        if not path.exists() or len(found := np.load(path)) != len(order):
            raise InputError(f"{path}: not there, or not of these reviews; `make repro` makes it")
        predicted[name] = np.empty(len(order))
        predicted[name][order] = found
    return predicted


def paired(right: dict[str, np.ndarray]) -> str:
    """Markdown: how the accuracy of each model differs from that of the most accurate one, and whether by chance.

    The standard error of a difference and the exact test of Q. McNemar (1947) are of the reviews that one of the two
    models alone has right: they say what another test split might have given, with the same weights.

    Args:
        right: By model, bool [reviews].
    """
    from scipy.stats import binomtest

    best = max(right, key=lambda name: right[name].mean())
    lines = [
        f"| | right | `{best}` alone right | it alone right | difference | standard error | p (McNemar, exact) |",
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
    """Markdown: the standard deviation of the accuracy over seeds, as `make noise` measured it."""
    lines = ["| | seeds | standard deviation of the accuracy |", "|---|---|---|"]
    for name in names:
        path = Path("metrics/noise", f"{name}.json")
        if path.exists():
            noise = json.loads(path.read_text(encoding="utf-8"))
            lines.append(f"| `{name}` | {len(noise['seeds'])} | {noise['accuracy']['std']:.4f} |")
    return "\n".join(lines) + "\n"


def mistakes(names: dict[str, str], source: Path) -> str:
    """Markdown: a paired test of the models, the mistakes that all of a group share, and those of one group alone.

    Raises:
        InputError: See ``read_predicted``.
    """
    with source.open("rb") as file:
        order = padding.orders(*(raw.count(file, split) for split in ("train", "test")))[1]
    lists, labels = read_raw(source, "test")
    with source.with_name(WORD_INDEX).open("rb") as file:
        index = raw.word_index(file)
    predicted = read_predicted(names, order)
    right = {name: (positive > 0.5) == labels for name, positive in predicted.items()}
    wrong, sure = {}, {}
    for group in ("network", "n-grams"):
        own = [name for name in names if names[name] == group]
        wrong[group] = ~np.stack([right[name] for name in own])
        sure[group] = np.mean([np.abs(predicted[name] - labels) for name in own], axis=0)
    networks, grams = wrong["network"], wrong["n-grams"]
    chapters = {
        "Wrong by every network and every n-gram model": (networks.all(0) & grams.all(0), sum(sure.values())),
        "Right by every n-gram model, wrong by every network": (networks.all(0) & ~grams.any(0), sure["network"]),
        "Right by every network, wrong by every n-gram model": (grams.all(0) & ~networks.any(0), sure["n-grams"]),
    }
    parts = [
        f"# Mistakes\n\nOf {len(labels):,} test reviews. `make compare` writes this page.\n\n"
        "## Which differences are real\n\n"
        "Two kinds of noise are apart here. The first table is about the test split: whether other reviews might have"
        " ordered the same trained models otherwise. The second one is about seeds: how far the accuracy moves on these"
        " reviews when the same model is trained again.\n",
        paired(right),
        seeds(names),
    ]
    for title, (chosen, weight) in chapters.items():
        rows = np.flatnonzero(chosen)
        shown = f"{SHOWN} of them, which these models are surest of" if len(rows) > SHOWN else "the surest ones first"
        parts.append(f"## {title}\n\n{len(rows):,} reviews; {shown}.\n")
        for row in rows[np.argsort(-weight[rows], kind="stable")][:SHOWN]:
            words = decode([rank + padding.FIRST_WORD for rank in lists[row]], index).split(" ")
            text = " ".join(words if len(words) <= WORDS else [*words[: WORDS // 2], "[...]", *words[-WORDS // 2 :]])
            plain = re.sub(r"([*_`<>|])", r"\\\1", text)
            parts.append(f"- {'positive' if labels[row] else 'negative'}: {plain}")
        parts.append("")
    return "\n".join(parts)


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="training reviews, comma-separated")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each on each number; 3 by default")
    parser.add_argument("--names", default="", help="models, comma-separated; all by default")
    parser.add_argument("--only-mistakes", action="store_true", help="write mistakes.md alone: nothing is trained")
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
    for run in measure(names, source, sizes, arguments.seeds):
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
