"""Two versions of a file, compared as numbers where it holds numbers, and else as text or bytes."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

import yaml

from .arrays import first_array
from .settings import Settings

IDENTICAL, WITHIN, DIFFERENT = VERDICTS = ("identical", "within tolerance", "different")  # by exit code


class Value(NamedTuple):
    """A value of a file: the key that its tolerance goes by, and itself."""

    key: str
    value: Any


def compare(name: str, was: bytes, now: bytes, settings: Settings) -> tuple[str, list[str]]:
    """The verdict on a file of which there are two versions, and how they differ, a line each.

    >>> compare("m.json", b'{"loss": 0.5}', b'{"loss": 0.6}', Settings({"loss": 0.2}))
    ('within tolerance', ['loss: recorded 0.5, found 0.6, off by 0.1 (tolerance 0.2)'])
    """
    if was == now:
        return IDENTICAL, []
    try:
        before, after = values(name, was), values(name, now)
    except (ValueError, yaml.YAMLError, csv.Error, RecursionError):
        return DIFFERENT, [first_difference(was, now)]
    if before is None or after is None:
        return DIFFERENT, [first_array(was, now) or first_difference(was, now)]
    verdict, lines = compare_values(before, after, settings)
    return verdict, [*first_row(before, after), *lines]


def values(name: str, content: bytes) -> dict[str, Value] | None:
    """The values of a JSON, YAML, CSV or TSV file by their place in it; None of any other file.

    Raises:
        ValueError, yaml.YAMLError, csv.Error: It is not what its name says.
    """
    suffix = name.rpartition(".")[2].lower()
    if suffix == "json":
        return dict(_leaves(json.loads(content)))
    if suffix in ("yaml", "yml"):
        return dict(_leaves(yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))))
    if suffix in ("csv", "tsv"):
        rows = csv.reader(io.StringIO(content.decode()), delimiter="\t" if suffix == "tsv" else ",")
        header = next(rows, [])
        alone = {name for name, count in Counter(header).items() if count == 1}
        return {f"line 1, column {i}": Value("", name) for i, name in enumerate(header, 1)} | {
            f"line {line}, {name if name in alone else f'column {i}'}": Value(name or "", number(cell))
            for line, row in enumerate(rows, 2)
            for i, (name, cell) in enumerate(zip_longest(header, row), 1)
        }
    return None


def compare_values(was: dict[str, Value], now: dict[str, Value], settings: Settings) -> tuple[str, list[str]]:
    """The verdict on the values of a file, and for each key the place where they are furthest apart."""
    verdict, worst = IDENTICAL, {}
    for place in was | now:
        key = (was.get(place) or now[place]).key
        one, distance, bound = judge(was.get(place), now.get(place), settings)
        if one == IDENTICAL:
            continue
        verdict = max(verdict, one, key=VERDICTS.index)
        rank = (VERDICTS.index(one), distance)
        if key not in worst or rank > worst[key][0]:
            worst[key] = (rank, place, bound, worst[key][3] if key in worst else 0)
        worst[key] = (*worst[key][:3], worst[key][3] + 1)
    lines = []
    for (_, distance), place, bound, count in worst.values():
        before, after = (side[place].value if place in side else "nothing" for side in (was, now))
        text = f"{place}: recorded {before}, found {after}"
        text += f", off by {distance:.3g} (tolerance {bound:.3g})" if bound is not None and distance < math.inf else ""
        lines.append(text + (f"; {count - 1} more of this key" if count > 1 else ""))
    return verdict, lines


def first_row(was: dict[str, Value], now: dict[str, Value]) -> list[str]:
    """Which row of two tables is the first that differs, where both name it alike in their first column."""
    row, first = None, None
    for place, value in was.items():
        line, comma, column = place.partition(", ")
        if not comma or line == "line 1":
            continue
        if line != row:
            row, first = line, (column, value.value)
            if now.get(place) != value:
                return []
        if now.get(place) != value and value.value == value.value:
            name = f"{first[1]:g}" if isinstance(first[1], float) else first[1]
            return [f"{line}, {first[0]} {name}, is the first row that differs"]
    return []


def judge(was: Value | None, now: Value | None, settings: Settings) -> tuple[str, float, float | None]:
    """The verdict on one value, how far the two are apart, and how far they may be."""
    if was is None or now is None:
        return DIFFERENT, math.inf, None
    before, after = was.value, now.value
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (before, after))
    if before == after or (numbers and math.isnan(before) and math.isnan(after)):
        return IDENTICAL, 0.0, None
    bound = settings.tolerated(was.key, before if numbers else 0.0)
    if bound is None:
        return WITHIN, math.inf, None
    if not numbers:
        return DIFFERENT, math.inf, None
    distance = abs(after - before)
    return WITHIN if distance <= bound * (1 + 1e-9) else DIFFERENT, distance, bound


def number(text: str | None) -> Any:
    """A cell of a table as a number, if it is one."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return text


def first_difference(was: bytes, now: bytes) -> str:
    """The first line of two texts that differs, or the first byte of what is no text."""
    try:
        texts = was.decode().splitlines(), now.decode().splitlines()
    except UnicodeDecodeError:
        place = next((i for i, (one, other) in enumerate(zip(was, now, strict=False)) if one != other), None)
        where = f"byte {place} is the first that differs" if place is not None else "one is the other's beginning"
        return f"{len(was)} and {len(now)} bytes, {where}"
    for line, (before, after) in enumerate(zip_longest(*texts), 1):
        if before != after:
            return f"line {line}: recorded {before!r:.200}, found {after!r:.200}"
    return "only line ends differ"


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Value]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if not items:
        key = ".".join(part for part in place.split(".") if not part.isdigit())
        yield place, Value(key, value)
        return
    for name, item in items:
        yield from _leaves(item, f"{place}.{name}" if place else str(name))
