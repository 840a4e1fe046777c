"""Try the numbers of baselines and models on folds of the training reviews; the test split is not read.

`python -m experiments.folds --films FILE`, FILE with a line per training review, in the order of the raw file, that
names its film, tries each baseline, and values near each of its numbers. With names, those alone; other values, and
any of a model: `... best --films FILE --try train.batch=64 --try network.kernel=5,network.pool=2`.

Reviews of one film share names and words that no other film has, and no film of the test split is in the training
split: folds that cut films apart flatter, so that choices are made on folds that keep each film whole.
"""

import argparse
import shutil
from collections.abc import Iterator
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.sweep import sweep
from checks.scratch import command
from sentiment import InputError, corpus, linear, network, ngrams, padding, training
from sentiment.engine import shards
from stages import launcher
from stages.fit import read_reviews
from stages.params import Baseline, Model, read
from stages.settings import check
from stages.settings.reader import load
from stages.train import fingerprint, make_trainer

STEPS = (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)  # of `fit.c`
NEAR = {  # the other values that a number is tried at
    ("fit", "c"): lambda c: [step for step in STEPS if c / 4 < step < c * 4 and step != c],
    ("fit", "interpolation"): lambda share: sorted({0.25, 0.5, 1.0} - {share}),
    ("fit", "epochs"): lambda epochs: [epochs - 1, epochs + 1],
    ("grams", "minimum"): lambda minimum: [2 if minimum == 1 else 1],
}


def tried(section: Model | Baseline, changes: list[str], name: str) -> Iterator[tuple[str, Model | Baseline]]:
    """The section, and with each of ``changes``, of a baseline where there are none those ``near``; what differs."""
    yield "as it is", section
    if not changes and isinstance(section, Baseline):
        yield from near(section)
    for change in changes:
        yield f"`{change}`", changed(section, change, "models" if isinstance(section, Model) else "baselines", name)


def near(baseline: Baseline) -> Iterator[tuple[str, Baseline]]:
    """Each baseline that differs from this one in one number; with what differs."""
    for (section, key), others in NEAR.items():
        values = baseline.model_dump()
        if key in values[section]:
            for value in others(values[section][key]):
                changed = values | {section: values[section] | {key: value}}
                yield f"`{key}` {value}", Baseline.model_validate(changed)


def changed(section: Model | Baseline, changes: str, *at: str) -> Model | Baseline:
    """The section with other values, ``train.batch=64,network.kernel=5``; ``at`` is where it stands in the file.

    Raises:
        InputError: There is no such key, or it can't have the value.
    """
    values = section.model_dump()
    try:
        for change in changes.split(","):
            path, is_change, value = change.partition("=")
            group, _, key = path.partition(".")
            if not is_change or not isinstance(values.get(group), dict) or key not in values[group]:
                known = [f"{group}.{key}" for group, keys in values.items() if isinstance(keys, dict) for key in keys]
                raise InputError(f"try: expected KEY=VALUE, the key one of {', '.join(known)}, got {change!r}")
            values[group][key] = load(value)
        return check(type(section), values, *at)
    except InputError as error:
        raise InputError(str(error).replace("params.yaml: ", "try: ")) from None


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


def positive_by_baseline(baseline: Baseline, held: np.ndarray) -> np.ndarray:
    """Of each review that is held out, bool [reviews], the probability that a fit to the others gives."""
    grams, counts, labels = read_grams(baseline.corpus, baseline.grams.longest)
    train, test = counts[np.flatnonzero(~held)], counts[np.flatnonzero(held)]
    kept = ngrams.common(train, minimum=baseline.grams.minimum, most=baseline.grams.most)
    train, test = train[:, kept], test[:, kept]
    features = linear.Features.learn(baseline.grams.values, train, labels[~held])
    weights, bias = linear.fit(features, train, labels[~held], **baseline.fit.model_dump())
    return linear.predict(linear.Model(features, grams[kept], weights, bias), test)


def positive_by_model(model: Model, held: np.ndarray) -> np.ndarray:
    """The same of a network that is trained on the others."""
    ranks, lengths, labels = read_ranks(model.corpus)
    ids = padding.pad(ranks, lengths, **model.pad.model_dump())
    build = partial(network.build, **model.pad.model_dump(), **model.network.model_dump())
    trainer = make_trainer(model.train.model_copy(update={"validation_fraction": 0.0}), build, None, int((~held).sum()))
    numbers = {"epochs": range(model.train.epochs), "validation_fraction": 0.0, "seed": model.train.seed}
    for _ in training.fit(trainer, ids[~held], labels[~held], **numbers):
        pass
    return trainer.predict(ids[held])


