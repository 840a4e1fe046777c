"""Comparison of each pair of several recorded runs: which agree, and where two of them first differ."""

from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

from .runs import Stage, in_order
from .shell import InputError, markup, printable
from .values import IDENTICAL, VERDICTS


class Run(NamedTuple):
    """The name of a revision or folder as the user wrote it, its commit ("" for a folder), and its recorded stages."""

    name: str
    commit: str
    stages: dict[str, Stage]


def compare_each(runs: list[Run], compare: Callable[[dict, dict], list]) -> dict:
    """Compare each pair of runs.

    Args:
        runs: The runs, in the order of the matrix.
        compare: Returns the rows for the stages of two runs.

    Returns:
        The object that ``--json`` prints: the runs, the worst verdict, and for each pair of runs the verdict and the
        first output that is not identical, in the order in which the stages run.

    Raises:
        InputError: Two runs have no output that can be compared.
    """
    pairs = []
    for one, other in combinations(range(len(runs)), 2):
        names = [runs[one].name, runs[other].name]
        rows = [row for row in compare(runs[one].stages, runs[other].stages) if row.verdict in VERDICTS]
        if not rows:
            raise InputError(f"--against: expected runs with results of one stage, got none in {' and '.join(names)}")
        order = in_order(runs[one].stages | runs[other].stages)
        rows.sort(key=lambda row: order.index(row.stage))
        first = next((row for row in rows if row.verdict != IDENTICAL), None)
        pair = {"runs": [one, other], "verdict": max((row.verdict for row in rows), key=VERDICTS.index)}
        if first:
            pair["first"] = {key: getattr(first, key) for key in ("stage", "output", "verdict", "differences")}
        pairs.append(pair)
    return {
        "runs": [{"name": run.name, "commit": run.commit, "stages": len(run.stages)} for run in runs],
        "verdict": max((pair["verdict"] for pair in pairs), key=VERDICTS.index),
        "pairs": pairs,
    }


def as_text(report: dict) -> str:
    """The matrix for a terminal: a verdict for each pair of runs, and below it where the two runs first differ."""
    rows = _table(report)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(map(printable, [f"{_title(report)}", "", *lines, "", *_firsts(report)])).rstrip("\n")


def as_markdown(report: dict) -> str:
    """The matrix for a pull request."""
    head, *rows = [[markup(cell) for cell in row] for row in _table(report)]
    lines = [head, ["---"] * len(head), *rows]
    table = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([f"**{_title(report)}**", "", *table, "", *(f"- {markup(line)}" for line in _firsts(report))])


def _title(report: dict) -> str:
    return f"{len(report['runs'])} runs: {report['verdict']}"


def _table(report: dict) -> list[list[str]]:
    """Return the cells of the matrix; a letter stands for each run and is the title of its column."""
    count = len(report["runs"])
    cells = [["" for _ in range(count)] for _ in range(count)]
    for pair in report["pairs"]:
        one, other = pair["runs"]
        cells[one][other] = cells[other][one] = pair["verdict"]
    for i in range(count):
        cells[i][i] = "-"
    names = [f"{_letter(i)}  {run['name']} {run['commit'][:10]}".rstrip() for i, run in enumerate(report["runs"])]
    return [["", *map(_letter, range(count))], *([name, *row] for name, row in zip(names, cells, strict=True))]


def _firsts(report: dict) -> list[str]:
    lines = []
    for pair in report["pairs"]:
        if first := pair.get("first"):
            where = f"{' and '.join(map(_letter, pair['runs']))}: {first['stage']}: {first['output']}"
            lines.append(": ".join([where, first["verdict"], *first["differences"][:1]]))
    return lines


def _letter(number: int) -> str:
    """Return the letter of a run in the matrix.

    >>> _letter(0), _letter(25), _letter(26)
    ('a', 'z', 'a2')
    """
    return chr(ord("a") + number % 26) + (f"{number // 26 + 1}" if number >= 26 else "")
