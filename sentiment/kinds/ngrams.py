"""Linear models of n-grams: the probability of a review is the sigmoid of the sum of the weights of its n-grams.

With more than two labels, there is one such model for each label, trained to separate it from all other labels (one
versus rest). The probabilities are the sigmoids divided by their sum, as in scikit-learn's ``OneVsRestClassifier``.

``engine: compiled`` trains by Adam and has the same bits on every machine. ``engine: scikit-learn`` trains by
LIBLINEAR, whose bits may differ between machines: its C++ code calls exp and log of the C library, and a compiler may
turn a product and a sum into one fused multiply-add.
"""

import io
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from sentiment import InputError
from sentiment.data import ngrams
from sentiment.data.archives import UNREADABLE, members, pack_members, reason
from sentiment.data.padding import Reviews, orders, words_of
from sentiment.schema import Batch, Epochs, ModelSettings, Rate, Section, Seed
from sentiment.training import measure, predicted_labels

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FILE = "model.npz"
PARALLEL = False
"""False: several processes cannot share the training; see ``stages.common.launcher``."""

ITERATIONS = 1000
"""Maximum number of LIBLINEAR's iterations."""

BLOCK = 4096
"""Number of reviews whose n-grams are counted at once; more would need more memory and be faster."""

FIELDS = {
    "grams": "i8", "scale": "f4", "weights": "f4", "weighting": "U", "bias": "f4", "bits": "i8", "ending": "i8"
}  # fmt: skip
"""Arrays of the model file, and the beginning of NumPy's name of the type of each, after the byte order."""

OPTIONAL = {"bits": ngrams.BITS, "ending": 0}
"""Values of the arrays that the model file may lack."""

ENDING = np.float32(0.5)
"""Factor of the features of n-grams within the last words; chosen on folds (``experiments/README.md``)."""

WEIGHTINGS = ("counts", "presence", "tfidf", "naive-bayes")


Strength = Annotated[float, Field(gt=0, le=10**6)]


class Architecture(Section):
    """Parameters that select the n-grams, and that turn counts into features; see ``Weighting``."""

    kind: Literal["ngrams"]
    longest: Annotated[int, Field(ge=1, le=ngrams.MAX_N)]
    min_df: Annotated[int, Field(ge=1, le=10**6)]
    max_features: Annotated[int, Field(ge=1, le=10**8)]
    weighting: Literal[WEIGHTINGS]
    ending: Annotated[int, Field(ge=0, le=10**4)] = 0


class Descent(Section):
    """Adam on the binary cross-entropy."""

    epochs: Epochs
    batch: Batch
    learning_rate: Rate


class Compiled(Descent):
    """``Descent`` by the kernels in ``sentiment.engine``."""

    engine: Literal["compiled"]
    seed: Seed


class Logistic(Section):
    """Logistic regression by LIBLINEAR."""

    engine: Literal["scikit-learn"]
    loss: Literal["log_loss"]
    c: Strength
    seed: Seed


