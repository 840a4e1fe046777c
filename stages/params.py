"""Refuse a params.yaml that makes no sense before any stage runs: DVC deletes a stage's outputs before its command.

What is written is the same for every valid file, so that no stage is stale because another's params changed.
"""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from sentiment import InputError
from stages.common import command, write_text
from stages.settings import check, download, evaluate, fit, pad, read_text, score, train
from stages.settings.reader import load

CHECKED = Path("data/params-checked.txt")
TAKEN = ("raw", "noise")  # folders of these names stand among those of the models


def free(name: str) -> str:
    """A model's name, which names folders and files too."""
    if name in TAKEN:
        raise ValueError(f"a model cannot be called {name!r}, as data/raw and metrics/noise are folders; rename it")
    return name


Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]*$", max_length=64), AfterValidator(free)]


class Model(pad.Settings, train.Settings, evaluate.Settings):
    """One named model: all that its stages read."""


class Baseline(fit.Settings, score.Settings):
    """One named linear model of n-grams: all that its stages read."""


class Params(download.Settings):
    """The whole of ``params.yaml``."""

    models: Annotated[dict[Name, Model], Field(min_length=1)]
    baselines: dict[Name, Baseline]

    @model_validator(mode="after")
    def _names_differ(self):
        if both := [name for name in self.baselines if name in self.models]:
            raise ValueError(f"{both[0]!r} names a model and a baseline, which both write its metrics; rename one")
        return self


def parse(text: str) -> Params:
    """The whole of a params file.

    Raises:
        InputError: One line per fault: the key, the value found and what is allowed.
    """
    return check(Params, load(text))


def read() -> Params:
    """The whole of the current folder's ``params.yaml``; raises as ``parse`` does."""
    return parse(read_text())


def main(name: str | None) -> None:
    """Check the file, and that it has a model or a baseline called ``name`` if one is given."""
    params = read()
    names = [*params.models, *params.baselines]
    if name not in (None, *names):
        raise InputError(f"model: expected one of {', '.join(names)}, got {name!r}")
    write_text(CHECKED, "params.yaml has every key, and each a value in its range\n")


if __name__ == "__main__":
    command(main, model="optional")
