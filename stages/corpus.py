"""Turn your labelled texts into the format of the IMDB reviews: data/raw/<corpus>.npz, and its word index.

data/raw/<corpus>_about.json has the names of the labels and the rules that split a text into tokens. The files are read
once to draw the test split, if they have none, once to count words and find all faults, and once for each split, which
is written while it is read.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from sentiment import InputError
from sentiment.data import raw
from sentiment.data.labelled import (
    READERS,
    SUFFIXES,
    BadRow,
    Form,
    Row,
    as_row,
    format_of,
    is_test,
    plain,
    plain_lines,
    reading,
    rows,
    split_limits,
)
from sentiment.data.survey import LocatedRow, Survey, survey
from sentiment.data.text import Normal, make_index
from stages.common.command import command
from stages.common.files import replacing, write_json, write_text
from stages.params import Corpus, read_corpus

RAW = Path("data/raw")
SPLITS = ("train", "test")
WHOLE = "train and test"
"""Name of the only split of files without splits, from which train and test are drawn."""

Parts = dict[str, list[Path]]
"""The files or folders of each split."""


def main(settings: Corpus, name: str) -> None:
    """Write the corpus called ``name`` row by row, so that no split is in memory as a whole."""
    parts = find_parts(settings)
    check_keys(settings, name, parts)
    read = split_read(parts, settings)
    totals = survey(read())
    check_rows(settings, name, totals)
    index = make_index(totals.words)
    with replacing(RAW / f"{name}.npz") as path, path.open("wb") as file:
        raw.write(file, {split: (ranks_of(read(), split, index), totals.labels[split]) for split in SPLITS})
    write_text(RAW / f"{name}_word_index.json", json.dumps(index))
    about = {"labels": [*settings.labels], "tokens": tokens_of(settings)._asdict()}
    told = {"language": settings.language, "license": settings.license}
    write_json(RAW / f"{name}_about.json", about | {key: value for key, value in told.items() if value})
    for split, labels in totals.labels.items():
        counts = Counter(labels.tolist())
        print(
            f"{split}: {len(labels):,} reviews, "
            + ", ".join(f"{counts[number]:,} of them {label!r}" for number, label in enumerate(settings.labels))
        )
    print(f"{len(index):,} different {settings.tokens}")


def tokens_of(settings: Corpus) -> Normal:
    """Rules by which the texts are split into tokens."""
    return Normal(settings.tokens, settings.lowercase, settings.symbols)


def split_read(parts: Parts, settings: Corpus) -> Callable[[], Iterator[LocatedRow]]:
    """A function that yields every row with its split. If the reviews have no splits, the test split is drawn here."""
    read = partial(read_rows, parts, settings)
    if WHOLE not in parts:
        return read
    reviews = (row for _, _, row in read() if isinstance(row, Row))
    cuts = split_limits(reviews, len(settings.labels), settings.test_fraction, settings.seed)
    return partial(split_rows, read, cuts, settings.seed)


def find_parts(settings: Corpus) -> Parts:
    """The files or folders of each split, or of ``WHOLE`` alone if the reviews have no splits.

    Raises:
        InputError: There is no file, or a file has a format that is not in ``READERS``.
    """
    path = Path(settings.reviews)
    parts: Parts = {WHOLE: [path]}
    if settings.splits is not None:
        parts = {split: [path / name for name in settings.splits[split]] for split in SPLITS}
    elif path.is_dir():
        splits = {split: [entry for entry in sorted(path.iterdir()) if is_part(entry, split)] for split in SPLITS}
        if many := next((entries for entries in splits.values() if len(entries) > 1), None):
            raise InputError(f"{path}: expected one {many[0].stem} split, got {' and '.join(map(str, many))}")
        if all(splits.values()):
            parts = splits
    if path.is_dir():
        read = {part.relative_to(path).parts[0] for part in chain(*parts.values()) if part != path}
        if read and (others := [name for name in sorted(os.listdir(path)) if name not in read]):
            print(f"{path}: not read: {', '.join(others)}; `splits` in params.yaml names the files to read")
    for part in chain(*parts.values()):
        if part.is_dir():
            names = sorted(os.listdir(part))
            read = {entry.name for value in settings.values if (entry := labelled_part(part, value))}
            if not all(labelled_part(part, value) for value, number in settings.values.items() if number is not None):
                raise InputError(
                    f"{part}: expected a folder or file for each label, {' and '.join(settings.values)}, or train and"
                    f" test, each a folder or a file ending in {', '.join(SUFFIXES)}; got"
                    f" {', '.join(names[:8]) or 'nothing'}"
                )
            if others := [name for name in names if name not in read]:
                print(f"{part}: not read, as no label: {', '.join(others)}")
        elif not part.is_file():
            raise InputError(f"{part}: no such file or folder; correct its name in params.yaml")
        elif (settings.format or format_of(part)) not in READERS:
            raise InputError(
                f"{part}: expected a folder or a file ending in {', '.join(SUFFIXES)}, or one whose `format` is given:"
                f" {', '.join(READERS)}; `make corpus FILE={part}` finds it"
            )
    return parts


def labelled_part(folder: Path, value: str) -> Path | None:
    """The folder or file of a label in a folder."""
    return next((path for path in (folder / value, folder / f"{value}.txt") if path.exists()), None)


def check_keys(settings: Corpus, name: str, parts: Parts) -> None:
    """Check that params.yaml has the keys that these files need, and no others.

    Raises:
        InputError: A key is missing, or would not be used.
    """
    files = [part for part in chain(*parts.values()) if part.is_file()]
    columns = any(not (settings.format or format_of(part) or "").endswith(("text", "label")) for part in files)
    folders = "a folder of texts has no columns" if not files else "lines of a label and a text have no columns"
    whole, split = WHOLE in parts, "the reviews have a test split of their own"
    for key, needed, reason in (
        ("text", columns, folders), ("label", columns, folders), ("test_fraction", whole, split), ("seed", whole, split)
    ):  # fmt: skip
        value = getattr(settings, key)
        if needed and value is None:
            raise InputError(f"params.yaml: corpora.{name}.{key} is missing, and {settings.reviews} needs it; add it")
        if not needed and value is not None:
            raise InputError(f"params.yaml: corpora.{name}.{key} = {value!r}, but {reason}; remove it")


def is_part(path: Path, split: str) -> bool:
    """True if a path is a folder or a file with the name of a split."""
    return path.name == split if path.is_dir() else path.name.partition(".")[0] == split and bool(format_of(path))


def read_rows(parts: Parts, settings: Corpus) -> Iterator[LocatedRow]:
    """Every row with the split of its file, which may be ``WHOLE``. Rows with a label to leave out are skipped."""
    values, tokens = settings.values, tokens_of(settings)
    for split, paths in parts.items():
        for path in paths:
            for position, cells in (read_folder if path.is_dir() else read_file)(path, settings):
                row = cells if isinstance(cells, BadRow) else as_row(*cells, values, tokens)
                if row is not None:
                    yield position, split, row


def split_rows(read: Callable[[], Iterable[LocatedRow]], cuts: list[int], seed: int) -> Iterator[LocatedRow]:
    """The rows of files without splits, each with the split that was drawn for it."""
    for position, whole, row in read():
        split = whole if isinstance(row, BadRow) else "test" if is_test(row, cuts, seed) else "train"
        yield position, split, row


def read_file(path: Path, settings: Corpus) -> Iterator[tuple[str, tuple | BadRow]]:
    """Text and label of each row of a file."""
    form = Form(**settings.model_dump(include={*Form._fields}))._replace(format=settings.format or format_of(path))
    for line, cells in rows(path, form, settings.values):
        yield f"{path}:{line}", cells


def read_folder(path: Path, settings: Corpus) -> Iterator[tuple[str, tuple | BadRow]]:
    """The reviews of the folder or file of each label: one per file or one per line, in the order of names.

    Hidden files are skipped.
    """
    for value in settings.values:
        part = labelled_part(path, value)
        if part is None:
            continue
        if part.is_file():
            with reading(part, settings.encoding) as opened:
                for line, text in plain_lines(opened, settings.encoding):
                    yield f"{part}:{line}", (text, value)
            continue
        for name in sorted(os.listdir(part)):
            if name.startswith("."):
                continue
            file = part / name
            if file.is_file():
                with reading(file, settings.encoding) as opened:
                    yield str(file), (plain(opened, settings.encoding), value)
            else:
                yield str(file), BadRow("not a file", "expected a review in each file")


def check_rows(settings: Corpus, name: str, totals: Survey) -> None:
    """Print warnings about the texts.

    Raises:
        InputError: There are more bad rows than allowed, or a split has no review with a label.
    """
    bad, shown = totals.kinds.total(), totals.faults
    if bad > len(shown):
        shown = [*shown, f"and {bad - len(shown):,} more"]
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in totals.kinds.most_common())
    if bad > settings.bad_rows:
        remedy = f"correct them, or raise corpora.{name}.bad_rows, {settings.bad_rows:,}, to leave them out"
        raise InputError("\n".join([f"{settings.reviews}: bad rows: {bad:,} ({kinds}); {remedy}", *shown]))
    for split, labels in totals.labels.items():
        there = {*labels.tolist()}
        for label, text in enumerate(settings.labels):
            if label not in there:
                among = f"among {len(labels):,} {split} reviews none has the label {text!r}"
                raise InputError(f"{settings.reviews}: {among}; add some")
    warnings = [f"{settings.reviews}: bad rows left out: {bad:,} ({kinds})", *shown] if bad else []
    if totals.common:
        warnings.append(
            f"{totals.common:,} of {len(totals.labels['test']):,} test reviews are in the training split too, word for"
            " word: the metrics will be too high"
        )
    if totals.contradicting:
        warnings.append(f"{totals.contradicting:,} reviews have the words of another one with another label")
    if totals.dropped:
        warnings.append(
            f"so many different {settings.tokens} that those that occur at most {totals.dropped:,} times may be"
            " left out"
        )
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def ranks_of(rows: Iterable[LocatedRow], split: str, index: dict[str, int]) -> Iterator[list[int]]:
    """The ranks of the words of each review of a split; words that the index lacks are dropped."""
    for _, drawn, row in rows:
        if drawn == split and isinstance(row, Row):
            yield [index[word] for word in row.words if word in index]


if __name__ == "__main__":
    command(main, read_corpus, name="corpus")
