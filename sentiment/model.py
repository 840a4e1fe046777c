"""Texts -> predictions of a trained model of any kind, and the effects of words."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from sentiment import InputError
from sentiment.data import padding
from sentiment.data.archives import UNREADABLE, reason
from sentiment.data.padding import FIRST_WORD, UNKNOWN, Reviews, words_of
from sentiment.data.text import SPACE, Normal, clean, encode, from_dict, join, words
from sentiment.kinds import Model, find
from sentiment.schema import Pad, Section, check, shown
from sentiment.training import digest, predicted_labels

BATCH = 512
"""Maximum number of reviews predicted at once."""

ABOUT, INDEX, LAYERS = "model.json", "word_index.json", "layers.txt"
"""Files of a model's folder beside the model file: settings of text and labels, word index, and table of layers."""

REMEDY = "`make repro MODEL=<name>` makes it again"


class Split(Section):
    """``data.text.Tokens`` in ``model.json``."""

    lowercase: bool
    separators: str


class Normalised(Section):
    """``data.text.Normal`` in ``model.json``."""

    unit: Literal["words", "characters"]
    lowercase: bool
    symbols: bool


class Answer(NamedTuple):
    """Prediction of one text.

    Attributes:
        label: Name of the label; "" if the text has no word that the model knows.
        probability: Probability of the second of two labels, or of ``label`` of more; NaN if there is no label.
        words: Words or n-grams with the largest effects, and the effect of each; empty unless asked for.
        unknown: Number of words of the text that are not in the vocabulary.
        truncated: True if the text is longer than the model reads. The model reads the end of the text.
        error: Reason why there is no label; "" if there is one.
        probabilities: Probability of each label, if there are more than two.
        probability_of: Name of the label whose probability ``probability`` is; "" if there is no label.
    """

    label: str
    probability: float
    words: list[tuple[str, float]]
    unknown: int
    truncated: bool
    error: str = ""
    probabilities: dict[str, float] | None = None
    probability_of: str = ""

    def __str__(self) -> str:
        """One line: label, probability with the name of its label, and words with their effects."""
        if self.error:
            return f"no answer: {self.error}"
        return f"{self.head}  {' '.join(f'{word}{effect:+.3f}' for word, effect in self.words)}".rstrip()

    @property
    def head(self) -> str:
        """Label and probability, as in ``negative  P(positive)=0.0278``."""
        return f"{self.label:8}  P({self.probability_of})={self.probability:.4f}"


class Explanation(NamedTuple):
    """A prediction and the effect of each word of the text on it, with displays for notebooks and terminals.

    Attributes:
        text: The text as the model reads it.
        answer: The prediction, with all words or n-grams that have an effect, the largest effect first.
        unit: Unit of the effects: ``probability`` or ``log-odds``.
        labels: The label that negative effects favour, and the label that positive effects favour.
        shades: Each word of the text with its share of the effects: the effect of each n-gram is divided equally among
            its words.
    """

    text: str
    answer: Answer
    unit: str
    labels: tuple[str, str]
    shades: list[tuple[str, float]]

    def __str__(self) -> str:
        """One line without colours: the prediction."""
        return str(self.answer)

    def colored(self) -> str:
        """The text for a terminal: words towards label 1 on green, towards label 0 on red, by ANSI escape codes."""
        parts = []
        for word, share in self._shares():
            code = ("2", "22", "28", "34") if share > 0 else ("1", "52", "88", "124")
            level = min(3, int(abs(share) * 4))
            parts.append(f"\x1b[48;5;{code[level]}m\x1b[97m{word}\x1b[0m" if abs(share) >= 0.1 else word)
        return f"{self.answer.head}  {' '.join(parts)}".rstrip()

    def _repr_html_(self) -> str:
        parts = []
        for word, share in self._shares():
            color = f"rgba({'0,128,0' if share > 0 else '200,0,0'},{min(1, abs(share)) * 0.6:.2f})"
            parts.append(f'<span style="background:{color};padding:0 2px;border-radius:3px">{escape(word)}</span>')
        head = f"<b>{escape(self.answer.label or 'no answer')}</b>"
        if self.answer.label:
            head += f" &nbsp; probability of <i>{escape(self.labels[1])}</i>: {self.answer.probability:.4f}"
        else:
            head += f" &nbsp; {escape(self.answer.error)}"
        legend = (
            f"green: towards {escape(self.labels[1])}; red: towards {escape(self.labels[0])}; effects in {self.unit}"
        )
        return f'<div>{head}<p style="line-height:1.8">{" ".join(parts)}</p><small>{legend}</small></div>'

    def _shares(self) -> list[tuple[str, float]]:
        """Words with their effects, divided by the largest absolute effect."""
        largest = max((abs(effect) for _, effect in self.shades), default=0) or 1
        return [(word, effect / largest) for word, effect in self.shades]


