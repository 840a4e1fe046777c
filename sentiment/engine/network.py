"""The layers of a Keras model as blocks."""

import importlib
import pkgutil
from typing import cast

import numpy as np

from sentiment import InputError
from sentiment.engine import blocks as folder
from sentiment.engine import packing
from sentiment.engine.block import REMEDY, Block, Capacity, Shape
from sentiment.engine.blocks.output import Output
from sentiment.engine.blocks.softmax import Softmax
from sentiment.engine.blocks.words import Words
from sentiment.engine.groups import Groups, deal
from sentiment.engine.vectors import whole

FIRST_WEIGHTS = 1  # number of the random stream of the initial weights

for _module in pkgutil.iter_modules(folder.__path__):
    importlib.import_module(f"{folder.__name__}.{_module.name}")


class Network:
    """Blocks that compute the same function as a Keras model.

    Args:
        layers: Layers of a Keras ``Sequential`` model: ``json.loads(model.to_json())["config"]["layers"]``. The output
            of the last layer is the probability of label 1, or of each label.

    Raises:
        InputError: No block computes a layer, or one of its settings.
    """

    def __init__(self, layers: list[dict]):
        first, *remaining = layers
        self.length = first["config"]["batch_shape"][1]
        self.blocks: list[Block] = []
        shape = Shape(self.length, 1)
        while remaining:
            kind = _find(remaining, shape, begins=not self.blocks)
            taken, remaining = remaining[: len(kind.layers)], remaining[len(kind.layers) :]
            self.blocks.append(kind(taken, shape))
            shape = self.blocks[-1].gives
        self.words, self.output = cast(Words, self.blocks[0]), cast(Output | Softmax, self.blocks[-1])
        self.weights = [weight for block in self.blocks for weight in block.weights]
        self.parameters = sum(weight.size for weight in self.weights)
        rows = [shape for block in self.blocks for shape in (block.takes, block.gives)]
        self.bytes_per_review = sum(4 * max(shape.steps, 1) * whole(shape.features) for shape in rows)

    def first_weights(self, seed: int) -> np.ndarray:
        """Initial weights, flat float32 [parameters], drawn from the distributions of Keras's defaults."""
        random = np.random.default_rng([seed, FIRST_WEIGHTS])
        return np.concatenate([weight.initial(random).ravel() for weight in self.weights]).astype(np.float32)

    def empty_probabilities(self, reviews: int) -> np.ndarray:
        """An array for the probability of label 1 of each review, or of each label: float32 [reviews(, labels)]."""
        labels = self.output.gives.features
        return np.empty(reviews if labels == 1 else (reviews, labels), np.float32)

    def allocate(self, capacity: Capacity, vector: np.ndarray, gradient: np.ndarray) -> None:
        """Allocate the memory of each block, and bind its slices of the padded vectors of weights and gradient."""
        after = None
        for block in reversed(self.blocks):
            block.allocate(capacity, *((after.inputs, after.d_inputs) if after else ()))
            after = block
        sizes = [sum(weight.padded_size for weight in block.weights) for block in self.blocks]
        pieces = zip(packing.cut(vector, sizes), packing.cut(gradient, sizes), strict=True)
        for block, piece in zip(self.blocks, pieces, strict=True):
            block.bind(*piece)

    def first_steps(self, ids: np.ndarray) -> np.ndarray:
        """The first step of each review that reads a word: int32 [n] for ids int [n, length].

        Raises:
            InputError: The length or the vocabulary of the ids is not that of the network. Compiled code checks
                neither.
        """
        if ids.shape[1] != self.length or ids.min() < 0 or ids.max() >= self.words.vocabulary:
            raise InputError(
                f"ids: expected {self.length} per review, from 0 to {self.words.vocabulary - 1}, got {ids.shape[1]}"
                f" from {ids.min()} to {ids.max()}; `dvc repro` pads the reviews again"
            )
        return self.words.first_steps(ids)

    def deal(self, ids: np.ndarray, shards: int, starts: np.ndarray | None = None, **which) -> Groups:
        """Divide reviews into shards; see ``groups.deal``. ``starts`` is the result of ``first_steps``."""
        starts = self.first_steps(ids) if starts is None else starts
        return deal(ids, starts, self.words.gives.steps, shards, **which)

    def prepare(self, groups: Groups, seed: list[int]) -> None:
        """Prepare all blocks for a batch; ``seed`` is the seed of its random numbers."""
        for index, block in enumerate(self.blocks):
            earlier = sum(type(other) is type(block) for other in self.blocks[:index])
            groups = block.prepare(groups, [*seed, earlier])  # each block of a class has a different random stream

    def forward(self, group: int) -> None:
        """Compute the logits of a group; for group 0, the padding review, only the blocks of steps."""
        for block in self.blocks if group else self._of_steps:
            block.forward(group)

    def logit_backward(self, group: int) -> None:
        """Backward pass of a group from its logits to the outputs of the first block."""
        self.output.logit_backward(group)
        for block in self.blocks[-2:0:-1]:
            block.backward(group)

    def backward(self, group: int) -> None:
        """Backward pass of a group; that of group 0, the padding review, comes after all others."""
        for block in reversed(self.blocks if group else self._of_steps):
            block.backward(group)

    def exchanged_arrays(self, group: int) -> list[np.ndarray]:
        """Arrays of a shard that backward(0), ``finish`` and ``probabilities`` read."""
        return [array for block in self.blocks for array in block.exchanged_arrays(group)]

    def finish(self) -> None:
        """Sum the gradients of all groups."""
        for block in self.blocks:
            block.finish()

    @property
    def _of_steps(self) -> list[Block]:
        return [block for block in self.blocks if block.takes.steps]


def _find(layers: list[dict], takes: Shape, begins: bool) -> type[Block]:
    """The class of the block that computes the first of ``layers``, or the first few, from inputs of shape ``takes``.

    Raises:
        InputError: There is no such block.
    """
    names = tuple(layer["class_name"] for layer in layers)
    activation = layers[-1]["config"].get("activation")
    for kind in Block.__subclasses__():
        fits = kind.begins == begins and kind.takes_steps == bool(takes.steps)
        fits = fits and (not kind.ends or kind.activation == activation)
        if fits and names[: len(kind.layers)] == kind.layers and kind.ends == (len(kind.layers) == len(names)):
            return kind
    known = sorted(" + ".join(kind.layers) for kind in Block.__subclasses__() if not kind.ends)
    raise InputError(
        f"layer {layers[0]['config']['name']!r} ({names[0]}): the compiled trainer has no arithmetic for it here, only"
        f" for {', '.join(known)}, first the embedding and last Dense(1, activation='sigmoid') or Dense(labels,"
        f" activation='softmax'); {REMEDY}"
    )
