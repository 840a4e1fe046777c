"""A GRU without a convolution, trained by Keras: an example of a new network in one file."""

from functools import partial
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import Field

from sentiment import network
from sentiment.network import FILE, PARALLEL, NetworkSettings, open_model
from sentiment.schema import Pad, Section, Size

__all__ = ["FILE", "PARALLEL", "Settings", "build", "make_trainer", "open_model"]


class Architecture(Section):
    """The layers, in their order."""

    kind: Literal["gru"]
    embedding: Size
    units: Size
    dropout: Annotated[float, Field(ge=0, lt=1)]


class Settings(NetworkSettings[Architecture]):
    """Settings of a GRU, which only ``engine: keras`` trains."""


def build(pad: Pad, architecture: Architecture, keras: ModuleType, labels: int = 2) -> Any:
    """The network of layers of ``keras``: from word ids, int32 [reviews, max_length], to probabilities.

    See ``sentiment.network``.
    """
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((pad.max_length,), dtype="int32", name="ids"),
            layers.Embedding(pad.vocabulary, architecture.embedding, name="embedding"),
            layers.GRU(architecture.units, name="gru"),
            layers.Dropout(architecture.dropout, name="dropout"),
            network.output(keras, labels),
        ],
        name="gru",
    )


make_trainer = partial(network.make_trainer, build)
