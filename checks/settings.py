"""Settings of the checks in a repository: ``checks.yaml`` beside its ``.dvc`` folder. All of it is optional."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import yaml
from voluptuous import Any, Invalid, MultipleInvalid, Schema

from .reading import check_regular, check_size
from .shell import InputError

FILE = "checks.yaml"
LAST_DIGITS = "0.0001%"


def _bound(value: object) -> object:
    number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    if number or value == "any" or (isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?%", value)):
        return value
    raise Invalid(f"expected a number from 0, a share of the recorded one such as 1%, or any, got {value!r}")


_SCHEMA = Schema(
    {
        "tolerance": {str: _bound},
        "free": [str],
        "accept_same_values": bool,
        "environment": [str],
        "paths": [str],
        "packages": [str],
        "promise": {str: {str: Any("identical", "within tolerance")}},
        "headline": str,
        "noise": str,
        "hidden": [str],
        "together": [str],
        "apart": str,
    }
)


class Settings(NamedTuple):
    """The settings, with what holds where a repository says nothing."""

    tolerance: Mapping[str, object] = {"*": LAST_DIGITS}
    """Largest difference of a number from the recorded one, by a pattern of its key; the first match counts."""
    free: tuple[str, ...] = ()
    """Patterns of outputs whose bytes may be others, as they follow from what is rounded otherwise elsewhere."""
    accept_same_values: bool = False
    """Exit with 0 where values are equal and only their form in the file differs."""
    environment: tuple[str, ...] = ()
    """Environment variables that the stages need and a rerun does not get otherwise, such as PYTHONPATH."""
    paths: tuple[str, ...] = ()
    """Environment variables that name files, which are made absolute for a rerun in another folder."""
    packages: tuple[str, ...] = ()
    """Packages whose versions a proof names."""
    promise: Mapping[str, Mapping[str, str]] = {}
    """By a key of a stage's ``meta`` in ``dvc.yaml`` and by its value there, the verdict that the stage promises."""
    headline: str = ""
    """The metric that a report's verdict on a model begins with."""
    noise: str = ""
    """The file with the spread of a model's metrics over seeds; ``{model}`` stands for the model's name."""
    hidden: tuple[str, ...] = ()
    """Patterns of metrics files that a report leaves out."""
    together: tuple[str, ...] = ()
    """Patterns of plots that every model has: all models share one chart of each."""
    apart: str = ""
    """The param, with ``{model}`` in place of a name, whose value two models must have in common to share a chart."""

    def promised(self, meta: Mapping[str, object]) -> str:
        """The verdict that a stage promises by its ``meta``; none if it does not say.

        >>> Settings(promise={"engine": {"fast": "within tolerance"}}).promised({"engine": "fast"})
        'within tolerance'
        """
        found = (values.get(str(meta[key])) for key, values in self.promise.items() if key in meta)
        return next(filter(None, found), "")

    def tolerated(self, key: str, was: float, whole: bool = False) -> float | None:
        """Return how far the number of a key may be from ``was``; None for any value.

        ``whole`` numbers are counts: they are exact unless the repository declares tolerances.

        >>> settings = Settings({"loss": 0.1, "digest": "any", "*": "10%"})
        >>> settings.tolerated("test.loss", 5.0), settings.tolerated("digest", 0), settings.tolerated("x", -5.0)
        (0.1, None, 0.5)
        """
        if whole and self.tolerance is Settings._field_defaults["tolerance"]:
            return 0.0
        names = (key, key.rpartition(".")[2])
        fits = (bound for pattern, bound in self.tolerance.items() if any(fnmatchcase(name, pattern) for name in names))
        bound = next(fits, 0.0)
        if bound == "any":
            return None
        return abs(was) * float(bound[:-1]) / 100 if isinstance(bound, str) else float(bound)


def read_settings(folder: Path) -> Settings:
    """The settings of the repository in a folder.

    Raises:
        InputError: The file is not what it should be.
    """
    file = folder / FILE
    if not file.exists():
        return Settings()
    try:
        check_regular(str(file))
        check_size(str(file))
        values = _SCHEMA(yaml.safe_load(file.read_text("utf-8")) or {})
    except OSError as error:
        raise InputError(f"{FILE}: {error.strerror}") from None
    except (UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{FILE}: expected YAML, got {' '.join(str(error).split())}") from None
    except MultipleInvalid as error:
        first: Invalid = error.errors[0]
        place = ".".join(map(str, first.path))
        raise InputError(f"{FILE}: {place}: {first.msg}; it may have {', '.join(Settings._fields)}") from None
    return Settings(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
