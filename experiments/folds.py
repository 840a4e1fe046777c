"""Try other params of models on folds of the training reviews; the test split is not read.

`python -m experiments.folds --films FILE` tries each n-gram model, and values near each of its numbers. FILE has the
name of the film of each training review, one a line, in the order of the raw file. Names of models restrict the trials
to these models. `--try` tries other values of any params:
`... best --films FILE --try train.batch=64 --try architecture.kernel=5,architecture.pool=2`.

Reviews of one film share names and words that no other film has, and no film of the test split is in the training
split. Folds that separate reviews of a film give accuracies that are too high, so choices are made on folds that keep
films whole.
"""

import argparse
import shutil
from collections.abc import Iterator
from functools import lru_cache, reduce
from hashlib import sha256
from operator import getitem
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.sweep import sweep
from checks.scratch import command
from sentiment import InputError, kinds, training
from sentiment.data import padding, raw
from sentiment.engine import shards
from sentiment.schema import ModelSettings
from stages.common import launcher
from stages.common.reader import load
from stages.params import check_model, read
from stages.train import fingerprint

STEPS = (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)  # of `train.c`
NEAR = {  # other values to try for a number of an n-gram model
    ("train", "c"): lambda c: [step for step in STEPS if c / 4 < step < c * 4 and step != c],
    ("train", "interpolation"): lambda share: sorted({0.25, 0.5, 1.0} - {share}),
    ("train", "epochs"): lambda epochs: [epochs - 1, epochs + 1],
    ("architecture", "min_df"): lambda min_df: [2 if min_df == 1 else 1],
}


def tried(settings: ModelSettings, changes: list[str], name: str) -> Iterator[tuple[str, ModelSettings]]:
    """Yield the model and each of its ``changes``; an n-gram model without changes has those of ``near``."""
    yield "as it is", settings
    if not changes and settings.architecture.kind == "ngrams":
        yield from near(settings)
    for change in changes:
        yield f"`{change}`", changed(settings, change, "models", name)


def near(settings: ModelSettings) -> Iterator[tuple[str, ModelSettings]]:
    """Yield each n-gram model that differs from this one in one number, with the name of the difference."""
    for (section, key), others in NEAR.items():
        values = settings.model_dump()
        if key in values[section]:
            for value in others(values[section][key]):
                yield f"`{key}` {value}", check_model(values | {section: values[section] | {key: value}})


def changed(settings: ModelSettings, changes: str, *at: str) -> ModelSettings:
    """Return the model with other values, ``train.batch=64,architecture.kernel=5``; ``at`` are its keys in the file.

    Raises:
        InputError: There is no such key, or the value is not allowed.
    """
    values = settings.model_dump()
    try:
        for change in changes.split(","):
            path, is_change, value = change.partition("=")
            if not is_change or path not in (known := keys_of(values)):
                known = [key for key in keys_of(values) if "." in key]
                raise InputError(f"try: expected KEY=VALUE, the key one of {', '.join(known)}, got {change!r}")
            *sections, key = path.split(".")
            reduce(getitem, sections, values)[key] = load(value)
        return check_model(values, *at)
    except InputError as error:
        raise InputError(str(error).replace("params.yaml: ", "try: ")) from None


def keys_of(values: dict) -> list[str]:
    """Return all keys, those of a section with its name in front: ``train.batch``."""
    keys = []
    for key, value in values.items():
        keys += [f"{key}.{inner}" for inner in keys_of(value)] if isinstance(value, dict) else [key]
    return keys


def assign_folds(films: np.ndarray, folds: int, seed: int) -> dict[str, np.ndarray]:
    """Return the fold of each review, int [reviews]: ``whole`` keeps the reviews of a film together, ``cut`` not."""
    random = np.random.default_rng(seed)
    _, number = np.unique(films, return_inverse=True)
    return {
        "whole": random.permutation(number.max() + 1)[number] % folds,
        "cut": random.permutation(len(films)) % folds,
    }


def read_films(path: Path) -> np.ndarray:
    """Read the film of each training review, str [reviews].

    Raises:
        InputError: The file can't be read.
    """
    try:
        return np.array(path.read_text(encoding="utf-8").split("\n")[:-1])
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"films: {error}; name a text file with the name of a film on each line") from None


def positive(settings: ModelSettings, held: np.ndarray) -> np.ndarray:
    """Return the probabilities of the reviews where ``held``, bool [reviews], by a model trained on the others."""
    reviews, labels = read_reviews(settings.corpus, settings.pad.max_length, settings.pad.vocabulary)
    if hasattr(settings.train, "validation_fraction"):  # a schedule counts all updates
        train = settings.train.model_copy(update={"validation_fraction": 0.0})
        settings = settings.model_copy(update={"train": train})
    rows = np.flatnonzero(~held)
    rows = rows[padding.orders(len(rows))[0]]  # as `pad` would shuffle a corpus of these reviews
    train, labels = reviews[rows], labels[rows]
    trainer = kinds.find(settings.architecture.kind).make_trainer(settings, train, labels, None)
    for _ in training.fit(trainer, train, labels, epochs=range(trainer.epochs), seed=settings.train.seed):
        pass
    return trainer.predict(reviews[np.flatnonzero(held)])


