"""Run the recipe of an exported folder in a scratch checkout, and compare file by file.

Exit codes as of ``checks.verify``: 0 identical, 1 the same values or within tolerance, 2 different, 3 there is no
verdict. The SavedModel, whose bytes TensorFlow does not promise, is asked some texts, and its answers are compared with
those of the new model.
"""

import hashlib
import json
from pathlib import Path

from dvc.repo import Repo

from checks.runs import forget, freeze_external, frozen
from checks.scratch import bring_data, checkout, project
from checks.settings import Settings, read_settings
from checks.shell import InputError, Parser, command
from checks.values import CODES, DIFFERENT, IDENTICAL, VERDICTS, WITHIN, compare
from checks.verify import environment
from export.contents import REPRODUCE, described, made
from sentiment import InputError as SentimentError
from sentiment import load
from sentiment.kinds import NAMES, find
from sentiment.model import ABOUT, INDEX, LAYERS

MODEL = {ABOUT, INDEX, LAYERS, *(find(name).FILE for name in NAMES)}
"""Files of the folder that `train` writes."""

SHOWN = 5  # differences, each on a line


def verify(folder: Path) -> tuple[list[tuple[str, str, list[str]]], dict]:
    """A row for each file, its verdict and its differences; and the environment it was found in.

    Raises:
        InputError: There is no recipe, or it does not run.
    """
    try:
        recipe = json.loads((folder / REPRODUCE).read_bytes())
        commit, name = recipe["commit"], recipe["model"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: expected a folder of `make export`, got no {REPRODUCE} in it ({error})") from None
    settings = read_settings(project())
    if not (folder / ABOUT).is_file():
        raise InputError(f"{folder}: expected {ABOUT}, which {REPRODUCE} names, got none; export it again")
    here = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with checkout(commit) as scratch:
        freeze_external(scratch)
        bring_data(scratch, frozen(scratch))
        with Repo(str(scratch.folder)) as repo:
            outs = [out for stage in repo.index.stages if stage.addressing == f"train@{name}" for out in stage.outs]
            recorded = {out.hash_info.value for out in outs}
        forget(scratch)
        scratch.repro(f"evaluate@{name}")
        again = made(scratch.folder, name)
        expected = again | described({file: here.get(file, b"") for file in again}, scratch.folder, name, commit)
        machine = environment(settings.packages, scratch)
    rows = compare_files(here, expected, settings, recorded)
    return [*rows, ("saved_model", *compare_answers(folder))], machine


def compare_files(
    here: dict[str, bytes], expected: dict[str, bytes], settings: Settings, recorded: set[str]
) -> list[tuple[str, str, list[str]]]:
    """A row for each file of the folder and of the rerun: its name, its verdict and its differences.

    Args:
        here: The folder's files by name.
        expected: The rerun's.
        settings: The tolerances.
        recorded: The DVC hashes of the outputs that the commit recorded of its training.
    """
    rows, is_recorded = [], tree_hash({file: here[file] for file in MODEL if file in here}) in recorded
    for file in sorted(expected.keys() | here.keys()):
        if file not in expected or file not in here:
            rows.append((file, DIFFERENT, [f"only the {'rerun' if file in expected else 'folder'} has it"]))
            continue
        verdict, differences = compare(file, here[file], expected[file], settings)
        if verdict == DIFFERENT and file in MODEL and is_recorded:
            verdict, differences = WITHIN, [*differences, "it is what the commit recorded, whose bytes are free"]
        rows.append((file, verdict, differences))
    return rows


def tree_hash(files: dict[str, bytes]) -> str:
    """DVC's hash of a folder of files: MD5 of its listing, and ".dir" (``dvc_data.hashfile.tree.Tree``)."""
    listing = [{"md5": hashlib.md5(files[name]).hexdigest(), "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def compare_answers(folder: Path) -> tuple[str, list[str]]:
    """The verdict on the SavedModel's answers, compared with those of the model beside it, and the differences."""
    from export.graph import differences

    try:
        found = differences(folder / "saved_model", load(folder))
    except SentimentError as error:
        found = [f"it does not answer: {error}"]
    return (DIFFERENT if found else IDENTICAL), found[:SHOWN]


def main(arguments: list[str] | None = None) -> int:
    """Verify the folder that the command line names; print a line for each file; give the exit code."""
    parser = Parser(prog="python -m export.verify", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of `make export`")
    folder = parser.parse_args(arguments).folder
    rows, machine = verify(folder)
    verdict = max((verdict for _, verdict, _ in rows), key=VERDICTS.index)
    lines = [f"{folder}: {verdict}", ""]
    for file, found, differences in rows:
        lines += [f"{file:16}  {found}", *(f"{'':16}    {difference}" for difference in differences)]
    print("\n".join([*lines, "", *(f"{key:12}  {value}" for key, value in machine.items())]))
    return CODES[verdict]


if __name__ == "__main__":
    command(main, SentimentError, OSError)