class Svm(Section):
    """A linear support vector machine by LIBLINEAR, with interpolated weights; see ``fit_liblinear``."""

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

    ``counts`` are the counts. ``presence`` is 1 for any count above 0. ``tfidf`` is the count times the n-gram's
    ``scale``, and each review's features are divided by their Euclidean norm. ``naive-bayes`` is presence times
    ``scale``.
    """

    name: str
    scale: np.ndarray  # float32 [grams]

    @classmethod
    def learn(cls, name: str, counts: "csr_matrix", labels: np.ndarray) -> "Weighting":
        """Compute the scales from the training reviews: counts, int32 [reviews, grams], and labels, uint8 [reviews]."""
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
    """A trained model of two labels; a ``kinds.Model``.

    Args:
        weighting: The features.
        grams: int64 [grams], ascending; see ``data.ngrams``.
        weights: float32 [grams + 1]: a weight for each n-gram, and the bias.
        bits: Number of bits of a word in an n-gram.
        ending: Number of last words of a review whose n-grams are counted a second time.
    """

    parallel = False
    unit, labels = "log-odds", 2

    def __init__(
        self, weighting: Weighting, grams: np.ndarray, weights: np.ndarray, bits: int = ngrams.BITS, ending: int = 0
    ):
        from sentiment.engine import promise

        self.weighting, self.grams, self.weights, self.bits, self.ending = weighting, grams, weights, bits, ending
        self.promise = f"{len(grams):,} n-grams; {promise()}"

    def predict(self, reviews: Reviews, *, batch: int = BLOCK, progress=lambda reviews: None) -> np.ndarray:
        """As ``kinds.Model``.

        The probability of an SVM is the sigmoid of its margin. It can be ranked and compared with 0.5, but it is not
        calibrated.
        """
        positive = []
        for begin in range(0, max(len(reviews), 1), batch):
            block = reviews[begin : begin + batch]
            positive.append(self.score(self.count(block)))
            progress(len(block))
        return np.concatenate(positive)

    def count(self, reviews: Reviews) -> "csr_matrix":
        """The counts of the n-grams in reviews: int32 [reviews, grams]."""
        return ngrams.count(words_of(reviews), self.grams, self.bits, self.ending)

    def score(self, counts: "csr_matrix") -> np.ndarray:
        """The probability of label 1 of each review, float32 [reviews], from counts, int32 [reviews, grams]."""
        return probabilities(self.logits(counts))

    def logits(self, counts: "csr_matrix") -> np.ndarray:
        """The log-odds of label 1 of each review, float64 [reviews], from counts, int32 [reviews, grams]."""
        from sentiment.engine.linear import sums

        parts = self.weighting.features(counts).data * self.weights[counts.indices]
        return sums(counts.indptr, parts) + float(self.weights[-1])

    def explain(self, reviews: Reviews, *, batch: int, count: int) -> tuple[np.ndarray, list]:
        """As ``kinds.Model``; an effect is weight times feature. The effects and the bias add up to the logit."""
        positive = self.predict(reviews, batch=batch)
        return positive, self.effects(reviews, positive)

    def effects(self, reviews: Reviews, positive: np.ndarray) -> list:
        """The effects that ``explain`` returns; ``positive`` are the predictions."""
        features = self.weighting.features(self.count(reviews))
        parts = features.data * self.weights[features.indices]
        effects: list[dict[tuple[int, ...], float]] = [{} for _ in range(len(reviews))]
        rows = np.repeat(np.arange(len(reviews)), np.diff(features.indptr))
        for row, column, part in zip(rows.tolist(), features.indices.tolist(), parts.tolist(), strict=True):
            words = ngrams.words(self.grams[column], self.bits)
            effects[row][words] = effects[row].get(words, 0.0) + part  # a second term if it is in the ending
        return [[*pairs.items()] for pairs in effects]

    def save(self) -> bytes:
        """The model file, which ``numpy.load`` reads; its bytes are a function of the model alone."""
        return _pack(self, self.weighting.scale, self.weights[:-1], self.weights[-1])


class OneVersusRest(Linear):
    """A trained model of more than two labels; a ``kinds.Model``.

    Args:
        models: The model of each label, all with the same n-grams.
    """

    def __init__(self, models: list[Linear]):
        super().__init__(
            models[0].weighting, models[0].grams, np.concatenate([model.weights for model in models]),
            models[0].bits, models[0].ending,
        )  # fmt: skip
        self.models, self.labels = models, len(models)

    def score(self, counts: "csr_matrix") -> np.ndarray:
        """The probability of each label of each review, float32 [reviews, labels]."""
        return normalised([model.score(counts) for model in self.models])

    def effects(self, reviews: Reviews, positive: np.ndarray) -> list:
        """As ``Linear``; the effects are those of the predicted label's model."""
        labels = predicted_labels(positive)
        effects: list = [[] for _ in labels]
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            for row, pairs in zip(rows, self.models[label].effects(reviews[rows], positive[rows]), strict=True):
                effects[row] = pairs
        return effects

    def save(self) -> bytes:
        """As ``Linear``; for each label, the weights and bias, and the scales if they differ between labels."""
        weights = np.stack([model.weights for model in self.models])
        scales = [model.weighting.scale for model in self.models]
        scale = scales[0] if all(scale is scales[0] for scale in scales) else np.stack(scales)
        return _pack(self, scale, weights[:, :-1], weights[:, -1])


def probabilities(logits: np.ndarray) -> np.ndarray:
    """The sigmoids, float32 [reviews], of logits, float64 [reviews], after rounding the logits to float32."""
    from sentiment.engine.linear import sigmoids
    from sentiment.engine.vectors import whole, zeros

    positive = zeros(whole(len(logits)))
    positive[: len(logits)] = logits
    sigmoids(positive)
    return positive[: len(logits)]


