"""Wide and deep: n-grams and a CNN-LSTM on the same reviews, whose logits are added (H.-T. Cheng et al., 2016).

The two parts are trained independently, each as if it were the whole model. The log-odds of a review are

    w + weight * (log(p) - log(1 - p))

in float64, each operation rounded once. w is the logit of the n-grams. p is the probability of the network, clipped to
``CLIP`` and 1 - ``CLIP``, at which float32 still distinguishes it from 0 and 1. The sum is rounded to float32, and its
sigmoid is the probability of the review.
"""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from sentiment import InputError, network
from sentiment.data.archives import UNREADABLE, members, pack_members, reason
from sentiment.data.padding import Ragged, pad_whole
from sentiment.keras import archive
from sentiment.kinds import cnn_lstm
from sentiment.kinds import ngrams as linear
from sentiment.schema import ModelSettings, Section, Seed

FILE = "model.zip"
PARALLEL = True

WIDE, DEEP, SUM = "wide.npz", "deep.keras", "sum.json"
"""Members of the model file."""

CLIP = 0.001

BATCH = 512
"""Maximum number of reviews predicted at once."""


class Deep(cnn_lstm.Architecture, network.NetworkPad):
    """Architecture of the CNN-LSTM, with the length and vocabulary of its reviews."""


class Architecture(Section):
    """Architecture of the two parts, and the weight of the network's logit; the n-grams' logit has the weight 1."""

    kind: Literal["wide_deep"]
    weight: Annotated[float, Field(gt=0, le=1000)]
    wide: linear.Architecture
    deep: Deep


class Train(Section):
    """Parameters of the training of each part."""

    engine: Literal["compiled"]
    seed: Seed
    wide: linear.Descent
    deep: network.Descent


class Settings(ModelSettings[Architecture, Train]):
    """Settings of both parts."""

    @model_validator(mode="after")
    def _reviews_are_whole(self):
        if self.pad.max_length or self.pad.vocabulary:
            raise ValueError(
                "pad.max_length and pad.vocabulary must be empty, as n-grams read whole reviews; those of the network"
                " are architecture.deep.max_length and architecture.deep.vocabulary"
            )
        return self

    @model_validator(mode="after")
    def _the_network_can_be_trained(self):
        try:
            self.parts()
        except ValidationError as error:
            faults = [fault["msg"].removeprefix("Value error, ") for fault in error.errors()]
            raise ValueError(f"of the network: {'; '.join(faults)}") from None
        return self

    def parts(self) -> tuple[linear.Settings, cnn_lstm.Settings]:
        """The settings of each part as a separate model."""
        wide, deep, shared = self.architecture.wide, self.architecture.deep, {"engine": "compiled"}
        shared["seed"] = self.train.seed
        wide_train = linear.Compiled(**self.train.wide.model_dump(), **shared)
        deep_train = network.Train(**self.train.deep.model_dump(), **shared, validation_fraction=0.0)
        return (
            linear.Settings(pad=self.pad, architecture=wide, train=wide_train),
            cnn_lstm.Settings(pad=deep, architecture=deep, train=deep_train),
        )


class Sum(network.NetworkPad):
    """Content of ``SUM``: the weight of the network's logit, and the length and vocabulary of its reviews."""

    weight: Annotated[float, Field(gt=0, le=1000)]


def log_odds(positive: np.ndarray) -> np.ndarray:
    """The log-odds of probabilities, float32 [reviews], clipped by ``CLIP``: float64 [reviews].

    >>> log_odds(np.array([0.5, 1.0], np.float32)).round(3).tolist()
    [0.0, 6.907]
    """
    from sentiment.engine.functions import log

    clipped = np.clip(positive.astype(np.float64), CLIP, 1 - CLIP)
    return log(clipped) - log(1 - clipped)


