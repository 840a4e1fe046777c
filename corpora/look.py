"""Detection of the form of labelled texts: format, encoding, separator, header, quoting and labels.

Each result becomes a key of the corpus in ``params.yaml``, so that the pipeline itself guesses nothing.
"""

import codecs
import csv
import gzip
import io
import itertools
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import charset_normalizer

from sentiment import InputError
from sentiment.data.labelled import (
    MAX_LINE_CHARACTERS,
    BadRow,
    Form,
    as_label,
    format_of,
    open_file,
    parquet_rows,
    rows,
    sheet_rows,
)

SAMPLE = 1 << 20
"""Characters read to detect the form; the rows are then counted in the whole file."""

ROWS = 2000
"""Rows read to detect the columns."""

MOST = 100
"""Most different values of a column that is detected as the label; LABEL= names a column with more."""

SEPARATORS = ("\t", ",", ";", "|")
BINARY = {
    b"PK\3\4": "an Excel file or a zip archive; rename an Excel file to .xlsx, or unpack the archive",
    b"\xd0\xcf\x11\xe0": "an old Excel file; save it as .xlsx or CSV",
    b"PAR1": "a Parquet file; rename it to .parquet",
    b"\x1f\x8b": "compressed by gzip; rename it so that its name ends in .gz",
    b"%PDF": "a PDF; save its texts and labels as CSV",
}
"""First bytes of files that are not text, and messages."""
ENCODINGS = (
    "cp949",
    "gb18030",
    "big5",
    "shift_jis",
    "euc_jp",
    "cp1251",
    "koi8_r",
    "cp1254",
    "cp1252",
    "cp1250",
    "cp1253",
)
NAMES = {
    "text": ("text", "review", "sentence", "document", "content", "comment", "tweet", "message", "body", "title"),
    "label": ("label", "sentiment", "polarity", "class", "category", "target", "airline_sentiment", "stars", "rating",
              "score", "overall", "y"),
}  # fmt: skip
"""Usual names of columns, which decide if several columns could be the text or the label."""

STARS = ("star", "rating", "score", "overall")
FIRST = re.compile("(?i)^(-1|0|n|neg.*|bad|no|not.*|non.*|false|ham|contra?|dislike|unfavou?rable)$")
"""Values that become label 0 of two labels."""


class Options(NamedTuple):
    """Options of the user, which replace what would be detected."""

    text: str | None = None
    label: str | None = None
    labels: str | None = None
    encoding: str | None = None
    separator: str | None = None
    format: str | None = None
    quoting: str | None = None


def look(path: Path, options: Options) -> dict[str, Any]:
    """Detect the keys of the corpus, in their order and without ``labels``, which ``label_keys`` adds.

    Raises:
        InputError: A key cannot be detected; the message names the option to add.
    """
    if not path.exists():
        raise InputError(f"FILE={path}: no such file or folder")
    if options.quoting not in (None, "true", "false"):
        raise InputError(f"QUOTING={options.quoting}: expected true or false")
    try:
        if path.is_dir():
            return look_at_folder(path, options)
        return {"reviews": path.as_posix()} | look_at_file(path, options)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: not a whole file of gzip ({error}); get it again, or unpack it") from None
    except UnicodeError as error:
        raise InputError(f"{path}: ENCODING={options.encoding}: expected this encoding, got: {error}") from None
    except csv.Error as error:
        raise InputError(f"{path}: expected a table, got: {error}; QUOTING=false reads quotes as text") from None


