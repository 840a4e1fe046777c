"""What the stages read of ``params.yaml``: a strict schema for each stage, in the file of its name here.

A stage depends on its own schema alone, so that a new key of one stage makes no other stale. ``stages.params`` puts
them together and checks the whole file.
"""

from pathlib import Path
from reprlib import Repr
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sentiment import InputError
from stages.settings.reader import load

Size = Annotated[int, Field(ge=1, le=4096)]  # of a layer; larger ones need more memory than machines have

REMEDY = "`git restore params.yaml` takes it back from Git"
SHORT = Repr()
"""Shows values of any size: a few aliases of YAML make one that no memory holds the whole of."""
SHORT.maxlevel = SHORT.maxdict = SHORT.maxlist = 3
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 200


class Section(BaseModel):
    """Unknown keys, missing keys and values of another type are errors; values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Schema, Named = TypeVar("Schema", bound=Section), TypeVar("Named")


SECTIONS = {"model": "models", "baseline": "baselines", "corpus": "corpora"}
"""The section of the file for each kind of name that a stage takes."""


def read(
    schema: type[Schema], model: str | None = None, baseline: str | None = None, corpus: str | None = None
) -> Schema:
    """What a stage reads of the current folder's ``params.yaml``: of the file, or of the section of one name in it.

    Args:
        schema: Its fields are the sections that are read; the others are not looked at.
        model: A name under ``models``; ``None`` for none.
        baseline: A name under ``baselines``; ``None`` for none.
        corpus: A name under ``corpora``; ``None`` for none.

    Raises:
        InputError: One line per fault; or an unknown name, and those there are.
    """
    values, at = load(read_text()), ()
    for kind, name in {"model": model, "baseline": baseline, "corpus": corpus}.items():
        if name is not None:
            known = values.get(SECTIONS[kind]) if isinstance(values, dict) else None
            values, at = find(known if isinstance(known, dict) else {}, kind, name), (SECTIONS[kind], name)
    if isinstance(values, dict):
        values = {key: values[key] for key in schema.model_fields if key in values}
    return check(schema, values, *at)


def find(named: dict[str, Named], kind: str, name: str) -> Named:
    """The one called ``name``.

    Raises:
        InputError: There is none; those there are.
    """
    if name not in named:
        raise InputError(f"{kind}: expected one of {', '.join(map(str, named)) or 'none'}, got {name!r}")
    return named[name]


def read_text() -> str:
    """The text of the current folder's ``params.yaml``."""
    try:
        return Path("params.yaml").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"params.yaml: {error.strerror}; run from the project's root") from None
    except OSError as error:
        raise InputError(f"params.yaml: expected a file that can be read, got: {error.strerror}; {REMEDY}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"params.yaml: expected text in UTF-8, got other bytes: {error}; {REMEDY}") from None


def check(schema: type[Schema], values: object, *at: str) -> Schema:
    """Values as the schema has them; ``at`` are the keys that lead to them.

    Raises:
        InputError: One line per fault: the key, the value found and what is allowed.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise InputError("\n".join(_one_line(at, fault) for fault in error.errors())) from None


def _one_line(at: tuple[str, ...], fault) -> str:
    key = ".".join(str(part) for part in (*at, *fault["loc"]) if part != "[key]") or "the file"
    found, message = SHORT.repr(fault["input"]), fault["msg"].removeprefix("Value error, ")
    found = found if len(found) <= 100 else f"{found[:97]}..."
    match fault["type"]:
        case "missing":
            return f"params.yaml: {key} is missing; add it"
        case "extra_forbidden":
            return f"params.yaml: {key} = {found} is not a known key; remove it or correct its name"
        case "value_error":
            return f"params.yaml: {key}: {message}"
    return f"params.yaml: {key} = {found}: {message}"
