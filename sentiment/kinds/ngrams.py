"""Linear models of n-grams: the probability of a review is the sigmoid of the sum of the weights of its n-grams.

``engine: compiled`` trains by Adam and has the same bits on every machine. ``engine: scikit-learn`` is LIBLINEAR, whose
C++ asks the C library for exp and log, and whose compiler may merge a product and a sum.
"""

import io
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from sentiment import InputError
from sentiment.data.archives import UNREADABLE, members, pack_members
from sentiment.data.padding import Reviews, orders, words_of
from sentiment.schema import Batch, Epochs, ModelSettings, Rate, Section, Seed

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FILE = "model.npz"
PARALLEL = False
"""Whether several processes can share the training; see ``stages.common.launcher``."""

ITERATIONS = 1000
"""Maximum number of LIBLINEAR's iterations."""

BLOCK = 4096
"""Reviews whose n-grams are counted together: memory against speed."""

FIELDS = {"grams": ("i", 1), "scale": ("f", 1), "weights": ("f", 1), "weighting": ("U", 0), "bias": ("f", 0)}
"""Arrays of the model file: the kind of their type, and their number of dimensions."""

WEIGHTINGS = ("counts", "presence", "tfidf", "naive-bayes")


Strength = Annotated[float, Field(gt=0, le=10**6)]


class Architecture(Section):
    """Which n-grams there are, and which feature the count of each becomes; see ``Weighting``."""

    kind: Literal["ngrams"]
    longest: Annotated[int, Field(ge=1, le=3)]
    min_df: Annotated[int, Field(ge=1, le=10**6)]
    max_features: Annotated[int, Field(ge=1, le=10**8)]
    weighting: Literal[WEIGHTINGS]


class Compiled(Section):
    """Adam on the binary cross-entropy."""

    engine: Literal["compiled"]
    epochs: Epochs
    batch: Batch
    learning_rate: Rate
    seed: Seed


class Logistic(Section):
    """Logistic regression by LIBLINEAR."""

    engine: Literal["scikit-learn"]
    loss: Literal["log_loss"]
    c: Strength
    seed: Seed


class Svm(Section):
    """A linear support vector machine by LIBLINEAR, its weights interpolated."""

    engine: Literal["scikit-learn"]
    loss: Literal["squared_hinge"]
    c: Strength
    interpolation: Annotated[float, Field(ge=0, le=1)]
    seed: Seed


Liblinear = Annotated[Logistic | Svm, Field(discriminator="loss")]


class Settings(ModelSettings[Architecture, Annotated[Compiled | Liblinear, Field(discriminator="engine")]]):
    """Settings of a linear model of n-grams."""


class Weighting(NamedTuple):
    """The features of a review's n-grams.

    ``counts``; ``presence``, 1 for any count; ``tfidf``, counts times the n-gram's ``scale``, divided by the length of
    the vector of these; ``naive-bayes``, presence times ``scale``.
    """

    name: str
    scale: np.ndarray  # float32 [grams]

    @classmethod
    def learn(cls, name: str, counts: "csr_matrix", labels: np.ndarray) -> "Weighting":
        """Find the scales in the training reviews: counts, int32 [reviews, grams], and labels, uint8 [reviews]."""
        from sentiment.data import ngrams

        match name:
            case "tfidf":
                return cls(name, ngrams.inverse_document_frequency(counts))
            case "naive-bayes":
                return cls(name, ngrams.log_count_ratio(counts, labels))
        return cls(name, np.ones(counts.shape[1], np.float32))

    def features(self, counts: "csr_matrix") -> "csr_matrix":
        """The features of counts, int32 [reviews, grams]: float64 of the same shape."""
        from scipy.sparse import csr_matrix

        from sentiment.engine.linear import sums

        times = counts.data if self.name in ("counts", "tfidf") else 1
        data = times * self.scale[counts.indices].astype(np.float64)
        if self.name == "tfidf":
            lengths = np.sqrt(sums(counts.indptr, data * data))
            data /= np.repeat(lengths, np.diff(counts.indptr))
        return csr_matrix((data, counts.indices, counts.indptr), counts.shape)


