"""Turn reviews of your own into the format of the IMDB ones: data/raw/<corpus>.npz, its word index and its labels.

The files are read once to draw the test split, if there is none; once to find every fault and to count; and once more
for each split, to write it as they are read.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from sentiment import InputError
from sentiment.data import raw
from sentiment.data.labelled import Fault, Row, draw, is_test, json_lines, judge, plain, table
from sentiment.data.survey import Placed, Survey, survey
from sentiment.data.text import make_index
from stages.common.command import command
from stages.common.files import replacing, write_json, write_text
from stages.params import Corpus, read_corpus

RAW = Path("data/raw")
READERS = {".csv": table, ".tsv": table, ".jsonl": json_lines, ".ndjson": json_lines}
SPLITS = ("train", "test")
WHOLE = "train and test"
"""The split of reviews that come without one: it is drawn."""


def main(settings: Corpus, name: str) -> None:
    """Write the corpus called ``name``, streaming."""
    parts = find_parts(Path(settings.reviews), settings.labels)
    check_keys(settings, name, parts)
    read = partial(read_rows, parts, settings)
    if WHOLE in parts:
        reviews = (row for _, _, row in read() if isinstance(row, Row))
        cuts = draw(reviews, settings.test_fraction, settings.seed)
        read = partial(split_rows, read, cuts, settings.seed)
    found = survey(read())
    check_rows(settings, name, found)
    index = make_index(found.words)
    with replacing(RAW / f"{name}.npz") as path, path.open("wb") as file:
        raw.write(file, {split: (encode(read(), split, index), found.labels[split]) for split in SPLITS})
    write_text(RAW / f"{name}_word_index.json", json.dumps(index))
    write_json(RAW / f"{name}_labels.json", settings.labels)
    for split, labels in found.labels.items():
        print(f"{split}: {len(labels):,} reviews, {labels.sum():,} of them {settings.labels[1]!r}")
    print(f"{len(index):,} different words")


def find_parts(path: Path, labels: list[str]) -> dict[str, Path]:
    """The file or folder of each split; of ``WHOLE`` alone where the reviews come without splits.

    Raises:
        InputError: There is none, or another than ``READERS`` read.
    """
    parts = {WHOLE: path}
    if path.is_dir():
        splits = {split: [entry for entry in sorted(path.iterdir()) if is_part(entry, split)] for split in SPLITS}
        if many := next((found for found in splits.values() if len(found) > 1), None):
            raise InputError(f"{path}: expected one {many[0].stem} split, got {' and '.join(map(str, many))}")
        if all(splits.values()):
            parts = {split: found[0] for split, found in splits.items()}
    for part in parts.values():
        if part.is_dir():
            names = sorted(os.listdir(part))
            if not all((part / label).is_dir() for label in labels):
                raise InputError(
                    f"{part}: expected a folder for each label, {' and '.join(labels)}, or train and test, each a"
                    f" folder or a file ending in {', '.join(READERS)}; got {', '.join(names[:8]) or 'nothing'}"
                )
            if others := [name for name in names if name not in labels]:
                print(f"{part}: not read, as no label: {', '.join(others)}")
        elif not part.is_file():
            raise InputError(f"{part}: no such file or folder; correct its name in params.yaml")
        elif part.suffix not in READERS:
            raise InputError(
                f"{part}: expected a folder or a file ending in {', '.join(READERS)}; rename or convert it"
            )
    return parts


def check_keys(settings: Corpus, name: str, parts: dict[str, Path]) -> None:
    """See that params.yaml has the keys that these files need.

    Raises:
        InputError: It lacks one, or has one that would play no part.
    """
    tables, whole = any(part.is_file() for part in parts.values()), WHOLE in parts
    for key, needed, reason in (
        ("text", tables, "a folder of texts has no columns"),
        ("label", tables, "a folder of texts has no columns"),
        ("test_fraction", whole, "the reviews have a test split of their own"),
        ("seed", whole, "the reviews have a test split of their own"),
    ):
        value = getattr(settings, key)
        if needed and value is None:
            raise InputError(f"params.yaml: corpora.{name}.{key} is missing, and {settings.reviews} needs it; add it")
        if not needed and value is not None:
            raise InputError(f"params.yaml: corpora.{name}.{key} = {value!r}, but {reason}; remove it")


def is_part(path: Path, split: str) -> bool:
    """Whether an entry of a folder holds a split: the folder or the file of its name."""
    return path.name == split if path.is_dir() else path.stem == split and path.suffix in READERS


def read_rows(parts: dict[str, Path], settings: Corpus) -> Iterator[Placed]:
    """Every row, with the split of its file, which may be ``WHOLE``."""
    for split, path in parts.items():
        for place, row in read_folder(path, settings) if path.is_dir() else read_file(path, settings):
            yield place, split, row


def split_rows(read: Callable[[], Iterable[Placed]], cuts: list[int], seed: int) -> Iterator[Placed]:
    """Rows that come without splits, each in the one that was drawn."""
    for place, whole, row in read():
        split = whole if isinstance(row, Fault) else "test" if is_test(row, cuts, seed) else "train"
        yield place, split, row


def read_file(path: Path, settings: Corpus) -> Iterator[tuple[str, Row | Fault]]:
    """The rows of a table or a JSON Lines file."""
    with path.open("rb") as file:
        try:
            for line, cells in READERS[path.suffix](file, settings.text, settings.label):
                yield f"{path}:{line}", cells if isinstance(cells, Fault) else judge(*cells, settings.labels)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def read_folder(path: Path, settings: Corpus) -> Iterator[tuple[str, Row | Fault]]:
    """The reviews of the folder of each label, a file each, in the order of their names; hidden ones are none."""
    for label in settings.labels:
        for name in sorted(os.listdir(path / label)):
            if name.startswith("."):
                continue
            file = path / label / name
            if file.is_file():
                with file.open("rb") as opened:
                    yield str(file), judge(plain(opened), label, settings.labels)
            else:
                yield str(file), Fault("not a file", "expected a review in each file")


def check_rows(settings: Corpus, name: str, found: Survey) -> None:
    """Warn of what the user should know.

    Raises:
        InputError: More bad rows than are allowed, or a split that lacks a label.
    """
    bad, shown = found.kinds.total(), found.faults
    if bad > len(shown):
        shown = [*shown, f"and {bad - len(shown):,} more"]
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in found.kinds.most_common())
    if bad > settings.bad_rows:
        remedy = f"correct them, or raise corpora.{name}.bad_rows, {settings.bad_rows:,}, to leave them out"
        raise InputError("\n".join([f"{settings.reviews}: bad rows: {bad:,} ({kinds}); {remedy}", *shown]))
    for split, labels in found.labels.items():
        for label, called in enumerate(settings.labels):
            if label not in labels:
                among = f"among {len(labels):,} {split} reviews none has the label {called!r}"
                raise InputError(f"{settings.reviews}: {among}; add some")
    warnings = [f"{settings.reviews}: bad rows left out: {bad:,} ({kinds})", *shown] if bad else []
    if found.common:
        warnings.append(
            f"{found.common:,} of {len(found.labels['test']):,} test reviews are in the training split too, word for"
            " word: scores will flatter the model"
        )
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def encode(rows: Iterable[Placed], split: str, index: dict[str, int]) -> Iterator[list[int]]:
    """The ranks of the words of each review of a split; words that the index lacks are dropped."""
    for _, drawn, row in rows:
        if drawn == split and isinstance(row, Row):
            yield [index[word] for word in row.words if word in index]


if __name__ == "__main__":
    command(main, read_corpus, name="corpus")
