"""Refuse a params.yaml that makes no sense before any stage runs: DVC deletes a stage's outputs before its command.

What is written is the same for every valid file, so that no stage is stale because another's params changed.
"""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from sentiment import InputError
from stages.common import command, write_text
from stages.settings import check, corpus, download, evaluate, find, fit, pad, read_text, score, train
from stages.settings.reader import load

CHECKED = Path("data/params-checked.txt")
TAKEN = ("raw", "noise")  # folders of these names stand among those of the models
IMDB = "imdb"  # the corpus that the download stage makes


def free(name: str) -> str:
    """The name of a model or a baseline, which names folders and files too."""
    if name in TAKEN:
        raise ValueError(f"nothing here can be called {name!r}, as data/raw and metrics/noise are folders; rename it")
    return name


def own(name: str) -> str:
    """The name of a corpus of one's own, which names files too."""
    if name == IMDB:
        raise ValueError(f"a corpus cannot be called {name!r}, as that is the downloaded one; rename it")
    return name


Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]*$", max_length=64)]


class Model(pad.Settings, train.Settings, evaluate.Settings):
    """One named model: all that its stages read."""


class Baseline(fit.Settings, score.Settings):
    """One named linear model of n-grams: all that its stages read."""


class Params(download.Settings):
    """The whole of ``params.yaml``."""

    corpora: dict[Annotated[Name, AfterValidator(own)], corpus.Settings]
    models: Annotated[dict[Annotated[Name, AfterValidator(free)], Model], Field(min_length=1)]
    baselines: dict[Annotated[Name, AfterValidator(free)], Baseline]

    def model(self, name: str) -> Model:
        """The section of the model called ``name``; ``InputError`` lists the names there are."""
        return find(self.models, "model", name)

    def baseline(self, name: str) -> Baseline:
        """That of the baseline called ``name``, likewise."""
        return find(self.baselines, "baseline", name)

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
    params = check(Params, load(text))
    corpora = [IMDB, *params.corpora]
    lost = [
        f"params.yaml: {section}.{name}.corpus = {one.corpus!r}: expected one of {', '.join(corpora)}"
        for section, named in (("models", params.models), ("baselines", params.baselines))
        for name, one in named.items()
        if one.corpus not in corpora
    ]
    if lost:
        raise InputError("\n".join(lost))
    return params


def read() -> Params:
    """The whole of the current folder's ``params.yaml``; raises as ``parse`` does."""
    return parse(read_text())


def main(model: str | None, baseline: str | None) -> None:
    """Check the file, and that it has the model and the baseline whose names are given."""
    params = read()
    if model is not None:
        params.model(model)
    if baseline is not None:
        params.baseline(baseline)
    write_text(CHECKED, "params.yaml has every key, and each a value in its range\n")


if __name__ == "__main__":
    command(main, model="optional", baseline="optional")
