"""Is this result real? Runs a revision again in an isolated clone and compares every output with the recorded one.

Exit code 0: every byte is the recorded one. 1: the same values in another form, or numbers within the tolerances that
checks.yaml declares. 2: something is different, or not proved. 3: there is no verdict. An input that differs from the
lock is printed as stale. The outputs made from it must be the recorded bytes; no tolerance applies to them.
"""

import filecmp
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from argparse import ArgumentTypeError
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from . import proofs
from .attest import statement
from .findings import Kind
from .matrix import Run, compare_each
from .matrix import as_markdown as matrix_as_markdown
from .matrix import as_text as matrix_as_text
from .runs import Output, Stage, forget, freeze_external, named, needed, recorded, remove_outputs, rerun
from .scratch import Scratch, bring_data, cache_folder, checkout, find_commit, project
from .settings import FILE, CheckSettings, read_settings
from .shell import InputError, Parser, command, git, markup, printable
from .tree import within
from .values import CODES, DIFFERENT, IDENTICAL, NOT_PROVED, SAME, VERDICTS, WITHIN, compare

NOT_RERUN = "not rerun"
LARGE = 2**30  # bytes of a file up to which values are compared, in memory


class Row(NamedTuple):
    """The verdict on an output of a stage, the differences, and the SHA-256 of each file that the rerun made.

    ``promised`` is the verdict that the stage promises; empty if it promises none.
    """

    stage: str
    output: str
    verdict: str
    differences: list[str]
    files: dict[str, str]
    promised: str


def stale(was: dict[str, Stage], now: dict[str, Stage], line_ends: bool = False) -> dict[str, list[str]]:
    """Return the inputs of each stage that differ between two runs: the recorded result was made from other inputs.

    Args:
        was: The recorded run.
        now: The other run.
        line_ends: Return the inputs that differ in their line ends alone, instead of the others.
    """
    changes = {}
    for name, stage in now.items():
        before = was[name].inputs if name in was else {}
        keys = sorted(key for key in before | stage.inputs if str(before.get(key)) != str(stage.inputs.get(key)))
        keys = [key for key in keys if (key in stage.line_ends) is line_ends]
        changes[name] = [f"{key}: recorded {before.get(key)}, found {stage.inputs.get(key)}" for key in keys]
    return {name: lines for name, lines in changes.items() if lines}


def downstream(names: set[str], stages: dict[str, Stage]) -> set[str]:
    """Return these stages and all stages that read their outputs, directly or through other stages."""
    reached, before = set(names), None
    while reached != before:
        before = set(reached)
        made = [path for name in reached if name in stages for path in stages[name].outputs]
        for name, stage in stages.items():
            if any(within(path, out) or within(out, path) for path in stage.reads for out in made):
                reached.add(name)
    return reached


def compare_runs(was: dict[str, Stage], now: dict[str, Stage], settings: CheckSettings) -> list[Row]:
    """Return a row for each output of each stage; stages that did not run again are *not rerun*."""
    rows, exact = [], downstream(set(stale(was, now)), now)
    for name, stage in now.items():
        outputs = was[name].outputs if name in was else {}
        for path in sorted(outputs.keys() | stage.outputs.keys()):
            after, verdict, differences = stage.outputs.get(path), NOT_RERUN, []
            if stage.reruns:
                verdict, differences = compare_output(path, outputs.get(path), after, settings)
            if verdict in (SAME, WITHIN) and name in exact:
                verdict, differences = DIFFERENT, [*differences, "it was made from other inputs: nothing may differ"]
            files = (after and after.files) or {} if stage.reruns else {}
            digests = {file: _sha256(files[file]) for file in files if files[file].is_file()}
            rows.append(Row(name, path, verdict, differences, digests, settings.promised(stage.meta)))
    return rows