class TextModel:
    """A trained model that reads text.

    Args:
        model: Model whose inputs are word ids.
        index: Rank of each word, from 1.
        about: Values of ``model.json``: ``labels``, ``pad`` and ``tokens``.
    """

    def __init__(self, model: Model, index: dict[str, int], about: Mapping[str, Any]):
        self.model, self.index, self.about = model, index, about
        self.labels, self.tokens = tuple(about["labels"]), from_dict(about["tokens"])
        self.max_length = about["pad"]["max_length"]
        self._limit = about["pad"]["vocabulary"]
        self.vocabulary = self._limit or max(index.values(), default=0) + FIRST_WORD + 1
        known = self.vocabulary - FIRST_WORD
        characters = isinstance(self.tokens, Normal) and self.tokens.unit == "characters"
        self.space = index.get(SPACE, 0) + FIRST_WORD if characters else UNKNOWN
        self._word = {rank + FIRST_WORD: word for word, rank in index.items() if rank < known}

    def predict(self, texts: str | Iterable[str], *, words: int = 0) -> list[Answer]:
        """The prediction of each text.

        Args:
            texts: One text or any number of texts, which are predicted in batches of ``BATCH``.
            words: Maximum number of words or n-grams to name for each label, those with the largest effects.

        Returns:
            One answer per text, in their order.

        Raises:
            TypeError: A text is not a string.
            InputError: The model's weights are so extreme that a probability is not a number.
        """
        texts, answers = iter([texts] if isinstance(texts, str) else texts), []
        while batch := [*islice(texts, BATCH)]:
            answers += self._predict(batch, words)[0]
        return answers

    def explain(self, text: str) -> Explanation:
        """The prediction of a text, and the effect of each word.

        Args:
            text: One text.

        Raises:
            TypeError: ``text`` is not a string.
        """
        (answer,), effects = self._predict([text], -1)
        return self._explanation(text, answer, effects[0])

    def _explanation(self, text: str, answer: Answer, effects: list) -> Explanation:
        text = self.clean(text)
        shown, by_gram = words(text, self.tokens), {tuple(gram): effect for gram, effect in effects}
        positions = [at for at, word in enumerate(shown) if word in self.index]  # the model skips all other words
        ids = encode(text, self.index, self.vocabulary, self.tokens)[1:]
        shades = np.zeros(len(shown))
        for length in {len(gram) for gram in by_gram}:
            for begin in range(len(ids) - length + 1):
                effect = by_gram.get(tuple(ids[begin : begin + length]), 0.0)
                shades[positions[begin : begin + length]] += effect / length
        labels = self.labels if len(self.labels) == 2 else ("other labels", answer.label)
        return Explanation(text, answer, self.model.unit, labels, [*zip(shown, shades.tolist(), strict=True)])

    def try_out(self) -> None:
        """Predict a review of the maximum length and the highest id, and check the shape of the probabilities.

        Raises:
            ValueError: The model has another length, vocabulary or number of labels than ``model.json``.
        """
        ranks = np.full(self.max_length or 1, self.vocabulary - FIRST_WORD - 1, np.int32)
        with np.errstate(all="ignore"):
            positive = self.model.predict(self._rows(ranks, np.array([len(ranks)])), batch=BATCH)
        if positive.shape != ((1,) if len(self.labels) == 2 else (1, len(self.labels))):
            raise ValueError(f"expected a probability of each of {len(self.labels)} labels, got {positive.shape}")

    def clean(self, text: str) -> str:
        """The text whose words are looked up in the index; see ``data.text.clean``."""
        return clean(text, self.index, self.vocabulary, self.tokens)

    def encode(self, texts: Iterable[str]) -> Reviews:
        """Word ids of cleaned texts, in the form that the stage ``pad`` writes."""
        ranks, counts = self._look_up([*texts])
        return self._rows(ranks[ranks > 0], _sums(ranks > 0, counts))

    @cached_property
    def _look_up(self) -> Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]:
        """A function from cleaned texts to the ranks of their words, and the number of words of each text.

        The rank is 0 for a word that is not in the index.
        """
        if not isinstance(self.tokens, Normal) or self.tokens.unit == "words":
            from sentiment.engine.lookup import Lookup

            return Lookup(self.index, self.tokens)

        def look_up(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
            split = [words(text, self.tokens) for text in texts]
            ranks = [self.index.get(word, 0) for each in split for word in each]
            return np.array(ranks, np.int32), np.array([*map(len, split)], np.int64)

        return look_up

    def _rows(self, ranks: np.ndarray, lengths: np.ndarray) -> Reviews:
        if self.max_length is None:
            return padding.whole(ranks, lengths, self._limit)
        return padding.pad(ranks, lengths, self.max_length, self._limit)

    def _predict(self, texts: Sequence[str], count: int) -> tuple[list[Answer], list[list]]:
        """Answers with ``count`` words, or all if it is -1; and the effects of each text's words, unless it is 0."""
        if others := [text for text in texts if not isinstance(text, str)]:
            raise TypeError(f"texts: expected strings, got {type(others[0]).__name__}")
        cleaned = [self.clean(text) for text in texts]
        ranks, counts = self._look_up(cleaned)
        lengths = _sums(ranks > 0, counts)
        reviews = self._rows(ranks[ranks > 0], lengths)
        read = words_of(reviews)
        known = np.flatnonzero(_sums((read.ids > UNKNOWN) & (read.ids != self.space), read.lengths))
        unknown = _sums((ranks == 0) | (ranks + FIRST_WORD >= self.vocabulary), counts).tolist()
        truncated = (lengths >= (self.max_length or np.inf)).tolist()  # the start id is one more
        answers: list = [None] * len(texts)
        effects: list[list] = [[] for _ in texts]
        for at in {*range(len(texts))}.difference(known.tolist()):
            answers[at] = Answer("", float("nan"), [], unknown[at], False, _refusal(cleaned[at]))
        if len(known):
            rows = reviews[known]
            with np.errstate(all="ignore"):  # extreme weights of a hostile model
                if count:
                    positive, all_effects = self.model.explain(rows, batch=BATCH, count=count)
                else:
                    positive, all_effects = self.model.predict(rows, batch=BATCH), [[]] * len(known)
            if not np.isfinite(positive).all():
                raise InputError(f"the model: expected probabilities, got NaN from its extreme weights; {REMEDY}")
            for at, label, probability, pairs in zip(
                known.tolist(), predicted_labels(positive).tolist(), positive, all_effects, strict=True
            ):
                chosen = pairs if count < 0 else _candidates(pairs, count)
                named = [(join((self._word[id] for id in gram), self.tokens), effect) for gram, effect in chosen]
                named = strongest(named, len(named) if count < 0 else count) if named else []
                each, name, of = None, self.labels[label], self.labels[1]
                if positive.ndim == 2:
                    each, of = dict(zip(self.labels, probability.tolist(), strict=True)), name
                    probability = probability[label]
                answers[at] = Answer(name, float(probability), named, unknown[at], truncated[at], "", each, of)
                effects[at] = pairs
        return answers, effects


def _sums(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The sum of each group of successive values, int64 [groups]; ``lengths`` are the sizes of the groups."""
    totals, ends = np.append(0, np.cumsum(values)), np.cumsum(lengths)
    return totals[ends] - totals[ends - lengths]


def _refusal(text: str) -> str:
    if not text.strip():
        return "the text is empty; expected words"
    return "no word of it that the model reads is in its vocabulary; expected text with words as in its corpus"


def _candidates(effects: list, count: int) -> list:
    """The effects that ``strongest`` may choose, whatever their names: the ``count`` lowest and highest, and ties."""
    if len(effects) <= 2 * count or not count:
        return effects
    ordered = sorted(effect for _, effect in effects)
    low, high = ordered[count - 1], ordered[-count]
    return [pair for pair in effects if pair[1] <= low or pair[1] >= high]


def strongest(effects: list[tuple[str, float]], count: int) -> list[tuple[str, float]]:
    """The ``count`` largest effects above 0 and below 0, the largest first, and equal effects in the order of words.

    >>> strongest([("a", 0.1), ("b", -0.3), ("c", 0.2), ("d", 0.0)], 1)
    [('b', -0.3), ('c', 0.2)]
    """
    ordered = sorted(effects, key=lambda pair: (-abs(pair[1]), pair[0]))
    return sorted(
        (pair for sign in (1, -1) for pair in islice((pair for pair in ordered if sign * pair[1] > 0), count)),
        key=ordered.index,
    )


def describe(
    *, kind: str, corpus: str, labels: Sequence[str], tokens: dict, pad: Pad, index: bytes, weights: np.ndarray
) -> dict[str, Any]:
    """Values of ``model.json``: settings from text to ids and from predictions to labels, number of words, digests.

    Args:
        kind: Kind of the model.
        corpus: Name of the corpus.
        labels: Names of the labels, from 0.
        tokens: Rules that split a text; see ``data.text.from_dict``.
        pad: Parameters of the padding.
        index: The word index file.
        weights: float32 [parameters].
    """
    return {
        "corpus": corpus,
        "kind": kind,
        "labels": [*labels],
        "pad": pad.model_dump(),
        "tokens": tokens,
        "weights": digest(weights),
        "word_index": hashlib.sha256(index).hexdigest(),
        "words": len(json.loads(index)),
    }


def read(folder: Path) -> tuple[Model, dict[str, Any], bytes]:
    """The model of word ids, the values of ``model.json`` and the word index in the folder of a model or an export.

    Raises:
        InputError: A file is missing or damaged, or the files do not belong together.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a model's folder, with {ABOUT} in it; {REMEDY}")
    path = folder / ABOUT
    try:
        about = json.loads(_bytes(path))
        if not isinstance(about, dict):
            raise InputError(f"{path}: expected an object, got {type(about).__name__}")
        missing = [key for key in ("kind", "labels", "pad", "tokens", "weights", "word_index") if key not in about]
        if missing:
            raise InputError(f"{path}: {missing[0]!r} is missing, as of an older form or another program; {REMEDY}")
        kind = find(about["kind"])
        path = folder / kind.FILE
        model = kind.open_model(_bytes(path), about["weights"])
        if (actual := digest(model.weights)) != about["weights"]:
            raise InputError(f"expected the weights {shown(about['weights'])} that {ABOUT} names, found {actual}")
        if not np.isfinite(model.weights).all():
            raise InputError("expected finite weights, got NaN or infinity")
        path = folder / INDEX
        index = _bytes(path)
        if (actual := hashlib.sha256(index).hexdigest()) != about["word_index"]:
            raise InputError(f"expected the word index {shown(about['word_index'])} that {ABOUT} names, found {actual}")
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing; {REMEDY}") from None
    except InputError as error:
        text = str(error) if str(error).startswith(str(folder)) else f"{path}: {error}"
        raise InputError(text if text.endswith(REMEDY) else f"{text}; {REMEDY}") from None
    except (*UNREADABLE, RecursionError) as error:
        raise InputError(f"{path}: not what `train` writes ({reason(error)}); {REMEDY}") from None
    return model, about, index


def _bytes(path: Path) -> bytes:
    """The bytes of a regular file; a pipe or device is refused, because reading it might never end."""
    if path.exists() and not path.is_file():
        raise InputError("expected an ordinary file")
    return path.read_bytes()


def load(path: str | Path) -> TextModel:
    """A trained model that reads text.

    Args:
        path: A model's folder, ``models/<name>``, or an exported one.

    Raises:
        InputError: A file is missing or damaged, or the files do not belong together.
    """
    folder = Path(path)
    model, about, index = read(folder)
    try:
        ranks, labels, pad = json.loads(index), about["labels"], about["pad"]
        if not all(type(rank) is int and 0 < rank < 2**21 for rank in ranks.values()):
            raise ValueError(f"{INDEX}: expected a rank from 1 for each word")
        if not (isinstance(labels, list) and len(labels) >= 2 and all(isinstance(label, str) for label in labels)):
            raise ValueError("labels: expected two names or more")
        if len(labels) != model.labels:
            raise ValueError(f"labels: expected {model.labels}, as many as the model predicts, got {len(labels)}")
        check(Pad, pad, ABOUT, "pad")
        check(Normalised if "unit" in about["tokens"] else Split, about["tokens"], ABOUT, "tokens")
        loaded = TextModel(model, ranks, about)
        loaded.try_out()
        return loaded
    except (*UNREADABLE, RecursionError) as error:
        raise InputError(f"{folder}: not what `train` writes ({reason(error)}); {REMEDY}") from None
