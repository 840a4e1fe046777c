"""Blocks: a block is the compiled forward and backward pass of one Keras layer, or of several fused into one.

A batch goes through a list of blocks like this; only the last block knows the labels:

    for each block, in order:           prepare         what depends on the weights and on the whole batch
    for each block of steps, in order:  forward(0)      the padding review
    for each shard, side by side:       forward(group) in order, then backward(group) in reverse order
    for each block of steps, reversed:  backward(0)     the padding review
    for each block:                     finish          what depends on all shards

A block of steps is one whose inputs have a row per step (``takes.steps`` is not 0). In prediction there is no way back,
and forward(0) runs once for all batches: what it leaves must survive later ``prepare``s. To explain a prediction, the
shards' way back runs too, from the logits to the outputs of the first block; the weights then get no gradient.

A block reads ``inputs[group]``, writes ``outputs[group]``, which are the next block's inputs, and on the way back reads
``d_outputs[group]`` and fills ``d_inputs[group]``: ``d_x`` is the gradient of the batch's mean loss with respect to
``x``. Inputs and outputs still stand on the way back. The arrays have a row per review, or per step and review as
``groups`` says, and a column per feature, padded to whole vectors with zeros; whatever a block writes has zeros there
too. They have room for the largest batch: rows beyond a group's hold old values.

Shards run at the same time, so forward and backward write only to arrays of their group. What a shard finds of the
gradient with respect to the weights goes to ``parts[group]``, of which ``d_values[group]`` are the arrays, and
``finish`` sums the parts in the order of the groups.

A block of steps that takes something from the padding review (see ``groups``) owes it the gradient on the way back:
backward(0) begins with the sum, over the shards in order, of what each owes. A block that gives one row per review
writes no ``outputs[0]``.

The shards may be computed by several processes. After them, and before backward(0), each process gets from the others
what ``given`` lists: all that backward(0) and ``finish`` read of a shard. Nothing else need be thought of.
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

# What Keras gives a layer unless told otherwise, and the blocks assume.
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
    """Shape of a block's outputs: for each review ``steps`` rows of ``features``; one row if steps is 0."""

    steps: int
    features: int


class Capacity(NamedTuple):
    """Buffer sizes."""

    groups: int  # the padding review's and the shards'
    reviews: int  # at most, in a shard
    training: bool  # whether the weights get a gradient
    backward: bool  # whether there is a way back

    def rows(self, shape: Shape) -> np.ndarray:
        """Zeros, float32 [groups, rows, features], for values of a shape."""
        return zeros(self.groups, self.reviews * max(shape.steps, 1), whole(shape.features))

    def gradient_rows(self, shape: Shape) -> np.ndarray:
        """The same for the gradient with respect to these values; without rows if there is no way back."""
        return self.rows(shape) if self.backward else zeros(self.groups, 0, whole(shape.features))


class Block:
    """The base of all blocks. A subclass is one file in ``blocks/`` and names the Keras layers it computes.

    Args:
        takes: The shape of its inputs.
        gives: The shape of its outputs.
        weights: Its weights in Keras's order.
        shapes: The arrays as which the block reads its padded weights, end to end; each weight's own if not given.
    """

    layers: tuple[str, ...]  # Keras's class names
    takes_steps: bool  # whether its inputs have a row per step, or one per review
    begins = False  # whether it begins the network and reads ids
    ends = False  # whether it ends the network and knows the loss
    activation: str  # of the last layer, by which the blocks that end a network differ

    def __init__(self, takes: Shape, gives: Shape, weights: Sequence[Weight] = (), shapes: Sequence[tuple] = ()):
        self.takes, self.gives, self.weights = takes, gives, tuple(weights)
        self._shapes = shapes or [weight.padded for weight in weights]

    def allocate(self, capacity: Capacity, outputs: np.ndarray, d_outputs: np.ndarray) -> None:
        """Ask for all memory of training or prediction, the last block first.

        Args:
            capacity: For what. Arrays of the way back have no rows in prediction.
            outputs: float32 [groups, rows, features], the next block's inputs.
            d_outputs: The same for their gradient.
        """
        self.outputs, self.d_outputs = outputs, d_outputs
        self.inputs, self.d_inputs = capacity.rows(self.takes), capacity.gradient_rows(self.takes)
        self.parts = zeros(capacity.groups, sum(weight.padded_size for weight in self.weights) * capacity.training)
        shapes = [tuple(size * capacity.training for size in shape) for shape in self._shapes]
        self.d_values = [arrays(part, *shapes) for part in self.parts]

    def bind(self, vector: np.ndarray, gradient: np.ndarray) -> None:
        """Take the block's own piece of the padded vector of weights, and of that of the gradient (``packing``).

        ``values`` and ``d_totals`` are the arrays in them.
        """
        self.gradient = gradient
        self.values, self.d_totals = arrays(vector, *self._shapes), arrays(gradient, *self._shapes)

    def prepare(self, groups: Groups, draw: Sequence[int]) -> Groups:
        """Get ready for a batch, and say in which groups the outputs come.

        Args:
            groups: How the inputs come.
            draw: The seed of what is drawn at random for this batch.
        """
        self.groups = groups
        return groups

    def forward(self, group: int) -> None:
        """Compute ``outputs[group]`` from ``inputs[group]``."""
        raise NotImplementedError

    def backward(self, group: int) -> None:
        """Compute ``d_inputs[group]`` and ``parts[group]`` from ``d_outputs[group]``."""
        raise NotImplementedError

    def given(self, group: int) -> list[np.ndarray]:
        """Arrays of a shard that backward(0) and ``finish`` read: contiguous, of sizes that follow from ``groups``."""
        return [self.parts[group]] if self.weights else []

    def finish(self) -> None:
        """Compute the gradient with respect to the weights from that of the groups."""
        if self.weights:
            sum_arrays(self.parts[: len(self.groups)], self.gradient)


def arrays(vector: np.ndarray, *shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Views of a vector as arrays of ``shapes``, end to end.

    >>> [array.shape for array in arrays(np.zeros(10), (2, 3), (4,))]
    [(2, 3), (4,)]
    """
    pieces = cut(vector, [int(np.prod(shape)) for shape in shapes])
    return tuple(piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True))


def settings(layer: dict, *free: str, **fixed: object) -> list:
    """The free settings of a Keras layer, provided that every other one is what the block computes.

    Args:
        layer: The layer as ``model.to_json`` has it.
        free: Names of the settings to give.
        fixed: Settings that have one value here. All else must be None, False, 0 or as in ``_DEFAULTS``.

    Raises:
        InputError: A setting has another value.
    """
    config = layer["config"]
    expected = _DEFAULTS | {name: _text(value) for name, value in fixed.items()}
    for name, value in config.items():
        if name in free or name == "name":
            continue
        if _text(value) != expected.get(name, _text(value) if value in (None, False, 0) else ""):
            raise refusal(layer, name, _text(value), expected.get(name, "its default"))
    return [config[name] for name in free]


def refusal(layer: dict, name: str, found: object, right: object) -> InputError:
    """Error for a setting of a layer whose value the block does not compute."""
    return InputError(
        f"layer {layer['config']['name']!r} ({layer['class_name']}): {name} = {found}, the compiled trainer has only"
        f" {right}; {REMEDY}"
    )


def _text(value: object) -> str:
    """A setting as Python would write it, in order of the names; what is None in a Keras object is left out."""
    if not isinstance(value, dict):
        return repr(value)
    inside = ", ".join(f"{name}={_text(x)}" for name, x in sorted(value["config"].items()) if x is not None)
    return f"{value['class_name']}({inside})"
