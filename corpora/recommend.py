"""Choice of an n-gram model for a corpus, on folds of its training split alone."""

import random
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from sentiment.data import ngrams
from sentiment.data.labelled import BadRow, Row, as_row, is_test, split_limits
from sentiment.data.padding import FIRST_WORD, Ragged
from sentiment.data.text import Normal, clean, make_index, words
from sentiment.kinds.ngrams import Logistic, Svm, Weighting, fit_liblinear, normalised, probabilities
from sentiment.training import predicted_labels
from stages.corpus import WHOLE, find_parts, read_file, read_folder, read_rows, tokens_of
from stages.params import Corpus

TEXTS, CHARACTERS = 10_000, 2_000_000
"""Most texts and characters in the folds, a random part of the training split."""

WORK, LABELS = 20_000_000, 20
"""Most characters times labels in the folds, because each label has its own model. The rarer labels are left out first,
then texts; ``LABELS`` labels are always kept."""

FOLDS = 3
SCRIPT_TEXTS = 2000  # texts whose letters show the script
PARAMETERS = 50_000_000
"""Most weights of a model, of all labels together: 200 MB."""

LANGUAGES = {"HANGUL": "ko", "HIRAGANA": "ja", "KATAKANA": "ja", "CJK": "zh", "THAI": "th", "GREEK": "el",
             "HEBREW": "he", "GEORGIAN": "ka", "ARMENIAN": "hy"}  # fmt: skip
"""Languages of the scripts that only one language uses; for other scripts the user names the language."""


UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
"""Scripts without spaces between words; only characters are tried as tokens."""


class Candidate(NamedTuple):
    """Settings of a model, and its mean accuracy over the folds."""

    tokens: Normal
    longest: int
    weighting: str
    train: Logistic | Svm
    accuracy: float = 0.0

    def __str__(self) -> str:
        """Return the settings as one line."""
        loss = f"{self.train.loss} c {self.train.c:g}"
        symbols = " and symbols" if self.tokens.symbols else ""
        return f"{self.tokens.unit}{symbols}, 1 to {self.longest}, {self.weighting}, {loss}"


def logistic(c: float) -> Logistic:
    """Return settings of logistic regression."""
    return Logistic(engine="scikit-learn", loss="log_loss", c=c, seed=1)


def svm(c: float, interpolation: float) -> Svm:
    """Return settings of a support vector machine."""
    return Svm(engine="scikit-learn", loss="squared_hinge", c=c, interpolation=interpolation, seed=1)


def training_texts(settings: Corpus) -> Iterator[tuple[str, int]]:
    """Yield the texts of the training split and the numbers of their labels; the test split is not used."""
    parts = find_parts(settings)
    values, tokens, cuts = settings.values, tokens_of(settings), []
    if WHOLE in parts:
        reviews = (row for _, _, row in read_rows(parts, settings) if isinstance(row, Row))
        cuts = split_limits(reviews, len(settings.labels), settings.test_fraction, settings.seed)
    for path in parts.get("train", parts.get(WHOLE, [])):
        for _, cells in (read_folder if path.is_dir() else read_file)(path, settings):
            row = cells if isinstance(cells, BadRow) else as_row(*cells, values, tokens)
            if isinstance(row, Row) and not (cuts and is_test(row, cuts, settings.seed)):
                yield cells[0], row.label