class WideDeep:
    """A trained model; a ``kinds.Model``.

    Args:
        wide: The n-grams.
        deep: The network.
        added: The weight of the network's logit, and the padding of its reviews.
    """

    parallel = True
    unit, labels = "log-odds", 2

    def __init__(self, wide: linear.Linear, deep: network.CompiledModel, added: Sum):
        self.wide, self.deep, self.added, self.weight = wide, deep, added, np.float32(added.weight)
        self.weights = joined(wide.weights, deep.weights, self.weight)
        self.promise = f"n-grams and a network; {deep.promise}"

    def predict(self, reviews: Ragged, *, batch: int, progress=lambda reviews: None) -> np.ndarray:
        """As ``kinds.Model``; see the module for the formula."""
        positive = []
        for begin in range(0, max(len(reviews), 1), batch):
            block = reviews[begin : begin + batch]
            logits = self.wide.logits(self.wide.count(block)) + self.deep_part(self.pad(block), batch=batch)
            positive.append(linear.probabilities(logits))
            progress(len(block))
        return np.concatenate(positive)

    def pad(self, reviews: Ragged) -> np.ndarray:
        """Padded reviews for the network, [reviews, max_length]."""
        return pad_whole(reviews, self.added.max_length, self.added.vocabulary)

    def deep_part(self, rows: np.ndarray, *, batch: int) -> np.ndarray:
        """The network's term of the log-odds of padded reviews: float64 [reviews]."""
        return np.float64(self.weight) * log_odds(self.deep.predict(rows, batch=batch))

    def explain(self, reviews: Ragged, *, batch: int, count: int) -> tuple[np.ndarray, list]:
        """As ``kinds.Model``; an effect is the sum of the effects in both parts.

        The effect of an n-gram is its term of the log-odds. The effect of a word in the network is that of
        ``network.occlusion`` on the network's term. Unless ``count`` is -1, words with small estimated effects are left
        out.
        """
        positive, rows = self.predict(reviews, batch=batch), self.pad(reviews)
        effects, chosen = [dict(pairs) for pairs in self.wide.effects(reviews, positive)], None
        if count >= 0:
            probabilities, estimates = self.deep.estimates(rows, batch=batch)
            slopes = self.weight / np.clip(probabilities * (1 - probabilities), CLIP, None)
            chosen = []
            for total, (words, estimated), slope in zip(effects, estimates, slopes, strict=True):
                added = np.array([total.get((word,), 0.0) for word in words.tolist()])
                chosen.append(network.likely(words, added + slope * estimated, count))
                for word in np.setdiff1d(words, chosen[-1]).tolist():
                    total.pop((word,), None)
        before = self.deep_part(rows, batch=batch)
        for total, pairs in zip(effects, network.occlusion(self.deep_part, rows, before, batch, chosen), strict=True):
            for gram, effect in pairs:
                total[gram] = total.get(gram, 0.0) + effect
        return positive, [[*total.items()] for total in effects]


def joined(wide: np.ndarray, deep: np.ndarray, weight: np.float32) -> np.ndarray:
    """The weights of both parts and the weight of the network's logit, flat float32."""
    return np.concatenate([wide, deep, [weight]])


def open_model(content: bytes, expected: str) -> WideDeep:
    """The model in the bytes of a model file. The digest ``expected`` is not checked here; see ``kinds``.

    Raises:
        InputError: The bytes are not a model file.
    """
    from sentiment.engine.network import Network

    try:
        files = members(content)
        added = Sum.model_validate(json.loads(files[SUM]))
        wide = linear.open_model(files[WIDE], "")
        layers, weights = archive.read(files[DEEP])
        deep = Network(layers)
        reads = added.max_length, added.vocabulary
        if deep.parameters != len(weights) or (deep.length, deep.words.vocabulary) != reads:
            raise ValueError(f"{SUM}: expected max_length and vocabulary of the network, got {reads}")
        if isinstance(wide, linear.OneVersusRest):
            raise ValueError(f"{WIDE}: expected a model of two labels, got {len(wide.models)}")
    except InputError as error:
        raise InputError(f"not a readable file of two parts ({error})") from None
    except UNREADABLE as error:
        raise InputError(f"not a readable file of two parts ({reason(error)})") from None
    return WideDeep(wide, network.CompiledModel(layers, weights), added)


