"""Labelled texts in the user's files. Every row is a review, or a fault that says why it is not a review.

``READERS`` has a reader for each format. Text formats may have any encoding that Python knows, with or without a byte
order mark, and lines that end in LF or CRLF. Blank lines are skipped. Text formats are read as streams, each line once,
so that memory does not grow with their size. JSON arrays and Excel sheets are read as a whole.
"""

import csv
import gzip
import io
import itertools
import json
import re
import warnings
import zipfile
import zlib
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from sentiment import InputError
from sentiment.data.archives import UNREADABLE, reason
from sentiment.data.text import AnyTokens, clean, words

MAX_TEXT_CHARACTERS = 1 << 17  # characters of a text, ten times the longest IMDB review
MAX_LINE_CHARACTERS = 1 << 22  # characters of a line, and of a quoted field; a longer one has a missing quote
DELIMITERS = ",;\t"
MOST_EXCEL_ROWS = 1 << 20  # rows of a sheet, which Excel limits
PLAUSIBLE = 1 << 24  # bytes of a member of an Excel file, whatever its compression
BATCH = 4096  # rows of a Parquet file that are decoded at once

_BLANK = " \t\r\n"  # the white space of JSON; other white space is part of a word
_NUL = "\udc00"  # replaces a null character, which Python 3.10's csv refuses; decoding never gives this character
_UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")  # the byte order mark of UTF-16, decoded as UTF-8


class Form(NamedTuple):
    """Format of the rows of a file; the keys of a corpus in ``params.yaml``.

    Attributes:
        format: A key of ``READERS``.
        encoding: Python's name of the encoding.
        separator: Separator of the columns; ``None`` finds one of ``DELIMITERS`` in the header.
        header: True if the first row has the names of the columns; otherwise they are numbered from "1".
        quoting: True if a quoted text may contain separators, line ends, and quotes, which are doubled (RFC 4180).
        text: Column or key of the text.
        label: Column or key of the label.
    """

    format: str
    encoding: str = "utf-8"
    separator: str | None = None
    header: bool = True
    quoting: bool = True
    text: str | None = None
    label: str | None = None


class Row(NamedTuple):
    """A review: its tokens, at least one, and the number of its label."""

    words: list[str]
    label: int


class BadRow(NamedTuple):
    """Reason why a row is not a review: a kind, by which faults are counted, and details of the row."""

    kind: str
    detail: str


Cells = tuple[object, object]
"""The text and the label of a row, with the types that the file gives them."""

Reader = Callable[[BinaryIO, Form, Collection[str]], Iterator[tuple[int, Cells | BadRow]]]
"""Reader of the rows of a file, open at its beginning: yields the number of each row's first line, and the row.

The third argument is the values that are labels. The reader raises ``InputError`` if the header lacks a column, or if
the end of a row cannot be found. It has then yielded all rows before the error.
"""


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading; it is decompressed if its name ends in .gz."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def rows(path: Path, form: Form, values: Collection[str]) -> Iterator[tuple[int, Cells | BadRow]]:
    """The rows of a file; see ``Reader``.

    Raises:
        InputError: See ``Reader``; or the file is damaged, or has another encoding.
    """
    with reading(path, form.encoding) as file:
        yield from READERS[form.format](file, form, values)


@contextmanager
def reading(path: Path, encoding: str) -> Iterator[BinaryIO]:
    """Open a file for reading; all errors of its content become an ``InputError`` that names it."""
    with open_file(path) as file:
        try:
            yield file
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: not a whole file of gzip ({error}); get it again, or unpack it") from None
        except UnicodeError as error:
            raise InputError(f"{path}: the encoding is not {encoding} ({error}); {ENCODING}") from None


ENCODING = "set `encoding` to the file's, such as utf-8, utf-16, cp949, latin-1 or cp1254; `make corpus` finds it"