class Run(NamedTuple):
    """One fit: of what, to which fold of which kind it is blind, and what of it differs from params.yaml."""

    name: str
    what: str
    section: Model | Baseline
    kind: str
    fold: int

    def __str__(self) -> str:
        return f"{self.name}-{self.kind}-{self.fold}-{sha256(repr(self).encode()).hexdigest()[:16]}"


@lru_cache(maxsize=1)
def read_ranks(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As ``read_reviews``."""
    return read_reviews(name)


@lru_cache(maxsize=1)
def read_grams(name: str, longest: int) -> tuple[np.ndarray, csr_matrix, np.ndarray]:
    """All n-grams of the training reviews of a corpus, their counts in each, and the labels."""
    ranks, lengths, labels = read_ranks(name)
    grams, counts = ngrams.learn(ranks, lengths, longest=longest, minimum=1, most=len(ranks) * ngrams.LONGEST)
    return grams, counts, labels


def main() -> int:
    """Print a line per name and change. Under a LAUNCHER each of its processes makes some of the baselines' fits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", help="under `baselines` or `models` in params.yaml; all baselines by default"
    )
    parser.add_argument("--films", type=Path, required=True, help="a text file, a film's name per training review")
    parser.add_argument("--folds", type=int, default=5, help="parts the reviews are dealt into; 5 by default")
    parser.add_argument("--held", type=int, default=5, help="of these, how many are held out, one at a time")
    parser.add_argument("--seed", type=int, default=1, help="of the dealing")
    parser.add_argument(
        "--try", dest="tries", action="append", default=[], help="SECTION.KEY=VALUE[,...], again for more"
    )
    arguments = parser.parse_args()
    params = read()
    every = {**params.models, **params.baselines}
    names = [*dict.fromkeys(arguments.names or params.baselines)]
    if unknown := [name for name in names if name not in every]:
        raise InputError(f"names: expected some of {', '.join(every)}, got {unknown[0]!r}")
    tries = {name: list(tried(every[name], [*dict.fromkeys(arguments.tries)], name)) for name in names}
    if not 1 <= arguments.held <= arguments.folds or arguments.folds < 2:
        raise InputError(f"folds: expected at least 2, and as many to hold out at most, got {arguments.folds}")
    films = read_films(arguments.films)
    for name in names:
        with Path("data/raw", f"{every[name].corpus}.npz").open("rb") as file:
            if (reviews := corpus.count(file, "train")) != len(films):
                raise InputError(f"{arguments.films}: expected a line for each of {reviews} reviews, got {len(films)}")
    if launcher.requested() and (networks := [name for name in names if name in params.models]):
        raise InputError(f"LAUNCHER: {networks[0]} is a network, and those are tried in one process; unset it")
    if launcher.launch():
        return 0
    folds = deal(films, arguments.folds, arguments.seed)
    rows = {}
    for name in names:
        for what, section in tries[name]:
            for kind in ("whole", "cut") if what == "as it is" else ("whole",):
                fits = [Run(name, what, section, kind, fold) for fold in range(arguments.held)]
                rows.setdefault((name, what), []).append(fits)

    def make(run):
        held = folds[run.kind] == run.fold
        find = positive_by_model if isinstance(run.section, Model) else positive_by_baseline
        right = (find(run.section, held) > 0.5) == read_ranks(run.section.corpus)[2][held]
        return {"accuracy": float(right.mean())}

    runs = [run for kinds in rows.values() for fits in kinds for run in fits]
    raw = [array for one in sorted({every[name].corpus for name in names}) for array in read_ranks(one)]
    dealing = f"{[*films]} {arguments.folds} {arguments.seed}"
    kept = Path(".checkpoints/folds", fingerprint(dealing, *raw)[:12])
    found = {str(run): result["accuracy"] for run, result in zip(runs, sweep(runs, make, kept), strict=True)}
    if shards.PLACE:  # the first process writes
        return 0
    print("| | | films whole | films cut |\n|---|---|---|---|")
    for (name, what), kinds in rows.items():
        cells = [f"{np.mean([found[str(run)] for run in fits]):.4f}" for fits in kinds]
        print(f"| `{name}` | {what} | {' | '.join([*cells, ''][:2])} |")
    shutil.rmtree(kept)
    return 0


if __name__ == "__main__":
    command(main, InputError)
