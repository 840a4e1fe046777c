"""`python -m benchmarks.asking`: from text to answers, beside Keras's `predict`, which is given the ids of the text.

Needs the model of `make repro MODEL=small`. The contenders take turns; the ratios of the medians are what counts.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from sentiment import archive, text
from sentiment.__main__ import load
from sentiment.padding import dtype_for

BATCH = 512


def main(model: str, reviews: int, rounds: int) -> None:
    """Print seconds per review of many at once and of one alone, and how many times ours Keras takes."""
    file = Path("models", f"{model}.keras")
    about = json.loads(file.with_suffix(".json").read_text())
    index = json.loads(Path("data/raw", f"{about['corpus']}_word_index.json").read_text())
    ids = np.load(Path("data", model, "x_train.npy"), mmap_mode="r")[:reviews].astype(dtype_for(about["vocabulary"]))
    rare = max(index, key=index.get)  # a word that the vocabulary lacks
    texts = [text.decode(row, index).replace("?", rare) for row in ids]
    ask, keras = load(file), archive.unpack(file.read_bytes())
    contenders = {
        "ours, from text": lambda count: [ask(texts[at : at + BATCH], 0) for at in range(0, count, BATCH)],
        "Keras `predict`, from ids": lambda count: keras.predict(ids[:count].astype("i4"), BATCH, verbose=0),
    }
    for count in (len(texts), 1):
        times = {name: [] for name in contenders}
        for _ in range(1 + rounds):
            for name, run in contenders.items():
                start = time.perf_counter()
                run(count)
                times[name].append((time.perf_counter() - start) / count)
        medians = {name: statistics.median(values[1:]) for name, values in times.items()}  # the first one warms up
        ours = next(iter(medians.values()))
        for name, median in medians.items():
            print(f"{count:7,} at once  {name:26}  {median * 1e6:10.1f} us a review  {median / ours:6.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.asking", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="small")
    parser.add_argument("--reviews", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    main(**vars(parser.parse_args()))