def some(rows: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """At most ``TEXTS`` rows, each as likely as any other (reservoir sampling), in little memory.

    >>> len(some((str(number), 0) for number in range(TEXTS + 5))) == TEXTS
    True
    """
    kept, drawn = [], random.Random(1)
    for number, row in enumerate(rows):
        if number < TEXTS:
            kept.append(row)
        elif (at := drawn.randrange(number + 1)) < TEXTS:
            kept[at] = row
    return kept


def sample(texts: list[str], labels: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Draw texts at random within the limits ``TEXTS``, ``CHARACTERS`` and ``WORK``.

    >>> texts, labels = sample(["a" * 1000] * 4000, np.arange(4000) % 40)
    >>> len(texts), len(np.unique(labels))
    (1000, 20)
    """
    lengths = np.array([*map(len, texts)])
    numbers, counts = np.unique(labels, return_counts=True)
    common = numbers[np.argsort(-counts, kind="stable")]
    work = np.cumsum(np.bincount(labels, lengths)[common]) * np.arange(1, len(common) + 1)
    common = common[: max(LABELS, np.count_nonzero(work <= WORK))]
    rows = np.flatnonzero(np.isin(labels, common))
    characters = min(CHARACTERS, WORK / len(common))
    most = max(100, min(TEXTS, int(characters / max(1, lengths[rows].mean()))))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(1).permutation(rows)[:most])
    return [texts[row] for row in rows], labels[rows]


def choose(texts: list[str], labels: np.ndarray) -> list[Candidate]:
    """Return models and their accuracies on folds, the best first.

    All kinds of tokens are tried with one model. The two best are tried with other features and regularisations.
    """
    folds, several = fold_of(labels), len(np.unique(labels)) > 10
    candidates, counted = [], {}
    scripts = scripts_of(texts)
    units = ("characters",) if scripts and scripts[0][0] in UNSPACED else ("words", "characters")
    variants = [(unit, symbols) for unit in units for symbols in (False, True)]
    for unit, symbols in variants:
        tokens = Normal(unit, lowercase=True, symbols=symbols)
        reviews, different = ids_of(texts, tokens)
        lengths = (1, 2) if unit == "words" else (3, 5 if different < 1 << ngrams.bits_for(5) else 4)
        for longest in lengths if scripts and scripts[0][0] not in UNSPACED else (2, lengths[1]):
            counted[tokens, longest] = counts = ngrams.learn(reviews, longest=longest, min_df=1, max_features=10**7)[1]
            first = Candidate(tokens, longest, "tfidf", logistic(10.0))
            candidates.append(first._replace(accuracy=accuracy(first, counts, labels, folds)))
    candidates.sort(key=lambda each: -each.accuracy)
    others: list[tuple[str, Logistic | Svm]] = [("tfidf", logistic(1.0)), ("tfidf", logistic(64.0))]
    if not several:
        others += [("tfidf", svm(0.3, 1.0)), ("naive-bayes", svm(0.1, 0.25)), ("naive-bayes", logistic(0.3))]
    for best in candidates[:2]:
        counts = counted[best.tokens, best.longest]
        for weighting, train in others:
            other = best._replace(weighting=weighting, train=train)
            candidates.append(other._replace(accuracy=accuracy(other, counts, labels, folds)))
    return sorted(candidates, key=lambda each: -each.accuracy)


REFERENCES: dict[str, dict[str, Any]] = {
    "words, 1 to 2": {"ngram_range": (1, 2)},
    "characters, 1 to 4": {"ngram_range": (1, 4), "analyzer": "char"},
}
"""Settings of scikit-learn's ``TfidfVectorizer`` in the models for comparison."""


def references(texts: list[str], labels: np.ndarray) -> dict[str, float]:
    """Return accuracies of scikit-learn's logistic regression on tf-idf, on the folds of ``choose``, the best first.

    All settings but ``REFERENCES`` and the number of iterations are scikit-learn's defaults. The accuracy is NaN if a
    fold has too few words or labels.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline

    folds, accuracies = PredefinedSplit(fold_of(labels)), {}
    for name, options in REFERENCES.items():
        model = make_pipeline(TfidfVectorizer(**options), LogisticRegression(max_iter=1000))
        try:
            accuracies[name] = float((cross_val_predict(model, texts, labels, cv=folds) == labels).mean())
        except ValueError:
            accuracies[name] = float("nan")
    return dict(sorted(accuracies.items(), key=lambda pair: -pair[1]))


def ids_of(texts: list[str], tokens: Normal) -> tuple[Ragged, int]:
    """Return the ids of texts, and the highest id."""
    split = [words(clean(text, tokens=tokens), tokens) for text in texts]
    index = make_index(Counter(word for text in split for word in text))
    ids = np.array([index[word] + FIRST_WORD for text in split for word in text], np.uint32)
    return Ragged(ids, np.array([*map(len, split)])), len(index) + FIRST_WORD


def fold_of(labels: np.ndarray) -> np.ndarray:
    """Return the fold of each text, int [texts]; each fold has the same share of each label.

    >>> fold_of(np.array([0, 0, 0, 1, 1, 1])).reshape(2, 3).sum(axis=1).tolist()
    [3, 3]
    """
    order = np.lexsort((np.random.default_rng(1).random(len(labels)), labels))
    folds = np.empty(len(labels), int)
    folds[order] = np.arange(len(labels)) % FOLDS
    return folds


def accuracy(candidate: Candidate, counts, labels: np.ndarray, folds: np.ndarray) -> float:
    """Return the mean accuracy over the folds; n-grams that only the test fold has are unknown."""
    right = 0
    for fold in range(FOLDS):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        seen = counts[train]
        kept = np.flatnonzero(ngrams.document_frequency(seen))
        seen, unseen = seen[:, kept], counts[test][:, kept]
        numbers = np.unique(labels[train])
        targets = [
            (labels[train] == label).astype(np.uint8) for label in (numbers if len(numbers) > 2 else numbers[1:])
        ]
        if not targets:
            return 0.0
        scores: list[np.ndarray] = []
        for target in targets:
            if not scores or candidate.weighting == "naive-bayes":  # only naive Bayes has other features for each label
                weighting = Weighting.learn(candidate.weighting, seen, target)
                features, others = weighting.features(seen), weighting.features(unseen)
            weights = fit_liblinear(candidate.train, features, target)
            scores.append(probabilities(others @ weights[:-1] + weights[-1]))
        positive = normalised(scores) if len(scores) > 1 else scores[0]
        right += int((numbers[predicted_labels(positive)] == labels[test]).sum())
    return right / len(labels)


def scripts_of(texts: list[str]) -> list[tuple[str, float]]:
    """Return the scripts of the letters of texts, with the share of each, the commonest first.

    >>> scripts_of(["ab", "cd 가"])
    [('LATIN', 0.8), ('HANGUL', 0.2)]
    """
    counts = Counter(letter for text in texts[:SCRIPT_TEXTS] for letter in text[:2000] if letter.isalpha())
    scripts: Counter[str] = Counter()
    for letter, number in counts.items():
        scripts[unicodedata.name(letter, "UNKNOWN").split()[0].partition("-")[0]] += number
    return [(script, number / max(1, counts.total())) for script, number in scripts.most_common()]


def language_of(scripts: list[tuple[str, float]]) -> str | None:
    """Return the language of the commonest script, or None; a few kana are enough for Japanese."""
    shares = dict(scripts)
    if shares.get("HIRAGANA", 0) > 0.05:
        return "ja"
    return LANGUAGES.get(scripts[0][0]) if scripts and scripts[0][1] > 0.4 else None


def model_keys(best: Candidate, corpus: str, labels: int, different: int) -> dict[str, Any]:
    """Return the section of the model in ``params.yaml``.

    Args:
        best: The chosen model.
        corpus: Name of the corpus.
        labels: Number of labels.
        different: Number of different tokens in the training split.
    """
    limit = 1 << ngrams.bits_for(best.longest)
    return {
        "corpus": corpus,
        "pad": {"max_length": None, "vocabulary": limit if different + FIRST_WORD >= limit else None},
        "architecture": {
            "kind": "ngrams", "longest": best.longest, "min_df": 1,
            "max_features": PARAMETERS // (labels if labels > 2 else 1) // (10 if labels == 2 else 1),
            "weighting": best.weighting,
        },
        "train": best.train.model_dump(),
        "evaluate": {"batch": 512, "calibration_bins": 10},
    }  # fmt: skip