def table(file: BinaryIO, form: Form, values: Collection[str]) -> Iterator[tuple[int, Cells | BadRow]]:
    """The rows of a delimited table; see ``Reader``.

    If a quoted text has several lines, and one of them looks like a row, with the right number of fields and a label,
    then the quotation marks are probably part of the texts. Such a row is a fault.
    """
    text, label = str(form.text), str(form.label)
    lines = (line.replace("\0", _NUL) for line in _lines(file, form.encoding))
    above = 0
    if form.header:
        header = ""
        for above, header in enumerate(lines, 1):  # noqa: B007 `above` becomes the line number of the header
            if header.strip(_BLANK):
                break
        separator, names = _header(max(above, 1), header, form)
    else:
        first = next(lines, "")
        separator = form.separator or ","
        fields = _split(first, separator, form.quoting)
        names = [str(number) for number in range(1, len(fields) + 1)]
        for column in (text, label):
            if column not in names:
                raise InputError(f"line 1: expected the column {column}, got {len(names)} columns: {_short(first)}")
        lines = _again(first, lines)
    at_text, at_label = names.index(text), names.index(label)
    if not form.quoting:
        for number, line in enumerate(lines, above + 1):
            cells = line.rstrip("\r\n").split(separator)
            if len(cells) == len(names):
                yield number, (cells[at_text], cells[at_label])
            elif line.strip(_BLANK):
                yield number, _fields(cells, names)
        return
    csv.field_size_limit(MAX_LINE_CHARACTERS)
    seen: list[str] = []
    reader, begins = csv.reader(_noted(lines, seen), delimiter=separator, strict=True), above + 1
    try:
        for cells in reader:
            if len(cells) == len(names):
                inner = () if len(seen) == 1 else seen[:-1] if at_label > at_text else seen[1:]
                alike = (_split(line, separator, quoting=False) for line in inner)
                if any(len(part) == len(names) and part[at_label].strip('"') in values for part in alike):
                    reason = f"lines {begins} to {begins + len(seen) - 1} are one row, and one of them looks like a row"
                    yield begins, BadRow("rows in quotes", f"{reason}; set quoting: false if quotes are part of texts")
                else:
                    yield begins, (cells[at_text], cells[at_label])
            elif cells:
                yield begins, _fields(cells, names)
            begins = above + reader.line_num + 1
            seen.clear()
    except csv.Error as error:
        raise InputError(
            f"line {begins}: {error}; from here on rows can't be told apart: a text that holds a quote is quoted as a"
            ' whole, and the quote written twice (""); if quotes are part of the texts, set quoting: false'
        ) from None


def label_lines(file: BinaryIO, form: Form, values: Collection[str]) -> Iterator[tuple[int, Cells | BadRow]]:
    """The rows of a file whose lines are a label, a separator and a text, or the label last; see ``Reader``."""
    separator, first = form.separator or " ", form.format == "label-text"
    for number, line in enumerate(_lines(file, form.encoding), 1):
        before, middle, after = (line.strip(_BLANK).partition if first else line.strip(_BLANK).rpartition)(separator)
        if middle:
            yield number, (after, before) if first else (before, after)
        elif line.strip(_BLANK):
            yield number, BadRow("no separator", f"{_short(line)}, expected {separator!r} between label and text")


def json_lines(file: BinaryIO, form: Form, values: Collection[str]) -> Iterator[tuple[int, Cells | BadRow]]:
    """The rows of a JSON Lines file, with an object in each line; see ``Reader``."""
    for number, line in enumerate(_lines(file, form.encoding), 1):
        if not line.strip(_BLANK):
            continue
        try:
            content = json.loads(line.strip(_BLANK))
        except json.JSONDecodeError as error:
            yield number, BadRow("not JSON", f"{error.msg}, column {error.colno}")
        except (ValueError, RecursionError):  # valid JSON that Python does not read
            yield number, BadRow("not JSON", "a number of thousands of digits, or thousands of brackets in each other")
        else:
            yield number, _object(content, form)


def json_array(file: BinaryIO, form: Form, values: Collection[str]) -> Iterator[tuple[int, Cells | BadRow]]:
    """The objects, numbered from 1, of a JSON array or of the only array in a JSON object; see ``Reader``."""
    text = "".join(_lines(file, form.encoding, longest=1 << 40))  # pandas writes one long line
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        remedy = "if there is an object on each line, set format: jsonl"
        raise InputError(f"line {error.lineno}: not JSON: {error.msg}, column {error.colno}; {remedy}") from None
    except (ValueError, RecursionError):
        raise InputError("not JSON that Python reads: thousands of digits, or of brackets in each other") from None
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else content
    if not isinstance(content, list):
        raise InputError(f"expected an array of objects, got {_short(content)}")
    for number, each in enumerate(content, 1):
        yield number, _object(each, form)


