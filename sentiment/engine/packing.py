"""Keras's weights <-> one padded vector, which compiled code reads and writes.

Keras has a list of arrays. Here the arrays are end to end in one float32 vector, so that an optimizer is one loop and
the sum of two gradients is one sum. The last axis of each array is padded with zeros to whole vectors, because compiled
code reads whole vectors. A block may pad other axes too. The padding stays zero in training, because its gradient is
zero.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sentiment.engine.vectors import whole, zeros


class Weight(NamedTuple):
    """One array of weights."""

    name: str  # as in Keras: "kernel", "bias", ...
    shape: tuple[int, ...]  # as in Keras
    padded: tuple[int, ...]  # in the padded vector
    initial: Callable[[np.random.Generator], np.ndarray]  # draws its initial value, an array of ``shape``
    unpadded: tuple[int, ...] = ()  # ``shape`` with the axes of ``padded``, if Keras merges some: (4 * 9,) is 4, 9

    @property
    def size(self) -> int:
        """Number of parameters."""
        return int(np.prod(self.shape))

    @property
    def padded_size(self) -> int:
        """Number of elements in the padded vector."""
        return int(np.prod(self.padded))


def pack(weights: Sequence[Weight], flat: np.ndarray) -> np.ndarray:
    """The padded vector of ``flat``, float32 [parameters], Keras's arrays end to end."""
    padded = zeros(whole(sum(weight.padded_size for weight in weights)))
    pieces = cut(flat, [weight.size for weight in weights])
    for piece, view in zip(pieces, _unpadded_views(weights, padded), strict=True):
        view[...] = piece.reshape(view.shape)
    return padded


def unpack(weights: Sequence[Weight], padded: np.ndarray) -> np.ndarray:
    """The inverse of ``pack``."""
    return np.concatenate([view.ravel() for view in _unpadded_views(weights, padded)])


def cut(vector: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Views of successive pieces of a vector, which have the given sizes."""
    return np.split(vector, np.cumsum(sizes))[:-1]


def _unpadded_views(weights: Sequence[Weight], padded: np.ndarray) -> list[np.ndarray]:
    """A view of each weight in the padded vector, without the padding."""
    pieces = cut(padded, [weight.padded_size for weight in weights])
    return [
        piece.reshape(weight.padded)[tuple(map(slice, weight.unpadded or weight.shape))]
        for piece, weight in zip(pieces, weights, strict=True)
    ]


# Keras's default initializers.


def glorot(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Uniform in +-sqrt(6 / (fan in + fan out)) (X. Glorot and Y. Bengio, 2010)."""
    field = np.prod(shape[:-2])
    return uniform(np.sqrt(6 / (field * shape[-2] + field * shape[-1])), *shape)


def uniform(limit: float, *shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Uniform in +-limit."""
    # ``Generator.uniform`` may be compiled with a fused multiply-add, which rounds once instead of twice.
    return lambda random: limit * (2 * random.random(shape) - 1)


def constant(value: np.ndarray) -> Callable[[np.random.Generator], np.ndarray]:
    """An initializer that always returns ``value``."""
    return lambda random: value
