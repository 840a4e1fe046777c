"""The schema of ``params.yaml``: every key, its type, its range and the rules between keys, declared once."""

import io
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sentiment import InputError

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class _Section(BaseModel):
    """Unknown keys, missing keys and values of another type are errors; values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Source(_Section):
    """One raw file: its SHA-256 in lower-case hex and the public addresses of the same bytes."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    urls: list[Annotated[str, Field(pattern="^https?://")]]


class Download(_Section):
    """The raw data: ``timeout`` in seconds, ``retries`` after the first try of each address."""

    timeout: Annotated[float, Field(gt=0)]
    retries: Annotated[int, Field(ge=0, le=100)]
    reviews: Source
    word_index: Source


class Pad(_Section):
    """Review length in words, and number of word ids, 3 of which are special; IMDB has 88,584 words."""

    max_length: Count
    vocabulary: Annotated[int, Field(ge=4, le=10**6)]


class Network(_Section):
    """Layer sizes of the CNN-LSTM, in the order of its layers."""

    embedding: Count
    filters: Count
    kernel: Count
    pool: Count
    lstm: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    dense: Count

    @model_validator(mode="after")
    def _kernel_is_odd(self):
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel = {self.kernel} must be odd, so that it has a centre; try {self.kernel + 1}")
        return self


class Train(_Section):
    """How the weights are found."""

    epochs: Count
    batch: Count
    shards: Count
    learning_rate: Annotated[float, Field(gt=0)]
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    seed: Seed

    @model_validator(mode="after")
    def _shards_fit_the_batch(self):
        if self.shards > self.batch:
            raise ValueError(f"shards = {self.shards} must not exceed batch = {self.batch}, or some would be empty")
        return self


class Evaluate(_Section):
    """How the test split is scored."""

    batch: Count
    calibration_bins: Annotated[int, Field(ge=2, le=1000)]


class Model(_Section):
    """One named model: a section per stage."""

    pad: Pad
    network: Network
    train: Train
    evaluate: Evaluate

    @model_validator(mode="after")
    def _network_fits_the_review(self):
        length, kernel, pool = self.pad.max_length, self.network.kernel, self.network.pool
        if kernel > length:
            raise ValueError(f"network.kernel = {kernel} must not exceed pad.max_length = {length}")
        if pool > length:
            raise ValueError(f"network.pool = {pool} must not exceed pad.max_length = {length}: nothing would be left")
        return self


class Params(_Section):
    """The whole of ``params.yaml``."""

    download: Download
    models: Annotated[dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], Model], Field(min_length=1)]

    def model(self, name: str) -> Model:
        """The section of the model called ``name``; ``InputError`` lists the names there are."""
        if name not in self.models:
            raise InputError(f"model: expected one of {', '.join(self.models)}, got {name!r}")
        return self.models[name]


def parse(text: str, name: str = "params.yaml") -> Params:
    """Check the text of a params file against the schema.

    YAML 1.2 by DVC's own reader, so that both see the same value: ``1e-3`` is a number, a repeated key an error.

    Args:
        text: The file's contents.
        name: What errors call the file.

    Raises:
        InputError: One line per fault: the key, the value found and what is allowed.
    """
    try:
        values = YAML(typ="safe").load(io.StringIO(text))
    except YAMLError as error:
        raise InputError(f"{name}: not readable as YAML: {' '.join(str(error).split())}") from None
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise InputError("\n".join(_one_line(name, fault) for fault in error.errors())) from None


def _one_line(name: str, fault) -> str:
    key = ".".join(str(part) for part in fault["loc"] if part != "[key]") or "the file"
    message = fault["msg"].removeprefix("Value error, ")
    match fault["type"]:
        case "missing":
            return f"{name}: {key} is missing; add it"
        case "extra_forbidden":
            return f"{name}: {key} = {fault['input']!r} is not a known key; remove it or correct its name"
        case "value_error":
            return f"{name}: {key}: {message}"
    return f"{name}: {key} = {fault['input']!r}: {message}"
