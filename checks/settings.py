"""Settings of the checks in a repository: ``checks.yaml`` beside its ``.dvc`` folder. All settings are optional."""

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
    raise Invalid(f"expected a number >= 0, a share of the recorded number such as 1%, or any, got {value!r}")


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


class CheckSettings(NamedTuple):
    """The settings, with their defaults."""

    tolerance: Mapping[str, object] = {"*": LAST_DIGITS}
    """Largest difference of a number from the recorded one, by a pattern of its key; the first match applies."""
    free: tuple[str, ...] = ()
    """Patterns of outputs whose bytes may differ, because they follow from roundings that machines do differently."""
    accept_same_values: bool = False
    """Exit with 0 if the values are equal and only their form in the file differs."""
    environment: tuple[str, ...] = ()
    """Environment variables that a rerun gets although they are withheld by default, such as PYTHONPATH."""
    paths: tuple[str, ...] = ()
    """Environment variables that name files; they are made absolute, because a rerun runs in another folder."""
    packages: tuple[str, ...] = ()
    """Packages whose versions a report of ``verify`` has."""
    promise: Mapping[str, Mapping[str, str]] = {}
    """Verdict that a stage promises, by a key of its ``meta`` in ``dvc.yaml`` and by the value of the key."""
    headline: str = ""
    """Metric with which a report's verdict on a model begins."""
    noise: str = ""
    """File with the standard deviations of a model's metrics over seeds; ``{model}`` stands for the model's name."""
    hidden: tuple[str, ...] = ()
    """Patterns of metrics files that a report leaves out."""
    together: tuple[str, ...] = ()
    """Patterns of plots that every model has; all models share one chart."""
    apart: str = ""
    """Param whose value must be equal for models to share a chart; ``{model}`` stands for the model's name."""

    def promised(self, meta: Mapping[str, object]) -> str:
        """Return the verdict that a stage promises by its ``meta``, or an empty text.

        >>> CheckSettings(promise={"engine": {"fast": "within tolerance"}}).promised({"engine": "fast"})
        'within tolerance'
        """
        promises = (values.get(str(meta[key])) for key, values in self.promise.items() if key in meta)
        return next(filter(None, promises), "")

    def tolerated(self, key: str, was: float, whole: bool = False) -> float | None:
        """Return the largest allowed distance of a key's number from ``was``; None if any value is allowed.

        ``whole`` numbers are counts: 0 unless the repository declares tolerances.

        >>> settings = CheckSettings({"loss": 0.1, "digest": "any", "*": "10%"})
        >>> settings.tolerated("test.loss", 5.0), settings.tolerated("digest", 0), settings.tolerated("x", -5.0)
        (0.1, None, 0.5)
        """
        if whole and self.tolerance is CheckSettings._field_defaults["tolerance"]:
            return 0.0
        names = (key, key.rpartition(".")[2])
        fits = (bound for pattern, bound in self.tolerance.items() if any(fnmatchcase(name, pattern) for name in names))
        bound = next(fits, 0.0)
        if bound == "any":
            return None
        return abs(was) * float(bound[:-1]) / 100 if isinstance(bound, str) else float(bound)


def read_settings(folder: Path) -> CheckSettings:
    """Read the settings of the repository in a folder.

    Raises:
        InputError: The file can't be read, or a setting is not valid.
    """
    file = folder / FILE
    if not file.exists():
        return CheckSettings()
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
        key = ".".join(map(str, first.path))
        raise InputError(f"{FILE}: {key}: {first.msg}; the settings are {', '.join(CheckSettings._fields)}") from None
    return CheckSettings(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
