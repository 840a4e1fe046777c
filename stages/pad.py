"""Pad the raw reviews into arrays of one width: data/<model>/{x,y}_{train,test}.npy."""

from pathlib import Path

import numpy as np

from sentiment import corpus, padding
from stages.common import command, create_array, replacing, write_array
from stages.settings.pad import Settings

RAW = Path("data/raw")
SPLITS = ("train", "test")


def main(settings: Settings, name: str) -> None:
    """Write the arrays of the model called ``name``, streaming: neither split is ever in memory as a whole."""
    wanted, folder = settings.pad, Path("data", name)
    with (RAW / f"{settings.corpus}.npz").open("rb") as file:
        orders = padding.orders(*(corpus.count(file, split) for split in SPLITS))
        for split, order in zip(SPLITS, orders, strict=True):
            write_array(folder / f"y_{split}.npy", corpus.labels(file, split)[order])
            with replacing(folder / f"x_{split}.npy") as path:
                shape = (len(order), wanted.max_length)
                rows = create_array(path, padding.dtype_for(wanted.vocabulary), shape)
                row_of, done = np.argsort(order), 0
                for ranks, lengths in corpus.reviews(file, split):
                    block = padding.pad(ranks, lengths, wanted.max_length, wanted.vocabulary)
                    rows[row_of[done : done + len(block)]] = block
                    done += len(block)
                rows.flush()
                del rows
            print(f"{split}: {len(order):,} reviews of {wanted.max_length} ids below {wanted.vocabulary}")


if __name__ == "__main__":
    command(main, Settings, model="required")
