"""Schemas of sections of ``params.yaml``: strict, and every error is one line that names the key."""

from reprlib import Repr
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sentiment import InputError

SHORT = Repr()
"""Short text of a value of any size: a few YAML aliases can make a value that is larger than any memory."""
SHORT.maxlevel = SHORT.maxdict = SHORT.maxlist = 3
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 200

Size = Annotated[int, Field(ge=1, le=4096)]  # size of a layer; a larger one needs more memory than machines have
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Batch = Annotated[int, Field(ge=1, le=100_000)]
Rate = Annotated[float, Field(ge=1e-30, le=1e38)]  # in float32 it is neither 0 nor infinite


class Section(BaseModel):
    """Base of all schemas: unknown keys, missing keys and values of another type are errors; fields are read-only."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Pad(Section):
    """Review length in words, and number of word ids, of which 3 are special; ``None`` means no limit.

    The longest IMDB review has 2,494 words; the word index has 88,584 words.
    """

    max_length: Annotated[int, Field(ge=1, le=10_000)] | None
    vocabulary: Annotated[int, Field(ge=4, le=10**6)] | None


Architecture, Train = TypeVar("Architecture"), TypeVar("Train")


class ModelSettings(Section, Generic[Architecture, Train]):
    """Sections of a model in ``params.yaml`` that determine its weights."""

    pad: Pad
    architecture: Architecture
    train: Train


Engine = Literal["compiled", "keras", "scikit-learn"]
"""Names of the trainers: the kernels of ``engine``, Keras's ``fit``, and scikit-learn's LIBLINEAR."""

NOT_KEYS = {"[key]", *Engine.__args__, "log_loss", "squared_hinge", "names", "values"}
"""Names that pydantic inserts between the keys of an error's location."""

Checked = TypeVar("Checked", bound=BaseModel)


def check(schema: type[Checked], values: object, *at: str) -> Checked:
    """The section as an object of its schema, after a check of the values.

    Args:
        schema: Schema of the section.
        values: Plain values.
        at: The keys that lead to the section.

    Raises:
        InputError: One line per fault: the key, its value and the allowed values.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise InputError("\n".join(_one_line(at, fault) for fault in error.errors())) from None


def _one_line(at: tuple[str, ...], fault) -> str:
    key = ".".join(shown(part) for part in (*at, *fault["loc"]) if part not in NOT_KEYS) or "the file"
    value, message = SHORT.repr(fault["input"]), fault["msg"].removeprefix("Value error, ")
    value = value if len(value) <= 100 else f"{value[:97]}..."
    match fault["type"]:
        case "missing":
            return f"params.yaml: {key} is missing; add it"
        case "extra_forbidden":
            return f"params.yaml: {key} = {value} is not a known key; remove it or correct its name"
        case "value_error":
            return f"params.yaml: {key}: {message}"
        case "union_tag_invalid":
            name, got, expected = (fault["ctx"][part] for part in ("discriminator", "tag", "expected_tags"))
            return f"params.yaml: {key}.{name[1:-1]} = {SHORT.repr(got)}: expected one of {expected}"
    return f"params.yaml: {key} = {value}: {message}"


def shown(key: object) -> str:
    """A key as printable text of at most 100 characters.

    >>> shown("a\\x1b[31m\\nb")
    'a\\\\x1b[31m\\\\nb'
    """
    text = str(key)[:101]
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= 100 else f"{text[:97]}..."
