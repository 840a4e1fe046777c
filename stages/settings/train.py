"""What ``stages.train`` reads of a model in ``params.yaml``."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.settings import Section, Size
from stages.settings.pad import Pad

LARGEST = 2**34
"""Bytes that training may need: 16 GiB, three hundred times what `full` does."""


class Network(Section):
    """The CNN-LSTM, in the order of its layers."""

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


class Train(Section):
    """How the weights are found."""

    engine: Literal["compiled", "keras"]
    optimizer: Literal["adam", "sgd"]
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    batch: Annotated[int, Field(ge=1, le=100_000)]
    shards: Annotated[int, Field(ge=1, le=1024)]
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["constant", "linear"]
    beta_2: Annotated[float, Field(gt=0, le=0.9999)]
    word_dropout: Annotated[float, Field(ge=0, le=0.99)]
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]

    @model_validator(mode="after")
    def _shards_fit_the_batch(self):
        if self.shards > self.batch:
            raise ValueError(f"shards = {self.shards} must not exceed batch = {self.batch}, or some would be empty")
        return self


class Settings(Section):
    """What the stage reads of a model: the length and vocabulary of its reviews fix the network's shape too."""

    corpus: str
    pad: Pad
    network: Network
    train: Train

    @model_validator(mode="after")
    def _network_fits_the_review(self):
        length, kernel, pool = self.pad.max_length, self.network.kernel, self.network.pool
        if kernel > length:
            raise ValueError(f"network.kernel = {kernel} must not exceed pad.max_length = {length}")
        if pool > length:
            raise ValueError(f"network.pool = {pool} must not exceed pad.max_length = {length}: nothing would be left")
        return self

    @model_validator(mode="after")
    def _training_fits_a_machine(self):
        if (needed := memory(self.pad, self.network, self.train.batch)) > LARGEST:
            raise ValueError(
                f"training would need about {needed / 2**30:,.0f} GiB of memory, expected at most {LARGEST >> 30};"
                " lower train.batch, pad.max_length, pad.vocabulary or the sizes of the network"
            )
        return self


def memory(pad: Pad, network: Network, batch: int) -> int:
    """Bytes that training needs, roughly: weights, gradient and two moments, and the layers' outputs of a batch."""
    lstm = network.units * (2 if network.bidirectional else 1)
    weights = pad.vocabulary * network.embedding + network.kernel * network.embedding * network.filters
    weights += 4 * lstm * (network.filters + network.units) + lstm * network.dense
    review = pad.max_length * (network.embedding + network.filters) + pad.max_length // network.pool * 8 * lstm
    return 4 * (4 * weights + batch * review)
