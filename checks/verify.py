"""Prove a committed result by running it again: a clean checkout, no cache, and a comparison output by output.

Exit code 0: every byte is the committed one. 1: the weights are others, as where the bits are not promised, and score
within the tolerances. 2: something is different. 3: there is no verdict. 130: interrupted. An input that dvc.lock
records otherwise is named as stale: harmless if the bytes are the committed ones, beyond any tolerance if not.
"""

import argparse
import fnmatch
import hashlib
import json
import math
import os
import platform
import re
import sys
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, NoReturn

from ruamel.yaml import YAML

from checks.scratch import CANNOT_RUN, Scratch, checkout, command, repository
from sentiment import InputError, engine

TOLERANCES = {
    "accuracy": 0.03,
    "f1": 0.03,
    "loss": 0.055,
    "precision": 0.09,
    "recall": 0.115,
    "roc_auc": 0.025,
    "weights": math.inf,  # a digest of the bits: were they the same, there would be nothing to tolerate
}
"""How far a metric may be from the committed one where the weights are others; one not named here, not at all.

Training amplifies roundings. Five ways to change nothing else (sums of 32 and of 512 rows at a time instead of 128, 2
and 8 shards instead of 4, the last digits of a constant of ``functions.exp``) moved the metrics, in the order above, of
`small` by up to 0.0007, 0.0012, 0.0009, 0.0074, 0.0110 and 0.0004, those of `full` by up to 0.0146, 0.0127, 0.0254,
0.0448, 0.0555 and 0.0104. Tolerated is twice the larger, or a little more.
"""

FOLLOWERS = ("metrics/*.json", "models/*.keras", "plots/*")
"""The outputs that follow the last bits of the weights; every other one has the same bytes on every machine."""

ENVIRONMENT = "data/environment.json"
"""But this one, which names the architecture. It may be another, the packages may not."""

IDENTICAL, WITHIN, DIFFERENT = VERDICTS = ("identical", "within tolerance", "different")  # by exit code


class Output(NamedTuple):
    """An output as dvc.lock records it, and those of its files that belong in Git, by path."""

    md5: str
    files: dict[str, bytes]


class Stage(NamedTuple):
    """What dvc.lock says of a stage: the command, parameters and MD5 of files it ran on, and its outputs by path."""

    inputs: dict[str, object]
    outputs: dict[str, Output]


class Row(NamedTuple):
    """The verdict on an output of a stage, and the differences it was found by."""

    stage: str
    output: str
    verdict: str
    differences: list[str]


def read_results(scratch: Scratch) -> dict[str, Stage]:
    """The stages of a checkout's dvc.lock.

    Raises:
        InputError: It has none.
    """
    lock = scratch.folder / "dvc.lock"
    if not lock.exists():
        raise InputError(f"revision: {scratch.commit[:10]} has no dvc.lock and so no result; commit it with one")
    stages = YAML(typ="safe").load(lock)["stages"]
    made = {out["path"] for stage in stages.values() for out in stage.get("outs", [])}
    belong = scratch.git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")

    def read(path: str) -> dict[str, bytes]:
        names = [name for name in belong if name == path or name.startswith(f"{path}/")]
        return {name: (scratch.folder / name).read_bytes() for name in names if (scratch.folder / name).is_file()}

    return {
        name: Stage(
            inputs={"cmd": stage["cmd"]}
            | {dep["path"]: dep["md5"] for dep in stage.get("deps", []) if dep["path"] not in made}
            | _flat(stage.get("params", {})),
            outputs={out["path"]: Output(out["md5"], read(out["path"])) for out in stage.get("outs", [])},
        )
        for name, stage in stages.items()
    }


def stale(committed: dict[str, Stage], rerun: dict[str, Stage]) -> dict[str, list[str]]:
    """By stage, the inputs that dvc.lock records otherwise: the revision's results were made from something else."""
    found = {}
    for name, stage in rerun.items():
        recorded = committed.get(name, Stage({}, {})).inputs
        keys = sorted(key for key in recorded | stage.inputs if recorded.get(key) != stage.inputs.get(key))
        found[name] = [f"{key}: dvc.lock records {recorded.get(key)}, found {stage.inputs.get(key)}" for key in keys]
    return {name: changes for name, changes in found.items() if changes}


def compare(committed: dict[str, Stage], rerun: dict[str, Stage]) -> list[Row]:
    """A row for each output of each stage that ran again."""
    rows = []
    for name, stage in rerun.items():
        recorded, reason = committed.get(name, Stage({}, {})).outputs, objection(committed, rerun, _model(name))
        for path in sorted(recorded | stage.outputs):
            rows.append(Row(name, path, *judge(path, recorded.get(path), stage.outputs.get(path), reason)))
    return rows


