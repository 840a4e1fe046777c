"""Check params.yaml before any stage runs: DVC deletes a stage's outputs before it runs the stage's command.

``CHECKED`` is the same for every valid file, so that no stage is stale because another's params changed. All stages
read their settings through this module, but only this stage depends on it: a schema cannot change a value.

``PARTS`` has a text for each kind of model: the kinds that it is made of, and the digests of their files. So a change
of a kind makes the models of kinds that are made of it stale, too.
"""

import re
from collections import Counter
from functools import cache, partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag, create_model, model_validator

from sentiment import InputError, kinds
from sentiment.data.labelled import READERS
from sentiment.data.raw import MOST_LABELS
from sentiment.schema import ModelSettings, Section, check, shown
from stages.common.command import command
from stages.common.files import write_text
from stages.common.reader import load

CHECKED, PARTS = Path("data/params-checked.txt"), Path("data/parts")
TAKEN = ("raw", "parts", "noise")  # other folders beside those of the models have these names
IMDB = "imdb"  # the corpus that the download stage makes
REMEDY = "`git restore params.yaml` takes it back from Git"

RENAMED = {
    "baselines": "models",
    "network": "architecture",
    "grams": "architecture",
    "fit": "train",
    "score": "evaluate",
    "minimum": "min_df",
    "most": "max_features",
    "values": "weighting",
    "solver": "engine: compiled for adam; scikit-learn with loss: log_loss for logistic, loss: squared_hinge for svm",
}
"""Keys of earlier versions, and their names now."""

Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]*$", max_length=64)]


class Source(Section):
    """One raw file: its SHA-256 in lower-case hex, its size in bytes and the public addresses of the same bytes."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=1, le=2**31)]
    urls: list[Annotated[str, Field(pattern="^https?://")]]


class Download(Section):
    """The raw data: ``timeout`` and ``deadline`` in seconds, ``retries`` after the first try of each address."""

    deadline: Annotated[float, Field(gt=0, le=86_400)]
    timeout: Annotated[float, Field(gt=0, le=86_400)]
    retries: Annotated[int, Field(ge=0, le=100)]
    reviews: Source
    word_index: Source


Several = Field(min_length=2, max_length=MOST_LABELS)


class Corpus(Section):
    """A corpus of the user's own. ``stages.corpus`` refuses keys that its files do not need.

    ``labels`` are the names of the labels, or the values in the file that each name stands for; rows with a value of
    ``leave_out`` are no faults; ``splits`` names the files or folders of each split below ``reviews``;
    ``test_fraction`` and ``seed`` draw the test split of reviews that come without one; at most ``bad_rows`` rows may
    be left out as faults. ``labelled.Form`` has the keys of the file's format, and ``text.Normal`` those of its tokens.
    """

    reviews: Text
    format: Literal[(*READERS, "folder")] | None = None
    encoding: Text = "utf-8"
    separator: Text | None = None
    header: bool = True
    quoting: bool = True
    text: Text | None = None
    label: Text | None = None
    labels: Annotated[
        Annotated[list[Text], Several, Tag("names")]
        | Annotated[dict[Text, Annotated[list[Text], Field(min_length=1)]], Several, Tag("values")],
        Discriminator(lambda labels: "values" if isinstance(labels, dict) else "names"),
    ]
    leave_out: list[Text] = Field(default=[])
    bad_rows: Annotated[int, Field(ge=0)]
    splits: dict[Literal["train", "test"], Annotated[list[Text], Field(min_length=1)]] | None = None
    test_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    tokens: Literal["words", "characters"] = "words"
    lowercase: bool = True
    symbols: bool = False
    language: Annotated[str, Field(pattern="^[a-z]{2,3}$")] | None = None
    license: Text | None = None

    @property
    def values(self) -> dict[str, int | None]:
        """The number of the label that each value in the file stands for; ``None`` for those left out."""
        values = self.labels if isinstance(self.labels, dict) else {name: [name] for name in self.labels}
        numbers = {value: number for number, them in enumerate(values.values()) for value in them}
        return numbers | dict.fromkeys(self.leave_out)

    @model_validator(mode="after")
    def _names_differ(self):
        values = [*chain(*self.labels.values())] if isinstance(self.labels, dict) else self.labels
        for named in (values + self.leave_out, [*self.labels]):
            if twice := [name for name, count in Counter(named).items() if count > 1]:
                raise ValueError(f"labels: expected different names and values, got {twice[0]!r} twice")
        if self.text is not None and self.text == self.label:
            raise ValueError(f"text and label: expected two different columns, got {self.text!r} for both")
        return self

    @model_validator(mode="after")
    def _can_be_read(self):
        try:
            "a".encode(self.encoding).decode(self.encoding, "surrogateescape")
        except (LookupError, ValueError):
            raise ValueError(
                f"encoding = {self.encoding!r} is none by which Python reads texts; try utf-8, utf-16, cp949, latin-1"
                " or cp1252"
            ) from None
        if self.separator and len(self.separator) > 1 and self.quoting and self.format in (None, "csv"):
            raise ValueError(f"separator = {self.separator!r} has several characters: set quoting: false")
        if self.splits is not None and set(self.splits) != {"train", "test"}:
            raise ValueError(f"splits: expected train and test, got {', '.join(self.splits)}")
        if Path(self.reviews).is_absolute() or ".." in Path(self.reviews).parts:
            raise ValueError(
                f"reviews = {self.reviews!r} is outside the repository, whose clones would not have it; copy it inside"
            )
        return self


class Evaluate(Section):
    """Parameters of the stage ``evaluate``."""

    batch: Annotated[int, Field(ge=1, le=10**6)]
    calibration_bins: Annotated[int, Field(ge=2, le=1000)]


def free(name: str) -> str:
    """Check the name of a model, which names folders and files too."""
    if name in TAKEN:
        raise ValueError(f"no model can be called {name!r}, as a folder in data or metrics has this name; rename it")
    return name


def own(name: str) -> str:
    """Check the name of a corpus of the user's own, which names files too."""
    if name == IMDB:
        raise ValueError(f"a corpus cannot be called {name!r}, as that is the downloaded one; rename it")
    return name