def make_trainer(
    settings: Settings, reviews: Ragged, labels: np.ndarray, state: Mapping[str, np.ndarray] | None
) -> "Trainer":
    """The trainer of both parts.

    Args:
        settings: Settings of the model.
        reviews: Word ids of whole reviews, without a limit of the vocabulary.
        labels: uint8 [reviews], 0 or 1.
        state: Result of an earlier trainer's ``state``; ``None`` starts training.

    Raises:
        InputError: There are not two labels, or no n-gram is frequent enough.
    """
    if (different := int(labels.max()) + 1) > 2:
        raise InputError(
            f"architecture.kind = wide_deep is for 2 labels, and the corpus has {different}; set kind: ngrams, which"
            " takes any number"
        )
    return Trainer(settings, reviews, labels, state)


class Trainer:
    """Trains both parts in each epoch, and after the last epoch of one part the other alone; a ``training.Trainer``.

    Each part has the same order of reviews and the same epoch numbers as a separate model, and so the same weights.
    """

    parallel = True

    def __init__(self, settings: Settings, reviews: Ragged, labels: np.ndarray, state: Mapping[str, np.ndarray] | None):
        deep, (wide_settings, deep_settings) = settings.architecture.deep, settings.parts()
        self.added = Sum(weight=settings.architecture.weight, max_length=deep.max_length, vocabulary=deep.vocabulary)
        self._rows = pad_whole(reviews, deep.max_length, deep.vocabulary)
        self._wide: Any = linear.make_trainer(wide_settings, reviews, labels, _part(state, "wide"))
        self._deep: Any = cnn_lstm.make_trainer(deep_settings, self._rows, labels, _part(state, "deep"))
        self.epochs, self.promise = max(self._wide.epochs, self._deep.epochs), self._deep.promise

    def epoch(self, reviews, labels, order, epoch, progress=lambda reviews: None):
        """As ``training.Trainer``; the metrics are those of each part that trains in the epoch."""
        parts: dict[str, tuple[Any, Any]] = {"wide": (self._wide, reviews), "deep": (self._deep, self._rows)}
        training = [name for name, (part, _) in parts.items() if epoch < part.epochs]
        figures = {}
        for name in training:
            part, part_reviews = parts[name]
            shown: Callable[[int], None] = progress if name == training[-1] else lambda reviews: None
            for key, value in part.epoch(part_reviews, labels, order, epoch, shown).items():
                figures[f"{name}_{key}"] = value
        return figures

    @property
    def model(self) -> WideDeep:
        """The model with the current weights."""
        return open_model(self.save(), "")

    def predict(self, reviews):
        """As ``training.Trainer``."""
        return self.model.predict(reviews, batch=BATCH)

    def state(self):
        """As ``training.Trainer``: the state of each part, with the name of the part before each key."""
        states = {"wide": self._wide.state(), "deep": self._deep.state()}
        weights = joined(states["wide"]["weights"], states["deep"]["weights"], np.float32(self.added.weight))
        return {"weights": weights} | {
            f"{name}/{key}": array for name, state in states.items() for key, array in state.items()
        }

    def save(self) -> bytes:
        """As ``kinds``: an archive of the model files of both parts and of ``Sum``."""
        about = json.dumps(self.added.model_dump(), sort_keys=True, indent=2).encode()
        return pack_members({WIDE: self._wide.save(), DEEP: self._deep.save(), SUM: about})

    def table(self) -> str:
        """As ``kinds``: the tables of both parts."""
        return f"{self._wide.table()}\n{self._deep.table()}\nWeight of the network's logit: {self.added.weight}\n"


def _part(state: Mapping[str, np.ndarray] | None, name: str) -> dict[str, np.ndarray] | None:
    """The state of one part, from the state of both."""
    if state is None:
        return None
    return {key.partition("/")[2]: array for key, array in state.items() if key.startswith(f"{name}/")}
