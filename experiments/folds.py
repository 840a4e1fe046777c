"""Try the numbers of the baselines on folds of the training reviews; the test split is not read.

`python -m experiments.folds --films FILE`, FILE with a line per training review, in the order of the raw file, that
names its film. Reviews of one film share names and words that no other film has, and no film of the test split is in
the training split: folds that cut films apart flatter, so that choices are made on folds that keep each film whole.
"""

import argparse
import shutil
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.sweep import sweep
from checks.scratch import command
from sentiment import InputError, corpus, linear, ngrams
from sentiment.engine import shards
from stages import launcher
from stages.fit import read_reviews
from stages.params import Baseline, read

STEPS = (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)  # of `fit.c`
NEAR = {  # the other values that a number is tried at
    ("fit", "c"): lambda c: [step for step in STEPS if c / 4 < step < c * 4 and step != c],
    ("fit", "interpolation"): lambda share: sorted({0.25, 0.5, 1.0} - {share}),
    ("fit", "epochs"): lambda epochs: [epochs - 1, epochs + 1],
    ("grams", "minimum"): lambda minimum: [2 if minimum == 1 else 1],
}


def near(baseline: Baseline) -> Iterator[tuple[str, Baseline]]:
    """The baseline, and each that differs from it in one number; with what differs."""
    yield "as it is", baseline
    for (section, key), others in NEAR.items():
        values = baseline.model_dump()
        if key in values[section]:
            for value in others(values[section][key]):
                changed = values | {section: values[section] | {key: value}}
                yield f"`{key}` {value}", Baseline.model_validate(changed)


def deal(films: np.ndarray, folds: int, seed: int) -> dict[str, np.ndarray]:
    """The fold of each review, int [reviews], of two kinds: ``whole`` keeps the reviews of a film together."""
    random = np.random.default_rng(seed)
    _, number = np.unique(films, return_inverse=True)
    return {
        "whole": random.permutation(number.max() + 1)[number] % folds,
        "cut": random.permutation(len(films)) % folds,
    }


def read_films(path: Path) -> np.ndarray:
    """The film of each training review, str [reviews].

    Raises:
        InputError: It can't be read.
    """
    try:
        return np.array(path.read_text(encoding="utf-8").split("\n")[:-1])
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"films: {error}; name a text file, a film's name per line") from None


def accuracy(baseline: Baseline, grams: np.ndarray, counts: csr_matrix, labels: np.ndarray, held: np.ndarray) -> float:
    """The share called right of the reviews that are held out, bool [reviews], by a fit to the others."""
    train, test = counts[np.flatnonzero(~held)], counts[np.flatnonzero(held)]
    kept = ngrams.common(train, minimum=baseline.grams.minimum, most=baseline.grams.most)
    train, test = train[:, kept], test[:, kept]
    features = linear.Features.learn(baseline.grams.values, train, labels[~held])
    weights, bias = linear.fit(features, train, labels[~held], **baseline.fit.model_dump())
    positive = linear.predict(linear.Model(features, grams[kept], weights, bias), test)
    return float(((positive > 0.5) == labels[held]).mean())


class Run(NamedTuple):
    """One fit: a baseline, to which fold of which kind it is blind, and what of it differs from params.yaml."""

    name: str
    what: str
    baseline: Baseline
    kind: str
    fold: int

    def __str__(self) -> str:
        return f"{self.name}-{self.kind}-{self.fold}-{sha256(repr(self).encode()).hexdigest()[:16]}"


@lru_cache(maxsize=1)
def read_grams(name: str, longest: int) -> tuple[np.ndarray, csr_matrix, np.ndarray]:
    """All n-grams of the training reviews of a corpus, their counts in each, and the labels."""
    ranks, lengths, labels = read_reviews(name)
    grams, counts = ngrams.learn(ranks, lengths, longest=longest, minimum=1, most=len(ranks) * ngrams.LONGEST)
    return grams, counts, labels


def main() -> int:
    """Print a line per baseline and change. Under a LAUNCHER each of its processes makes some of the fits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("baselines", nargs="*", help="names under `baselines` in params.yaml; all by default")
    parser.add_argument("--films", type=Path, required=True, help="a text file, a film's name per training review")
    parser.add_argument("--folds", type=int, default=5, help="parts the reviews are dealt into; 5 by default")
    parser.add_argument("--held", type=int, default=5, help="of these, how many are held out, one at a time")
    parser.add_argument("--seed", type=int, default=1, help="of the dealing")
    arguments = parser.parse_args()
    params = read()
    names = arguments.baselines or [*params.baselines]
    for name in names:
        params.baseline(name)
    if not 1 <= arguments.held <= arguments.folds or arguments.folds < 2:
        raise InputError(f"folds: expected at least 2, and as many to hold out at most, got {arguments.folds}")
    films = read_films(arguments.films)
    for name in names:
        with Path("data/raw", f"{params.baselines[name].corpus}.npz").open("rb") as file:
            if (reviews := corpus.count(file, "train")) != len(films):
                raise InputError(f"{arguments.films}: expected a line for each of {reviews} reviews, got {len(films)}")
    if launcher.launch():
        return 0
    folds = deal(films, arguments.folds, arguments.seed)
    rows = {}
    for name in names:
        for what, baseline in near(params.baselines[name]):
            for kind in ("whole", "cut") if what == "as it is" else ("whole",):
                fits = [Run(name, what, baseline, kind, fold) for fold in range(arguments.held)]
                rows.setdefault((name, what), []).append(fits)

    def make(run):
        grams, counts, labels = read_grams(run.baseline.corpus, run.baseline.grams.longest)
        return {"accuracy": accuracy(run.baseline, grams, counts, labels, folds[run.kind] == run.fold)}

    runs = [run for kinds in rows.values() for fits in kinds for run in fits]
    kept = Path(
        ".checkpoints/folds", sha256(f"{[*films]} {arguments.folds} {arguments.seed}".encode()).hexdigest()[:12]
    )
    found = {str(run): result["accuracy"] for run, result in zip(runs, sweep(runs, make, kept), strict=True)}
    if shards.PLACE:  # the first process writes
        return 0
    print("| baseline | | films whole | films cut |\n|---|---|---|---|")
    for (name, what), kinds in rows.items():
        cells = [f"{np.mean([found[str(run)] for run in fits]):.4f}" for fits in kinds]
        print(f"| `{name}` | {what} | {' | '.join([*cells, ''][:2])} |")
    shutil.rmtree(kept)
    return 0


if __name__ == "__main__":
    command(main, InputError)
