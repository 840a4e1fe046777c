"""Refuse a params.yaml that makes no sense before any stage runs: DVC deletes a stage's outputs before its command.

What is written is the same for every valid file, so that no stage is stale because another's params changed.
"""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from sentiment import InputError
from stages.common import command, write_text
from stages.settings import check, corpus, download, evaluate, pad, read_text, train
from stages.settings.reader import load

CHECKED = Path("data/params-checked.txt")
TAKEN = ("raw", "noise")  # folders of these names stand among those of the models
IMDB = "imdb"  # the corpus that the download stage makes


def free(name: str) -> str:
    """A model's name, which names folders and files too."""
    if name in TAKEN:
        raise ValueError(f"a model cannot be called {name!r}, as data/raw and metrics/noise are folders; rename it")
    return name


def own(name: str) -> str:
    """The name of a corpus of one's own, which names files too."""
    if name == IMDB:
        raise ValueError(f"a corpus cannot be called {name!r}, as that is the downloaded one; rename it")
    return name


Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]*$", max_length=64)]


class Model(pad.Settings, train.Settings, evaluate.Settings):
    """One named model: all that its stages read."""


class Params(download.Settings):
    """The whole of ``params.yaml``."""

    corpora: dict[Annotated[Name, AfterValidator(own)], corpus.Settings]
    models: Annotated[dict[Annotated[Name, AfterValidator(free)], Model], Field(min_length=1)]

    def model(self, name: str) -> Model:
        """The section of the model called ``name``; ``InputError`` lists the names there are."""
        if name not in self.models:
            raise InputError(f"model: expected one of {', '.join(self.models)}, got {name!r}")
        return self.models[name]


def parse(text: str) -> Params:
    """The whole of a params file.

    Raises:
        InputError: One line per fault: the key, the value found and what is allowed.
    """
    params = check(Params, load(text))
    corpora = [IMDB, *params.corpora]
    if lost := [(name, model.corpus) for name, model in params.models.items() if model.corpus not in corpora]:
        expected = f"expected one of {', '.join(corpora)}"
        raise InputError(
            "\n".join(f"params.yaml: models.{name}.corpus = {found!r}: {expected}" for name, found in lost)
        )
    return params


def read() -> Params:
    """The whole of the current folder's ``params.yaml``; raises as ``parse`` does."""
    return parse(read_text())


def main(name: str | None) -> None:
    """Check the file, and that it has a model called ``name`` if one is given."""
    params = read()
    if name is not None:
        params.model(name)
    write_text(CHECKED, "params.yaml has every key, and each a value in its range\n")


if __name__ == "__main__":
    command(main, model="optional")