def excel(file: BinaryIO, form: Form, values: Collection[str]) -> Iterator[tuple[int, Cells | BadRow]]:
    """The rows of the first sheet of an Excel file, numbered as Excel does; see ``Reader``."""
    rows = enumerate(sheet_rows(file), 1)
    if form.header:
        names = next(([*map(as_label, cells)] for _, cells in rows if any(cells)), [])
    else:
        first = next(rows, (1, ()))
        names, rows = [str(number + 1) for number in range(len(first[1]))], itertools.chain([first], rows)
    columns = [_column(name, names, 1) for name in (form.text, form.label)]
    for number, cells in rows:
        if any(cell is not None for cell in cells):
            text, label = (cells[at] if at < len(cells) else None for at in columns)
            yield number, (text, label)


def sheet_rows(file: BinaryIO) -> Iterator[tuple]:
    """The cells of each row of the first sheet of an Excel file.

    Raises:
        InputError: The file is damaged, or is no Excel file.
    """
    import openpyxl

    warnings.filterwarnings("ignore", category=UserWarning, module="openpyxl")  # parts that do not matter here
    try:
        with zipfile.ZipFile(file) as archive:
            if any(info.file_size > PLAUSIBLE + 100 * info.compress_size for info in archive.infolist()):
                raise ValueError("a member is compressed more than a hundredfold")
        sheet = openpyxl.load_workbook(file, read_only=True, data_only=True).worksheets[0]
        width = sheet.max_column or 0
        sheet.reset_dimensions()  # the file may say too few or too many; without them, missing rows are empty tuples
        for cells in itertools.islice(sheet.iter_rows(values_only=True), MOST_EXCEL_ROWS):
            yield cells + (None,) * (width - len(cells)) if cells else ()
    except UNREADABLE as error:
        raise InputError(f"not a readable .xlsx file ({reason(error)}); save it again as .xlsx or CSV") from None


def parquet(file: BinaryIO, form: Form, values: Collection[str]) -> Iterator[tuple[int, Cells | BadRow]]:
    """The rows of a Parquet file, numbered from 1; see ``Reader``."""
    for number, row in enumerate(parquet_rows(file, form), 1):
        yield number, (row[str(form.text)], row[str(form.label)])


def parquet_rows(file: BinaryIO, form: Form | None = None) -> Iterator[dict[str, object]]:
    """The rows of a Parquet file by the names of their columns: all columns, or the text and the label of a form.

    Raises:
        InputError: The file is damaged, is no Parquet file or lacks a column; or pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InputError(
            "Parquet is read by pyarrow, which is not installed; `uv pip install pyarrow`, or save it as CSV or JSON"
        ) from None
    try:
        table = ParquetFile(file)
        names = table.schema_arrow.names
        wanted = names if form is None else [names[_column(name, names, 1)] for name in (form.text, form.label)]
        for batch in table.iter_batches(batch_size=BATCH, columns=wanted):
            yield from batch.to_pylist()
    except InputError:
        raise
    except (*UNREADABLE, pyarrow.ArrowException) as error:
        raise InputError(
            f"not a readable Parquet file ({reason(error)}); write it again, or save it as CSV or JSON"
        ) from None


READERS: dict[str, Reader] = {
    "csv": table, "label-text": label_lines, "text-label": label_lines, "jsonl": json_lines, "json": json_array,
    "excel": excel, "parquet": parquet,
}  # fmt: skip
"""The reader of each format. The other format, ``folder``, has a folder or a file for each label."""

SUFFIXES = {
    ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".xlsx": "excel",
    ".parquet": "parquet",
}  # fmt: skip
"""Formats by the suffix of the file's name, before .gz, if params.yaml does not name a format."""


def format_of(path: Path) -> str | None:
    """The format that the name of a file implies; see ``SUFFIXES``."""
    return SUFFIXES.get(Path(path.stem).suffix if path.suffix == ".gz" else path.suffix)


def plain(file: BinaryIO, encoding: str = "utf-8") -> str:
    """The text of a file that has one review. Of a file that is too long, only enough is read to see that."""
    return file.read(4 * MAX_TEXT_CHARACTERS + 4).decode(_codec(encoding), "surrogateescape")