class WholeFile(Section):
    """The sections of ``params.yaml``; ``check_model`` checks each model."""

    download: Download
    corpora: dict[Annotated[Name, AfterValidator(own)], Corpus]
    models: Annotated[dict[Annotated[Name, AfterValidator(free)], Any], Field(min_length=1)]


class _Kind(BaseModel):
    kind: Literal[tuple(kinds.NAMES)]


class _ModelKind(BaseModel):
    architecture: _Kind


@cache
def schema_of(kind: str) -> type[ModelSettings]:
    """The schema of a model of a kind: the kind's ``Settings``, ``corpus`` and ``evaluate``."""
    return create_model("ModelSection", __base__=kinds.find(kind).Settings, corpus=(str, ...), evaluate=(Evaluate, ...))


@cache
def keys_of(kind: str) -> frozenset[str]:
    """All keys that a model of a kind may have."""
    definitions = schema_of(kind).model_json_schema()["$defs"].values()
    return frozenset(key for definition in definitions for key in definition.get("properties", {}))


def check_model(values: object, *at: str) -> ModelSettings:
    """One section under ``models``, by the schema of its kind.

    Args:
        values: Plain values.
        at: The keys that lead to the section.

    Raises:
        InputError: One line per fault.
    """
    kind = check(_ModelKind, values, *at).architecture.kind
    try:
        return check(schema_of(kind), values, *at)
    except InputError as error:
        raise InputError(
            re.sub(r"(?m)(\w+) = .* is not a known key; .*$", partial(_of_others, kind), str(error))
        ) from None


def _of_others(kind: str, line: re.Match) -> str:
    """An error message about an unknown key that names the other kinds that have it."""
    others = [other for other in kinds.NAMES if line[1] in keys_of(other)]
    if not others or kind in others:
        return line[0]
    *most, last = others
    owners = f"the kinds {', '.join(most)} and {last}" if most else f"kind {last}"
    return f"{line[1]} is a key of {owners}, and this is kind {kind}; remove it"


def renamed(values: object, *at: str) -> list[str]:
    """A line for each key of an earlier version, at most two keys below the section of a model."""
    lines = []
    for key, value in values.items() if isinstance(values, dict) else ():
        is_name = at in (("models",), ("baselines",))
        if key in RENAMED and not is_name:
            lines.append(f"params.yaml: {'.'.join(map(shown, (*at, key)))} is now called {RENAMED[key]}; rename it")
        if at or key in ("models", "baselines"):
            lines += renamed(value, *at, str(key)) if len(at) < 3 else []
    return lines


class Params(NamedTuple):
    """The whole of ``params.yaml``, checked."""

    download: Download
    corpora: dict[str, Corpus]
    models: dict[str, ModelSettings]

    def model(self, name: str) -> ModelSettings:
        """The section of the model called ``name``; ``InputError`` lists the existing names."""
        return get_section(self.models, "model", name)


