"""Code that all kinds of Keras networks share: their schema of ``train``, their trainers, and prediction.

The file of a kind adds ``Architecture`` and ``build(pad, architecture, keras, labels)``, which returns a
``keras.Model``. Its inputs are word ids, int32 [reviews, max_length], and its outputs are probabilities, float32
[reviews, 1], or [reviews, labels] for more than two labels. ``keras`` is Keras, or ``sentiment.keras.plain`` for the
compiled trainer, which describes the same network without Keras.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator

from sentiment import InputError
from sentiment.data.archives import UNREADABLE, reason
from sentiment.data.padding import UNKNOWN
from sentiment.keras import archive, plain
from sentiment.schema import Batch, Epochs, ModelSettings, Pad, Rate, Section, Seed
from sentiment.training import digest, split

if TYPE_CHECKING:
    from sentiment.engine.trainer import CompiledPredictor, CompiledTrainer
    from sentiment.keras.trainer import KerasTrainer

FILE = "model.keras"
PARALLEL = True

TOGETHER = 4096
"""Maximum number of changed reviews in memory at once; more would need more memory and be faster."""

MORE = 8
"""Number of further words whose effects above 0 and below 0 are computed exactly; see `docs/performance.md`."""


class NetworkPad(Pad):
    """``Pad`` of a network, which needs reviews of one length and a limited vocabulary."""

    max_length: Annotated[int, Field(ge=1, le=10_000)]
    vocabulary: Annotated[int, Field(ge=4, le=10**6)]


class Descent(Section):
    """Parameters of the optimizer of a network."""

    optimizer: Literal["adam", "sgd"]
    epochs: Epochs
    batch: Batch
    shards: Annotated[int, Field(ge=1, le=1024)]
    learning_rate: Rate
    schedule: Literal["constant", "linear"]
    beta_2: Annotated[float, Field(gt=0, le=0.9999)]
    word_dropout: Annotated[float, Field(ge=0, le=0.99)]

    @model_validator(mode="after")
    def _shards_fit_the_batch(self):
        if self.shards > self.batch:
            raise ValueError(f"shards = {self.shards} must not exceed batch = {self.batch}, or some would be empty")
        return self


class Train(Descent):
    """Parameters of the training of a network."""

    engine: Literal["compiled", "keras"]
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    seed: Seed


Build = Callable[..., Any]
"""``build`` of a kind of model."""

Architecture = TypeVar("Architecture")


class NetworkSettings(ModelSettings[Architecture, Train]):
    """Settings of a Keras network."""

    pad: NetworkPad


def output(keras: ModuleType, labels: int) -> Any:
    """The last layer. Its output is the probability of label 1, or with more than two labels, of each label."""
    if labels == 2:
        return keras.layers.Dense(1, activation="sigmoid", name="positive")
    return keras.layers.Dense(labels, activation="softmax", name="labels")


def make_trainer(
    build: Build,
    settings: NetworkSettings,
    reviews: np.ndarray,
    labels: np.ndarray,
    state: Mapping[str, np.ndarray] | None,
) -> "CompiledSaving | KerasSaving":
    """The trainer that ``train.engine`` names.

    Args:
        build: Makes the network from ``settings.pad`` and ``settings.architecture``.
        settings: Settings of the model.
        reviews: Unsigned int [reviews, max_length].
        labels: Unsigned int [reviews], from 0, each label at least once.
        state: Result of an earlier trainer's ``state``; ``None`` starts training.

    Raises:
        InputError: The compiled trainer has no block for a layer.
    """
    train, different = settings.train, max(2, int(labels.max()) + 1)
    options = train.model_dump(include={"batch", "optimizer", "learning_rate", "word_dropout", "seed"})
    if train.optimizer == "adam":
        options["beta_2"] = train.beta_2
    if train.schedule == "linear":
        options["decay"] = train.epochs * -(-split(len(reviews), train.validation_fraction)[0] // train.batch)
    if train.engine == "keras":
        from sentiment.keras.backend import keras
        from sentiment.keras.trainer import KerasTrainer

        make = partial(build, settings.pad, settings.architecture, keras, different)
        return KerasSaving(KerasTrainer(make, state, **options), make, train.epochs)
    from sentiment.engine.trainer import CompiledTrainer

    network = build(settings.pad, settings.architecture, plain, different)
    trainer = CompiledTrainer(network.layers, state, shards=train.shards, **options)
    return CompiledSaving(trainer, network, train.epochs)


def check_blocks(build: Build, settings: NetworkSettings) -> None:
    """Check that the compiled trainer has blocks for a network.

    Raises:
        InputError: It has no block for a layer; the message names the layer.
    """
    from sentiment.engine.network import Network

    Network(build(settings.pad, settings.architecture, plain).layers)


class _Saving:
    """A trainer of a network that saves it as a ``.keras`` file; see ``kinds``.

    Args:
        trainer: ``CompiledTrainer`` or ``KerasTrainer``.
        epochs: Number of epochs to train.
    """

    def __init__(self, trainer: "CompiledTrainer | KerasTrainer", epochs: int):
        self.epochs = epochs
        self.promise, self.parallel = trainer.promise, trainer.parallel
        self.epoch, self.predict, self.state = trainer.epoch, trainer.predict, trainer.state


class CompiledSaving(_Saving):
    """A compiled trainer. ``network`` is the ``plain.Sequential`` that it trains."""

    def __init__(self, trainer: "CompiledTrainer", network: plain.Sequential, epochs: int):
        super().__init__(trainer, epochs)
        self._network = network

    def save(self) -> bytes:
        """The ``.keras`` file."""
        return archive.write(self._network, self.state()["weights"])

    def table(self) -> str:
        """The layers, their output shapes and numbers of parameters."""
        return archive.table(self._network.rows())


class KerasSaving(_Saving):
    """A trainer by Keras's ``fit``. ``make`` makes a new network of the same layers, without the optimizer."""

    def __init__(self, trainer: "KerasTrainer", make: Callable[[], Any], epochs: int):
        super().__init__(trainer, epochs)
        self._make = make

    def _network(self) -> Any:
        from sentiment.keras import backend

        network = self._make()
        backend.set_weights(network, self.state()["weights"])
        return network

    def save(self) -> bytes:
        """The ``.keras`` file."""
        return archive.pack(self._network())

    def table(self) -> str:
        """The layers, their output shapes and numbers of parameters."""
        from sentiment.keras import backend

        return archive.table(backend.rows(self._network()))