def look_at_folder(path: Path, options: Options) -> dict[str, Any]:
    """Detect the keys of a folder, which has splits, or a folder or file for each label."""
    entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
    splits: dict[str, list[Path]] = {}
    for entry in entries:
        words = re.split(r"[._-]", entry.name.lower())
        for split, names in (("train", ("train", "training")), ("dev", ("dev", "val", "valid", "validation")),
                             ("test", ("test",))):  # fmt: skip
            if set(words) & {*names}:
                splits.setdefault(split, []).append(entry)
    keys: dict[str, Any] = {"reviews": path.as_posix()}
    if "train" in splits and (splits.keys() & {"dev", "test"}):
        if "test" not in splits:
            splits["test"] = splits.pop("dev")
        train, test = [*splits["train"], *splits.get("dev", [])], splits["test"]
        if train[0].is_dir():
            form = {"format": "folder", "encoding": encoding_of(train[0], options)}
        else:
            form = look_at_file(train[0], options)
        files = {"train": [each.name for each in train], "test": [each.name for each in test]}
        return keys | form | {"splits": files}
    parts = [entry for entry in entries if entry.is_dir() or entry.suffix == ".txt" or not format_of(entry)]
    if len(parts) < 2:
        raise InputError(
            f"FILE={path}: expected train and test, or a folder or a .txt file for each label, got"
            f" {', '.join(entry.name for entry in entries[:8]) or 'nothing'}; name one file"
        )
    return keys | {"format": "folder", "encoding": encoding_of(path, options)}


def look_at_file(path: Path, options: Options) -> dict[str, Any]:
    """Detect the keys that say how the rows of one file are read."""
    suffix = options.format or format_of(path)
    with open_file(path) as file:
        begins = file.read(8)
    if suffix not in ("excel", "parquet") and (
        kind := next((BINARY[key] for key in BINARY if begins.startswith(key)), "")
    ):
        raise InputError(f"FILE={path}: {kind}")
    if suffix in ("excel", "parquet"):
        return {"format": suffix} | columns_of(path, Form(suffix), options)
    encoding = encoding_of(path, options)
    keys: dict[str, Any] = {"encoding": encoding}
    with open_file(path) as file, io.TextIOWrapper(file, _codec(encoding), "replace", newline="\n") as lines:
        sample = lines.read(SAMPLE)
    whole = len(sample) < SAMPLE
    if not whole and suffix != "json":
        sample = sample[: sample.rfind("\n") + 1] or sample
    letter = sample.lstrip()[:1]
    if suffix in ("json", "jsonl") or (not options.format and letter in ("{", "[") and _is_json(sample)):
        one = letter == "[" or not _is_json(sample) or _has_array(_json(sample))
        kind = options.format or ("json" if one else "jsonl")
        return {"format": kind} | keys | columns_of(path, Form(kind, encoding), options)
    filled = [line for line in sample.split("\n") if line.strip()]
    if not filled:
        raise InputError(f"FILE={path}: the file is empty")
    if len(filled) == 1 and "\r" in filled[0].rstrip():
        raise InputError(f"FILE={path}: lines end in CR alone, expected LF or CRLF; save the file with one of these")
    if suffix not in ("csv",) and (form := label_form(filled, options)):
        return {"format": form.format} | keys | {"separator": form.separator}
    separator, quoting = table_form(filled, options, whole)
    if separator is None:
        if form := label_form(filled, options):
            return {"format": form.format} | keys | {"separator": form.separator}
        raise InputError(
            f"FILE={path}: no separator splits its lines into a text and a label, each the same number of times; quote"
            " the texts that have a separator in them, or add SEPARATOR="
        )
    form = Form("csv", encoding, separator, quoting=quoting)
    return {"format": "csv"} | keys | {"separator": separator, "quoting": quoting} | columns_of(path, form, options)


