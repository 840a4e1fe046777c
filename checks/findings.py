"""Findings of the gate, and the forms in which they are printed."""

import json
import math
import posixpath
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from dvc.dvcfile import LOCK_FILE

from .shell import markup, printable
from .tree import Content


class _Absent:
    def __repr__(self):
        return "nothing"


ABSENT = _Absent()
"""In place of the value of a key that one side lacks."""


class Kind(Enum):
    """A kind of fault: a word for it, the exit code, and a remedy."""

    UNKNOWN = ("unknown", 0, "")
    STALE = ("stale", 1, "run `dvc repro` and commit what it writes, or `dvc commit` if the results hold as they are")
    LINE_ENDS = (
        "line ends",
        1,
        "commit a .gitattributes with `* text=auto eol=lf` and what `git add --renormalize .` stages, check all files "
        "out again (`git rm -rq --cached . && git reset -q --hard`), run `dvc commit --force` and commit the lock; "
        "`dvc repro` alone does nothing",
    )
    UNTRACKED = ("untracked", 1, "`git add` these files, `dvc add` them, or take them out of dvc.yaml")
    MISSING = ("missing", 1, "run `dvc push` where the data is, or `dvc repro` and then `dvc push`")
    INCONSISTENT = (
        "inconsistent",
        2,
        "run `dvc repro --force STAGE` and commit what it writes; "
        "an edit that is not committed is taken back by `git checkout HEAD -- FILE`",
    )
    UNREADABLE = ("unreadable", 3, "")

    def __init__(self, word: str, code: int, remedy: str):
        self.word, self.code, self.remedy = word, code, remedy


@dataclass(frozen=True)
class Finding:
    """A stage, one of its files or keys, what is wrong with it, what was recorded and what the tree has."""

    kind: Kind
    file: str  # that Git keeps: of the pipeline, relative to the checked folder
    stage: str
    what: str
    cause: str
    recorded: Any = ABSENT
    found: Any = ABSENT

    def __str__(self):
        return self.line(self.stage or self.file, self.what)

    def line(self, where: str, what: str) -> str:
        """One line on a terminal, of stages and files of these names."""
        text = ": ".join(filter(None, (self.kind.word, where, what, self.cause)))
        if self.kind not in (Kind.UNKNOWN, Kind.MISSING) and (self.recorded is not ABSENT or self.found is not ABSENT):
            text += f": recorded {_short(self.recorded)}, found {_short(self.found)}"
        return printable(text)


@dataclass
class Report:
    """The findings in one folder, how many stages were judged, and what was passed over.

    ``prefix`` is the checked folder's path from the root of the Git repository; ``proofs`` has by stage the kinds of
    machine on which a rerun found each verdict, where Git keeps a record of them.
    """

    stages: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    prefix: str = ""
    proofs: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def code(self, strict: bool = False) -> int:
        """The exit code; ``strict`` counts the unknown as stale."""
        worst = max((finding.kind.code for finding in self.findings), default=0)
        return max(worst, Kind.STALE.code if strict and self.findings else worst)

    def groups(self, verbose: bool = False) -> list[tuple[Finding, list[str], list[str]]]:
        """Findings of one cause together: the first of them, their stages and their files; each alone if ``verbose``.

        Those of several stages that say the same are one, and so are those of one stage that differ in the file alone.
        """
        if verbose:
            return [(finding, [finding.stage or finding.file], [finding.what]) for finding in self.findings]
        stages: dict[tuple, list[Finding]] = {}
        for finding in self.findings:
            stages.setdefault((finding.what, *_said(finding)), []).append(finding)
        files: dict[tuple, list[Finding]] = {}
        for group in stages.values():
            places = tuple(dict.fromkeys(finding.stage or finding.file for finding in group))
            files.setdefault((places, *_said(group[0])), []).append(group[0])
        return [(group[0], [*places], [finding.what for finding in group]) for (places, *_), group in files.items()]