def normalised(scores: list[np.ndarray]) -> np.ndarray:
    """Scores of each label, float32 [reviews] above 0, divided by their sum: float32 [reviews, labels].

    The order of the sums is part of the contract.

    >>> normalised([np.array([0.5], "f4"), np.array([0.25], "f4"), np.array([0.25], "f4")]).tolist()
    [[0.5, 0.25, 0.25]]
    """
    total = scores[0].copy()
    for score in scores[1:]:
        total += score
    return np.stack([score / total for score in scores], axis=1)


def _pack(model: Linear, scale: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> bytes:
    """The model file."""
    arrays = {"weighting": np.array(model.weighting.name), "bias": np.asarray(bias)}
    arrays |= {"grams": model.grams, "scale": scale, "weights": weights}
    optional = {name: getattr(model, name) for name in OPTIONAL}
    arrays |= {name: np.array(value) for name, value in optional.items() if value != OPTIONAL[name]}
    files = {name: io.BytesIO() for name in arrays}
    for name, array in arrays.items():
        np.lib.format.write_array(files[name], array, allow_pickle=False)
    return pack_members({f"{name}.npy": file.getvalue() for name, file in files.items()})


def open_model(content: bytes, expected: str) -> Linear:
    """The model in the bytes of a model file. The digest ``expected`` is not checked here; see ``kinds``.

    Raises:
        InputError: The bytes are not a model file.
    """
    try:
        files = members(content)
        saved = {
            name: np.lib.format.read_array(io.BytesIO(files[f"{name}.npy"]), allow_pickle=False)
            for name in FIELDS if f"{name}.npy" in files or name not in OPTIONAL
        }  # fmt: skip
        for name, array in saved.items():
            if not array.dtype.str[1:].startswith(FIELDS[name]) or array.dtype.itemsize > 512:
                raise ValueError(f"{name}: got {array.dtype}")
        grams, scale, weights, bias = (saved[name] for name in ("grams", "scale", "weights", "bias"))
        weighting = str(saved["weighting"])
        bits, ending = (int(saved.get(name, default)) for name, default in OPTIONAL.items())
        if (
            grams.shape != (len(grams),) or not len(grams) or bias.ndim > 1 or (bias.shape and len(bias) < 3)
            or weights.shape != (*bias.shape, *grams.shape) or scale.shape not in (grams.shape, weights.shape)
        ):  # fmt: skip
            raise ValueError(
                f"{grams.shape} n-grams, {scale.shape} scales, {weights.shape} weights, {bias.shape} biases"
            )
        if bits not in {ngrams.bits_for(longest, ending) for longest in range(1, ngrams.MAX_N + 1)}:
            raise ValueError(f"bits: got {bits}")
        if ending < 0:
            raise ValueError(f"ending: got {ending}")
        if weighting not in WEIGHTINGS:
            raise ValueError(f"weighting: expected one of {', '.join(WEIGHTINGS)}, got {weighting!a:.80}")
        if grams[0] <= 0 or (np.diff(grams) <= 0).any():
            raise ValueError("grams: expected numbers above 0 in ascending order, each once")
        if not np.isfinite(scale).all():
            raise ValueError("scale: expected finite numbers")
    except UNREADABLE as error:
        raise InputError(f"not a readable file of n-grams ({reason(error)})") from None
    grams, scale, weights, bias = grams.astype(np.int64), *(a.astype(np.float32) for a in (scale, weights, bias))
    if not bias.shape:
        return Linear(Weighting(weighting, scale), grams, np.append(weights, bias), bits, ending)
    weightings = [Weighting(weighting, each) for each in (scale if scale.ndim == 2 else [scale] * len(bias))]
    rows = zip(weightings, weights, bias, strict=True)
    return OneVersusRest([Linear(each, grams, np.append(row, last), bits, ending) for each, row, last in rows])


def make_trainer(
    settings: Settings, reviews: Reviews, labels: np.ndarray, state: Mapping[str, np.ndarray] | None
) -> "Trainer":
    """The trainer that ``train.engine`` names.

    Args:
        settings: Settings of the model.
        reviews: Word ids of the training reviews, in the order of ``padding.orders``.
        labels: Unsigned int [reviews], from 0, each label at least once.
        state: Result of an earlier trainer's ``state``; ``None`` starts training.

    Raises:
        InputError: There is only one label, or no n-gram is frequent enough.
    """
    trainer = AdamTrainer if settings.train.engine == "compiled" else LiblinearTrainer
    return trainer(settings, reviews, labels, state)


class Trainer:
    """Base class of both trainers; a ``training.Trainer``.

    The stage ``pad`` has shuffled the reviews as Keras does. The trainer restores the order of the raw file. With two
    labels it trains one model, for label 1; with more, it trains one model for each label.
    """

    parallel = False

    def __init__(
        self, settings: Settings, reviews: Reviews, labels: np.ndarray, state: Mapping[str, np.ndarray] | None
    ):
        different = np.unique(labels).tolist()
        if len(different) < 2 or different != [*range(len(different))]:
            expected = "both 0 and 1" if len(different) < 2 else f"each from 0 to {different[-1]}"
            raise InputError(f"labels: expected {expected} to train, got only {different}")
        architecture, self.settings = settings.architecture, settings.train
        self.ending = architecture.ending
        self.bits = ngrams.bits_for(architecture.longest, self.ending)
        rows = np.argsort(orders(len(labels))[0])
        self.labels = labels[rows]
        self.grams, self.counts = ngrams.learn(
            words_of(reviews[rows]), **architecture.model_dump(include={"longest", "min_df", "max_features", "ending"})
        )
        several = len(different) > 2
        self.targets = [(self.labels == label).astype(np.uint8) for label in different] if several else [self.labels]
        if architecture.weighting == "naive-bayes":
            self.weightings = [self._weighting("naive-bayes", target) for target in self.targets]
        else:
            self.weightings = [self._weighting(architecture.weighting, self.labels)] * len(self.targets)
        shape = (len(self.targets), len(self.grams) + 1)
        self._rows = np.zeros(shape, np.float32) if state is None else state["weights"].reshape(shape).copy()

    def _weighting(self, name: str, labels: np.ndarray) -> Weighting:
        weighting = Weighting.learn(name, self.counts, labels)
        if self.ending:
            weighting.scale[self.grams & ngrams.MARK > 0] *= ENDING
        return weighting

    def features(self, task: int) -> "csr_matrix":
        """The features of all reviews in the model of a label."""
        if self._features is None or self._features[0] is not self.weightings[task]:
            self._features = self.weightings[task], self.weightings[task].features(self.counts)
        return self._features[1]

    _features: "tuple[Weighting, csr_matrix] | None" = None

    @property
    def weights(self) -> np.ndarray:
        """Flat float32 [models * (grams + 1)]: a weight for each n-gram and a bias for each model."""
        return self._rows.ravel().copy()

    @property
    def model(self) -> Linear:
        """The model with the current weights."""
        models = [
            Linear(weighting, self.grams, weights, self.bits, self.ending)
            for weighting, weights in zip(self.weightings, self._rows.copy(), strict=True)
        ]
        return OneVersusRest(models) if len(models) > 1 else models[0]

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
        ids = [self.grams >> self.bits * n & (1 << self.bits) - 1 for n in range(63 // self.bits)]
        lengths, last = np.count_nonzero(ids, axis=0), self.grams & (ngrams.MARK if self.ending else 0) > 0
        numbers = {}
        for where, chosen in {"": ~last, f" of the last {self.ending} words": last}.items():
            found = np.bincount(lengths[chosen]).tolist()[1:]
            numbers |= {f"{n}-grams{where}": number for n, number in enumerate(found, 1)}
        width = max(12, *map(len, numbers))
        lines = [f"{name:{width}}  {number:>12,}" for name, number in numbers.items()]
        return "\n".join([*lines, f"Total params: {self.weights.size:,}"]) + "\n"


class LiblinearTrainer(Trainer):
    """LIBLINEAR by scikit-learn. It has no epochs, so the whole training is one epoch."""

    epochs = 1
    promise = "LIBLINEAR by scikit-learn: the same bits on this machine only; elsewhere the last digits may differ"

    def epoch(self, reviews, labels, order, epoch, progress=lambda reviews: None):
        """As ``training.Trainer``.

        Raises:
            InputError: LIBLINEAR does not converge.
        """
        for task, target in enumerate(self.targets):
            self._rows[task] = fit_liblinear(self.settings, self.features(task), target)
        progress(len(self.labels))
        return measure(self.model.score(self.counts), self.labels)


def fit_liblinear(train: Logistic | Svm, features: "csr_matrix", labels: np.ndarray) -> np.ndarray:
    """The weights and the bias by LIBLINEAR: float32 [grams + 1].

    Raises:
        InputError: LIBLINEAR does not converge.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    c, seed = train.c, train.seed
    if train.loss == "log_loss":
        model = LogisticRegression(solver="liblinear", dual=True, C=c, max_iter=ITERATIONS, random_state=seed)
    else:
        model = LinearSVC(C=c, max_iter=ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(features, labels)
        except ConvergenceWarning:
            raise InputError(f"train.c = {c}: no convergence in {ITERATIONS} iterations; lower it") from None
    weights = model.coef_[0]
    if train.loss == "squared_hinge":
        # Interpolation between the mean magnitude of the weights and the weights (S. Wang and C. Manning, Baselines and
        # Bigrams, 2012, 2.3). With `naive-bayes` features, 0 is naive Bayes, 1 is the SVM, and values between are
        # NB-SVM.
        weights = (1 - train.interpolation) * np.abs(weights).mean() + train.interpolation * weights
    return np.append(weights, model.intercept_[0]).astype(np.float32)


class AdamTrainer(Trainer):
    """Gradient descent by Adam on the binary cross-entropy, from weights of zero and without a bias.

    In Keras, it would be ``keras.layers.Embedding(grams, 1)`` times the features, summed, and a sigmoid, trained by
    ``keras.optimizers.Adam``. As in Keras, every update changes every weight, and not only those of the batch's
    n-grams, because Adam's running means change at every update.
    """

    def __init__(self, settings, reviews, labels, state):
        from sentiment.engine import promise
        from sentiment.engine.optimizers import Adam
        from sentiment.engine.vectors import whole, zeros

        super().__init__(settings, reviews, labels, state)
        self.promise, self.epochs, self._adam = promise(), self.settings.epochs, Adam()
        size = len(self.grams)
        self._vectors = [
            {name: zeros(whole(size)) for name in ("weights", *self._adam.slots)} for _ in range(len(self.targets))
        ]
        for task, vectors in enumerate(self._vectors):
            vectors["weights"][:size] = self._rows[task, :size]
            for name in self._adam.slots if state else ():
                vectors[name][:size] = state[name].reshape(len(self.targets), -1)[task, :size]
        self._gradient = zeros(whole(size))

    def epoch(self, reviews, labels, order, epoch, progress=lambda reviews: None):
        """As ``training.Trainer``."""
        batch, size = self.settings.batch, len(self.grams)
        batches = [np.sort(order[begin : begin + batch]) for begin in range(0, len(order), batch)]
        scores = []
        for task, vectors in enumerate(self._vectors):
            features = self.features(task)
            features.data = features.data.astype(np.float32)
            predicted = []
            for number, rows in enumerate(batches, epoch * len(batches)):
                predicted.append(self._update(features, self.targets[task], vectors, rows, number))
                if task == 0:
                    progress(len(rows))
            scores.append(np.concatenate(predicted))
            self._rows[task] = np.append(vectors["weights"][:size], np.float32(0))
        return measure(normalised(scores) if len(scores) > 1 else scores[0], self.labels[np.concatenate(batches)])

    def _update(self, features, labels, vectors, rows: np.ndarray, number: int) -> np.ndarray:
        """Update the weights with a batch, and return its probabilities before the update.

        ``number`` is the number of earlier updates.
        """
        from sentiment.engine import linear
        from sentiment.engine.vectors import whole, zeros

        begins, columns, values = features.indptr, features.indices, features.data
        scores = zeros(whole(len(rows)))
        linear.add_scores(begins, columns, values, rows, vectors["weights"], scores)
        linear.sigmoids(scores)
        positive = scores[: len(rows)]
        errors = (positive - labels[rows].astype(np.float32)) / np.float32(len(rows))
        linear.add_gradient(begins, columns, values, rows, errors, self._gradient)
        self._adam.update(vectors["weights"], vectors, self._gradient, number, self.settings.learning_rate)
        linear.clear_gradient(begins, columns, rows, self._gradient)
        return positive

    def state(self):
        """As ``training.Trainer``: the weights and Adam's running means."""
        slots = {name: np.concatenate([vectors[name] for vectors in self._vectors]) for name in self._adam.slots}
        return slots | super().state()
