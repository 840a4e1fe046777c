"""Comparison of two versions of a file: by value for JSON, YAML, CSV and TSV, else as text or as bytes."""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, DecimalException
from itertools import islice, zip_longest
from typing import Any, NamedTuple

import yaml

from .arrays import first_array
from .reading import DEPTH
from .settings import CheckSettings

IDENTICAL, SAME, WITHIN, NOT_PROVED, DIFFERENT = VERDICTS = (
    "identical",
    "same values",
    "within tolerance",
    "not proved",
    "different",
)
"""The verdicts, from the best to the worst."""
CODES = dict(zip(VERDICTS, (0, 1, 1, 2, 2), strict=True))
"""The exit code of each verdict."""

NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?(inf|infinity|nan)", re.ASCII | re.IGNORECASE)
INTEGER = re.compile(r"[+-]?\d{1,4000}", re.ASCII)  # Python refuses to print an int of more than 4,300 digits
EXACT = Context(prec=50, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")  # not in text, except in UTF-16 and UTF-32


class Value(NamedTuple):
    """A value of a file, its location in words, and the key that selects its tolerance."""

    value: Any
    location: str
    key: str


Values = dict[tuple, Value]
"""The values of a file by their paths, in the order of the file."""


def compare(name: str, was: bytes, now: bytes, settings: CheckSettings) -> tuple[str, list[str]]:
    """Return the verdict on two versions of a file, and a line for each difference.

    >>> compare("m.json", b'{"loss": 0.5}', b'{"loss": 0.6}', CheckSettings({"loss": 0.2}))
    ('within tolerance', ['loss: recorded 0.5, found 0.6, off by 0.1 (tolerance 0.2)'])
    >>> compare("m.json", b'{"loss": 0.5}', b'{"loss": 0.50}', CheckSettings())
    ('same values', ['the values are equal, their form differs: number form'])
    """
    if was == now:
        return IDENTICAL, []
    if _line_ends(was) == _line_ends(now):
        return SAME, ["only line ends differ"]
    try:
        before, after = values(name, was), values(name, now)
    except (ValueError, yaml.YAMLError, csv.Error, RecursionError):
        before = after = None  # a file that does not have the format of its suffix
    if before is None or after is None:
        return DIFFERENT, [first_array(was, now) or first_difference(was, now)]
    verdict, lines = compare_values(before, after, settings)
    if verdict == IDENTICAL:
        return SAME, [form(was, now, before, after)]
    return verdict, [*rows(before, after), *lines]


def values(name: str, content: bytes) -> Values | None:
    """Return the values of a JSON, YAML, CSV or TSV file; None for any other file.

    Raises:
        ValueError, yaml.YAMLError, csv.Error: The file does not have the format of its suffix, or is nested too deeply.
    """
    suffix = name.rpartition(".")[2].lower()
    if suffix == "json":
        readers = dict.fromkeys(("parse_float", "parse_int", "parse_constant"), number)
        pairs = _leaves(json.loads(content, object_pairs_hook=_Pairs, **readers))
    elif suffix in ("yaml", "yml"):
        pairs = _leaves(_parse_yaml(content))
    elif suffix in ("csv", "tsv"):
        return _table(content.decode("utf-8-sig"), "\t" if suffix == "tsv" else ",")
    else:
        return None
    limit = 10_000 + 10 * len(content)  # only nested aliases give more
    leaves = dict(islice(pairs, limit + 1))
    if len(leaves) > limit:
        raise ValueError(f"expected at most {limit} values")
    return leaves


def compare_values(was: Values, now: Values, settings: CheckSettings) -> tuple[str, list[str]]:
    """Return the verdict on the values of a file, and for each key a line on the largest difference."""
    verdict, worst = IDENTICAL, {}
    for path in was | now:
        key = (was.get(path) or now[path]).key
        one, distance, bound = compare_value(was.get(path), now.get(path), settings)
        if one == IDENTICAL:
            continue
        verdict = max(verdict, one, key=VERDICTS.index)
        rank = (VERDICTS.index(one), distance)
        if key not in worst or rank > worst[key][0]:
            worst[key] = (rank, path, bound, worst[key][3] if key in worst else 0)
        worst[key] = (*worst[key][:3], worst[key][3] + 1)
    lines = []
    for (_, distance), path, bound, count in worst.values():
        before, after = (_show(side[path].value) if path in side else "nothing" for side in (was, now))
        text = f"{(was.get(path) or now[path]).location}: recorded {before}, found {after}"
        text += f", off by {distance:.3g} (tolerance {bound:.3g})" if bound is not None and distance < math.inf else ""
        lines.append(text + (f"; {count - 1} more of this key" if count > 1 else ""))
    return verdict, lines


def form(was: bytes, now: bytes, before: Values, after: Values) -> str:
    """Say how two files with equal values differ."""
    kinds = ["line ends"] if (b"\r\n" in was) != (b"\r\n" in now) else []
    kinds += ["key order"] if list(before) != list(after) else []
    kinds += ["number form"] if any(str(after[path].value) != str(before[path].value) for path in before) else []
    return f"the values are equal, their form differs: {', '.join(kinds or ['white space, quotes or escapes'])}"


def rows(was: Values, now: Values) -> list[str]:
    """Name the first row that differs, if its first cell does not; or say that only the order of rows differs."""
    tables = [_rows(side) for side in (was, now)]
    if not all(tables):
        return []
    if tables[0] != tables[1] and Counter(tables[0]) == Counter(tables[1]):
        return ["the same rows in another order"]
    for line, (before, after) in enumerate(zip(*tables, strict=False), 1):
        if before == after:
            continue
        if line > 1 and before[0] == after[0] and not before[0].startswith("nan"):
            header = tables[0][0]
            return [f"line {line}, {header[0]} {before[0]}, is the first row that differs"]
        return []
    return []


def compare_value(was: Value | None, now: Value | None, settings: CheckSettings) -> tuple[str, float, float | None]:
    """Return the verdict on one value, the distance between its two versions, and the tolerance."""
    if was is None or now is None:
        return DIFFERENT, math.inf, None
    before, after = was.value, now.value
    numbers = all(isinstance(value, int | Decimal) and not isinstance(value, bool) for value in (before, after))
    if numbers:
        one, other = Decimal(before), Decimal(after)
        if one == other or (one.is_nan() and other.is_nan()):
            return IDENTICAL, 0.0, None
    elif type(before) is type(after) and before == after:
        return IDENTICAL, 0.0, None
    whole = isinstance(before, int) and isinstance(after, int)
    bound = settings.tolerated(was.key, _float(before) if numbers else 0.0, whole)
    if bound is None:
        return WITHIN, math.inf, None
    if not numbers:
        return DIFFERENT, math.inf, None
    distance = EXACT.abs(EXACT.subtract(one, other))
    if not distance.is_finite() or not math.isfinite(bound):
        return DIFFERENT, math.inf, bound
    near = distance <= Decimal(bound * (1 + 1e-9))
    return WITHIN if near else DIFFERENT, _float(distance), bound


def number(text: str) -> Any:
    """Convert a text to a number without rounding, or return the text if it is no number.

    >>> number("0.50"), number("12"), number("007"), number("1e400")
    (Decimal('0.50'), 12, '007', Decimal('1E+400'))
    """
    text = text.strip()
    if not NUMBER.fullmatch(text):
        return text
    try:
        return int(text) if INTEGER.fullmatch(text) else Decimal(text)
    except DecimalException:  # an exponent of more than 18 digits
        return text


def first_difference(was: bytes, now: bytes) -> str:
    """Name the first line that differs in two texts, or the first byte that differs in other files."""
    try:
        texts = was.decode().splitlines(), now.decode().splitlines()
    except UnicodeDecodeError:
        texts = (), ()
    for line, (before, after) in enumerate(zip_longest(*texts), 1):
        if before != after:
            return f"line {line}: recorded {before!r:.200}, found {after!r:.200}"
    offset = next((i for i, (one, other) in enumerate(zip(was, now, strict=False)) if one != other), None)
    where = f"byte {offset} is the first that differs" if offset is not None else "one is the beginning of the other"
    return f"{len(was)} and {len(now)} bytes, {where}"


class _Pairs(list):
    """The keys and values of an object, repeated keys included."""


def _leaves(value: Any, path: tuple = (), names: tuple = ()) -> Iterator[tuple[tuple, Value]]:
    """Yield the path and value of each leaf. Paths of indices, repeated keys and keys of other types differ."""
    if len(path) > DEPTH:
        raise ValueError(f"expected at most {DEPTH} levels")
    if isinstance(value, _Pairs) and value:
        seen = Counter()
        for key, item in value:
            step = (type(key).__name__, key, seen[type(key).__name__, key])
            seen[step[:2]] += 1
            yield from _leaves(item, (*path, step), (*names, f"{key} (again)" if step[2] else f"{key}"))
    elif isinstance(value, list) and not isinstance(value, _Pairs) and value:
        for i, item in enumerate(value):
            yield from _leaves(item, (*path, i), (*names, f"{i}"))
    else:
        key = ".".join(name for name in names if not name.isdigit())
        yield path, Value(value, ".".join(names), key)


def _parse_yaml(content: bytes) -> Any:
    """Return the nodes of a YAML file as lists, pairs and scalars; an alias is the object that it names."""
    Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    for event in yaml.parse(content, Loader):  # the composer in C has no limit of depth
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:
            raise ValueError(f"expected at most {DEPTH} levels")
    converted = {}  # by the node's identity

    def convert(node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if id(node) not in converted:
            converted[id(node)] = items = _Pairs() if isinstance(node, yaml.MappingNode) else []
            for item in node.value:
                if isinstance(item, tuple):
                    if not isinstance(item[0], yaml.ScalarNode):
                        raise ValueError("expected keys that are scalars")
                    items.append((_scalar(item[0]), convert(item[1])))
                else:
                    items.append(convert(item))
        return converted[id(node)]

    root = yaml.compose(content, Loader)
    return None if root is None else convert(root)


def _scalar(node: yaml.ScalarNode) -> Any:
    tag = node.tag.removeprefix("tag:yaml.org,2002:")
    if not node.style and tag in ("int", "float", "str"):
        return number(re.sub(r"\.(?=inf|nan)", "", node.value, flags=re.IGNORECASE))
    if tag == "bool" and node.value.lower() in ("true", "false"):
        return node.value.lower() == "true"
    if tag == "null":
        return None
    return node.value if tag == "str" else (tag, node.value)


def _table(text: str, delimiter: str) -> Values:
    """Return the cells of a table by line and column, with the names of the columns if the first line has names."""
    header, table = [], {}
    for line, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 1):
        cells = [number(cell) for cell in row]
        if line == 1:
            named = any(isinstance(cell, str) for cell in cells)
            header = row if named else []
            cells = row if named else cells
            alone = {name for name, count in Counter(header).items() if count == 1}
        if not row:
            table[line, 0] = Value("", f"line {line}", "")
        for i, cell in enumerate(cells, 1):
            name = header[i - 1] if line > 1 and i <= len(header) else ""
            column = name if name in alone else f"column {i}"
            table[line, i] = Value(cell, f"line {line}, {column}", name)
    return table


def _rows(table: Values) -> list[tuple[str, ...]]:
    """Return the rows of a table as text; an empty list for other files."""
    lines = {}
    for path, value in table.items():
        if len(path) != 2 or not all(isinstance(step, int) for step in path):
            return []
        lines.setdefault(path[0], []).append(_show(_plain(value.value)))
    return [tuple(row) for row in lines.values()]


def _plain(value: Any) -> Any:
    return value.normalize(EXACT) if isinstance(value, Decimal) else value


def _show(value: Any) -> str:
    text = value[1] if isinstance(value, tuple) else f"{value}".lower() if isinstance(value, Decimal) else f"{value}"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _float(value: int | Decimal) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _line_ends(content: bytes) -> bytes | str:
    """Return a text with the line ends of Unix, and any other file as it is."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return content.decode("utf-16").replace("\r\n", "\n")
        except UnicodeDecodeError:
            return content
    return content if CONTROL.search(content) else content.replace(b"\r\n", b"\n")