def compare_output(path: str, was: Output | None, now: Output | None, settings: CheckSettings) -> tuple[str, list[str]]:
    """Return the verdict on the two versions of one output, and the differences; a missing version is None."""
    if was is None or was.value is None:
        return DIFFERENT, ["no lock records it"]
    if now is None or now.value is None:
        return DIFFERENT, ["the rerun does not make it"]
    if was.value == now.value and not (was.edited or now.edited):
        return IDENTICAL, []
    if was.files is None and now.line_ends and not now.edited:
        return SAME, ["only line ends differ: with other line ends it has the recorded hash"]
    if was.files is None or now.files is None:
        verdict, differences = NOT_PROVED, [f"recorded {was.value}, found {now.value}; the recorded file is not here"]
    else:
        verdict, differences = compare_files(was.files, now.files, settings, path)
    if was.edited or now.edited:
        return DIFFERENT, ["the file is not the one that the lock records", *differences]
    if verdict in (NOT_PROVED, DIFFERENT) and any(fnmatchcase(path, pattern) for pattern in settings.free):
        return WITHIN, [*differences, f"{FILE} lets its bytes differ"]
    return verdict, differences


def compare_files(was: dict, now: dict, settings: CheckSettings, path: str) -> tuple[str, list[str]]:
    """Return the verdict on the files of an output, and the differences of each file."""
    worst, lines = IDENTICAL, []
    for name in sorted(was.keys() | now.keys()):
        if name not in was or name not in now:
            verdict, differences = DIFFERENT, [f"only the {'rerun' if name in now else 'revision'} has it"]
        else:
            verdict, differences = _compare_paths(name or Path(path).name, was[name], now[name], settings)
        worst = max(worst, verdict, key=VERDICTS.index)
        lines += [f"{name}: {difference}" if name else difference for difference in differences]
    return worst, lines


def _compare_paths(name: str, was: Path, now: Path, settings: CheckSettings) -> tuple[str, list[str]]:
    if not was.is_file() or not now.is_file():  # a link to a device has no end
        return DIFFERENT, ["it is not a regular file"]
    if max(was.stat().st_size, now.stat().st_size) > LARGE:
        if filecmp.cmp(was, now, shallow=False):
            return IDENTICAL, []
        return DIFFERENT, [f"{was.stat().st_size} and {now.stat().st_size} bytes, too many to compare values"]
    return compare(name, was.read_bytes(), now.read_bytes(), settings)


