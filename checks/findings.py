"""What a gate finds, and how it says so."""

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from dvc.dvcfile import LOCK_FILE

from .tree import Content


class Kind(IntEnum):
    """What is wrong, as an exit code."""

    UNKNOWN = 0
    STALE = 1
    INCONSISTENT = 2
    UNREADABLE = 3


REMEDIES = {
    Kind.STALE: "run `dvc repro` and commit what it writes, or `dvc commit` if the results hold as they are",
    # Git takes a file that `dvc exp run` changed for unchanged if its size and second are the same: hence delete.
    Kind.INCONSISTENT: "delete these files and take them back from Git, or run `dvc repro` and commit what it writes",
}


@dataclass(frozen=True)
class Finding:
    """A stage, one of its files or keys, what is wrong with it, what was recorded and what the tree has."""

    kind: Kind
    file: str  # that Git keeps: of the pipeline, relative to the checked folder
    stage: str
    what: str
    cause: str
    recorded: Any = None
    found: Any = None

    def __str__(self):
        text = ": ".join(filter(None, (self.kind.name.lower(), self.stage or self.file, self.what, self.cause)))
        if self.recorded is None and self.found is None:
            return text
        return f"{text}: recorded {_short(self.recorded)}, found {_short(self.found)}"


@dataclass
class Report:
    """The findings in one folder, how many stages were judged, and what was passed over."""

    stages: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def code(self, strict: bool = False) -> int:
        """The exit code; ``strict`` counts the unknown as stale."""
        worst = max((finding.kind for finding in self.findings), default=Kind.UNKNOWN)
        return int(max(worst, Kind.STALE if strict and self.findings else worst))


class _Absent:
    def __repr__(self):
        return "nothing"


ABSENT = _Absent()
"""In place of the value of a key that one side lacks."""


def as_text(report: Report) -> str:
    """A line for each finding and note, and one to close with; what is unknown for one reason shares a line."""
    lines = [str(finding) for finding in report.findings if finding.kind]
    unknown = defaultdict(list)
    for finding in report.findings:
        if not finding.kind:
            unknown[finding.stage, finding.cause].append(finding.what)
    lines += [f"unknown: {stage}: {few(files)}: {cause}" for (stage, cause), files in unknown.items()]
    lines += [f"note: {note}" for note in report.notes]
    counts = {kind: sum(finding.kind == kind for finding in report.findings) for kind in Kind}
    lines += [f"{kind.name.lower()}: {remedy}" for kind, remedy in REMEDIES.items() if counts[kind]]
    said = [f"{count} {kind.name.lower()}" for kind, count in counts.items() if count]
    return "\n".join([*lines, f"{_stages(report)}: {', '.join(said) or f'as {LOCK_FILE} describes them'}"])


def as_json(report: Report) -> str:
    """One object: the exit code, the verdict, the findings with their kinds in words, and the notes."""
    findings = [
        {"kind": finding.kind.name.lower(), "file": finding.file, "stage": finding.stage, "what": finding.what}
        | {"cause": finding.cause, "recorded": _plain(finding.recorded), "found": _plain(finding.found)}
        for finding in report.findings
    ]
    verdict = {0: "clean"} | {kind.value: kind.name.lower() for kind in Kind if kind}
    values = {"code": report.code(), "verdict": verdict[report.code()], "stages": report.stages}
    return json.dumps(values | {"findings": findings, "notes": report.notes}, indent=2)


def as_markdown(report: Report) -> str:
    """A table for a pull request."""
    lines = [f"**{as_text(report).splitlines()[-1]}**", ""]
    if report.findings:
        lines += ["| kind | stage | what | cause | recorded | found |", "|:--|:--|:--|:--|:--|:--|"]
    for finding in report.findings:
        values = ("" if value is None else _short(value) for value in (finding.recorded, finding.found))
        cells = (finding.kind.name.lower(), finding.stage or finding.file, finding.what, finding.cause, *values)
        lines.append("| " + " | ".join(re.sub(r"([\\|`*_<>@#\[\]])", r"\\\1", cell) for cell in cells) + " |")
    return "\n".join([*lines, "", *(f"- {note}" for note in report.notes)]).rstrip("\n")


def as_annotations(report: Report) -> str:
    """GitHub's workflow commands, which it shows beside the pipeline's file."""

    def quote(text: str, more: str = "") -> str:
        return "".join(f"%{ord(letter):02X}" if letter in "%\r\n" + more else letter for letter in text)

    lines = []
    for finding in report.findings:
        level = "error" if finding.kind else "notice"
        title = quote(f"{finding.kind.name.lower()}: {finding.stage or finding.file}", ":,")
        lines.append(f"::{level} file={quote(finding.file, ':,')},title={title}::{quote(str(finding))}")
    return "\n".join([*lines, as_text(report).splitlines()[-1]])


def few(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else f"{text[:200]}..."


def _stages(report: Report) -> str:
    return "1 stage" if report.stages == 1 else f"{report.stages} stages"


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Content):
        return value._asdict()
    return None if value is ABSENT else str(value)