class Linear:
    """A trained model; a ``kinds.Model``.

    Args:
        weighting: The features.
        grams: int64 [grams], ascending; see ``data.ngrams``.
        weights: float32 [grams + 1]: a weight for each n-gram, and the bias.
    """

    parallel = False
    unit = "log-odds"

    def __init__(self, weighting: Weighting, grams: np.ndarray, weights: np.ndarray):
        from sentiment.engine import promise

        self.weighting, self.grams, self.weights = weighting, grams, weights
        self.promise = f"{len(grams):,} n-grams; {promise()}"

    def predict(self, reviews: Reviews, *, batch: int = BLOCK, progress=lambda reviews: None) -> np.ndarray:
        """As ``kinds.Model``.

        An SVM's probability is the sigmoid of its margin: only its order and its side of 0.5 have a meaning.
        """
        from sentiment.data import ngrams

        positive = [np.zeros(0, np.float32)]
        for begin in range(0, len(reviews), batch):
            block = words_of(reviews[begin : begin + batch])
            positive.append(self.score(ngrams.count(block, self.grams)))
            progress(len(block))
        return np.concatenate(positive)

    def score(self, counts: "csr_matrix") -> np.ndarray:
        """The probability of label 1 of each review, float32 [reviews], from counts, int32 [reviews, grams]."""
        from sentiment.engine.linear import sigmoids, sums
        from sentiment.engine.vectors import whole, zeros

        positive = zeros(whole(counts.shape[0]))
        parts = self.weighting.features(counts).data * self.weights[counts.indices]
        positive[: counts.shape[0]] = sums(counts.indptr, parts) + float(self.weights[-1])
        sigmoids(positive)
        return positive[: counts.shape[0]]

    def effects(self, reviews: Reviews, positive: np.ndarray) -> list:
        """As ``kinds.Model``: weight times feature of each n-gram, whose sum and the bias are the logit."""
        from sentiment.data import ngrams

        features = self.weighting.features(ngrams.count(words_of(reviews), self.grams))
        parts = features.data * self.weights[features.indices]
        rows = (slice(*ends) for ends in zip(features.indptr, features.indptr[1:], strict=False))
        return [
            [(ngrams.words(self.grams[column]), float(part)) for column, part in zip(columns, values, strict=True)]
            for columns, values in ((features.indices[row], parts[row]) for row in rows)
        ]

    def save(self) -> bytes:
        """The model file, as ``numpy.load`` reads it; the bytes are a function of the model alone."""
        arrays = {"weighting": np.array(self.weighting.name), "bias": self.weights[-1:].reshape(())}
        arrays |= {"grams": self.grams, "scale": self.weighting.scale, "weights": self.weights[:-1]}
        return pack_members({f"{name}.npy": npy(array) for name, array in arrays.items()})


