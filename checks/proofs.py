"""Records of reruns in a file that Git keeps: a JSON object a line, with the verdict on one stage."""

import hashlib
import json
from collections import defaultdict
from pathlib import Path

from voluptuous import ALLOW_EXTRA, In, Invalid, Schema

from .findings import few
from .shell import InputError
from .values import IDENTICAL, SAME, VERDICTS, WITHIN

FILE = "proofs.jsonl"
PROVED = (IDENTICAL, SAME, WITHIN)

_PROOF = Schema(
    {
        "commit": str,
        "date": str,
        "stage": str,
        "lock": str,
        "verdict": In(VERDICTS),
        "outputs": {str: str},
        "machine": Schema({"processor": str, "architecture": str}, required=True, extra=ALLOW_EXTRA),
    },
    required=True,
)


def digest(entry: dict) -> str:
    """Return the SHA-256 of a stage's entry in a lock: its command, inputs, params and outputs.

    Args:
        entry: The entry, all values as text, as ``read_lock`` returns it.
    """
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def append(folder: Path, report: dict, date: str) -> int:
    """Append the verdicts of a report of ``verify`` to the file in a folder; return the number of new lines."""
    file = folder / FILE
    before = file.read_text("utf-8") if file.exists() else ""
    proofs = [{"commit": report["revision"], "date": date, "machine": report["environment"]} | stage
              for stage in report["stages"]]  # fmt: skip
    lines = [json.dumps(_PROOF(proof), sort_keys=True) for proof in proofs]
    new = [line for line in lines if line not in before.split("\n")]
    end = "" if before.endswith("\n") or not before else "\n"
    with file.open("a", encoding="utf-8", newline="\n") as stream:
        stream.write(end + "".join(f"{line}\n" for line in new))
    return len(new)


def read(text: str) -> dict[tuple[str, str], dict[str, list[str]]]:
    """Return the kinds of machine of each verdict, by the name of the stage and the digest of its lock entry.

    A kind of machine is a model of processor and an architecture.

    Raises:
        InputError: A line is not a record of ``verify``.
    """
    proved: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for number, line in enumerate(text.splitlines(), 1):
        try:
            proof = _PROOF(json.loads(line))
        except (ValueError, RecursionError, Invalid) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else error
            raise InputError(f"line {number}: expected what `dvc-verify --record` writes, got: {reason}") from None
        machine = f"{proof['machine']['processor']}, {proof['machine']['architecture']}"
        proved[proof["stage"], proof["lock"]][proof["verdict"]].add(machine)
    return {key: {verdict: sorted(machines) for verdict, machines in one.items()} for key, one in proved.items()}


def kinds(verdicts: dict[str, list[str]]) -> int:
    """Return the number of kinds of machine that proved a stage."""
    return len({machine for verdict in PROVED for machine in verdicts.get(verdict, [])})


def summary(proofs: dict[str, dict[str, list[str]]]) -> str:
    """Say in one line which stages are proved; each stage has what ``read`` returns for it.

    >>> same = {"identical": ["x"], "same values": ["y"]}
    >>> summary({"a": same, "b": {}, "c": {"within tolerance": ["x"], "different": ["z"]}})
    '2 of 3 stages are proved as locked, by 1 to 2 kinds of machine; not proved: b; other results elsewhere: c'
    """
    counts = sorted(filter(None, map(kinds, proofs.values())))
    text = f"{len(counts)} of {len(proofs)} stages are proved as locked"
    if counts:
        span = f"{counts[0]} to {counts[-1]}" if counts[0] < counts[-1] else f"{counts[0]}"
        text += f", by {span} {'kind' if span == '1' else 'kinds'} of machine"
    unproved = [stage for stage, verdicts in proofs.items() if not kinds(verdicts)]
    others = [stage for stage, verdicts in proofs.items() if verdicts.keys() - {*PROVED}]
    text += f"; not proved: {few(unproved)}" if unproved else ""
    return text + (f"; other results elsewhere: {few(others)}" if others else "")