def as_text(report: Report, verbose: bool = False) -> str:
    """A line for each cause and note, the remedies, and a line to close with."""
    groups = sorted(report.groups(verbose), key=lambda group: group[0].kind is Kind.UNKNOWN)
    lines = [finding.line(_where(stages), few(files)) for finding, stages, files in groups]
    if any(len(stages) > 1 or few(files) != ", ".join(files) for _, stages, files in groups):
        lines.append("note: --verbose names each stage and file")
    lines += [printable(f"note: {note}") for note in report.notes]
    if verbose:
        lines += [printable(f"proof: {stage}: {_machines(found)}") for stage, found in report.proofs.items()]
    counts = {kind: sum(finding.kind is kind for finding in report.findings) for kind in Kind}
    lines += [f"{kind.word}: {kind.remedy}" for kind in Kind if counts[kind] and kind.remedy]
    said = [f"{count} {kind.word}" for kind, count in counts.items() if count]
    return "\n".join([*lines, f"{_stages(report)}: {', '.join(said) or f'as {LOCK_FILE} describes them'}"])


def as_json(report: Report, verbose: bool = False) -> str:
    """One object: the exit code, the verdict, every finding with its kind in words, and the notes."""
    findings = [
        {"kind": finding.kind.word, "file": finding.file, "stage": finding.stage, "what": finding.what}
        | {"cause": finding.cause}
        | {name: _plain(side) for name in ("recorded", "found") if (side := getattr(finding, name)) is not ABSENT}
        for finding in report.findings
    ]
    code = report.code()
    verdict = ("clean", Kind.STALE.word, Kind.INCONSISTENT.word, Kind.UNREADABLE.word)[code]
    values = {"code": code, "verdict": verdict, "stages": report.stages}
    return json.dumps(values | {"findings": findings, "notes": report.notes, "proofs": report.proofs}, indent=2)


def as_markdown(report: Report, verbose: bool = False) -> str:
    """A table for a pull request."""
    lines = [f"**{as_text(report).splitlines()[-1]}**", ""]
    if report.findings:
        lines += ["| kind | stage | what | cause | recorded | found |", "|:--|:--|:--|:--|:--|:--|"]
    for finding, stages, files in report.groups(verbose):
        values = ("" if value is ABSENT else _short(value) for value in (finding.recorded, finding.found))
        cells = map(markup, (finding.kind.word, _where(stages), few(files), finding.cause, *values))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"- {printable(note)}" for note in report.notes)]).rstrip("\n")


def as_annotations(report: Report, verbose: bool = False) -> str:
    """GitHub's workflow commands, which it shows beside the pipeline's file."""

    def quote(text: str, more: str = "") -> str:
        return "".join(f"%{ord(letter):02X}" if letter in "%\r\n" + more else letter for letter in printable(text))

    lines = []
    for finding, stages, files in report.groups(verbose):
        level = "error" if finding.kind.code else "notice"
        file = posixpath.normpath(posixpath.join(report.prefix, finding.file))
        title = quote(f"{finding.kind.word}: {_where(stages)}", ":,")
        text = quote(finding.line(_where(stages), few(files)))
        lines.append(f"::{level} file={quote(file, ':,')},title={title}::{text}")
    return "\n".join([*lines, as_text(report).splitlines()[-1]])


def few(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _machines(found: dict[str, list[str]]) -> str:
    said = [f"{verdict} on {' and '.join(machines)}" for verdict, machines in found.items()]
    return "; ".join(said) or "none"


def _where(stages: list[str]) -> str:
    return stages[0] if len(stages) == 1 else f"{len(stages)} stages"


def _said(finding: Finding) -> tuple:
    """Whatever two findings on one line have in common; the sides of what can't be judged are not shown."""
    if finding.kind is Kind.UNKNOWN:
        return finding.kind, finding.cause
    if finding.kind is Kind.MISSING:  # a line each
        return finding.kind, finding.cause, finding.what
    return finding.kind, finding.cause, repr(finding.recorded), repr(finding.found)


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else f"{text[:200]}..."


def _stages(report: Report) -> str:
    return "1 stage" if report.stages == 1 else f"{report.stages} stages"


def _plain(value: Any) -> Any:
    """A value of a params file in JSON's types; a number that JSON lacks and a date are text."""
    if isinstance(value, Content):
        return value._asdict()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
