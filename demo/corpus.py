"""Generated reviews with a sentiment to learn, in the format of the real files."""

import json
from pathlib import Path

import numpy as np

from sentiment.data import raw

NEUTRAL, PRAISE, BLAME = map(
    str.split,
    (
        "the and a of to is it in this that was as for with movie but film on not you he are his have be one all at"
        " they by an who so from like there or just about out if has what some good can when more her she even my"
        " would story time really had well see only which people were made how first could other after plot scene"
        " actor end",
        "wonderful moving brilliant funny superb charming gripping warm clever touching",
        "awful boring terrible dull clumsy hollow lazy tedious silly wooden",
    ),
)


def make_corpus(reviews: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Generate reviews with a sentiment to learn, in the order of the real file: positive ones first.

    Nine of ten words are neutral, the n-th most frequent with weight 1 / n (G. Zipf, 1935). One of ten has a
    sentiment: that of the review, or, one time in five, the opposite one.

    Args:
        reviews: Number of reviews; half of them are positive.
        seed: Seed of all random choices.

    Returns:
        An object array [reviews] of lists of word ranks from 1, and int64 [reviews] labels.
    """
    random = np.random.default_rng(seed)
    labels = (np.arange(reviews) < reviews // 2).astype(np.int64)
    lengths = random.integers(10, 150, reviews)
    words = lengths.sum()
    weights = 1 / np.arange(1, len(NEUTRAL) + 1)
    ranks = 1 + random.choice(len(NEUTRAL), words, p=weights / weights.sum())
    praised = labels.repeat(lengths) ^ (random.random(words) < 0.2)
    telling = 1 + random.choice(len(PRAISE), words) * 2 + praised
    ranks = np.where(random.random(words) < 0.1, telling, ranks + 2 * len(PRAISE))
    lists = np.empty(reviews, object)
    lists[:] = [review.tolist() for review in np.split(ranks, np.cumsum(lengths)[:-1])]
    return lists, labels


def make_padded(length: int, vocabulary: int, count: int) -> np.ndarray:
    """Generate padded word ids, int [count, length], whose words and lengths are spread as those of real reviews.

    Rare words are many, and long reviews few. Half of the reviews have at most 0.45 of the length; one is empty.
    """
    random = np.random.default_rng(1)
    ids = np.minimum(random.zipf(1.3, (count, length)), vocabulary - 1)
    lengths = np.minimum((length * random.lognormal(-0.8, 0.7, count)).astype(int) + 1, length)
    lengths[-1] = 0
    ids[np.arange(length) < length - lengths[:, None]] = 0
    return ids


def word_index() -> dict[str, int]:
    """Return the rank of each word of the generated reviews; words of blame have odd ranks, of praise even ones."""
    telling = [word for pair in zip(BLAME, PRAISE, strict=True) for word in pair]
    return {word: rank for rank, word in enumerate(telling + NEUTRAL, start=1)}


def write_corpus(folder: Path, reviews: int) -> None:
    """Write ``imdb.npz`` and ``imdb_word_index.json`` in the format of the real ones, ``reviews`` in each split."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "imdb.npz").open("wb") as file:
        raw.write(file, {split: make_corpus(reviews, seed) for seed, split in enumerate(("train", "test"))})
    (folder / "imdb_word_index.json").write_text(json.dumps(word_index()))