def judge(path: str, committed: Output | None, rerun: Output | None, objection: str) -> tuple[str, list[str]]:
    """The verdict on one output, and the differences.

    Args:
        path: The output's.
        committed: What the revision has, ``None`` for nothing.
        rerun: What the rerun made, ``None`` for nothing.
        objection: Why even what follows the weights may not have other bytes; empty if it may.
    """
    if committed is None or rerun is None:
        return DIFFERENT, ["dvc.lock does not record it" if committed is None else "the rerun does not make it"]
    changes = differences(path, committed.files, rerun.files)
    if committed.files and dvc_md5(path, committed.files) != committed.md5:
        return DIFFERENT, ["the committed file is not the one dvc.lock records", *changes]
    if rerun.files and not committed.files:
        return DIFFERENT, ["not committed"]
    if committed.md5 == rerun.md5:
        return IDENTICAL, []
    changes = changes or [f"MD5: committed {committed.md5}, found {rerun.md5}"]
    if path == ENVIRONMENT:
        was, now = (figures(output.files).get("packages") for output in (committed, rerun))
        return DIFFERENT if was != now else WITHIN, changes
    if not any(fnmatch.fnmatch(path, pattern) for pattern in FOLLOWERS):
        return DIFFERENT, changes
    return (DIFFERENT, [*changes, objection]) if objection else (WITHIN, changes)


def objection(committed: dict[str, Stage], rerun: dict[str, Stage], model: str) -> str:
    """Why a model is due no tolerance; empty if it is: from the recorded inputs came other weights that score alike."""
    if model in map(_model, stale(committed, rerun)):
        return "dvc.lock records other inputs, so nothing may differ"
    before, after = (
        {path: out for name, stage in stages.items() if _model(name) == model for path, out in stage.outputs.items()}
        for stages in (committed, rerun)
    )
    if all(before.get(path) == out for path, out in after.items() if path.endswith(".keras")):
        return "the model file is the committed one, so nothing else may differ"
    beyond = []
    for path in sorted(path for path in after.keys() & before.keys() if path.startswith("metrics/")):
        was, now = figures(before[path].files), figures(after[path].files)
        beyond += [name for name in sorted(was | now) if not tolerable(name, was.get(name), now.get(name))]
    return f"beyond the tolerance: {', '.join(beyond)}" if beyond else ""


def tolerable(name: str, committed, found) -> bool:
    """Whether a metric is close enough to the committed one.

    >>> tolerable("accuracy", 0.82, 0.83), tolerable("parameters", 39053, 39054), tolerable("accuracy", 0.82, None)
    (True, False, False)
    """
    tolerance = TOLERANCES.get(name, 0)
    if not all(isinstance(value, int | float) for value in (committed, found)):
        return committed == found or tolerance == math.inf
    return abs(found - committed) <= tolerance


def differences(path: str, committed: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    """The metrics that differ, or the first line that does in each file."""
    if path.startswith("metrics/") or path == ENVIRONMENT:
        was, now = figures(committed), figures(found)
        changed = [name for name in sorted(was | now) if was.get(name) != now.get(name)]
        return [_metric(name, was.get(name), now.get(name)) for name in changed]
    changes = []
    for name in sorted(committed.keys() | found.keys()):
        texts = (files.get(name, b"").decode(errors="replace").splitlines() for files in (committed, found))
        for number, (was, now) in enumerate(zip_longest(*texts), start=1):
            if was != now:
                changes.append(f"{name}, line {number}: committed {was!r}, found {now!r}")
                break
    return changes


def figures(files: dict[str, bytes]) -> dict[str, object]:
    """What the file of an output names, metrics say; nothing where it is no JSON object."""
    try:
        values = json.loads(b"".join(files.values()))
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def dvc_md5(path: str, files: dict[str, bytes]) -> str:
    """The MD5 that dvc.lock has for an output: of its bytes, or for a folder of the list of its files."""
    if path in files:
        return hashlib.md5(files[path]).hexdigest()
    names = sorted(files)
    listing = [{"md5": hashlib.md5(files[name]).hexdigest(), "relpath": name[len(path) + 1 :]} for name in names]
    return hashlib.md5(json.dumps(listing).encode()).hexdigest() + ".dir"


def environment(recorded: dict) -> dict[str, str]:
    """What could change the bits here, and how it differs from what data/environment.json records."""
    locked = recorded.get("packages", {})
    packages = {name: version(name) for name in sorted(locked.keys() | {"numba", "numpy", "tensorflow"})}
    changed = [f"{name} {number}" for name, number in locked.items() if packages[name] != number]
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "recorded architecture": recorded.get("architecture", "none"),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {number}" for name, number in packages.items()),
        "recorded packages": ", ".join(changed) or "the same",
        "promise": engine.promise(),
    }


