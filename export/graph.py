"""A SavedModel of strings: cleaning, ids and model in one TensorFlow graph, which TensorFlow Serving can run."""

import re
import sys
import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sentiment import InputError, load
from sentiment.data import ngrams
from sentiment.data.archives import members
from sentiment.data.padding import FIRST_WORD, START, UNKNOWN
from sentiment.data.text import DOTTED, MARKUP, RULES, SPACE, AnyTokens, Normal, fold_character, join, normal_character
from sentiment.keras import archive
from sentiment.keras.backend import tf, use_no_gpu
from sentiment.kinds import find
from sentiment.kinds.ngrams import Linear, OneVersusRest
from sentiment.kinds.wide_deep import CLIP, DEEP, WideDeep
from sentiment.model import TextModel

if TYPE_CHECKING:
    import keras

CHARACTERS = 0x110000  # code points of Unicode
SIGNATURE = tf.TensorSpec([None], tf.string, name="text")
TOLERANCE = 1e-5
"""Largest difference of two probabilities that count as equal; TensorFlow sums in another order."""

TEXTS = (
    "A wonderful film.",
    "The worst acting I\u2019ve ever seen\u2026",
    "good\xa0and bad<br />and good",
    "",
    "GREAT!!! isn't it?",
    "don`t\tsee-it,\r\nit's bad",
    "<BR/>fine&nbsp;film &amp; &quot;great&quot; story&#39;s end",
    "cliche\u0301 caf\u00e9 na\u00efve fianc\u00e9e",
    "\uff27\uff2f\uff2f\uff24 \u201cmovie\u201d \u2014 a must\u2013see",
    "I\u0307stanbul \u1e9e \ufb01lm \u00bd \u2603",
    "\u200bbad\ufeffmovie\u00ad time",
    "xqzzyx",
    "the " * 3000 + "end is bad",
)
"""Texts on which a graph and the model must agree: case, separators, markup, entities, accents, widths, lengths."""


class NetworkGraph(tf.Module):
    """Keras network that reads padded ids."""

    def __init__(self, model: "keras.Model"):
        super().__init__()
        self.model = model

    def probability(self, ids: tf.RaggedTensor, rows: tf.Tensor) -> tf.Tensor:
        """Return the probability of label 1 of each review, float32 [n], or of each of several labels, [n, labels].

        Args:
            ids: Word ids of each review, ragged.
            rows: The same ids with zeros in front, int32 [n, length].
        """
        probability = self.model(rows, training=False)
        return probability[:, 0] if probability.shape[1] == 1 else probability


