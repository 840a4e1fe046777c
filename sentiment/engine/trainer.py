"""Training and prediction with the compiled blocks."""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np

from sentiment.data.padding import drop_words
from sentiment.engine import ahead, packing, promise, shards
from sentiment.engine.block import Capacity
from sentiment.engine.blocks import output
from sentiment.engine.blocks.words import Changes
from sentiment.engine.groups import Groups
from sentiment.engine.network import Network
from sentiment.engine.optimizers import OPTIMIZERS
from sentiment.training import WORDS, measure

DRAWS = 3  # number of the random stream of dropout

BLOCK = 32
"""Reviews predicted together; the probabilities are the same for any number."""

RUN = 16
"""Reviews dealt at a time to those predicted together, so that variants of one text stay beside each other."""

CHUNK = 4096
"""Maximum number of reviews whose first steps are computed together."""

CACHE = 2**25
"""Approximate limit of the bytes of a batch in prediction, so that they stay in the processor's cache."""


class CompiledTrainer:
    """Trains a network; a ``training.Trainer``.

    Args:
        layers: Layers of a Keras model; see ``Network``.
        state: Result of an earlier trainer's ``state``; ``None`` starts training.
        batch: Number of reviews per update; the last batch of an epoch may be smaller.
        shards: Number of shards of a batch. They run in parallel, and their number changes the bits.
        optimizer: A name in ``OPTIMIZERS``.
        learning_rate: Learning rate of the first update.
        decay: Number of updates in which the learning rate falls linearly to 0; ``None`` keeps it constant.
        word_dropout: See ``padding.drop_words``.
        seed: Seed of the initial weights and of dropout.
        settings: Settings of the optimizer, by the names of its fields.

    Raises:
        InputError: See ``Network``.
    """

    parallel = True

    def __init__(
        self,
        layers: list[dict],
        state: Mapping[str, np.ndarray] | None = None,
        *,
        batch: int,
        shards: int,
        optimizer: str,
        learning_rate: float,
        decay: int | None = None,
        word_dropout: float = 0.0,
        seed: int,
        **settings: float,
    ):
        self.network, self.optimizer = Network(layers), OPTIMIZERS[optimizer](**settings)
        self.learning_rate, self.decay, self.word_dropout = learning_rate, decay, word_dropout
        self.layers, self.batch, self.shards, self.seed = layers, batch, min(shards, batch), seed
        self.promise = promise()
        if state is None:
            nothing = np.zeros(self.network.parameters, np.float32)
            state = dict.fromkeys(self.optimizer.slots, nothing) | {"weights": self.network.first_weights(seed)}
        self._vectors = {
            name: packing.pack(self.network.weights, state[name]) for name in ("weights", *self.optimizer.slots)
        }
        self._gradient = np.zeros_like(self._vectors["weights"])
        self._ids, self._starts = None, None
        capacity = Capacity(groups=1 + self.shards, reviews=-(-batch // self.shards), training=True, backward=True)
        self.network.allocate(capacity, self._vectors["weights"], self._gradient)

    def epoch(self, ids, labels, order, epoch, progress=lambda reviews: None):
        """As ``training.Trainer``.

        Raises:
            InputError: See ``Network.first_steps``; or the weights of two processes differ.
        """
        if self._ids is not ids:
            ahead.compile_kernels(self.layers, ids.dtype, self.optimizer)
            self._ids, self._starts = ids, first_steps(self.network, ids)
        probabilities, targets = self.network.empty_probabilities(len(order)), np.empty(len(order), labels.dtype)
        for number, begin in enumerate(range(0, len(order), self.batch)):
            rows = np.sort(order[begin : begin + self.batch])  # a memory map is read forwards
            groups = self.network.deal(ids, self.shards, self._starts[rows], rows=rows, tasks_of=shards.tasks_of)
            update = epoch * -(-len(order) // self.batch) + number
            drop_words(groups.ids[1:], self.word_dropout, [self.seed, WORDS, update])
            done = slice(begin, begin + len(rows))
            targets[done] = labels[rows][groups.order]
            probabilities[done] = self.find_gradient(groups, targets[done], update)
            self.update(update)
            progress(len(rows))
        digest = hashlib.sha256(self._vectors["weights"]).hexdigest()
        shards.agree(digest, f"weights after epoch {epoch + 1}")
        return measure(probabilities, targets)

    def find_gradient(self, groups: Groups, labels: np.ndarray, update: int) -> np.ndarray:
        """Compute the gradient of a batch's mean cross-entropy, which ``update`` reads.

        Args:
            groups: The reviews, from ``network.deal``.
            labels: [n], from 0, in the order of the groups.
            update: Number of earlier updates, a part of the seed of dropout.

        Returns:
            The probability of label 1 of each review before the update, float32 [n]; with more than two labels, of each
            label, [n, labels]. The reviews are in the order of the groups.
        """
        network = self.network
        network.output.labels[1 : 1 + len(labels)] = labels
        network.prepare(groups, [self.seed, DRAWS, update])
        network.forward(0)

        def compute(shard):
            network.forward(shard + 1)
            network.backward(shard + 1)

        shards.everywhere(compute, len(groups) - 1, lambda shard: network.exchanged_arrays(shard + 1))
        network.backward(0)
        network.finish()
        return network.output.probabilities()

    def update(self, number: int) -> None:
        """Update the weights by the optimizer. ``number`` is the number of earlier updates."""
        rate = self.learning_rate * (1 - number / self.decay if self.decay else 1)
        self.optimizer.update(self._vectors["weights"], self._vectors, self._gradient, number, rate)

    def gradient(self) -> np.ndarray:
        """The last gradient: flat float32 [parameters]."""
        return packing.unpack(self.network.weights, self._gradient)

    def state(self):
        """As ``training.Trainer``; the optimizer's slots are flat float32 [parameters], as the weights are."""
        return {name: packing.unpack(self.network.weights, vector) for name, vector in self._vectors.items()}

    def predict(self, ids):
        """As ``training.Trainer``."""
        return predict(self.layers, self.state()["weights"], ids, batch=self.batch)


class CompiledPredictor:
    """Predicts with a network. Values that depend on the weights alone are computed once.

    Args:
        layers: Layers of a Keras model; see ``Network``.
        weights: Flat float32 [parameters].
        batch: Maximum number of reviews predicted at once.
        explains: Whether to allocate the memory that ``explain`` needs.

    Raises:
        InputError: See ``Network``.
    """

    def __init__(self, layers: list[dict], weights: np.ndarray, *, batch: int, explains: bool = False):
        self.network = network = Network(layers)
        vector = packing.pack(network.weights, weights)
        blocks = min(-(-batch // BLOCK), max(1, CACHE // (BLOCK * network.bytes_per_review)))
        self.batch = min(batch, blocks * BLOCK)
        capacity = Capacity(1 + blocks, min(BLOCK, self.batch), training=False, backward=explains)
        network.allocate(capacity, vector, np.zeros_like(vector))
        self._steps = network.words.gives.steps
        padding = np.zeros((1, network.length), np.uint8)
        network.prepare(network.deal(padding, 1, padding_steps=self._steps), [])
        network.forward(0)  # once, because the weights do not change

    def predict(self, ids: np.ndarray, progress: Callable[[int], None] = lambda reviews: None) -> np.ndarray:
        """The probability of label 1 of each review, float32 [reviews]; of more labels, of each, [reviews, labels].

        The probabilities of a review do not depend on other reviews.

        Args:
            ids: int [reviews, length]; a memory map is read batch by batch.
            progress: Called after each batch with the number of reviews in it.
        """
        network, probabilities = self.network, self.network.empty_probabilities(len(ids))

        def share(rank):
            reviews = shards.tasks_of(len(ids), rank)
            for begin in reviews[:: self.batch]:
                rows = ids[begin : min(begin + self.batch, reviews.stop)]
                groups = network.deal(rows, -(-len(rows) // BLOCK), padding_steps=self._steps, run=RUN)
                network.prepare(groups, [])
                shards.side_by_side(lambda block: network.forward(block + 1), len(groups) - 1)
                probabilities[begin + groups.order] = network.output.probabilities()
                progress(len(rows))

        shards.everywhere(share, shards.processes().size, lambda rank: [_of(rank, probabilities)])
        if others := len(ids) - len(shards.tasks_of(len(ids))):
            progress(others)
        return probabilities

    def explain(self, ids: np.ndarray) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """Predictions, and an estimate of the effect of each word on the probability of label 1.

        With more than two labels, the effect is on the probability of the predicted label. The effect is the difference
        between the prediction of the review and that of the review with every occurrence of the word made unknown. The
        estimate computes the outputs of the first block without the word, and takes the logit as a linear function of
        these outputs: one backward pass gives the slopes.

        Args:
            ids: int [reviews, length].

        Returns:
            The result of ``predict``; and for each review its words in the vocabulary, int32 [words], ascending, and
            the estimate of each, float32 [words].
        """
        network, probabilities = self.network, self.network.empty_probabilities(len(ids))
        effects: list = [()] * len(ids)
        for begin in range(0, len(ids), self.batch):
            rows = ids[begin : begin + self.batch]
            groups = network.deal(rows, -(-len(rows) // BLOCK), padding_steps=self._steps)
            network.prepare(groups, [])
            counts, words, logits = self._changes(groups)
            there = np.arange(network.length) < counts[:, None]
            before = output.probabilities(network.output.logits())
            after = output.probabilities(np.repeat(network.output.logits(), counts) - logits[there])
            probabilities[begin + groups.order] = network.output.probabilities()
            ends = np.cumsum(counts)[:-1]
            each = zip(np.split(words[there], ends), np.split(np.repeat(before, counts) - after, ends), strict=True)
            for review, pair in zip(begin + groups.order, each, strict=True):
                effects[review] = pair
        return probabilities, effects

    def _changes(self, groups: Groups) -> Changes:
        """The changes of the logits of a prepared batch, in the order of the groups' reviews."""
        order, shape = np.argsort(groups.ids, axis=1, kind="stable"), groups.ids.shape
        changes = Changes(np.zeros(shape[0], np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.float32))

        def compute(block):
            group, reviews = block + 1, groups.reviews[block + 1]
            self.network.forward(group)
            self.network.logit_backward(group)
            self.network.words.changes(group, order[reviews], Changes(*(array[reviews] for array in changes)))

        shards.side_by_side(compute, len(groups) - 1)
        return Changes(*(array[1:] for array in changes))


def predict(
    layers: list[dict],
    weights: np.ndarray,
    ids: np.ndarray,
    *,
    batch: int,
    progress: Callable[[int], None] = lambda reviews: None,
) -> np.ndarray:
    """Predictions by a new ``CompiledPredictor`` of these layers and weights."""
    return CompiledPredictor(layers, weights, batch=min(batch, len(ids))).predict(ids, progress)


def first_steps(network: Network, ids: np.ndarray) -> np.ndarray:
    """``network.first_steps`` of any number of reviews. Each process reads its part of a memory map."""
    starts = np.empty(len(ids), np.int32)

    def share(rank):
        reviews = shards.tasks_of(len(ids), rank)
        for begin in reviews[::CHUNK]:
            end = min(begin + CHUNK, reviews.stop)
            starts[begin:end] = network.first_steps(ids[begin:end])

    shards.everywhere(share, shards.processes().size, lambda rank: [_of(rank, starts)])
    return starts


def _of(rank: int, values: np.ndarray) -> np.ndarray:
    """The slice of ``values``, one per review, that the process ``rank`` computes."""
    reviews = shards.tasks_of(len(values), rank)
    return values[reviews.start : reviews.stop]