def npy(array: np.ndarray) -> bytes:
    """The ``.npy`` file of an array."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def open_model(content: bytes, expected: str) -> Linear:
    """The model in the bytes of a model file, whatever the digest of the weights is expected to be.

    Raises:
        InputError: It is none.
    """
    try:
        files = members(content)
        saved = {
            name: np.lib.format.read_array(io.BytesIO(files[f"{name}.npy"]), allow_pickle=False) for name in FIELDS
        }
        for name, (kind, dimensions) in FIELDS.items():
            if saved[name].dtype.kind != kind or saved[name].ndim != dimensions or saved[name].dtype.itemsize > 512:
                raise ValueError(f"{name}: got {saved[name].dtype} {saved[name].shape}")
        grams, scale, weights = (saved[name] for name in ("grams", "scale", "weights"))
        weighting = str(saved["weighting"])
        if not grams.shape == scale.shape == weights.shape or not len(grams):
            raise ValueError(f"{grams.shape} n-grams, {scale.shape} scales, {weights.shape} weights")
        if weighting not in WEIGHTINGS:
            raise ValueError(f"weighting: expected one of {', '.join(WEIGHTINGS)}, got {weighting!a:.80}")
        if grams[0] <= 0 or (np.diff(grams) <= 0).any():
            raise ValueError("grams: expected numbers above 0 in ascending order, each once")
        if not np.isfinite(scale).all():
            raise ValueError("scale: expected finite numbers")
    except UNREADABLE as error:
        raise InputError(
            f"not a readable file of n-grams ({ascii(str(error))[1:-1] or type(error).__name__:.200})"
        ) from None
    return Linear(
        Weighting(weighting, scale.astype(np.float32)), grams.astype(np.int64),
        np.append(weights, saved["bias"]).astype(np.float32),
    )  # fmt: skip


def make_trainer(
    settings: Settings, reviews: Reviews, labels: np.ndarray, state: Mapping[str, np.ndarray] | None
) -> "Trainer":
    """The trainer that ``train.engine`` names.

    Args:
        settings: The model's.
        reviews: Word ids of the training reviews, in the order of ``padding.orders``.
        labels: uint8 [reviews], 0 or 1.
        state: What an earlier trainer's ``state`` gave; ``None`` starts training.

    Raises:
        InputError: Only one label, or no n-gram is left.
    """
    trainer = AdamTrainer if settings.train.engine == "compiled" else LiblinearTrainer
    return trainer(settings, reviews, labels, state)


class Trainer:
    """What both trainers share; a ``training.Trainer``.

    The reviews are taken in the order of the corpus's files, which ``pad`` shuffles as Keras does.
    """

    parallel = False

    def __init__(
        self, settings: Settings, reviews: Reviews, labels: np.ndarray, state: Mapping[str, np.ndarray] | None
    ):
        from sentiment.data import ngrams

        if len(kinds := np.unique(labels)) != 2:
            raise InputError(f"labels: expected both 0 and 1 to train, got only {kinds.tolist()}")
        architecture, self.settings = settings.architecture, settings.train
        rows = np.argsort(orders(len(labels))[0])
        self.labels = labels[rows]
        self.grams, self.counts = ngrams.learn(
            words_of(reviews[rows]), **architecture.model_dump(include={"longest", "min_df", "max_features"})
        )
        self.weighting = Weighting.learn(architecture.weighting, self.counts, self.labels)
        self.features = self.weighting.features(self.counts)
        self.weights = np.zeros(len(self.grams) + 1, np.float32) if state is None else state["weights"]

    @property
    def model(self) -> Linear:
        """The model that training has reached."""
        return Linear(self.weighting, self.grams, self.weights)

    def predict(self, reviews):
        """As ``training.Trainer``."""
        return self.model.predict(reviews)

    def state(self):
        """As ``training.Trainer``."""
        return {"weights": self.weights}

    def save(self) -> bytes:
        """As ``kinds``."""
        return self.model.save()

    def table(self) -> str:
        """As ``kinds``: the number of n-grams of each length."""
        from sentiment.data import ngrams

        lengths = sum((self.grams >> ngrams.BITS * n > 0).astype(int) for n in range(ngrams.LONGEST))
        lines = [f"{f'{n}-grams':12}  {np.count_nonzero(lengths == n):>12,}" for n in range(1, lengths.max() + 1)]
        return "\n".join([*lines, f"Total params: {len(self.weights):,}"]) + "\n"


class LiblinearTrainer(Trainer):
    """LIBLINEAR by scikit-learn, which has no epochs: the first one trains."""

    epochs = 1
    promise = "LIBLINEAR by scikit-learn: the bits are this machine's; elsewhere the last digits may differ"

    def epoch(self, reviews, labels, order, epoch, progress=lambda reviews: None):
        """As ``training.Trainer``.

        Raises:
            InputError: LIBLINEAR does not converge.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.svm import LinearSVC

        from sentiment.training import measure

        c, seed = self.settings.c, self.settings.seed
        if self.settings.loss == "log_loss":
            model = LogisticRegression(solver="liblinear", dual=True, C=c, max_iter=ITERATIONS, random_state=seed)
        else:
            model = LinearSVC(C=c, max_iter=ITERATIONS, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                model.fit(self.features, self.labels)
            except ConvergenceWarning:
                raise InputError(f"train.c = {c}: no convergence in {ITERATIONS} iterations; lower it") from None
        self.weights = np.append(self._interpolated(model.coef_[0]), model.intercept_[0]).astype(np.float32)
        progress(len(self.labels))
        return measure(self.model.score(self.counts), self.labels)

    def _interpolated(self, weights: np.ndarray) -> np.ndarray:
        """Weights moved towards their mean magnitude (S. Wang and C. Manning, Baselines and Bigrams, 2012, 2.3).

        With ``naive-bayes`` features an interpolation of 0 is naive Bayes, 1 the machine, and between is NB-SVM.
        """
        if self.settings.loss == "log_loss":
            return weights
        share = self.settings.interpolation
        return (1 - share) * np.abs(weights).mean() + share * weights


class AdamTrainer(Trainer):
    """Gradient descent without a bias: ``keras.layers.Embedding(grams, 1)`` of zeros, times the features, summed, in a
    sigmoid; binary cross-entropy; ``keras.optimizers.Adam``.

    Every weight moves at every update, as in Keras, and not only those of the batch's n-grams: Adam's means go on.
    """

    def __init__(self, settings, reviews, labels, state):
        from sentiment.engine import promise
        from sentiment.engine.optimizers import Adam
        from sentiment.engine.vectors import whole, zeros

        super().__init__(settings, reviews, labels, state)
        self.promise, self.epochs, self._adam = promise(), self.settings.epochs, Adam()
        self.features.data = self.features.data.astype(np.float32)
        self._vectors = {name: zeros(whole(len(self.grams))) for name in ("weights", *self._adam.slots)}
        for name, vector in self._vectors.items():
            vector[: len(self.grams)] = state[name][: len(self.grams)] if state else 0
        self._gradient = zeros(whole(len(self.grams)))

    def epoch(self, reviews, labels, order, epoch, progress=lambda reviews: None):
        """As ``training.Trainer``."""
        from sentiment.training import measure

        batch = self.settings.batch
        positive, first = np.empty(len(order), np.float32), epoch * -(-len(order) // batch)
        for number, begin in enumerate(range(0, len(order), batch)):
            rows = np.sort(order[begin : begin + batch])
            positive[begin : begin + len(rows)] = self._update(rows, first + number)
            progress(len(rows))
        self.weights = np.append(self._vectors["weights"][: len(self.grams)], np.float32(0))
        rows = [np.sort(order[begin : begin + batch]) for begin in range(0, len(order), batch)]
        return measure(positive, self.labels[np.concatenate(rows)])

    def _update(self, rows: np.ndarray, number: int) -> np.ndarray:
        """Take the training's ``number``-th step from 0, on some reviews; their probabilities before it."""
        from sentiment.engine import linear
        from sentiment.engine.vectors import whole, zeros

        begins, columns, values = self.features.indptr, self.features.indices, self.features.data
        scores = zeros(whole(len(rows)))
        linear.add_scores(begins, columns, values, rows, self._vectors["weights"], scores)
        linear.sigmoids(scores)
        positive = scores[: len(rows)]
        errors = (positive - self.labels[rows].astype(np.float32)) / np.float32(len(rows))
        linear.add_gradient(begins, columns, values, rows, errors, self._gradient)
        self._adam.update(self._vectors["weights"], self._vectors, self._gradient, number, self.settings.learning_rate)
        linear.clear_gradient(begins, columns, rows, self._gradient)
        return positive

    def state(self):
        """As ``training.Trainer``; beside the weights, Adam's means."""
        return {name: self._vectors[name] for name in self._adam.slots} | {"weights": self.weights}