class NGrams(tf.Module):
    """Linear model of n-grams, as lookups and a sum; see ``kinds.ngrams.Linear``."""

    def __init__(self, model: Linear):
        super().__init__()
        self.weighting, self.bits, self.ending = model.weighting.name, model.bits, model.ending
        self.longest = ngrams.words_in(model.grams, model.bits)
        self.grams = tf.Variable(model.grams, trainable=False)
        self.scale = tf.Variable(model.weighting.scale.astype(np.float64), trainable=False)
        self.weights = tf.Variable(model.weights.astype(np.float64), trainable=False)

    def probability(self, ids: tf.RaggedTensor, rows: tf.Tensor) -> tf.Tensor:
        """Return the probabilities, as ``NetworkGraph.probability`` does."""
        return tf.cast(tf.sigmoid(self.logit(ids)), tf.float32)

    def logit(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Return the log-odds of label 1 of each review, float64 [n]."""
        words = tf.ragged.boolean_mask(ids, ids > START)
        flat, review = tf.cast(words.flat_values, tf.int64), words.value_rowids()
        grams, known, keys, rows = flat, flat != UNKNOWN, [], []
        left = tf.gather(words.row_limits(), review) - tf.range(tf.size(flat, tf.int64))  # words up to the review's end
        for n in range(self.longest):
            if n:
                grams = grams[:-1] + tf.bitwise.left_shift(flat[n:], tf.constant(self.bits * n, tf.int64))
                known = known[:-1] & (flat[n:] != UNKNOWN) & (review[n:] == review[:-n])
            first = review[: tf.size(review) - n]
            keys.append(tf.boolean_mask(grams, known))
            rows.append(tf.boolean_mask(first, known))
            if self.ending:
                last = known & (left[: tf.size(left) - n] <= self.ending)
                keys.append(tf.bitwise.bitwise_or(tf.boolean_mask(grams, last), tf.constant(ngrams.MARK, tf.int64)))
                rows.append(tf.boolean_mask(first, last))
        keys, rows, size = tf.concat(keys, 0), tf.concat(rows, 0), tf.size(self.grams, tf.int64)
        column = tf.minimum(tf.searchsorted(self.grams, keys, out_type=tf.int64), size - 1)
        in_model = tf.gather(self.grams, column) == keys
        pair, _, count = tf.unique_with_counts(tf.boolean_mask(rows * size + column, in_model))
        row, column = pair // size, pair % size
        times = tf.cast(count, tf.float64) if self.weighting in ("counts", "tfidf") else tf.constant(1.0, tf.float64)
        feature = times * tf.gather(self.scale, column)
        if self.weighting == "tfidf":
            length = tf.sqrt(tf.math.unsorted_segment_sum(feature * feature, row, words.nrows()))
            feature /= tf.gather(length, row)
        logit = tf.math.unsorted_segment_sum(feature * tf.gather(self.weights, column), row, words.nrows())
        return logit + self.weights[-1]


class Several(tf.Module):
    """One linear model of n-grams for each label; see ``kinds.ngrams.OneVersusRest``."""

    def __init__(self, model: OneVersusRest):
        super().__init__()
        self.models = [NGrams(each) for each in model.models]

    def probability(self, ids: tf.RaggedTensor, rows: tf.Tensor) -> tf.Tensor:
        """Return the probabilities, as ``NetworkGraph.probability`` does."""
        scores = tf.stack([model.probability(ids, rows) for model in self.models], axis=1)
        return scores / tf.reduce_sum(scores, axis=1, keepdims=True)


class Added(tf.Module):
    """Sum of the logits of n-grams and of a network; see ``kinds.wide_deep.WideDeep``."""

    def __init__(self, model: WideDeep, network: "keras.Model"):
        super().__init__()
        self.wide, self.deep = NGrams(model.wide), NetworkGraph(network)
        self.reads, self.weight = model.added, tf.Variable(np.float64(model.weight), trainable=False)

    def probability(self, ids: tf.RaggedTensor, rows: tf.Tensor) -> tf.Tensor:
        """Return the probabilities, as ``NetworkGraph.probability`` does."""
        known = tf.ragged.map_flat_values(lambda flat: tf.where(flat < self.reads.vocabulary, flat, UNKNOWN), ids)
        length = self.reads.max_length
        positive = self.deep.probability(known, padded(known[:, -length:], length))
        clipped = tf.clip_by_value(tf.cast(positive, tf.float64), CLIP, 1 - CLIP)
        log_odds = tf.math.log(clipped) - tf.math.log(1 - clipped)
        return tf.cast(tf.sigmoid(self.wide.logit(ids) + self.weight * log_odds), tf.float32)


def padded(ids: tf.RaggedTensor, max_length: int | None) -> tf.Tensor:
    """Pad ids with zeros in front, int32 [n, max_length], or to the longest review if ``max_length`` is ``None``."""
    length = max_length or tf.cast(ids.bounding_shape()[1], tf.int64)
    before = length - ids.row_lengths()  # zeros in front of each review
    index = tf.range(length, dtype=tf.int64) - before[:, None]
    dense = tf.gather(ids.to_tensor(shape=[None, max_length]), tf.maximum(index, 0), batch_dims=1)
    return tf.where(index < 0, 0, dense)


class Served(tf.Module):
    """A model with the conversion of text to ids, as a graph.

    Args:
        text: The model of texts in Python.
        model: The graph of the same model, from ids.
    """

    def __init__(self, text: TextModel, model: NetworkGraph | NGrams | Several | Added):
        super().__init__()
        self.model, self.max_length, self.labels, self.rules = model, text.max_length, [*text.labels], text.tokens
        self.space = text.space
        ranks = {word: rank + FIRST_WORD for word, rank in text.index.items()}
        ids = {word: id if id < text.vocabulary else UNKNOWN for word, id in ranks.items()}
        self.ids = _table(ids, tf.string, tf.int32, -1)
        self.normal = isinstance(text.tokens, Normal)
        folded = _normal(text.tokens) if isinstance(text.tokens, Normal) else _folded()
        self.folded = _table(folded, tf.string, tf.string, "\0")
        self.decomposed = _table(_decomposed(), tf.string, tf.string, "\0")
        self.classes = _table(_classes(), tf.int64, tf.int64, 0)
        self.pairs = _table(_pairs(), tf.int64, tf.int32, 0)

    @tf.function(input_signature=[SIGNATURE], autograph=False)
    def serve(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the label of each text, string [n], and the probability of the second of two labels, float32 [n].

        With more than two labels the probabilities are [n, labels]. Label and probability are "" and NaN if no word
        that the model reads is in its vocabulary.
        """
        ids = self._ids(text)
        known = tf.reduce_any((ids > UNKNOWN) & (ids != self.space), axis=1)
        probability = self.model.probability(ids, padded(ids, self.max_length))
        several = len(self.labels) > 2
        number = tf.argmax(probability, axis=1) if several else tf.cast(probability > 0.5, tf.int64)
        probability = tf.where(known[:, None] if several else known, probability, float("nan"))
        label = tf.gather(tf.constant(self.labels), number)
        return {"label": tf.where(known, label, ""), "probability": probability}

    @tf.function(input_signature=[SIGNATURE], autograph=False)
    def tokens(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the ids of each text, int32 [n, length], as ``text.clean``, ``text.encode`` and ``pad`` make them."""
        return {"ids": padded(self._ids(text), self.max_length)}

    def _ids(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the ids of each text, without padding."""
        if self.normal:
            ids = tf.ragged.map_flat_values(self.ids.lookup, self._normal_tokens(text))
            return self._cut(ids)
        for pattern, replacement in RULES:
            text = tf.strings.regex_replace(text, pattern, replacement)
        words = self._split(text)
        pieces = self._split(self._fold(words.flat_values))
        better = tf.reduce_any(tf.ragged.map_flat_values(self.ids.lookup, pieces) >= 0, axis=1)
        ascii = tf.strings.regex_full_match(words.flat_values, r"[\x00-\x7f]*")  # `clean` does not change them
        folded = (self.ids.lookup(words.flat_values) <= UNKNOWN) & better & ~ascii
        joined = tf.strings.reduce_join(pieces, axis=1, separator=" ")
        words = words.with_flat_values(tf.strings.split(tf.where(folded, joined, words.flat_values)))
        return self._cut(tf.ragged.map_flat_values(self.ids.lookup, words.merge_dims(1, 2)))

    def _cut(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Remove -1, the id of unknown words, put the start id in front, and keep the last ``max_length`` ids."""
        ids = tf.ragged.boolean_mask(ids, ids >= 0)
        ids = tf.concat([tf.fill([ids.nrows(), 1], START), ids], axis=1)
        return ids if self.max_length is None else ids[:, -self.max_length :]

    def _split(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the words of each text, as ``text.words`` does."""
        lower = tf.strings.lower(text) if self.rules.lowercase else text  # of ASCII letters only
        return tf.strings.split(tf.strings.regex_replace(lower, f"[{re.escape(self.rules.separators)}]", " "), " ")

    def _normal_tokens(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the tokens of each text, as ``text.clean`` and ``text.words`` do with ``Normal`` tokens."""
        text = self._compose(text)
        for pattern, replacement in MARKUP:
            text = tf.strings.regex_replace(text, pattern, replacement)
        text = self._fold(text)
        if self.rules.lowercase:
            text = self._compose(tf.strings.regex_replace(text, DOTTED, "i"))
        text = tf.strings.strip(tf.strings.regex_replace(text, " +", " "))
        if self.rules.unit == "words":
            return tf.strings.split(text)
        around = tf.where(text == "", "", tf.strings.join([" ", text, " "]))
        return tf.strings.unicode_split(tf.strings.regex_replace(around, " ", SPACE), "UTF-8")

    def _fold(self, words: tf.Tensor) -> tf.Tensor:
        """Apply ``text.fold`` to each word, or ``text.normalise`` to each text, and compose the result."""
        return self._compose(_put(words, self.folded))

    def _compose(self, text: tf.Tensor) -> tf.Tensor:
        """Return Unicode's normal form C of each text: decompose it, sort the marks canonically, and compose it again.

        The algorithm is that of The Unicode Standard, 3.11, D117. In each round each letter is composed with its first
        mark that composes with it and is not preceded by a mark of the same class.
        """
        points = tf.strings.unicode_decode(_put(text, self.decomposed), "UTF-8")
        flat, row = points.flat_values, points.value_rowids()
        classes = self.classes.lookup(tf.cast(flat, tf.int64))
        order = tf.argsort(tf.cumsum(_begins(classes, row)) * 256 + classes, stable=True)
        state = tf.constant(True), tf.gather(flat, order), row
        shapes = state[0].shape, tf.TensorShape([None]), tf.TensorShape([None])
        _, flat, row = tf.while_loop(lambda changed, *_: changed, self._compose_once, state, shapes)
        return tf.strings.unicode_encode(tf.RaggedTensor.from_value_rowids(flat, row, points.nrows()), "UTF-8")

    def _compose_once(self, _, flat: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Run one round of ``_compose``; return a flag of change, the code points, int32 [n], and the text of each."""
        classes, index = self.classes.lookup(tf.cast(flat, tf.int64)), tf.range(tf.size(flat, tf.int64))
        begins = _begins(classes, row)
        run = tf.cumsum(begins) - 1  # a letter and its marks
        runs = tf.reduce_sum(begins)
        first = tf.gather(tf.math.unsorted_segment_min(index, run, runs), run)
        before = tf.maximum(index - 1, 0)
        follows = (index > 0) & (tf.gather(row, before) == row)
        starter = tf.where(classes > 0, first, before)  # a letter composes with the previous one, as in Hangul
        blocked = (classes > 0) & (before != first) & (tf.gather(classes, before) == classes)
        pair = tf.cast(tf.gather(flat, starter), tf.int64) * 2**21 + tf.cast(flat, tf.int64)
        composed = tf.where(
            follows & ~blocked & (starter < index) & (tf.gather(classes, starter) == 0), self.pairs.lookup(pair), 0
        )
        candidate = tf.where(composed > 0, index, tf.size(flat, tf.int64))
        taken = (composed > 0) & (candidate == tf.gather(tf.math.unsorted_segment_min(candidate, run, runs), run))
        taken &= ~(tf.gather(taken, before) & (before < index))
        flat = tf.tensor_scatter_nd_update(flat, starter[taken][:, None], composed[taken])
        return tf.reduce_any(taken), flat[~taken], row[~taken]


def _begins(classes: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
    """Return 1 for each letter and each first character of a text, 0 for other marks: int64 [n]."""
    same = tf.concat([tf.zeros([tf.minimum(tf.size(row), 1)], tf.bool), row[1:] == row[:-1]], 0)
    return tf.cast((classes == 0) | ~same, tf.int64)


def _put(text: tf.Tensor, table: tf.lookup.StaticHashTable) -> tf.Tensor:
    """Replace each character of texts by the table's entry, if it has one."""
    letters = tf.strings.unicode_split(text, "UTF-8")
    entries = tf.ragged.map_flat_values(table.lookup, letters)
    letters = tf.ragged.map_flat_values(lambda old, new: tf.where(new == "\0", old, new), letters, entries)
    return tf.strings.reduce_join(letters, axis=1)


def served(text: TextModel, content: bytes) -> Served:
    """Return a model of texts as a graph.

    Args:
        text: The model.
        content: Bytes of the model file.
    """
    use_no_gpu()
    if isinstance(text.model, WideDeep):
        return Served(text, Added(text.model, archive.unpack(members(content)[DEEP])))
    if isinstance(text.model, Linear):
        return Served(text, Several(text.model) if isinstance(text.model, OneVersusRest) else NGrams(text.model))
    return Served(text, NetworkGraph(archive.unpack(content)))


def differences(folder: Path, text: TextModel) -> list[str]:
    """Compare the answers of a SavedModel with those of its model; return a line for each text with another answer.

    The SavedModel is executed, so it must come from this process. It predicts ``TEXTS`` and texts made of words of the
    model's index, including words with letters that are not ASCII.

    Args:
        folder: Folder of the SavedModel.
        text: The model.
    """
    words = sorted(text.index, key=text.index.__getitem__)
    other = [word for word in words if not word.isascii()]
    texts = [*TEXTS, *_texts(words[:400], text.tokens), *_texts(other[:200], text.tokens)]
    texts += [unicodedata.normalize("NFD", each) for each in texts if not each.isascii()]
    texts += [each.upper() for each in texts[len(TEXTS) :: 5]]
    try:
        outputs = tf.saved_model.load(str(folder)).signatures["serving_default"](text=tf.constant(texts))
        probabilities, labels = outputs["probability"].numpy(), [label.decode() for label in outputs["label"].numpy()]
    except (OSError, KeyError, ValueError) as error:
        return [f"it does not run: {error}"]
    answers = text.predict(texts)
    several = len(text.labels) > 2
    expected = np.array(
        [
            [*answer.probabilities.values()] if answer.probabilities else [answer.probability] * len(text.labels)
            if several else [answer.probability]
            for answer in answers
        ]
    )  # fmt: skip
    probabilities = probabilities.reshape(len(texts), -1)
    top = np.sort(expected, axis=1) if several else np.hstack([np.full_like(expected, 0.5), expected])
    even = np.abs(top[:, -1] - top[:, -2]) <= TOLERANCE  # both labels are accepted
    same = probabilities.shape[1] == expected.shape[1]
    same &= np.isclose(probabilities, expected, rtol=0, atol=TOLERANCE, equal_nan=True).all(axis=1)
    same &= even | (np.array([answer.label for answer in answers]) == np.array(labels))
    return [
        f"{texts[at][:40]!r}: it answers {labels[at]!r} {probabilities[at].max():.6f}, the model {answers[at].label!r}"
        f" {expected[at].max():.6f}"
        for at in np.flatnonzero(~same)
    ]


def _texts(some: list[str], tokens: AnyTokens) -> list[str]:
    """Join tokens of the index to texts of 20 tokens each."""
    return [join(some[at : at + 20], tokens).replace(SPACE, " ") for at in range(0, len(some), 20)]


def save(served: Served, folder: Path) -> None:
    """Write a SavedModel with the signatures ``serving_default`` and ``ids``, which returns the ids of each text."""
    signatures = {"serving_default": served.serve, "ids": served.tokens}
    tf.saved_model.save(served, str(folder), signatures=signatures)
    (folder / "fingerprint.pb").unlink()  # has a random number, which no reader needs


def main(source: Path, folder: Path) -> None:
    """Write the SavedModel of the model in a folder to another folder.

    Raises:
        InputError: The answers of the SavedModel differ from the model's.
    """
    model = load(source)
    save(served(model, (source / find(model.about["kind"]).FILE).read_bytes()), folder)
    if wrong := differences(folder, model):
        raise InputError(f"expected the answers of the model, got others of {len(wrong)} texts: {wrong[0]}")


@cache
def _folded() -> dict[str, str]:
    """Return the replacement of each character that ``text.fold`` changes."""
    letters = (chr(point) for point in range(CHARACTERS) if not 0xD800 <= point < 0xE000)
    return {letter: put for letter in letters if (put := fold_character(letter)) != letter}


@cache
def _normal(tokens: Normal) -> dict[str, str]:
    """Return the replacement of each character that ``text.normalise`` changes."""
    letters = (chr(point) for point in range(CHARACTERS) if not 0xD800 <= point < 0xE000)
    return {letter: put for letter in letters if (put := normal_character(letter, tokens)) != letter}


@cache
def _decomposed() -> dict[str, str]:
    """Return the canonical decomposition of each character that has one."""
    letters = (chr(point) for point in range(CHARACTERS) if not 0xD800 <= point < 0xE000)
    return {letter: put for letter in letters if (put := unicodedata.normalize("NFD", letter)) != letter}


@cache
def _classes() -> dict[int, int]:
    """Return Unicode's canonical combining class of each mark; letters have class 0."""
    return {point: number for point in range(CHARACTERS) if (number := unicodedata.combining(chr(point)))}


@cache
def _pairs() -> dict[int, int]:
    """Return Unicode's canonical compositions: from two code points, as one number, to the composed code point."""
    pairs = {}
    for letter, parts in _decomposed().items():
        whole = unicodedata.normalize("NFC", parts)
        if whole == letter and len(parts) > 1:
            first, mark = unicodedata.normalize("NFC", parts[:-1]), parts[-1]
            if len(first) == 1 and unicodedata.normalize("NFC", first + mark) == letter:
                pairs[ord(first) * 2**21 + ord(mark)] = ord(letter)
    return pairs


def _table(values: dict, key: tf.DType, value: tf.DType, default: object) -> tf.lookup.StaticHashTable:
    keys, items = tf.constant([*values], key), tf.constant([*values.values()], value)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, items), default)


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:]))
    except (InputError, OSError) as error:
        sys.exit(str(error))