class Trial(NamedTuple):
    """One training: the model, its difference from params.yaml, its settings, and the fold that is held out."""

    name: str
    what: str
    settings: ModelSettings
    kind: str
    fold: int

    def __str__(self) -> str:
        return f"{self.name}-{self.kind}-{self.fold}-{sha256(repr(self).encode()).hexdigest()[:16]}"


@lru_cache(maxsize=1)
def read_reviews(corpus: str, max_length: int | None, vocabulary: int | None) -> tuple[padding.Reviews, np.ndarray]:
    """Read the training reviews of a corpus in the order of its file, padded as ``pad`` does, and their labels."""
    with Path("data/raw", f"{corpus}.npz").open("rb") as file:
        ranks, lengths = (np.concatenate(parts) for parts in zip(*raw.reviews(file, "train"), strict=True))
        labels = raw.labels(file, "train")
    if max_length is None:
        return padding.whole(ranks, lengths, vocabulary), labels
    return padding.pad(ranks, lengths, max_length, vocabulary), labels


def main() -> int:
    """Print a line per model and change. The processes of a LAUNCHER share the n-gram models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="models in params.yaml; all n-gram models by default")
    parser.add_argument(
        "--films", type=Path, required=True, help="text file with the film of each training review on a line"
    )
    parser.add_argument("--folds", type=int, default=5, help="number of folds; 5 by default")
    parser.add_argument(
        "--held", type=int, default=5, help="number of folds that are held out, one at a time; 5 by default"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the folds")
    parser.add_argument(
        "--try", dest="tries", action="append", default=[], help="SECTION.KEY=VALUE[,...]; may be repeated"
    )
    arguments = parser.parse_args()
    every = read().models
    linear = [name for name, model in every.items() if model.architecture.kind == "ngrams"]
    names = [*dict.fromkeys(arguments.names or linear)]
    if unknown := [name for name in names if name not in every]:
        raise InputError(f"names: expected some of {', '.join(every)}, got {unknown[0]!r}")
    tries = {name: list(tried(every[name], [*dict.fromkeys(arguments.tries)], name)) for name in names}
    if not 1 <= arguments.held <= arguments.folds or arguments.folds < 2:
        raise InputError(f"folds: expected at least 2, and as many to hold out at most, got {arguments.folds}")
    films = read_films(arguments.films)
    for name in names:
        with Path("data/raw", f"{every[name].corpus}.npz").open("rb") as file:
            if (reviews := raw.length(file, "train")) != len(films):
                raise InputError(f"{arguments.films}: expected a line for each of {reviews} reviews, got {len(films)}")
    if launcher.requested() and (networks := [name for name in names if name not in linear]):
        raise InputError(f"LAUNCHER: {networks[0]} is a network, which is trained in one process; unset LAUNCHER")
    if launcher.launch():
        return 0
    folds = assign_folds(films, arguments.folds, arguments.seed)
    rows = {}
    for name in names:
        for what, settings in tries[name]:
            for kind in ("whole", "cut") if what == "as it is" else ("whole",):
                fits = [Trial(name, what, settings, kind, fold) for fold in range(arguments.held)]
                rows.setdefault((name, what), []).append(fits)

    def make(run):
        held = folds[run.kind] == run.fold
        settings = run.settings
        _, labels = read_reviews(settings.corpus, settings.pad.max_length, settings.pad.vocabulary)
        right = training.predicted_labels(positive(settings, held)) == labels[held]
        return {"accuracy": float(right.mean())}

    runs = [run for kinds_of_fold in rows.values() for fits in kinds_of_fold for run in fits]
    files = sorted({Path("data/raw", f"{every[name].corpus}.npz") for name in names})
    division = f"{[*films]} {arguments.folds} {arguments.seed}"
    kept = Path(".checkpoints/folds", fingerprint(division, *(np.fromfile(file, np.uint8) for file in files))[:12])
    accuracies = {str(run): result["accuracy"] for run, result in zip(runs, sweep(runs, make, kept), strict=True)}
    if shards.processes().rank:  # the first process writes
        return 0
    print("| | | films whole | films cut |\n|---|---|---|---|")
    for (name, what), kinds_of_fold in rows.items():
        cells = [f"{np.mean([accuracies[str(run)] for run in fits]):.4f}" for fits in kinds_of_fold]
        print(f"| `{name}` | {what} | {' | '.join([*cells, ''][:2])} |")
    shutil.rmtree(kept)
    return 0


if __name__ == "__main__":
    command(main, InputError)