def parse(text: str) -> Params:
    """The whole of a params file.

    Raises:
        InputError: One line per fault: the key, its value and the allowed values.
    """
    values = load(text)
    if lines := renamed(values):
        raise InputError("\n".join(lines))
    faults, whole, models = [], None, {}
    try:
        whole = check(WholeFile, values)
    except InputError as error:
        faults.append(str(error))
    sections = values.get("models") if isinstance(values, dict) else None
    for name, section in sections.items() if isinstance(sections, dict) else ():
        try:
            models[name] = check_model(section, "models", str(name))
        except InputError as error:
            faults.append(str(error))
    if whole:
        corpora = [IMDB, *whole.corpora]
        faults += [
            f"params.yaml: models.{name}.corpus = {model.corpus!r}: expected one of {', '.join(corpora)}"
            for name, model in models.items()
            if model.corpus not in corpora
        ]
        faults += [
            f"params.yaml: models.{name}.architecture.kind = 'wide_deep' is for corpora of 2 labels, and"
            f" corpora.{model.corpus} has {len(whole.corpora[model.corpus].labels)}; set kind: ngrams"
            for name, model in models.items()
            if model.architecture.kind == "wide_deep"
            if model.corpus in whole.corpora and len(whole.corpora[model.corpus].labels) > 2
        ]
    if faults:
        raise InputError("\n".join(faults))
    return Params(whole.download, whole.corpora, models)


def read() -> Params:
    """The whole of the current folder's ``params.yaml``; raises as ``parse`` does."""
    return parse(read_text())


def read_model(name: str) -> ModelSettings:
    """The section of one model; the other sections are not checked. Raises ``InputError``."""
    section = get_section(_section("models"), "model", name)
    if lines := renamed({name: section}, "models"):
        raise InputError("\n".join(lines))
    return check_model(section, "models", name)


def read_corpus(name: str) -> Corpus:
    """The section of one corpus of the user's own; raises as ``read_model`` does."""
    return check(Corpus, get_section(_section("corpora"), "corpus", name), "corpora", name)


def read_download() -> Download:
    """The section ``download``; raises ``InputError``."""
    return check(Download, _section("download"), "download")


def _section(key: str) -> dict:
    """Plain values of a section of the current folder's ``params.yaml``; empty if it is not a mapping."""
    values = load(read_text())
    section = values.get(key) if isinstance(values, dict) else None
    return section if isinstance(section, dict) else {}


def get_section(sections: dict[str, Any], kind: str, name: str) -> Any:
    """The section called ``name``.

    Raises:
        InputError: There is no such section; the message lists the existing ones.
    """
    if name not in sections:
        raise InputError(f"{kind}: expected one of {', '.join(map(shown, sections)) or 'none'}, got {name!r}")
    return sections[name]


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


def check_blocks(models: dict[str, ModelSettings]) -> None:
    """Refuse networks that the compiled trainer has no block for.

    Raises:
        InputError: The layer, and the model.
    """
    for name, model in models.items():
        kind = kinds.find(model.architecture.kind)
        if model.train.engine == "compiled" and hasattr(kind, "build") and not getattr(kind, "COMPILED", False):
            from sentiment import network

            try:
                network.check_blocks(kind.build, model)
            except InputError as error:
                raise InputError(f"params.yaml: models.{name}: {error}") from None


def write_parts(used: set[str]) -> None:
    """Write to ``PARTS``, for each kind in use, the digests of its parts, as ``sha256sum`` does; delete other files."""
    for kind in used:
        digests = {part: sha256(file.read_bytes()).hexdigest() for part, file in kinds.parts(kind).items()}
        lines = [f"{digest}  sentiment/kinds/{part}.py\n" for part, digest in digests.items()]
        write_text(PARTS / f"{kind}.txt", "".join(lines) or "made of no other kind\n")
    for path in PARTS.iterdir():
        if path.name not in {f"{kind}.txt" for kind in used}:
            path.unlink()


def main(model: str | None) -> None:
    """Check the file, and that it has the named model; write what a kind is made of."""
    params = read()
    models = params.models if model is None else {model: params.model(model)}
    check_blocks(models)
    write_parts({settings.architecture.kind for settings in params.models.values()})
    write_text(CHECKED, "params.yaml has every key, and each a value in its range\n")


if __name__ == "__main__":
    command(main, option="model")
