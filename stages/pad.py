"""Pad the raw reviews into arrays of one width: data/<model>/{x,y}_{train,test}.npy."""

from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from sentiment import corpus, padding
from stages.common import command, replacing
from stages.settings.pad import Settings

RAW = Path("data/raw")
SPLITS = ("train", "test")


def main(settings: Settings, name: str) -> None:
    """Write the arrays of the model called ``name``, streaming: neither split is ever in memory as a whole."""
    wanted, folder = settings.pad, Path("data", name)
    with (RAW / f"{settings.corpus}.npz").open("rb") as file:
        orders = padding.orders(*(corpus.count(file, split) for split in SPLITS))
        for split, order in zip(SPLITS, orders, strict=True):
            with replacing(folder / f"y_{split}.npy") as path, path.open("wb") as labels:
                np.save(labels, corpus.labels(file, split)[order])
            with replacing(folder / f"x_{split}.npy") as path:
                shape = (len(order), wanted.max_length)
                rows = open_memmap(path, "w+", padding.dtype_for(wanted.vocabulary), shape)
                row_of, done = np.argsort(order), 0
                for ranks, lengths in corpus.reviews(file, split):
                    block = padding.pad(ranks, lengths, wanted.max_length, wanted.vocabulary)
                    rows[row_of[done : done + len(block)]] = block
                    done += len(block)
                rows.flush()
            print(f"{split}: {len(order):,} reviews of {wanted.max_length} ids below {wanted.vocabulary}")


if __name__ == "__main__":
    command(main, Settings, model="required")