def open_model(content: bytes, expected: str) -> "CompiledModel | KerasModel":
    """The network in a ``.keras`` file. If a compiled block is missing for one of its layers, Keras predicts.

    Args:
        content: Bytes of the file.
        expected: Digest of the weights.

    Raises:
        InputError: It is not a ``.keras`` file.
    """
    from sentiment.engine.network import Network

    try:
        layers, weights = archive.read(content)
        if Network(layers).parameters == len(weights) and digest(weights) == expected:
            return CompiledModel(layers, weights)
    except UNREADABLE:  # Keras opens the network, or raises its own error
        pass
    return KerasModel(content)


def occlusion(
    predict: Callable[..., np.ndarray],
    reviews: np.ndarray,
    positive: np.ndarray,
    batch: int,
    words: Sequence[np.ndarray] | None = None,
) -> list[list[tuple[tuple[int], float]]]:
    """The effect of each word of each review: the probability less that of the review without the word.

    Every occurrence of the word is made unknown (M. Zeiler and R. Fergus, 2014; for words, J. Li, W. Monroe and D.
    Jurafsky, 2016). All occurrences are removed together, because with one of them left, the review would still have
    the word. Each word needs one prediction.

    Args:
        predict: Function from reviews to the values of ``positive``.
        reviews: Word ids.
        positive: The probability of label 1 of each review. With more than two labels, the probabilities of all; the
            effects are on the probability of the predicted label.
        batch: Maximum number of reviews predicted at once.
        words: Ids of the words of each review whose effects are computed, ascending; by default ``known_words``.
    """
    words = known_words(reviews) if words is None else words
    ids, counts = np.concatenate([np.empty(0, reviews.dtype), *words]), [*map(len, words)]
    rows, effects = np.repeat(np.arange(len(reviews)), counts), np.empty(len(ids), positive.dtype)
    for begin in range(0, len(ids), TOGETHER):
        part = slice(begin, begin + TOGETHER)
        without, chosen = reviews[rows[part]], ids[part, None]
        there = without == chosen
        without[there] = UNKNOWN
        # In this order neighbours are alike the longest, and what is alike is computed once: ``engine.blocks.lstm``.
        order = np.lexsort((there.argmax(axis=1), rows[part]))
        before, after = positive[rows[part]], np.empty_like(positive, shape=(len(order), *positive.shape[1:]))
        after[order] = predict(without[order], batch=batch)
        if positive.ndim == 2:
            labels = before.argmax(axis=1)[:, None]
            before, after = (np.take_along_axis(each, labels, 1)[:, 0] for each in (before, after))
        effects[part] = before - after
    pairs = iter(zip(zip(ids.tolist()), effects.tolist(), strict=True))
    return [[*islice(pairs, count)] for count in counts]


