"""Keras's weights <-> one padded vector, on which compiled code works.

Keras has a list of arrays. Here they lie end to end in one float32 vector, so that an optimizer is one loop and a
gradient one sum. The last axis of each is padded with zeros to whole vectors, since compiled code reads whole vectors;
so are other axes where a block wants them so, and then the padding stays zero in training: its gradient is zero.
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
    unpadded: tuple[
        int, ...
    ] = ()  # ``shape`` with as many axes as ``padded``, where Keras merges some: (4 * 9,) is 4, 9

    @property
    def size(self) -> int:
        """Numbers to train."""
        return int(np.prod(self.shape))

    @property
    def padded_size(self) -> int:
        """Numbers in the padded vector."""
        return int(np.prod(self.padded))


def pack(weights: Sequence[Weight], flat: np.ndarray) -> np.ndarray:
    """The padded vector of ``flat``, float32 [numbers to train], which holds Keras's arrays end to end."""
    padded = zeros(whole(sum(weight.padded_size for weight in weights)))
    pieces = cut(flat, [weight.size for weight in weights])
    for piece, view in zip(pieces, _unpadded_views(weights, padded), strict=True):
        view[...] = piece.reshape(view.shape)
    return padded


def unpack(weights: Sequence[Weight], padded: np.ndarray) -> np.ndarray:
    """The inverse of ``pack``."""
    return np.concatenate([view.ravel() for view in _unpadded_views(weights, padded)])


def cut(vector: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Views of a vector's first pieces, of ``sizes``."""
    return np.split(vector, np.cumsum(sizes))[:-1]


def _unpadded_views(weights: Sequence[Weight], padded: np.ndarray) -> list[np.ndarray]:
    """Each weight in the padded vector, without its padding."""
    pieces = cut(padded, [weight.padded_size for weight in weights])
    return [
        piece.reshape(weight.padded)[tuple(map(slice, weight.unpadded or weight.shape))]
        for piece, weight in zip(pieces, weights, strict=True)
    ]


# How Keras initialises a layer's weights unless told otherwise.


def glorot(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Uniform in +-sqrt(6 / (fan in + fan out)) (X. Glorot and Y. Bengio, 2010)."""
    field = np.prod(shape[:-2])
    return uniform(np.sqrt(6 / (field * shape[-2] + field * shape[-1])), *shape)


def uniform(limit: float, *shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Uniform in +-limit."""
    return lambda random: limit * (2 * random.random(shape) - 1)  # NumPy's own may be compiled to round twice or once


def constant(value: np.ndarray) -> Callable[[np.random.Generator], np.ndarray]:
    """Always ``value``."""
    return lambda random: value
