"""The CNN-LSTM: embedding, convolution, max pooling, LSTM, dropout, dense."""

from functools import partial
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sentiment import network
from sentiment.network import FILE, PARALLEL, NetworkSettings, open_model
from sentiment.schema import Pad, Section, Size

__all__ = ["COMPILED", "FILE", "PARALLEL", "Settings", "build", "make_trainer", "open_model"]

COMPILED = True
"""True: the compiled trainer has blocks for all networks of ``build``. If False, the stage ``params`` checks each."""

LARGEST = 2**34
"""Maximum number of bytes that training may need: 16 GiB, three hundred times the memory of `full`."""


class Architecture(Section):
    """The layers, in their order."""

    kind: Literal["cnn_lstm"]
    embedding: Size
    filters: Size
    kernel: Size
    pool: Size
    units: Size
    bidirectional: bool
    over_time: Literal["last", "average", "maximum"]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    dense: Annotated[int, Field(ge=0, le=4096)]

    @model_validator(mode="after")
    def _kernel_is_odd(self):
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel = {self.kernel} must be odd, so that it has a centre; try {self.kernel + 1}")
        return self


class Settings(NetworkSettings[Architecture]):
    """Settings of a CNN-LSTM, with limits that depend on the length and vocabulary of its reviews."""

    @model_validator(mode="after")
    def _fits_the_review(self):
        length, kernel, pool = self.pad.max_length, self.architecture.kernel, self.architecture.pool
        if kernel > length:
            raise ValueError(f"architecture.kernel = {kernel} must not exceed pad.max_length = {length}")
        if pool > length:
            raise ValueError(
                f"architecture.pool = {pool} must not exceed pad.max_length = {length}: nothing would be left"
            )
        return self

    @model_validator(mode="after")
    def _training_fits_a_machine(self):
        if (needed := memory(self.pad, self.architecture, self.train.batch)) > LARGEST:
            raise ValueError(
                f"training would need about {needed / 2**30:,.0f} GiB of memory, expected at most {LARGEST >> 30};"
                " lower train.batch, pad.max_length, pad.vocabulary or the sizes of the network"
            )
        return self


def memory(pad: Pad, architecture: Architecture, batch: int) -> int:
    """Approximate bytes that training needs: weights, gradient, two moments, and the outputs of layers for a batch."""
    lstm = architecture.units * (2 if architecture.bidirectional else 1)
    filters, embedding = architecture.filters, architecture.embedding
    weights = pad.vocabulary * embedding + architecture.kernel * embedding * filters
    weights += 4 * lstm * (filters + architecture.units) + lstm * architecture.dense
    review = pad.max_length * (embedding + filters) + pad.max_length // architecture.pool * 8 * lstm
    return 4 * (4 * weights + batch * review)


def build(pad: Pad, architecture: Architecture, keras: ModuleType, labels: int = 2) -> Any:
    """The network of layers of ``keras``: from word ids, int32 [reviews, max_length], to probabilities.

    See ``sentiment.network``.
    """
    layers = keras.layers
    lstm = layers.LSTM(architecture.units, return_sequences=architecture.over_time != "last", name="lstm")
    over_time = {
        "last": [],
        "average": [layers.GlobalAveragePooling1D(name="average")],
        "maximum": [layers.GlobalMaxPooling1D(name="maximum")],
    }[architecture.over_time]
    dense = [layers.Dense(architecture.dense, activation="sigmoid", name="dense")] if architecture.dense else []
    return keras.Sequential(
        [
            keras.Input((pad.max_length,), dtype="int32", name="ids"),
            layers.Embedding(pad.vocabulary, architecture.embedding, name="embedding"),
            layers.Conv1D(
                architecture.filters, architecture.kernel, padding="same", activation="relu", name="convolution"
            ),
            layers.MaxPooling1D(architecture.pool, name="pooling"),
            layers.Bidirectional(lstm, name="bidirectional") if architecture.bidirectional else lstm,
            *over_time,
            layers.Dropout(architecture.dropout, name="dropout"),
            *dense,
            network.output(keras, labels),
        ],
        name="cnn_lstm",
    )


make_trainer = partial(network.make_trainer, build)