def processor() -> str:
    """The processor's model, as Linux or else Python calls it."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)", info.read_text() if info.exists() else "", re.MULTILINE)
    return found[1] if found else platform.processor() or "unknown"


def as_text(report: dict) -> str:
    """The report for a terminal: a table, the differences under their rows."""
    widths = [max(len(row[key]) for row in report["results"]) for key in ("stage", "output")]
    lines = [f"{report['target']} of {report['revision']}: {report['verdict']}", ""]
    for row in report["results"]:
        lines.append(f"{row['stage']:{widths[0]}}  {row['output']:{widths[1]}}  {row['verdict']}")
        lines += [f"{'':{widths[0]}}    {difference}" for difference in row["differences"]]
    lines += ["", *_stale_lines(report), *(f"{key:21}  {value}" for key, value in report["environment"].items())]
    return "\n".join(lines)


def as_markdown(report: dict) -> str:
    """The report for a pull request."""
    lines = [f"**{report['target']} of {report['revision']}: {report['verdict']}**", ""]
    lines += ["| stage | output | verdict | differences |", "|---|---|---|---|"]
    for row in report["results"]:
        cells = [row["stage"], f"`{row['output']}`", row["verdict"], "<br>".join(row["differences"])]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    notes = [*_stale_lines(report), *(f"{key}: {value}" for key, value in report["environment"].items())]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)])


def verify(revision: str, model: str | None) -> dict:
    """Run a revision again and report on it.

    Returns:
        What ``--json`` prints: the commit, what was run, the verdict, its rows, stale inputs and the environment.
    """
    with checkout(revision, model) as scratch:
        committed = read_results(scratch)
        locks = [folder / "requirements.txt" for folder in (scratch.folder, repository())]
        if len({lock.read_bytes() for lock in locks if lock.exists()}) > 1:
            print(
                f"warning: {revision} has another requirements.txt; what it computes with is checked", file=sys.stderr
            )
        environments = [
            figures(out.files) for s in committed.values() for p, out in s.outputs.items() if p == ENVIRONMENT
        ]
        (scratch.folder / "dvc.lock").unlink()  # so that every stage runs and nothing is taken as done
        scratch.repro()
        rerun = read_results(scratch)
    rows = compare(committed, rerun)
    return {
        "revision": scratch.commit,
        "target": scratch.target or "the pipeline",
        "verdict": max((row.verdict for row in rows), key=VERDICTS.index),
        "results": [row._asdict() for row in rows],
        "stale": stale(committed, rerun),
        "environment": environment(*environments or [{}]),
    }


class Parser(argparse.ArgumentParser):
    """Its own exit code for a wrong command line, 2, is a verdict here."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line."""
        self.exit(CANNOT_RUN, f"error: {message}\n")


def main() -> int:
    """Verify what the command line names; print the report; give the exit code."""
    parser = Parser(prog="python -m checks.verify", description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="one model only; all by default")
    parser.add_argument("--rev", default="HEAD", help="the commit to prove; HEAD by default")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", dest="form", const=lambda report: json.dumps(report, indent=2))
    form.add_argument("--markdown", action="store_const", dest="form", const=as_markdown)
    parser.set_defaults(form=as_text)
    arguments = parser.parse_args()
    report = verify(arguments.rev, arguments.model)
    print(arguments.form(report))
    return VERDICTS.index(report["verdict"])


def _flat(values: dict, prefix: str = "") -> dict[str, object]:
    flat = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _stale_lines(report: dict) -> list[str]:
    return [f"stale: {stage}: {change}" for stage, changes in report["stale"].items() for change in changes]


def _model(stage: str) -> str:
    return stage.partition("@")[2]


def _metric(name: str, committed, found) -> str:
    text = f"{name}: committed {committed}, found {found}"
    if name in TOLERANCES and all(isinstance(value, float) for value in (committed, found)):
        text += f", off by {found - committed:+.6f} (tolerance {TOLERANCES[name]})"
    return text


if __name__ == "__main__":
    command(main)