def environment(packages: tuple[str, ...], scratch: Scratch) -> dict[str, str]:
    """Return facts that could change the bits: the machine, the Python that the stages use, and package versions."""
    code = (
        "import platform, sys; from importlib.metadata import version\nprint('python', platform.python_version())\n"
        "for name in sys.argv[1:]:\n    try: print(name, version(name))\n    except ImportError: print(name, 'missing')"
    )
    try:
        run = subprocess.run(
            ["python", "-c", code, *packages],
            cwd=scratch.folder, env=scratch.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        versions = dict(line.split(" ", 1) for line in run.stdout.splitlines())
    except (OSError, subprocess.CalledProcessError):  # a pipeline may use no Python
        versions = {}
    machine = {"processor": processor(), "architecture": platform.machine(), "cores": str(os.cpu_count())}
    return machine | {"system": platform.platform()} | versions


def processor() -> str:
    """Return the model of the processor as Linux names it, or else as Python does."""
    info = Path("/proc/cpuinfo")
    match = re.search(r"^model name\s*: (.*)", info.read_text() if info.exists() else "", re.MULTILINE)
    return match[1] if match else platform.processor() or "unknown"


def read_run(name: str, kept: Path) -> Run:
    """Return the recorded run of a revision, or of a folder that is not a revision; ``kept`` gets the files in Git.

    Raises:
        InputError: The run has no result.
    """
    folder = Path(name).resolve()
    if find_commit(name) is None and folder.is_dir():
        if not (folder / ".dvc").is_dir():
            raise InputError(f"--against: expected a commit or the root of a DVC repository, got {name}")
        run = Run(name, "", recorded(folder, cache_folder(folder)))
    else:
        with checkout(name) as scratch:
            run = Run(name, scratch.commit, recorded(scratch.folder, cache_folder(project()), kept))
    if not run.stages:
        raise InputError(f"revision: {name!r} ({run.commit[:10] or 'a folder'}) has no lock with a result; commit one")
    return run


def matrix(names: list[str]) -> dict:
    """Compare each pair of several recorded runs; return the object that ``--json`` prints.

    Raises:
        InputError: A run has no result, or there is nothing to compare.
    """
    settings = read_settings(project())
    with TemporaryDirectory(prefix="dvc-checks-") as kept:
        runs = [read_run(name, Path(kept, str(number))) for number, name in enumerate(names)]
        return compare_each(runs, lambda was, now: compare_runs(was, with_missing(now, was), settings))


def with_missing(stages: dict[str, Stage], others: dict[str, Stage]) -> dict[str, Stage]:
    """Add the stages that only another run has, without outputs."""
    missing = {name: stage for name, stage in others.items() if name not in stages}
    return stages | {name: replace(stage, outputs={}) for name, stage in missing.items()}


def verify(revision: str, targets: list[str], against: str | None = None, variables: tuple[str, ...] = ()) -> dict:
    """Run a revision again, or read the recorded run ``against`` instead, and compare the outputs.

    Returns:
        The object that ``--json`` prints: the commit, the target, the verdict, its rows, stale inputs and environment.

    Raises:
        InputError: The revision has no result, its data is not available, or a stage failed.
    """
    settings = read_settings(project())
    with ExitStack() as stack:
        scratch = stack.enter_context(checkout(revision, variables))
        kept = Path(stack.enter_context(TemporaryDirectory(prefix="dvc-checks-")))
        if against is None:
            freeze_external(scratch)
        was = recorded(scratch.folder, cache_folder(project()), kept / "was")
        if not was:
            raise InputError(f"revision: {revision!r} ({scratch.commit[:10]}) has no lock with a result; commit one")
        if against is not None:
            other = read_run(against, kept / "now")
            now = with_missing(other.stages, was)
        else:
            stages = named(scratch, targets)
            bring_data(scratch, needed(scratch, stages))
            forget(scratch)
            remove_outputs(scratch)
            scratch.repro(*stages)
            now = rerun(scratch, was)
        rows = compare_runs(was, now, settings)
        machine = environment(settings.packages, scratch)
    verdicts = [row.verdict for row in rows if row.verdict != NOT_RERUN]
    if not verdicts:
        ran = any(stage.reruns for stage in now.values())
        reason = "no stage that ran again has an output" if ran else "no stage ran again"
        raise InputError(f"revision: {scratch.commit[:10]}: {reason}, so nothing is compared")
    return {
        "revision": scratch.commit,
        "target": f"against {other.commit or other.name}"
        if against is not None
        else " ".join(targets) or "every pipeline",
        "verdict": max(verdicts, key=VERDICTS.index),
        "results": [row._asdict() for row in rows],
        "stages": proofs_of(was, now, rows),
        "stale": stale(was, now),
        "line_ends": stale(was, now, line_ends=True),
        "environment": machine,
    }


def proofs_of(was: dict[str, Stage], now: dict[str, Stage], rows: list[Row]) -> list[dict]:
    """Return the verdict on each stage that was made from the recorded inputs, for ``proofs.jsonl``."""
    verdicts: dict[str, list[str]] = {}
    for row in rows:
        if row.verdict != NOT_RERUN and row.stage in was and was[row.stage].digest:
            verdicts.setdefault(row.stage, []).append(row.verdict)
    for name in downstream({*stale(was, now), *stale(was, now, line_ends=True)}, now):
        verdicts.pop(name, None)
    return [
        {"stage": name, "lock": was[name].digest, "verdict": max(of_outputs, key=VERDICTS.index)}
        | {"outputs": {path: f"{output.value}" for path, output in was[name].outputs.items()}}
        for name, of_outputs in verdicts.items()
    ]


def as_text(report: dict) -> str:
    """The report for a terminal: a table with the differences below each row."""
    widths = [max(len(row[key]) for row in report["results"]) for key in ("stage", "output")]
    lines = [f"{report['target']} of {report['revision']}: {report['verdict']}", ""]
    for row in report["results"]:
        promised = f" (promised: {row['promised']})" if row["promised"] else ""
        lines.append(f"{row['stage']:{widths[0]}}  {row['output']:{widths[1]}}  {row['verdict']}{promised}")
        lines += [f"{'':{widths[0]}}    {difference}" for difference in row["differences"]]
    lines += ["", *_stale_lines(report), *(f"{key:12}  {value}" for key, value in report["environment"].items())]
    return "\n".join(map(printable, lines))


def as_json(report: dict) -> str:
    """The whole report as one object."""
    return json.dumps(report, indent=2)


def as_markdown(report: dict) -> str:
    """The report for a pull request."""
    lines = [f"**{markup(report['target'])} of {markup(report['revision'])}: {report['verdict']}**", ""]
    lines += ["| stage | output | verdict | promised | differences |", "|---|---|---|---|---|"]
    for row in report["results"]:
        output = printable(row["output"]).replace("|", "\\|")
        cells = [markup(row["stage"]), markup(output) if "`" in output else f"`{output}`", row["verdict"]]
        cells += [markup(row["promised"]), "<br>".join(map(markup, row["differences"]))]
        lines.append("| " + " | ".join(cells) + " |")
    notes = [*_stale_lines(report), *(f"{key}: {value}" for key, value in report["environment"].items())]
    return "\n".join([*lines, "", *(f"- {markup(note)}" for note in notes)])


def main(arguments: list[str] | None = None) -> int:
    """Verify the revision that the command line names, print the report, and return the exit code."""
    parser = Parser(prog="dvc-verify", description=__doc__)
    parser.add_argument("targets", nargs="*", help="stages, with all that they depend on; every pipeline by default")
    parser.add_argument("--rev", default="HEAD", help="the commit to verify; HEAD by default")
    parser.add_argument(
        "--against", metavar="REV", nargs="+", action="extend",
        help="compare with the recorded runs of commits or folders, and run nothing; several give a matrix",
    )  # fmt: skip
    parser.add_argument("--attest", metavar="FILE", type=Path, help="write the verdicts as an in-toto statement")
    parser.add_argument("--record", action="store_true", help=f"append the verdicts to {proofs.FILE}, for Git to keep")
    parser.add_argument(
        "--date", type=_day, help="day of the record, such as 2026-11-29; that of the commit by default"
    )
    parser.add_argument(
        "--env", metavar="NAME", action="append", default=[], help="a variable that the stages need, such as PYTHONPATH"
    )
    form = parser.add_mutually_exclusive_group()
    for option, function in (("--json", as_json), ("--markdown", as_markdown)):
        form.add_argument(option, action="store_const", dest="form", const=function, help=function.__doc__)
    parser.set_defaults(form=as_text)
    options = parser.parse_args(arguments)
    if options.against is not None and (options.targets or options.attest or options.record):
        raise InputError("--against: expected no targets, --attest or --record beside it, because it runs nothing")
    if options.date and not options.record:
        raise InputError("--date: expected --record beside it")
    if options.against and len(options.against) > 1:
        report = matrix([options.rev, *options.against])
        forms = {as_text: matrix_as_text, as_json: as_json, as_markdown: matrix_as_markdown}
        print(forms[options.form](report))
        return _code(report)
    report = verify(options.rev, options.targets, options.against and options.against[0], tuple(options.env))
    if options.attest:
        options.attest.write_text(json.dumps(statement(report), indent=2) + "\n", encoding="utf-8")
    if options.record:
        day = options.date or git(project(), "show", "-s", "--format=%cs", report["revision"])
        count = proofs.append(project(), report, day)
        print(f"note: {proofs.FILE} has {count} more lines; commit it", file=sys.stderr)
    print(options.form(report))
    return _code(report)


def _day(text: str) -> str:
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            return f"{date.fromisoformat(text)}"
    except ValueError:  # no such day
        pass
    raise ArgumentTypeError(f"expected a day such as 2026-11-29, got {text!r}")


def _code(report: dict) -> int:
    accepted = report["verdict"] == SAME and read_settings(project()).accept_same_values
    return 0 if accepted else CODES[report["verdict"]]


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _stale_lines(report: dict) -> list[str]:
    lines = [f"stale: {stage}: {change}" for stage, changes in report["stale"].items() for change in changes]
    line_ends = [
        f"line ends: {stage}: {change}" for stage, changes in report["line_ends"].items() for change in changes
    ]
    return [*lines, *line_ends, *([f"line ends: {Kind.LINE_ENDS.remedy}"] if line_ends else [])]


def run() -> None:
    """The command ``dvc-verify``."""
    command(main)


if __name__ == "__main__":
    run()