def plain_lines(file: BinaryIO, encoding: str) -> Iterator[tuple[int, str]]:
    """The lines, numbered from 1, of a file with a review in each line, without blank lines."""
    for number, line in enumerate(_lines(file, encoding), 1):
        if line.strip(_BLANK):
            yield number, line.rstrip("\r\n")


def as_label(value: object) -> str | None:
    """A label as text: a number by its digits, a Boolean as in JSON; ``None`` for a value of another type.

    >>> [as_label(value) for value in ("good", 1, 2.0, 4.5, True, None)]
    ['good', '1', '2', '4.5', 'true', None]
    """
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return str(value)
    return None


def as_row(text: object, label: object, values: Mapping[str, int | None], tokens: AnyTokens) -> Row | BadRow | None:
    """A review, or a fault; ``None`` if rows with this label are left out.

    Args:
        text: The text, of any type; a value that is not a string is a fault.
        label: The label, of any type; ``as_label`` of it must be one of ``values``, with the same case and spaces.
        values: The number of the label that each value stands for; ``None`` for a value that is left out.
        tokens: Rules that split the text.

    >>> from sentiment.data.text import IMDB
    >>> as_row("Not bad!", "good", {"bad": 0, "good": 1}, IMDB)
    Row(words=['not', 'bad'], label=1)
    >>> as_row("Not bad!", "Good", {"bad": 0, "good": 1}, IMDB)
    BadRow(kind='unknown label', detail="'Good', expected 'bad' or 'good'")
    """
    number = values.get(as_label(label) or "", -1)
    if number is None:
        return None
    if not isinstance(text, str):
        return BadRow("text is no string", _short(text))
    if number < 0:
        return BadRow("unknown label", f"{_short(label)}, expected {_either(values)}")
    if len(text) > MAX_TEXT_CHARACTERS:
        return BadRow("text too long", f"{len(text):,} characters, expected at most {MAX_TEXT_CHARACTERS:,}")
    if "\0" in text or _NUL in text:
        return BadRow("null character", _short(text.replace(_NUL, "\0")))
    try:
        text.encode()
    except UnicodeEncodeError:
        return BadRow("another encoding", f"{_short(text)}; {ENCODING}")
    if not text.strip(_BLANK):
        return BadRow("empty text", repr(text)[:100])
    if not (tokens_of_text := words(clean(text, tokens=tokens), tokens)):
        return BadRow("text without a token", _short(text))
    return Row(tokens_of_text, number)


def letters(words: list[str]) -> str:
    """The letters and digits of a text: the same however the text is split, and whatever the case of its letters.

    >>> letters(["it's", "2", "Films", "👍"]) == letters([*"its2films"])
    True
    """
    return re.sub(r"[\W_]+", "", "".join(words).casefold())


def fingerprint(words: list[str], seed: int = 0) -> int:
    """64 bits that identify the letters and digits of a text, or its words if it has none: BLAKE2b, keyed by the seed.

    >>> fingerprint(["a", "film"]) == fingerprint(["A", "film"]) != fingerprint(["film", "a"])
    True
    """
    key = seed.to_bytes(8, "little")
    content = letters(words) or " ".join(words)
    return int.from_bytes(blake2b(content.encode(), digest_size=8, key=key).digest(), "little")


def split_limits(rows: Iterable[Row], labels: int, fraction: float, seed: int) -> list[int]:
    """The limit of the fingerprints of the test split, for each label; see ``is_test``.

    The limits are such that the test split has ``fraction`` of the different texts of each label, and at least one if
    there are two. So the split is stratified, and equal texts are in the same split. It depends neither on the order of
    the rows nor on the tokens: texts without letters and digits, which are left out if symbols are no tokens, count
    only if a label has no others.

    Args:
        rows: All reviews; eight bytes of memory are needed for each.
        labels: The number of labels.
        fraction: Fraction of the test split, above 0 and below 1.
        seed: Seed of the choice.
    """
    marks, symbols = ([array("Q") for _ in range(labels)] for _ in range(2))
    for row in rows:
        (marks if letters(row.words) else symbols)[row.label].append(fingerprint(row.words, seed))
    cuts = []
    for prints, others in zip(marks, symbols, strict=True):
        different = np.unique(np.frombuffer(prints or others, np.uint64))
        size = min(max(1, round(fraction * len(different))), len(different) - 1)
        cuts.append(int(different[size]) if size > 0 else 0)
    return cuts


