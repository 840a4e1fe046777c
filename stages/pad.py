"""Turn raw reviews into arrays of word ids: data/<model>/{x,y,lengths}_{train,test}.npy.

x has rows of ``pad.max_length`` ids. If ``pad.max_length`` is null, x has all reviews end to end. lengths has the
number of ids of each review, without padding.
"""

from pathlib import Path

import numpy as np

from sentiment.data import padding, raw
from sentiment.schema import ModelSettings
from stages.common.command import command
from stages.common.files import create_array, replacing, write_array
from stages.params import IMDB, read_model

RAW = Path("data/raw")
SPLITS = ("train", "test")


def main(settings: ModelSettings, name: str) -> None:
    """Write the arrays of the model called ``name`` in blocks, so that no split is in memory as a whole."""
    labels = 2 if settings.corpus == IMDB else raw.MOST_LABELS
    folder, (max_length, vocabulary) = Path("data", name), (settings.pad.max_length, settings.pad.vocabulary)
    with (RAW / f"{settings.corpus}.npz").open("rb") as file:
        orders = padding.orders(*(raw.length(file, split) for split in SPLITS))
        for split, order in zip(SPLITS, orders, strict=True):
            blocks = (lengths for _, lengths in raw.reviews(file, split))
            lengths = np.concatenate([np.zeros(0, np.int64), *blocks])[order] + 1  # 1 for the start id
            kept = lengths if max_length is None else np.minimum(lengths, max_length)
            write_array(folder / f"y_{split}.npy", raw.labels(file, split, labels)[order])
            write_array(folder / f"lengths_{split}.npy", kept.astype(np.uint32))
            with replacing(folder / f"x_{split}.npy") as path:
                shape = (int(kept.sum()),) if max_length is None else (len(order), max_length)
                ids = create_array(path, padding.dtype_for(vocabulary), shape)
                row_of, ends, done = np.argsort(order), np.cumsum(lengths), 0
                for ranks, words in raw.reviews(file, split):
                    rows = row_of[done : done + len(words)]
                    if max_length is None:
                        block = padding.whole(ranks, words, vocabulary)
                        begins = np.repeat(ends[rows] - np.cumsum(block.lengths), block.lengths)
                        ids[begins + np.arange(len(block.ids))] = block.ids
                    else:
                        ids[rows] = padding.pad(ranks, words, max_length, vocabulary)
                    done += len(words)
                ids.flush()
                del ids
            size = "whole" if max_length is None else f"of {max_length} ids"
            known = "of all words" if vocabulary is None else f"below {vocabulary}"
            print(f"{split}: {len(order):,} reviews {size}, ids {known}")


if __name__ == "__main__":
    command(main, read_model, name="model")
