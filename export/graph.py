"""A SavedModel that takes strings: cleaning, ids and network in one TensorFlow graph, as TensorFlow Serving runs it."""

import re
import unicodedata
from functools import cache
from pathlib import Path

from sentiment.network import keras, tf
from sentiment.padding import FIRST_WORD, START, UNKNOWN
from sentiment.text import RULES, SEPARATORS, fold_character

CHARACTERS = 0x110000  # of Unicode


class Served(tf.Module):
    """A model with all that turns text into its ids.

    Args:
        model: From ids, int32 [n, max_length], to probabilities, float32 [n, 1].
        index: The rank of each word, from 1.
        max_length: Ids in a review.
        vocabulary: Ids from here on are unknown.
        labels: What probabilities near 0 and near 1 are called.
    """

    def __init__(self, model: keras.Model, index: dict[str, int], *, max_length: int, vocabulary: int, labels: list):
        super().__init__()
        self.model, self.max_length, self.labels = model, max_length, labels
        ranks = {word: rank + FIRST_WORD for word, rank in index.items()}
        ids = {word: id if id < vocabulary else UNKNOWN for word, id in ranks.items()}
        self.ids = _table(ids, tf.string, tf.int32, -1)
        self.folded = _table(_folded(), tf.string, tf.string, "\0")
        self.pairs = _table(_pairs(), tf.int64, tf.int32, 0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The label of each text, string [n], and the probability of the second, float32 [n].

        They are "" and NaN where no word that the model reads is in its vocabulary.
        """
        ids = self.tokens(text)["ids"]
        known = tf.reduce_any(ids > UNKNOWN, axis=1)
        probability = tf.where(known, self.model(ids, training=False)[:, 0], float("nan"))
        label = tf.gather(tf.constant(self.labels), tf.cast(probability > 0.5, tf.int32))
        return {"label": tf.where(known, label, ""), "probability": probability}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def tokens(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The padded ids of each text, int32 [n, max_length]: ``text.clean``, ``text.encode`` and ``padding.pad``."""
        for pattern, replacement in RULES:
            text = tf.strings.regex_replace(text, pattern, replacement)
        words = self._split(text)
        pieces = self._split(self._fold(words.flat_values))
        better = tf.reduce_any(tf.ragged.map_flat_values(self.ids.lookup, pieces) >= 0, axis=1)
        folded = (self.ids.lookup(words.flat_values) <= UNKNOWN) & better
        joined = tf.strings.reduce_join(pieces, axis=1, separator=" ")
        words = words.with_flat_values(tf.strings.split(tf.where(folded, joined, words.flat_values)))
        ids = tf.ragged.map_flat_values(self.ids.lookup, words.merge_dims(1, 2))
        ids = tf.ragged.boolean_mask(ids, ids >= 0)
        start = tf.fill([ids.nrows(), 1], START)
        ids = tf.concat([start, ids], axis=1)[:, -self.max_length :]
        before = self.max_length - ids.row_lengths()  # rows of padding alone
        place = tf.range(self.max_length, dtype=tf.int64) - before[:, None]
        dense = tf.gather(ids.to_tensor(shape=[None, self.max_length]), tf.maximum(place, 0), batch_dims=1)
        return {"ids": tf.where(place < 0, 0, dense)}

    def _split(self, text: tf.Tensor) -> tf.RaggedTensor:
        """The words of each text, as ``text.split`` has them."""
        lower = tf.strings.lower(text)  # in ASCII alone
        return tf.strings.split(tf.strings.regex_replace(lower, f"[{re.escape(SEPARATORS)}]", " "))

    def _fold(self, words: tf.Tensor) -> tf.Tensor:
        """``text.fold`` of each word."""
        letters = tf.strings.unicode_split(words, "UTF-8")
        put = tf.ragged.map_flat_values(self.folded.lookup, letters)
        letters = tf.ragged.map_flat_values(lambda old, new: tf.where(new == "\0", old, new), letters, put)
        points = tf.strings.unicode_decode(tf.strings.reduce_join(letters, axis=1), "UTF-8")
        for _ in range(2):  # a letter with two accents
            points = self._compose(points)
        return tf.strings.unicode_encode(points, "UTF-8")

    def _compose(self, points: tf.RaggedTensor) -> tf.RaggedTensor:
        """Each letter and the accent after it as one character, where there is one."""
        flat, row = points.flat_values, points.value_rowids()
        follows = (tf.roll(row, -1, 0) == row) & (tf.range(tf.size(flat)) < tf.size(flat) - 1)
        pair = tf.cast(flat, tf.int64) * 2**21 + tf.cast(tf.roll(flat, -1, 0), tf.int64)
        composed = tf.where(follows, self.pairs.lookup(pair), 0)
        kept = tf.roll(composed, 1, 0) == 0
        return tf.ragged.boolean_mask(
            points.with_flat_values(tf.where(composed > 0, composed, flat)), points.with_flat_values(kept)
        )


def served(model: keras.Model, index: dict[str, int], about: dict) -> Served:
    """A model with the settings that ``train`` wrote beside it."""
    return Served(model, index, **{key: about[key] for key in ("max_length", "vocabulary", "labels")})


def save(served: Served, folder: Path) -> None:
    """Write a SavedModel: signature ``serving_default``, from ``text``; and ``ids``, what the network reads."""
    signatures = {"serving_default": served.serve, "ids": served.tokens}
    tf.saved_model.save(served, str(folder), signatures=signatures)


@cache
def _folded() -> dict[str, str]:
    """The replacement of each character that ``text.fold`` changes."""
    letters = (chr(point) for point in range(CHARACTERS) if not 0xD800 <= point < 0xE000)
    return {letter: put for letter in letters if (put := fold_character(letter)) != letter}


@cache
def _pairs() -> dict[int, int]:
    """Unicode's canonical compositions: both code points in one number -> the one that stands for the two."""
    found = {}
    for point in range(CHARACTERS):
        parts = unicodedata.decomposition(chr(point)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            letter, accent = (int(part, 16) for part in parts)
            if unicodedata.normalize("NFC", chr(letter) + chr(accent)) == chr(point):
                found[letter * 2**21 + accent] = point
    return found


def _table(values: dict, key: tf.DType, value: tf.DType, default: object) -> tf.lookup.StaticHashTable:
    keys, items = tf.constant([*values], key), tf.constant([*values.values()], value)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, items), default)
