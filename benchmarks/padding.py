"""Time to read and pad both splits, by this project and by Keras's `load_data` and `pad_sequences`.

`python benchmarks/padding.py FOLDER ROUNDS MAX_LENGTH VOCABULARY` prints the two medians in seconds. FOLDER has the raw
data.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np

from sentiment.data import padding, raw
from sentiment.keras.backend import keras as peer


def ours(path: Path, max_length: int, vocabulary: int) -> None:
    """Read both splits as padded arrays."""
    with path.open("rb") as file:
        for split, order in zip(("train", "test"), padding.orders(25_000, 25_000), strict=True):
            rows, row_of, done = np.empty((25_000, max_length), padding.dtype_for(vocabulary)), np.argsort(order), 0
            for ranks, lengths in raw.reviews(file, split):
                rows[row_of[done : done + len(lengths)]] = padding.pad(ranks, lengths, max_length, vocabulary)
                done += len(lengths)


def keras(path: Path, max_length: int, vocabulary: int) -> None:
    """Read both splits with Keras, from the given file instead of a download."""
    peer.datasets.imdb.load_data.__globals__["get_file"] = lambda **download: str(path)
    (x_train, _), (x_test, _) = peer.datasets.imdb.load_data(num_words=vocabulary)
    for x in (x_train, x_test):
        peer.utils.pad_sequences(x, maxlen=max_length)


if __name__ == "__main__":
    times = {ours: [], keras: []}
    for _ in range(int(sys.argv[2])):
        for contender, measured in times.items():
            start = time.perf_counter()
            contender(Path(sys.argv[1], "imdb.npz"), *map(int, sys.argv[3:]))
            measured.append(time.perf_counter() - start)
    print(*map(statistics.median, times.values()))
