"""Blocks: a block is the compiled forward and backward pass of one Keras layer, or of several fused into one.

A training step calls the methods of a list of blocks in this order. Only the last block knows the labels:

    for each block, in order:           prepare         computes what depends on the weights and on the whole batch
    for each block of steps, in order:  forward(0)      computes the padding review
    for each shard, in parallel:        forward(group) of each block, then backward(group) in reverse order
    for each block of steps, reversed:  backward(0)     computes the gradient of the padding review
    for each block:                     finish          computes what depends on all shards

A block of steps is a block whose inputs have a row per step (``takes.steps`` is not 0). In prediction there is no
backward pass, and forward(0) runs once for all batches, so later calls of ``prepare`` must keep its results. To explain
a prediction, each shard has a backward pass too, from the logits to the outputs of the first block. It computes no
gradient of the weights.

forward reads ``inputs[group]`` and writes ``outputs[group]``, which are the inputs of the next block. backward reads
``d_outputs[group]`` and writes ``d_inputs[group]``: ``d_x`` is the gradient of the batch's mean loss with respect to
``x``. Inputs and outputs keep their values until the backward pass has read them. The arrays have a row per review, or
a row per step and review as ``groups`` defines them. They have a column per feature, padded with zeros to whole
vectors, and a block must write zeros to the padding. The arrays are as large as the largest batch needs: in a smaller
batch, the rows after the last one of a group have old values.

Shards run at the same time, so forward and backward write only to arrays of their group. backward writes a shard's
gradient with respect to the weights to ``parts[group]``, and ``d_values[group]`` are views of that vector. ``finish``
sums the parts in the order of the groups.

If reviews read states or sums of the padding review (see ``groups``), these get a gradient in the backward pass.
backward(0) begins with the sum of this gradient over the shards, in their order. A block whose outputs have one row per
review writes no ``outputs[0]``.

Several processes may compute the shards. Before backward(0), the processes exchange the arrays that
``exchanged_arrays`` lists: everything of a shard that backward(0) and ``finish`` read. A block needs no other code for
processes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sentiment import InputError
from sentiment.engine.groups import Groups
from sentiment.engine.matrices import sum_arrays
from sentiment.engine.packing import Weight, cut
from sentiment.engine.vectors import whole, zeros

REMEDY = "set train.engine: keras, which trains any network"

# Keras's defaults of a layer, which the blocks assume.
_DEFAULTS = {
    "trainable": "True",
    "dtype": "DTypePolicy(name='float32')",
    "data_format": "'channels_last'",
    "use_bias": "True",
    "embeddings_initializer": "RandomUniform(maxval=0.05, minval=-0.05)",
    "kernel_initializer": "GlorotUniform()",
    "recurrent_initializer": "Orthogonal(gain=1.0)",
    "bias_initializer": "Zeros()",
}


class Shape(NamedTuple):
    """Shape of inputs or outputs: for each review ``steps`` rows of ``features``, or one row if steps is 0."""

    steps: int
    features: int


class Capacity(NamedTuple):
    """Buffer sizes."""

    groups: int  # number of groups: the padding review and the shards
    reviews: int  # maximum number of reviews in a shard
    training: bool  # whether the gradient of the weights is computed
    backward: bool  # whether there is a backward pass

    def rows(self, shape: Shape) -> np.ndarray:
        """Zeros, float32 [groups, rows, features], for inputs or outputs of a shape."""
        return zeros(self.groups, self.reviews * max(shape.steps, 1), whole(shape.features))

    def gradient_rows(self, shape: Shape) -> np.ndarray:
        """Zeros for the gradient of these values, of the same shape; without rows if there is no backward pass."""
        return self.rows(shape) if self.backward else zeros(self.groups, 0, whole(shape.features))


class Block:
    """The base of all blocks. A subclass is one file in ``blocks/`` and names the Keras layers it computes.

    Args:
        takes: The shape of its inputs.
        gives: The shape of its outputs.
        weights: Its weights in Keras's order.
        shapes: Shapes of the arrays into which the block divides its padded weights; by default, the padded shape of
            each weight.
    """

    layers: tuple[str, ...]  # Keras's class names
    takes_steps: bool  # whether its inputs have a row per step, or one per review
    begins = False  # whether it is the first block, whose inputs are ids
    ends = False  # whether it is the last block, which computes the loss
    activation: str  # activation of the last layer, by which the last blocks differ

    def __init__(self, takes: Shape, gives: Shape, weights: Sequence[Weight] = (), shapes: Sequence[tuple] = ()):
        self.takes, self.gives, self.weights = takes, gives, tuple(weights)
        self._shapes = shapes or [weight.padded for weight in weights]

    def allocate(self, capacity: Capacity, outputs: np.ndarray, d_outputs: np.ndarray) -> None:
        """Allocate all memory of training or prediction, the last block first.

        Args:
            capacity: Buffer sizes. Arrays of the backward pass have no rows in prediction.
            outputs: float32 [groups, rows, features], the inputs of the next block.
            d_outputs: Their gradient, of the same shape.
        """
        self.outputs, self.d_outputs = outputs, d_outputs
        self.inputs, self.d_inputs = capacity.rows(self.takes), capacity.gradient_rows(self.takes)
        self.parts = zeros(capacity.groups, sum(weight.padded_size for weight in self.weights) * capacity.training)
        shapes = [tuple(size * capacity.training for size in shape) for shape in self._shapes]
        self.d_values = [arrays(part, *shapes) for part in self.parts]

    def bind(self, vector: np.ndarray, gradient: np.ndarray) -> None:
        """Make ``values`` and ``d_totals``, the arrays of the weights and of their gradient.

        Args:
            vector: The block's slice of the padded vector of weights (``packing``).
            gradient: The block's slice of the padded vector of the gradient.
        """
        self.gradient = gradient
        self.values, self.d_totals = arrays(vector, *self._shapes), arrays(gradient, *self._shapes)

    def prepare(self, groups: Groups, seed: Sequence[int]) -> Groups:
        """Prepare for a batch, and return the groups of the outputs.

        Args:
            groups: The groups of the inputs.
            seed: Seed of the random numbers for this batch.
        """
        self.groups = groups
        return groups

    def forward(self, group: int) -> None:
        """Compute ``outputs[group]`` from ``inputs[group]``."""
        raise NotImplementedError

    def backward(self, group: int) -> None:
        """Compute ``d_inputs[group]`` and ``parts[group]`` from ``d_outputs[group]``."""
        raise NotImplementedError

    def exchanged_arrays(self, group: int) -> list[np.ndarray]:
        """Arrays of a shard that backward(0) and ``finish`` read: contiguous, of sizes that ``groups`` determines."""
        return [self.parts[group]] if self.weights else []

    def finish(self) -> None:
        """Compute the gradient with respect to the weights: the sum over the groups, in their order.

        The order of the sums is part of the contract.
        """
        if self.weights:
            sum_arrays(self.parts[: len(self.groups)], self.gradient)


def arrays(vector: np.ndarray, *shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Views of a vector: arrays of ``shapes``, end to end.

    >>> [array.shape for array in arrays(np.zeros(10), (2, 3), (4,))]
    [(2, 3), (4,)]
    """
    pieces = cut(vector, [int(np.prod(shape)) for shape in shapes])
    return tuple(piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True))