def known_words(reviews: np.ndarray) -> list[np.ndarray]:
    """Ids of the different words of each review that are in the vocabulary, ascending.

    >>> [ids.tolist() for ids in known_words(np.array([[0, 1, 9, 2, 4, 9], [0, 0, 0, 0, 1, 2]]))]
    [[4, 9], []]
    """
    ordered = np.sort(reviews, axis=1)
    new = ordered > UNKNOWN
    new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    return np.split(ordered[new], np.cumsum(new.sum(axis=1)))[:-1]


def likely(words: np.ndarray, estimates: np.ndarray, count: int) -> np.ndarray:
    """The words that are likely to have the ``count`` largest effects above 0 and below 0, ascending.

    Args:
        words: Ids of a review's words, int [n], ascending.
        estimates: Estimated effect of each word, float [n].
        count: Number of effects above 0, and number of effects below 0.

    >>> likely(np.arange(30), np.linspace(-1, 1, 30), 2).tolist() == [*range(10), *range(20, 30)]
    True
    """
    order = np.argsort(estimates, kind="stable")
    return np.sort(words[np.union1d(order[: count + MORE], order[max(0, len(order) - count - MORE) :])])


class CompiledModel:
    """A network whose predictions the compiled blocks compute; a ``kinds.Model``."""

    unit, parallel = "probability", True

    def __init__(self, layers: list[dict], weights: np.ndarray):
        from sentiment.engine import promise

        self.layers, self.weights, self.promise = layers, weights, promise()
        self.labels = max(2, layers[-1]["config"]["units"])
        self._predictors: dict[bool, CompiledPredictor] = {}

    def _predictor(self, batch: int, explains: bool) -> "CompiledPredictor":
        from sentiment.engine.trainer import CompiledPredictor

        if explains not in self._predictors:
            self._predictors[explains] = CompiledPredictor(self.layers, self.weights, batch=batch, explains=explains)
        return self._predictors[explains]

    def estimates(self, reviews, *, batch: int) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """The result of ``predict``, and the words of each review with their estimated effects.

        See ``engine.trainer.CompiledPredictor.explain``.
        """
        return self._predictor(batch, explains=True).explain(reviews)

    def predict(self, reviews, *, batch: int, progress=lambda reviews: None) -> np.ndarray:
        """As ``kinds.Model``."""
        return self._predictor(batch, explains=False).predict(reviews, progress)

    def explain(self, reviews, *, batch: int, count: int) -> tuple[np.ndarray, list]:
        """As ``kinds.Model``, by ``occlusion`` of the words whose estimated effects are the largest."""
        positive, words = self.predict(reviews, batch=batch), known_words(reviews)
        many = [at for at, ids in enumerate(words) if len(ids) > 2 * (count + MORE)]
        if count >= 0 and many:  # of fewer words, all are likely
            _, estimates = self.estimates(reviews[many], batch=batch)
            for at, each in zip(many, estimates, strict=True):
                words[at] = likely(*each, count)
        return positive, occlusion(self.predict, reviews, positive, batch, words)


class KerasModel:
    """A network whose predictions Keras computes; a ``kinds.Model``."""

    unit, parallel = "probability", False

    def __init__(self, content: bytes):
        from sentiment.keras import backend, trainer

        backend.use_no_gpu()
        self.model = archive.unpack(content)
        self.weights, self.promise = backend.get_weights(self.model), trainer.promise()
        self.labels = max(2, self.model.output_shape[-1])

    def predict(self, reviews, *, batch: int, progress=lambda reviews: None) -> np.ndarray:
        """As ``kinds.Model``."""
        from sentiment.keras import trainer
        from sentiment.keras.backend import tf

        try:
            return trainer.predict(self.model, reviews, batch=batch, progress=progress)
        except tf.errors.OpError as error:
            raise InputError(f"the network cannot read the ids ({reason(error)})") from None

    def explain(self, reviews, *, batch: int, count: int) -> tuple[np.ndarray, list]:
        """As ``kinds.Model``, by ``occlusion`` of all words, for any ``count``."""
        positive = self.predict(reviews, batch=batch)
        return positive, occlusion(self.predict, reviews, positive, batch)
