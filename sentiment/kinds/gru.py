"""A GRU without a convolution, trained by Keras: how to add a network of one's own in one file."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sentiment import network
from sentiment.network import FILE, PARALLEL, NetworkSettings, open_model
from sentiment.schema import Pad, Section, Size

if TYPE_CHECKING:
    import keras

__all__ = ["FILE", "PARALLEL", "Settings", "build", "make_trainer", "open_model"]


class Architecture(Section):
    """The layers, in their order."""

    kind: Literal["gru"]
    embedding: Size
    units: Size
    dropout: Annotated[float, Field(ge=0, lt=1)]


class Settings(NetworkSettings[Architecture]):
    """Settings of a GRU; ``engine: keras`` alone trains it."""


def build(pad: Pad, architecture: Architecture, labels: int = 2) -> "keras.Sequential":
    """The network: word ids, int32 [reviews, max_length], to probabilities; see ``network``."""
    from sentiment.keras.backend import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((pad.max_length,), dtype="int32", name="ids"),
            layers.Embedding(pad.vocabulary, architecture.embedding, name="embedding"),
            layers.GRU(architecture.units, name="gru"),
            layers.Dropout(architecture.dropout, name="dropout"),
            network.output(labels),
        ],
        name="gru",
    )


make_trainer = partial(network.make_trainer, build)