def encoding_of(path: Path, options: Options) -> str:
    """Return the encoding of a file, or of all files below a folder.

    It is UTF-16 or UTF-8 if the bytes are valid, else the most likely other encoding.

    Raises:
        InputError: A part of the lines are UTF-8 and a part are not; or Python does not know the user's encoding.
    """
    if options.encoding:
        try:
            "a".encode(options.encoding).decode(options.encoding, "surrogateescape")
        except (LookupError, UnicodeError):
            raise InputError(f"ENCODING={options.encoding}: no encoding by which Python reads texts") from None
        return options.encoding
    decoder, first, chunks = codecs.getincrementaldecoder("utf-8")(), b"", _chunks(path)
    for chunk in chunks:
        if not first and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        first = first or chunk
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError:
            break
    else:
        return "utf-8"
    if first.count(0) > len(first) // 4:
        return "utf-16-le" if first[1::2].count(0) > first[::2].count(0) else "utf-16-be"
    sample = first + chunk
    for more in chunks:
        if len(sample) > SAMPLE:
            break
        sample += more
    lines = [line for line in sample.split(b"\n") if not line.isascii()]
    share = sum(map(_is_utf_8, lines)) / max(1, len(lines))
    if share > MOSTLY:  # the other lines are faulty rows, which are named
        return "utf-8"
    if share > 1 - MOSTLY:
        raise InputError(
            f"FILE={path}: it has two encodings: {share:.0%} of the lines with characters other than ASCII are UTF-8;"
            " convert the other lines to UTF-8 too, or add ENCODING="
        )
    sample = b"".join(lines)[: SAMPLE // 4]
    best = charset_normalizer.from_bytes(sample, cp_isolation=[*ENCODINGS]).best()
    return western(sample) if best is None or best.encoding in LATIN else best.encoding


MOSTLY = 0.8
"""Fraction of the lines with characters other than ASCII from which a file with invalid bytes is UTF-8."""


def _chunks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, or of all files below a folder, each with a line end behind it."""
    for file in [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file()):
        with open_file(file) as opened:
            while chunk := opened.read(SAMPLE):
                yield chunk
        if file != path:
            yield b"\n"


def _is_utf_8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


LATIN = ("cp1250", "cp1252", "cp1254")
TURKISH, CENTRAL = bytes([0xD0, 0xDD, 0xDE, 0xF0, 0xFD, 0xFE]), "ąćęłńśźżčďěňřšťůžőű"
"""Bytes of Turkish letters in Windows-1254 that are rare in Windows-1252; letters of Central European languages."""


def western(sample: bytes) -> str:
    """Return the most likely encoding of text in Latin letters: Turkish, Central or Western European.

    >>> western("\u015f\u0131k".encode("cp1254")), western("\xa35 caf\xe9".encode("cp1252"))
    ('cp1254', 'cp1252')
    """
    beyond = [byte for byte in sample if byte > 0x7F]
    if sum(byte in TURKISH for byte in beyond) * 4 > len(beyond):
        return "cp1254"
    central = sum(letter in CENTRAL for letter in sample.decode("cp1250", "replace"))
    if central * 2 > len(beyond):
        return "cp1250"
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def label_form(lines: list[str], options: Options) -> Form | None:
    """Return the form of lines that each have a label and a text, or a text and a label; ``None`` if none fits.

    The label has few different values without spaces, the text many.
    """
    lines = [line.strip() for line in lines[:ROWS]]
    if lines[0].startswith("__label__"):
        return Form("label-text", separator=" ")
    separators = [options.separator] if options.separator else ["\t", "|", " ", ",", ";"]
    for separator, kind in itertools.product(separators, ("label-text", "text-label")):
        if any(separator not in line for line in lines):
            continue
        parts = [(line.partition if kind == "label-text" else line.rpartition)(separator) for line in lines]
        labels = Counter(part[0 if kind == "label-text" else 2] for part in parts)
        texts = {part[2 if kind == "label-text" else 0] for part in parts}
        few = 2 <= len(labels) <= min(20, len(lines) // 3) and min(labels.values()) > 1
        plain = all(re.fullmatch(r"[\w+-]{1,30}", label) for label in labels)
        wordy = sum(" " in text for text in texts) * 2 > len(texts) and len(texts) * 2 > len(lines)
        if few and plain and wordy and any(text.count(separator) for text in texts):
            return Form(kind, separator=separator)
    return None


def table_form(lines: list[str], options: Options, whole: bool) -> tuple[str | None, bool]:
    """Return the separator and the quoting with which most rows of a table have the same number of fields.

    Args:
        lines: The first lines of the file that are not blank.
        options: The user's options.
        whole: True if these are all lines. Then each line after a quotation mark that is never closed is a wrong row.
    """
    best: tuple[float, int, str | None, bool] = (0.0, 0, None, True)
    quotings = (True, False) if options.quoting is None else (options.quoting == "true",)
    csv.field_size_limit(MAX_LINE_CHARACTERS)
    for separator in [options.separator] if options.separator else SEPARATORS:
        for quoting in quotings if len(separator) == 1 else (False,):
            counts: Counter[int] = Counter()
            wrong = 0
            try:
                if quoting:
                    table = csv.reader((f"{line}\n" for line in lines), delimiter=separator, strict=True)
                    counts.update(len(row) for row in table)
                else:
                    counts.update(line.count(separator) + 1 for line in lines)
            except csv.Error as error:
                if "unexpected end" not in str(error) or len(counts) != 1:
                    continue
                wrong = len(lines) - counts.total() if whole and options.quoting is None else 0
            width, number = counts.most_common(1)[0] if counts else (0, 0)
            share = number / max(1, counts.total() + wrong)
            if quoting and merges(lines, separator, width):
                continue
            if width > 1 and share > best[0] + 1e-9:
                best = (share, width, separator, quoting)
    return best[2:] if best[0] > 0.8 else (None, True)


def merges(lines: list[str], separator: str, width: int) -> bool:
    """True if quotation marks merge lines that look like rows of their own: then they are part of the texts.

    Such a line has as many fields as a row, and a field outside the quotation is a value that its column has in several
    rows.

    >>> merges(['"a,good', 'b",bad', "c,good", "d,good"], ",", 2), merges(['"a, b', 'c",bad', "d,bad"], ",", 2)
    (True, False)
    """
    table, before = csv.reader((f"{line}\n" for line in lines), delimiter=separator), 0
    rows, quoted = [], []
    for row in table:
        if len(row) == width:
            rows.append(row)
            quoted.append(lines[before : table.line_num])
        before = table.line_num
    columns = [Counter(column) for column in zip(*rows, strict=True)]
    for inner in quoted:
        for number, line in enumerate(inner if len(inner) > 1 else ()):
            fields = line.rstrip("\r").split(separator)
            opens = [at + 1 for at, field in enumerate(fields) if field.startswith('"') and number == 0]
            closes = [at for at, field in enumerate(fields) if field.endswith('"') and number == len(inner) - 1]
            outside = range(*opens[-1:] or [0], *closes[:1] or [width])
            if len(fields) == width and any(fields[at] and columns[at][fields[at].strip('"')] > 1 for at in outside):
                return True
    return False


def columns_of(path: Path, form: Form, options: Options) -> dict[str, Any]:
    """Detect the keys ``header``, ``text`` and ``label`` of a table, or of JSON objects.

    Raises:
        InputError: Several columns, or none, could be the text or the label.
    """
    table = [*itertools.islice(raw_rows(path, form), ROWS)]
    if not table:
        raise InputError(f"FILE={path}: no rows; is its format another one? FORMAT= names it")
    is_json = form.format in ("json", "jsonl", "parquet")
    width = Counter(map(len, table)).most_common(1)[0][0]
    if is_json:
        names = [*dict.fromkeys(itertools.chain(*table))]
        columns = {name: [row.get(name) for row in table] for name in names}
        header = None
    else:
        table = [row for row in table if len(row) == width]
        first, others = table[0], table[1:] or table
        usual = {name for names in NAMES.values() for name in names}
        values = [{as_label(row[at]) for row in others} for at in range(width)]
        labels = [at for at in range(width) if 2 <= len(values[at]) <= min(MOST, max(2, len(others) // 2))]
        strings = all(isinstance(cell, str) and cell.strip() and len(cell) < 60 for cell in first)
        header = bool({str(cell).strip().lower() for cell in first} & usual) or (
            strings and bool(labels) and all(as_label(first[at]) not in values[at] for at in labels)
        )
        if options.label and options.label in map(str, first):
            header = True
        if header and len(table) == 1:
            raise InputError(f"FILE={path}: no rows below the header")
        names = [str(as_label(cell)) for cell in first] if header else [str(at + 1) for at in range(width)]
        body = others if header else table
        columns = {name: [row[at] for row in body] for at, name in enumerate(names)}
    text = options.text or find_text(columns, path)
    label = options.label or find_label(columns, text, path)
    for option, name in (("TEXT", text), ("LABEL", label)):
        if name not in columns:
            raise InputError(f"{option}={name}: no such column; expected one of {', '.join(columns)}")
    return ({} if header is None else {"header": header}) | {"text": text, "label": label}


def find_text(columns: dict[str, list], path: Path) -> str:
    """Return the column of the texts: one with a usual name, or else the one with the longest strings."""
    lengths = {}
    for name, cells in columns.items():
        strings = [cell for cell in cells if isinstance(cell, str)]
        if strings and len({*strings}) * 10 > len(strings):
            lengths[name] = sum(map(len, strings)) / len(cells)
    if not lengths:
        nested = [name for name, cells in columns.items() if any(isinstance(cell, dict) for cell in cells)]
        objects = f"; the values of {', '.join(nested)} are objects, whose keys can't be read" if nested else ""
        raise InputError(f"{path}: no column has texts; add TEXT=column, one of {_list(columns)}{objects}")
    longest = max(lengths, key=lengths.__getitem__)
    usual = [name for name in lengths if name.lower() in NAMES["text"] and 3 * lengths[name] > lengths[longest]]
    usual.sort(key=lambda name: NAMES["text"].index(name.lower()))
    found = usual[0] if usual else longest
    if not usual and (others := [name for name in lengths if name != found and 2 * lengths[name] > lengths[found]]):
        print(f"texts are read from the column {found}; TEXT= names another one, such as {_list(others)}")
    return found


def find_label(columns: dict[str, list], text: str, path: Path) -> str:
    """Return the column of the labels: one with a usual name, or else the only one with few different values."""
    candidates, different = [], {}
    for name, cells in columns.items():
        counts = Counter(label for cell in cells if (label := as_label(cell)))
        different[name] = len(counts)
        few = 2 <= len(counts) <= min(MOST, max(2, counts.total() // 2))
        if name != text and few and all(len(label) < 60 for label in counts):
            candidates.append(name)
    if not candidates:
        others = [name for name, cells in columns.items() if 2 <= 2 * different[name] <= len(cells) and name != text]
        candidates = [name for name in others if 1 < different[name] <= 1000 and len(others) == 1]
    usual = sorted(
        (name for name in candidates if name.lower() in NAMES["label"]),
        key=lambda name: NAMES["label"].index(name.lower()),
    )
    if not usual:  # star_rating, class_id
        some = [name for name in candidates if {*re.split(r"[^a-z]+", name.lower())} & {*NAMES["label"]} - {"y"}]
        usual = some if len(some) == 1 else []
    if usual or len(candidates) == 1:
        return (usual or candidates)[0]
    others = {name: f"{name} ({different[name]:,})" for name in columns if name != text}
    if not others:
        raise InputError(f"{path}: one column, {text}, and no other one that could be the label")
    if candidates:
        raise InputError(
            f"{path}: several columns could be the label: {_list(candidates)}; add LABEL=column, with one of them or of"
            " the other columns"
        )
    raise InputError(
        f"{path}: no column has 2 to {MOST} different values, each several times; add LABEL=column, one of these, with"
        f" the number of values in parentheses: {_list(others.values())}"
    )


def raw_rows(path: Path, form: Form) -> Iterator[Any]:
    """Yield the rows of a file with all columns: lists of cells, or objects."""
    with open_file(path) as file:
        if form.format in ("excel", "parquet"):
            try:
                if form.format == "parquet":
                    yield from parquet_rows(file)
                else:
                    yield from ([*cells] for cells in sheet_rows(file) if any(cells))
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
        else:
            with io.TextIOWrapper(file, _codec(form.encoding), "replace", newline="\n") as lines:
                if form.format == "json":
                    items = _json(lines.read())
                    if isinstance(items, dict):
                        items = next((value for value in items.values() if isinstance(value, list)), [])
                    yield from (row for row in items or [] if isinstance(row, dict))
                elif form.format == "jsonl":
                    yield from (row for line in lines if isinstance(row := _json(line), dict))
                elif form.quoting:
                    yield from (row for row in csv.reader(lines, delimiter=form.separator or ",") if row)
                else:
                    yield from (line.rstrip("\r\n").split(form.separator) for line in lines if line.strip())


def label_keys(counts: Counter[str], keys: dict[str, Any], options: Options) -> dict[str, Any]:
    """Return the keys ``labels`` and ``leave_out``.

    Args:
        counts: Number of rows with each value of the label column.
        keys: The keys that ``look`` returned.
        options: The user's options. LABELS=neg,pos names values, LABELS=negative=1+2,positive=4+5 several for a label.

    Raises:
        InputError: There are fewer than two labels, or no row has a named value.
    """
    labels: dict[str, list[str]]
    if options.labels:
        labels = {}
        for part in options.labels.split(","):
            name, sign, values = part.partition("=")
            labels[name.strip()] = [value.strip() for value in values.split("+")] if sign else [name.strip()]
        for value in itertools.chain(*labels.values()):
            if value not in counts:
                raise InputError(
                    f"LABELS={options.labels}: {value!r} is not in the label column; expected some of {_some(counts)}"
                )
    else:
        totals: Counter[str] = Counter()
        for value, number in counts.items():
            totals[value.strip()] += number
        values = [value for value in counts if value.strip() and totals[value.strip()] > 1]
        column = str(keys.get("label", "")).lower()
        if {*values} == {*"12345"} and any(word in column for word in STARS):
            labels = {"negative": ["1", "2"], "positive": ["4", "5"]}
        else:
            labels = {}
            for value in sorted(values, key=_order):
                labels.setdefault(value.strip().removeprefix("__label__") or value, []).append(value)
    if len(labels) < 2:
        raise InputError(f"fewer than two labels that occur twice: {_some(counts)}; LABEL=column names another column")
    used = {*itertools.chain(*labels.values())}
    unused = sorted((value for value in counts if value.strip() and value not in used), key=_order)
    plain = all([name] == values for name, values in labels.items())
    return {"labels": [*labels] if plain else labels} | ({"leave_out": unused} if unused else {})


def values_in(keys: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the label, as text, and the text of every row of all splits; a row without a label has ""."""
    path = Path(keys["reviews"])
    splits = keys.get("splits")
    parts = [path / name for name in itertools.chain(*splits.values())] if splits else [path]
    form = Form(**{key: value for key, value in keys.items() if key in Form._fields})
    for part in parts:
        if part.is_dir():
            for entry in sorted(part.iterdir()):
                if entry.name.startswith("."):
                    continue
                files = [entry] if entry.is_file() else [file for file in sorted(entry.iterdir()) if file.is_file()]
                for file in files:
                    content = file.read_bytes().decode(_codec(form.encoding), "replace")
                    texts: Iterable[str] = content.splitlines() if entry.is_file() else [content]
                    yield from ((entry.name.removesuffix(".txt") if entry.is_file() else entry.name, text)
                                for text in texts)  # fmt: skip
        else:
            try:
                for _, cells in rows(part, form, ()):
                    if not isinstance(cells, BadRow):
                        yield as_label(cells[1]) or "", cells[0]
            except InputError as error:
                other = f"; FILE={parts[0]} reads this file alone" if part != parts[0] else ""
                raise InputError(str(error).replace("set quoting: false", "add QUOTING=false") + other) from None


def _order(value: str) -> tuple:
    """Return a sort key: usual names of label 0 first, then numbers, then text."""
    number = re.fullmatch(r"-?\d+(\.\d+)?", value)
    plain = value.strip().removeprefix("__label__")
    return (not number and not FIRST.match(plain), float(value) if number else 0.0, plain)


def _list(names: Iterable[str]) -> str:
    """Return at most 12 names as text."""
    shown = [*names]
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")


def _some(counts: Counter[str]) -> str:
    shown = [f"{value!r} {number:,}" for value, number in counts.most_common(10)]
    return ", ".join(shown) + (f" and {len(counts) - 10} more" if len(counts) > 10 else "")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_json(sample: str) -> bool:
    """True if the first line of a text is a JSON object, or if the text begins like an array of objects."""
    first = sample.lstrip()
    return isinstance(_json(first.partition("\n")[0]), dict) or bool(re.match(r"\[\s*\{", first))


def _has_array(value: Any) -> bool:
    """True for an object with an array of objects."""
    arrays = [each for each in value.values() if isinstance(each, list)] if isinstance(value, dict) else []
    return any(isinstance(row, dict) for array in arrays for row in array[:1])


def _codec(encoding: str) -> str:
    return "utf-8-sig" if encoding == "utf-8" else encoding
