"""Labelled texts in the files of others: every row is one review, or a fault that says why it is none.

A table is CSV or TSV: a header, then a row per review; columns are parted by commas, semicolons or tabs, whichever the
header shows; a text may be quoted, hold line ends then, and a quote as two (RFC 4180). JSON Lines has an object per
line. Both are UTF-8, with or without a byte order mark, of lines that end in LF or CRLF; blank lines are no rows. Files
are read as streams, each line once, so that memory does not grow with their size.
"""

import csv
import json
from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import BinaryIO, NamedTuple

import numpy as np

from sentiment import InputError
from sentiment.data.text import clean, words

LONGEST = 1 << 17  # characters of a text, ten times the longest IMDB review
LONGEST_LINE = 1 << 22  # bytes of a line, and characters of a quoted text before a quote counts as never closed
DELIMITERS = ",;\t"

_BLANK = " \t\r\n"  # of JSON; other white space is part of a word
_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_NUL = "\udc00"  # stands for a null character, which Python 3.10's csv refuses; decoding leaves no other such


class Row(NamedTuple):
    """A review: its words, at least one, and its label, 0 or 1."""

    words: list[str]
    label: int


class Fault(NamedTuple):
    """Why a row is no review: a kind, by which faults are counted, and what was found."""

    kind: str
    found: str


Cells = tuple[object, object]
"""The text and the label of a row as a file holds them, of whatever type."""


def table(file: BinaryIO, text: str, label: str) -> Iterator[tuple[int, Cells | Fault]]:
    """The rows of a CSV or TSV file, each with the number of the line it begins on.

    Args:
        file: Open, at its beginning.
        text: The column that holds the text.
        label: The column that holds the label.

    Raises:
        InputError: The header lacks a column, or from some line on rows can't be told apart, as after a broken quote.
            Rows before it have been yielded by then.
    """
    lines = ((number, _decoded(number, line).replace("\0", _NUL)) for number, line in _lines(file))
    above, header = next(((number, line) for number, line in lines if line.strip(_BLANK)), (1, ""))
    delimiter, names = _header(header, text, label)
    at_text, at_label = names.index(text), names.index(label)
    csv.field_size_limit(LONGEST_LINE)
    reader, begins = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True), above + 1
    try:
        for cells in reader:
            if len(cells) == len(names):
                yield begins, (cells[at_text], cells[at_label])
            elif cells:
                yield begins, Fault("number of fields", f"{len(cells)}, expected {len(names)} as in the header")
            begins = above + reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"line {begins}: {error}; from here on rows can't be told apart: a text that holds a quote is quoted as a"
            ' whole, and the quote written twice ("")'
        ) from None


def json_lines(file: BinaryIO, text: str, label: str) -> Iterator[tuple[int, Cells | Fault]]:
    """The rows of a JSON Lines file, each with the number of its line.

    Args:
        file: Open, at its beginning.
        text: The key of the text.
        label: The key of the label: a string, or a whole number, which is taken as its digits.
    """
    for number, line in _lines(file):
        if not line.strip(_BLANK.encode()):
            continue
        try:
            found = json.loads(_decoded(number, line).strip(_BLANK))
        except json.JSONDecodeError as error:
            yield number, Fault("not JSON", f"{error.msg}, column {error.colno}")
            continue
        except (ValueError, RecursionError):  # what Python does not read, though it is JSON
            yield number, Fault("not JSON", "a number of thousands of digits, or thousands of brackets in each other")
            continue
        if not isinstance(found, dict):
            yield number, Fault("not a JSON object", _short(found))
        elif missing := [key for key in (text, label) if key not in found]:
            yield number, Fault("missing key", f"{missing[0]!r}, the row has {_short([*found])}")
        else:
            value = found[label]
            yield number, (found[text], str(value) if type(value) is int else value)


def plain(file: BinaryIO) -> str:
    """The text of a file that holds one review and nothing else; of a longer one no more than shows that it is."""
    return _decoded(1, file.read(4 * LONGEST + 4))