def is_test(row: Row, cuts: list[int], seed: int) -> bool:
    """True if a review is in the test split: its fingerprint is below the limit that ``split_limits`` returned."""
    return fingerprint(row.words, seed) < cuts[row.label]


def _header(number: int, line: str, form: Form) -> tuple[str, list[str]]:
    """Separator of the columns of a table, and their names, including those of the text and the label."""
    line = line.rstrip("\r\n")
    if "\r" in line:
        raise InputError(f"line {number}: lines end in CR alone, expected LF or CRLF; save the file with one of these")
    for separator in form.separator or DELIMITERS:
        names = _split(line, separator, form.quoting)
        if form.text in names and form.label in names:
            break
    else:
        if not line.isprintable() and any("\udc80" <= letter <= "\udcff" for letter in line):
            raise InputError(f"line {number}: the header's encoding is not {form.encoding}: {_short(line)}; {ENCODING}")
        got = f"got {_short(line)}" if line else "the file is empty"
        how = repr(form.separator) if form.separator else "a comma, semicolon or tab"
        raise InputError(
            f"line {number}: expected a header with the columns {form.text!r} and {form.label!r}, separated by {how};"
            f" {got}"
        )
    for name in (form.text, form.label):
        if names.count(name) > 1:
            raise InputError(f"line {number}: the header has the column {name!r} twice; rename one")
    return separator, names


def _column(name: str | None, names: list, number: int) -> int:
    """The index of a column."""
    if name not in names:
        raise InputError(f"line {number}: expected the column {name!r}, got {_short(names)}")
    return names.index(name)


def _split(line: str, separator: str, quoting: bool) -> list[str]:
    """The fields of one line."""
    line = line.rstrip("\r\n")
    try:
        return next(csv.reader([line], delimiter=separator), []) if quoting else line.split(separator)
    except csv.Error as error:
        raise InputError(f"expected a row of a table, got {_short(line)} ({error})") from None


def _fields(cells: list[str], names: list[str]) -> BadRow:
    return BadRow("number of fields", f"{len(cells)}, expected {len(names)} as in the first row")


def _object(value: object, form: Form) -> Cells | BadRow:
    """The text and the label of a JSON value."""
    if not isinstance(value, dict):
        return BadRow("not a JSON object", _short(value))
    if missing := [key for key in (form.text, form.label) if key not in value]:
        return BadRow("missing key", f"{missing[0]!r}, the row has {_short([*value])}")
    return value[form.text], value[form.label]


def _codec(encoding: str) -> str:
    """The codec of an encoding that skips a byte order mark."""
    return "utf-8-sig" if encoding == "utf-8" else encoding


def _lines(file: BinaryIO, encoding: str, longest: int = MAX_LINE_CHARACTERS) -> Iterator[str]:
    """The lines of a file, which is never in memory as a whole, each of at most ``longest`` characters.

    Bytes that are invalid in the encoding become surrogates, which ``as_row`` reports.
    """
    number = 0
    with io.TextIOWrapper(file, _codec(encoding), "surrogateescape", newline="\n") as lines:
        while line := lines.readline(longest + 1):
            number += 1
            if len(line) > longest:
                raise InputError(
                    f"line {number} has more than {longest:,} characters; is this a table or JSON Lines file?"
                )
            if number == 1 and line.startswith(_UTF_16):
                raise InputError("line 1: the encoding is UTF-16; set encoding: utf-16, or save the file as UTF-8")
            yield line


def _again(first: str, lines: Iterator[str]) -> Iterator[str]:
    """The first line, which has been read already, and the remaining ones."""
    yield first
    yield from lines


def _noted(lines: Iterator[str], seen: list[str]) -> Iterator[str]:
    """Lines, each of which is also appended to ``seen``."""
    for line in lines:
        seen.append(line)
        yield line


def _either(values: Iterable[str]) -> str:
    """Text that lists the values, at most ten of them: 'a', 'b' or 'c'."""
    shown = [*map(repr, values)]
    if len(shown) > 10:
        return f"one of {', '.join(shown[:10])} and {len(shown) - 10} more"
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _short(value: object) -> str:
    shown = repr(value)  # repr escapes control characters
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
