"""Turn raw reviews into arrays of word ids: data/<model>/{x,y,lengths}_{train,test}.npy.

x has rows of ``pad.max_length`` ids. If ``pad.max_length`` is null, x has all reviews end to end. lengths has the
number of ids of each review, without padding.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sentiment.data import padding, raw
from sentiment.schema import ModelSettings
from stages.common.command import command
from stages.common.files import create_array, replacing, write_array
from stages.params import IMDB, read_model

RAW = Path("data/raw")
SPLITS = ("train", "test")

Block = tuple[np.ndarray, np.ndarray]
"""Word ranks and lengths of some reviews, as ``raw.reviews`` yields them."""


def main(settings: ModelSettings, name: str) -> None:
    """Write the arrays of the model called ``name`` in blocks, so that no split is in memory as a whole."""
    labels = 2 if settings.corpus == IMDB else raw.MOST_LABELS
    folder, (max_length, vocabulary) = Path("data", name), (settings.pad.max_length, settings.pad.vocabulary)
    with (RAW / f"{settings.corpus}.npz").open("rb") as file:
        orders = padding.orders(*(raw.length(file, split) for split in SPLITS))
        for split, order in zip(SPLITS, orders, strict=True):
            write_array(folder / f"y_{split}.npy", raw.labels(file, split, labels)[order])
            with replacing(folder / f"x_{split}.npy") as path:
                if max_length is None:
                    lengths = write_whole(path, file, split, order, vocabulary)
                else:
                    lengths = write_padded(path, raw.reviews(file, split), order, max_length, vocabulary)
            write_array(folder / f"lengths_{split}.npy", lengths.astype(np.uint32))
            size = "whole" if max_length is None else f"of {max_length} ids"
            known = "of all words" if vocabulary is None else f"below {vocabulary}"
            print(f"{split}: {len(order):,} reviews {size}, ids {known}")


def write_padded(
    path: Path, reviews: Iterable[Block], order: np.ndarray, max_length: int, vocabulary: int | None
) -> np.ndarray:
    """Write the ids of padded reviews, ``order[i]`` in row i, and return the lengths without padding, [reviews]."""
    ids = create_array(path, padding.dtype_for(vocabulary), (len(order), max_length))
    lengths, row_of, done = np.zeros(len(order), np.int64), np.argsort(order), 0
    for ranks, words in reviews:
        rows = row_of[done : done + len(words)]
        ids[rows] = padding.pad(ranks, words, max_length, vocabulary)
        lengths[rows] = np.minimum(words + 1, max_length)  # 1 for the start id
        done += len(words)
    ids.flush()
    return lengths


def write_whole(path: Path, file: BinaryIO, split: str, order: np.ndarray, vocabulary: int | None) -> np.ndarray:
    """Write the ids of whole reviews end to end, ``order[i]`` as review i, and return their lengths, [reviews].

    The file is read twice, because the lengths say where each review begins.
    """
    blocks = (words for _, words in raw.reviews(file, split))
    lengths = np.concatenate([np.zeros(0, np.int64), *blocks])[order] + 1  # 1 for the start id
    ids = create_array(path, padding.dtype_for(vocabulary), (int(lengths.sum()),))
    row_of, ends, done = np.argsort(order), np.cumsum(lengths), 0
    for ranks, words in raw.reviews(file, split):
        rows = row_of[done : done + len(words)]
        block = padding.whole(ranks, words, vocabulary)
        begins = np.repeat(ends[rows] - np.cumsum(block.lengths), block.lengths)
        ids[begins + np.arange(len(block.ids))] = block.ids
        done += len(words)
    ids.flush()
    return lengths


if __name__ == "__main__":
    command(main, read_model, name="model")