def settings(layer: dict, *free: str, **fixed: object) -> list:
    """The free settings of a Keras layer, after a check that the block computes every other setting.

    Args:
        layer: The layer as in ``model.to_json``.
        free: Names of the settings to return.
        fixed: Settings of which the block computes one value only. All others must be None, False, 0 or the value in
            ``_DEFAULTS``.

    Raises:
        InputError: A setting has a value that the block does not compute.
    """
    config = layer["config"]
    expected = _DEFAULTS | {name: _text(value) for name, value in fixed.items()}
    for name, value in config.items():
        if name in free or name == "name":
            continue
        if _text(value) != expected.get(name, _text(value) if value in (None, False, 0) else ""):
            raise refusal(layer, name, _text(value), expected.get(name, "its default"))
    return [config[name] for name in free]


def refusal(layer: dict, name: str, value: object, supported: object) -> InputError:
    """Error for a setting of a layer whose value the block does not compute."""
    return InputError(
        f"layer {layer['config']['name']!r} ({layer['class_name']}): {name} = {value}, the compiled trainer has only"
        f" {supported}; {REMEDY}"
    )


def _text(value: object) -> str:
    """A setting as Python code, with sorted names; values of None in a Keras object are left out."""
    if not isinstance(value, dict):
        return repr(value)
    inside = ", ".join(f"{name}={_text(x)}" for name, x in sorted(value["config"].items()) if x is not None)
    return f"{value['class_name']}({inside})"
