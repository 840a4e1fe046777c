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
"""Stands for the value of a key that one side lacks."""


class Kind(Enum):
    """A kind of fault: a word for it, the exit code, and a remedy."""

    UNKNOWN = ("unknown", 0, "")
    STALE = ("stale", 1, "run `dvc repro` and commit what it writes, or `dvc commit` if the results are still valid")
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
        "`git checkout HEAD -- FILE` undoes an edit that is not committed",
    )
    UNREADABLE = ("unreadable", 3, "")

    def __init__(self, word: str, code: int, remedy: str):
        self.word, self.code, self.remedy = word, code, remedy


@dataclass(frozen=True)
class Finding:
    """One fault: its kind, the stage, a file or key of the stage, the cause, and the recorded and the present value."""

    kind: Kind
    file: str  # of the pipeline, relative to the checked folder
    stage: str
    what: str
    cause: str
    recorded: Any = ABSENT
    found: Any = ABSENT

    def __str__(self):
        return self.line(self.stage or self.file, self.what)

    def line(self, where: str, what: str) -> str:
        """Format one line for a terminal. ``where`` names the stages, ``what`` the files or keys."""
        text = ": ".join(filter(None, (self.kind.word, where, what, self.cause)))
        if self.kind not in (Kind.UNKNOWN, Kind.MISSING) and (self.recorded is not ABSENT or self.found is not ABSENT):
            text += f": recorded {_short(self.recorded)}, found {_short(self.found)}"
        return printable(text)


@dataclass
class Report:
    """Findings in one folder, the number of checked stages, and notes on what was not checked.

    ``prefix`` is the checked folder's path from the root of the Git repository. ``proofs`` maps each stage to the
    verdicts in ``proofs.jsonl``, and each verdict to the kinds of machine whose reruns gave it.
    """

    stages: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    prefix: str = ""
    proofs: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def code(self, strict: bool = False) -> int:
        """Return the exit code; ``strict`` counts unknown findings as stale."""
        worst = max((finding.kind.code for finding in self.findings), default=0)
        return max(worst, Kind.STALE.code if strict and self.findings else worst)

    def groups(self, verbose: bool = False) -> list[tuple[Finding, list[str], list[str]]]:
        """Group the findings of one cause; ``verbose`` puts each finding in a group of its own.

        A group holds findings that differ in the stage alone, or in the file alone.

        Returns:
            The first finding of each group, the stages of the group and its files.
        """
        if verbose:
            return [(finding, [finding.stage or finding.file], [finding.what]) for finding in self.findings]
        stages: dict[tuple, list[Finding]] = {}
        for finding in self.findings:
            stages.setdefault((finding.what, *_cause(finding)), []).append(finding)
        files: dict[tuple, list[Finding]] = {}
        for group in stages.values():
            names = tuple(dict.fromkeys(finding.stage or finding.file for finding in group))
            files.setdefault((names, *_cause(group[0])), []).append(group[0])
        return [(group[0], [*names], [finding.what for finding in group]) for (names, *_), group in files.items()]


def as_text(report: Report, verbose: bool = False) -> str:
    """A line for each cause and note, the remedies, and the number of findings of each kind."""
    groups = sorted(report.groups(verbose), key=lambda group: group[0].kind is Kind.UNKNOWN)
    lines = [finding.line(_where(stages), few(files)) for finding, stages, files in groups]
    if any(len(stages) > 1 or few(files) != ", ".join(files) for _, stages, files in groups):
        lines.append("note: --verbose names each stage and file")
    lines += [printable(f"note: {note}") for note in report.notes]
    if verbose:
        lines += [printable(f"proof: {stage}: {_machines(verdicts)}") for stage, verdicts in report.proofs.items()]
    counts = {kind: sum(finding.kind is kind for finding in report.findings) for kind in Kind}
    lines += [f"{kind.word}: {kind.remedy}" for kind in Kind if counts[kind] and kind.remedy]
    words = [f"{count} {kind.word}" for kind, count in counts.items() if count]
    return "\n".join([*lines, f"{_stages(report)}: {', '.join(words) or f'as {LOCK_FILE} describes them'}"])


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
    """GitHub's workflow commands, which GitHub shows beside the pipeline's file."""

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
    """List the first five names, and the number of the others."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _machines(verdicts: dict[str, list[str]]) -> str:
    return "; ".join(f"{verdict} on {' and '.join(machines)}" for verdict, machines in verdicts.items()) or "none"


def _where(stages: list[str]) -> str:
    return stages[0] if len(stages) == 1 else f"{len(stages)} stages"


def _cause(finding: Finding) -> tuple:
    """Return what the findings of a group have in common; the line of an unknown finding shows no values."""
    if finding.kind is Kind.UNKNOWN:
        return finding.kind, finding.cause
    if finding.kind is Kind.MISSING:  # each has a line of its own
        return finding.kind, finding.cause, finding.what
    return finding.kind, finding.cause, repr(finding.recorded), repr(finding.found)


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else f"{text[:200]}..."


def _stages(report: Report) -> str:
    return "1 stage" if report.stages == 1 else f"{report.stages} stages"


def _plain(value: Any) -> Any:
    """Convert a value of a params file to JSON's types; dates and numbers that JSON lacks become text."""
    if isinstance(value, Content):
        return value._asdict()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
