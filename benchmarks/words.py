"""Compare the words that explain an answer with those found by trying every word: `python -m benchmarks.words best`.

It prints the CPU time per review of a prediction alone, with an estimate of all effects, with three words in each
direction, and with all words. It also prints how many of the named words have the largest effects, and the errors of
the estimate. It needs `make repro`; the reviews are from the training split.
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
"""Number of words in each direction, as in `make predict`."""


def microseconds(run: Callable, reviews: int) -> tuple:
    """Return the result of ``run()`` and its CPU time per review."""
    start = time.process_time()
    result = run()
    return result, (time.process_time() - start) / reviews * 1e6


def named(effects: list) -> list[str]:
    """Return the words that are shown, the largest effect first."""
    return [word for word, _ in strongest([(str(gram), effect) for gram, effect in effects], COUNT)]


def main(name: str, reviews: int) -> None:
    """Print the times, the share of right words, and the errors of the estimate."""
    model, ids = load(ROOT / "models" / name).model, np.load(ROOT / "data" / name / "x_train.npy", mmap_mode="r")
    if not isinstance(model, CompiledModel):
        sys.exit(f"error: {name}: expected a network of compiled blocks; other models try every word")
    rows = np.array(ids[np.sort(np.random.default_rng(1).choice(len(ids), reviews, replace=False))])
    estimator = CompiledPredictor(model.layers, model.weights, batch=BATCH, explains=True)
    estimator.explain(rows)  # the first use of memory takes time
    model.explain(rows, batch=BATCH, count=COUNT)
    _, alone = microseconds(lambda: model.predict(rows, batch=BATCH), reviews)
    (_, estimates), once = microseconds(lambda: estimator.explain(rows), reviews)
    (_, some), few = microseconds(lambda: model.explain(rows, batch=BATCH, count=COUNT), reviews)
    (_, every), all_words = microseconds(lambda: model.explain(rows, batch=BATCH, count=-1), reviews)
    pairs = [(named(few_words), named(right)) for few_words, right in zip(some, every, strict=True)]
    alike, total = sum(len({*shown} & {*right}) for shown, right in pairs), sum(len(right) for _, right in pairs)
    first = sum(shown[:1] == right[:1] for shown, right in pairs)
    print(
        f"{name}: {alone:,.0f} us; {once:,.0f} us with estimates; {few:,.0f} us with {COUNT} words in each direction;"
        f" {all_words:,.0f} us with all"
    )
    print(f"{alike} of {total} named words are right, and {first} of {reviews} words with the largest effect")
    largest, signs, errors = [], [], []
    for (_, estimate), right in zip(estimates, every, strict=True):
        exact = np.array([effect for _, effect in right])
        top, guessed = (set(np.argsort(-np.abs(values), kind="stable")[:3].tolist()) for values in (exact, estimate))
        largest.append(len(top & guessed) / len(top))
        signs += [np.sign(exact[at]) == np.sign(estimate[at]) for at in top]
        errors += [abs(estimate[at] / exact[at] - 1) for at in top]
    print(
        f"the estimate finds {np.mean(largest):.2f} of the three largest effects, {np.mean(signs):.2f} of their signs;"
        f" its median relative error is {np.median(errors):.2f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a name under models/")
    parser.add_argument("--reviews", type=int, default=60)
    options = parser.parse_args()
    main(options.model, options.reviews)
