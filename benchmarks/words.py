"""Compare the words that a network names with those that trying every word names: `python -m benchmarks.words best`.

It prints the CPU time per review of a prediction alone, with an estimate of all effects, with three words in each
direction, and with all words; how many of the words named are those with the largest effects; and how good the estimate
alone would be. Needs `make repro`; the reviews are of the training split.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sentiment.engine.trainer import CompiledPredictor
from sentiment.model import BATCH, load, strongest
from sentiment.network import CompiledModel

ROOT = Path(__file__).parents[1]
COUNT = 3
"""Words in each direction, as `make predict` names them."""


def microseconds(run: Callable, reviews: int) -> tuple:
    """The result of ``run()`` and its CPU time per review."""
    start = time.process_time()
    result = run()
    return result, (time.process_time() - start) / reviews * 1e6


def named(effects: list) -> list[str]:
    """The words that would be shown, the largest effect first."""
    return [word for word, _ in strongest([(str(gram), effect) for gram, effect in effects], COUNT)]


def main(name: str, reviews: int) -> None:
    """Print one line."""
    model, ids = load(ROOT / "models" / name).model, np.load(ROOT / "data" / name / "x_train.npy", mmap_mode="r")
    if not isinstance(model, CompiledModel):
        sys.exit(f"error: {name}: expected a network of compiled blocks; the others try every word")
    rows = np.array(ids[np.sort(np.random.default_rng(1).choice(len(ids), reviews, replace=False))])
    estimator = CompiledPredictor(model.layers, model.weights, batch=BATCH, explains=True)
    estimator.explain(rows[:2])  # the first one warms up
    model.explain(rows[:2], batch=BATCH, count=COUNT)
    _, alone = microseconds(lambda: model.predict(rows, batch=BATCH), reviews)
    (_, estimates), once = microseconds(lambda: estimator.explain(rows), reviews)
    (_, some), few = microseconds(lambda: model.explain(rows, batch=BATCH, count=COUNT), reviews)
    (_, every), all_words = microseconds(lambda: model.explain(rows, batch=BATCH, count=-1), reviews)
    pairs = [(named(found), named(right)) for found, right in zip(some, every, strict=True)]
    alike, total = sum(len({*found} & {*right}) for found, right in pairs), sum(len(right) for _, right in pairs)
    first = sum(found[:1] == right[:1] for found, right in pairs)
    print(
        f"{name}: {alone:,.0f} us; {once:,.0f} us with estimates; {few:,.0f} us with {COUNT} words in each direction;"
        f" {all_words:,.0f} us with all"
    )
    print(f"{alike} of {total} words named are the right ones, {first} of {reviews} of the first")
    largest, signs, errors = [], [], []
    for (_, found), right in zip(estimates, every, strict=True):
        exact = np.array([effect for _, effect in right])
        top, guessed = (set(np.argsort(-np.abs(values), kind="stable")[:3].tolist()) for values in (exact, found))
        largest.append(len(top & guessed) / len(top))
        signs += [np.sign(exact[at]) == np.sign(found[at]) for at in top]
        errors += [abs(found[at] / exact[at] - 1) for at in top]
    print(
        f"the estimate has {np.mean(largest):.2f} of the three largest, {np.mean(signs):.2f} of their signs,"
        f" and their values to {np.median(errors):.2f} of themselves (median)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a name under models/")
    parser.add_argument("--reviews", type=int, default=60)
    options = parser.parse_args()
    main(options.model, options.reviews)