def judge(text: object, label: object, labels: list[str]) -> Row | Fault:
    """A row as a review, or why it is none.

    Args:
        text: Of any type; only a text is a review.
        label: The same; equal to one of ``labels`` to the letter, case and spaces included.
        labels: The name of label 0 and the name of label 1.

    >>> judge("Not bad!", "good", ["bad", "good"])
    Row(words=['not', 'bad'], label=1)
    >>> judge("Not bad!", "Good", ["bad", "good"])
    Fault(kind='unknown label', found="'Good', expected 'bad' or 'good'")
    """
    if not isinstance(text, str):
        return Fault("text is no string", _short(text))
    if label not in labels:
        return Fault("unknown label", f"{_short(label)}, expected {labels[0]!r} or {labels[1]!r}")
    if len(text) > LONGEST:
        return Fault("text too long", f"{len(text):,} characters, expected at most {LONGEST:,}")
    if "\0" in text or _NUL in text:
        return Fault("null character", _short(text.replace(_NUL, "\0")))
    try:
        text.encode()
    except UnicodeEncodeError:
        return Fault("not UTF-8", f"{_short(text)}; save the file as UTF-8")
    if not text.strip(_BLANK):
        return Fault("empty text", repr(text)[:100])
    if not (found := words(clean(text))):
        return Fault("text without a word", _short(text))
    return Row(found, labels.index(label))


def fingerprint(found: list[str], seed: int = 0) -> int:
    """64 bits that stand for the words found in a text, the same for the same words: BLAKE2b, keyed by the seed.

    >>> fingerprint(["a", "film"]) == fingerprint(["a", "film"]) != fingerprint(["film", "a"])
    True
    """
    key = seed.to_bytes(8, "little")
    return int.from_bytes(blake2b(" ".join(found).encode(), digest_size=8, key=key).digest(), "little")


def draw(rows: Iterable[Row], fraction: float, seed: int) -> list[int]:
    """The fingerprints below which texts are of the test split, one for texts of label 0 and one for those of 1.

    They are chosen so that ``fraction`` of the different texts of each label lie below, at least one where there are
    two. So the split is stratified; the order of the rows is no matter; and equal texts stay together.

    Args:
        rows: All of them; eight bytes are held of each.
        fraction: Above 0 and below 1.
        seed: Other texts are in the test split with another.
    """
    marks = array("Q"), array("Q")
    for row in rows:
        marks[row.label].append(fingerprint(row.words, seed))
    cuts = []
    for found in marks:
        different = np.unique(np.frombuffer(found, np.uint64))
        wanted = min(max(1, round(fraction * len(different))), len(different) - 1)
        cuts.append(int(different[wanted]) if wanted > 0 else 0)
    return cuts


def is_test(row: Row, cuts: list[int], seed: int) -> bool:
    """Whether a review is of the test split that ``draw`` drew."""
    return fingerprint(row.words, seed) < cuts[row.label]


def _header(line: str, text: str, label: str) -> tuple[str, list[str]]:
    """How the columns of a table are parted, and their names; no other delimiter gives both columns these names."""
    line = line.rstrip("\r\n")
    if "\r" in line:
        raise InputError("line 1: lines end in CR alone, expected LF or CRLF; save the file anew")
    for delimiter in DELIMITERS:
        names = next(csv.reader([line], delimiter=delimiter), [])
        if text in names and label in names:
            break
    else:
        found = f"got {_short(line)}" if line else "the file is empty"
        raise InputError(
            f"line 1: expected a header with the columns {text!r} and {label!r}, parted by a comma, semicolon or tab;"
            f" {found}"
        )
    for name in (text, label):
        if names.count(name) > 1:
            raise InputError(f"line 1: the header has the column {name!r} twice; rename one")
    return delimiter, names


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines of a file from 1, without a byte order mark; the file is never in memory as a whole."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise InputError(f"line {number} has more than {LONGEST_LINE:,} bytes; is this a table or JSON Lines file?")
        if number == 1 and line.startswith(_UTF_16):
            raise InputError('line 1: the file is UTF-16; save it as UTF-8, which Excel calls "CSV UTF-8"')
        yield number, line


def _decoded(number: int, line: bytes) -> str:
    """A line as text; bytes that are not UTF-8 become halves of surrogate pairs, by which ``judge`` knows them."""
    return (line.removeprefix(_MARK) if number == 1 else line).decode("utf-8", "surrogateescape")


def _short(value: object) -> str:
    shown = repr(value)  # which escapes whatever a terminal would act on
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
