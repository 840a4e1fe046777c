"""Run the recipe of an exported folder in a scratch checkout, and compare file by file.

Exit codes are those of ``checks.verify``: 0 identical, 1 the same values or within tolerance, 2 different, 3 could not
run. The folder may come from anyone, so nothing in it is executed. A new SavedModel is made from the compared weights,
and its files are compared with those of the folder.
"""

import hashlib
import json
import os
import re
import stat
from itertools import islice
from pathlib import Path
from reprlib import Repr

from dvc.repo import Repo

from checks.runs import forget, freeze_external, needed
from checks.scratch import bring_data, checkout, project
from checks.settings import CheckSettings, read_settings
from checks.shell import InputError, Parser, command, printable
from checks.values import CODES, DIFFERENT, VERDICTS, WITHIN, compare
from checks.verify import environment
from export.contents import GRAPH, REPRODUCE, described, graph_files, made, operations
from sentiment import InputError as SentimentError
from sentiment.data.archives import UNREADABLE
from sentiment.kinds import NAMES, find
from sentiment.model import ABOUT, INDEX, LAYERS

MODEL = {ABOUT, INDEX, LAYERS, *(find(name).FILE for name in NAMES)}
"""Files of an exported folder that the stage `train` writes."""

SHOWN = 5  # most differences of a file, each on a line
MOST_FILES = 1000
LARGEST = 2**24  # most bytes read of a file, plus four times the expected number
SHOWN_VALUE = Repr()
SHOWN_VALUE.maxstring = SHOWN_VALUE.maxother = 80


def verify(folder: Path) -> tuple[list[tuple[str, str, list[str]]], dict]:
    """Return a row for each file (name, verdict, differences), and the environment of the rerun.

    Nothing in the folder is run, loaded or imported. Its bytes are compared with those of the rerun.

    Raises:
        InputError: The folder has no recipe, or the recipe can't be run.
    """
    commit, name = read_recipe(folder)
    settings = read_settings(project())
    actual = files_of(folder)
    if ABOUT not in actual:
        raise InputError(f"{folder}: expected {ABOUT}, which {REPRODUCE} names, got none; export it again")
    with checkout(commit) as scratch:
        freeze_external(scratch)
        bring_data(scratch, needed(scratch, [f"evaluate@{name}"]))
        with Repo(str(scratch.folder)) as repo:
            outs = [out for stage in repo.index.stages if stage.addressing == f"train@{name}" for out in stage.outs]
            recorded = {out.hash_info.value for out in outs}
        forget(scratch)
        scratch.repro(f"evaluate@{name}")
        again = made(scratch.folder, name)
        train_files = {file: read_bounded(actual[file]) for file in MODEL if file in actual}
        is_recorded = tree_hash(train_files) in recorded
        again |= graph_files(train_files if is_recorded else again)
        contents = {file: read_bounded(path, len(again.get(file, b""))) for file, path in actual.items()}
        expected = expected_files(contents, again, scratch.folder, name, commit)
        machine = environment(settings.packages, scratch)
    return compare_files(contents, expected, settings, is_recorded=is_recorded), machine


def expected_files(
    contents: dict[str, bytes], again: dict[str, bytes], root: Path, name: str, commit: str
) -> dict[str, bytes]:
    """Return the files of the rerun, with the card and the recipe of the folder's files.

    If the folder's files are so damaged that they cannot be described, the card and the recipe are the rerun's.

    Args:
        contents: Files of the folder by name.
        again: Files of the rerun, without the card and the recipe.
        root: Root of the checkout of the rerun.
        name: Name of the model.
        commit: Full hash of the checkout's commit.
    """
    try:
        return again | described({file: contents.get(file, b"") for file in again}, root, name, commit)
    except (*UNREADABLE, RecursionError):
        return again | described(again, root, name, commit)


def read_recipe(folder: Path) -> tuple[str, str]:
    """Return the commit and the model that a folder's recipe names.

    Raises:
        InputError: There is no recipe, or it does not name a commit and a model.
    """
    try:
        recipe = json.loads(read_bounded(folder / REPRODUCE))
        commit, name = recipe["commit"], recipe["model"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{folder}: expected a folder of `make export`, got no {REPRODUCE} in it ({reason})") from None
    for key, value, form in (("commit", commit, "[0-9a-f]{4,64}"), ("model", name, "[a-z][a-z0-9_-]{0,63}")):
        if not isinstance(value, str) or not re.fullmatch(form, value):
            raise InputError(f"{folder}: {REPRODUCE}: {key}: expected {form}, got {SHOWN_VALUE.repr(value)}")
    return commit, name


def files_of(folder: Path) -> dict[str, Path]:
    """Return all files and links in and below a folder by relative path; links are not followed.

    Raises:
        InputError: The folder has more than ``MOST_FILES`` files.
    """
    inside = (
        Path(parent, name)
        for parent, folders, files in os.walk(folder)
        for name in (*files, *(name for name in folders if Path(parent, name).is_symlink()))
    )
    paths = [*islice(inside, MOST_FILES + 1)]
    if len(paths) > MOST_FILES:
        raise InputError(f"{folder}: expected a folder of `make export`, got one of more than {MOST_FILES} files")
    return {path.relative_to(folder).as_posix(): path for path in paths}


def read_bounded(path: Path, expected: int = 0) -> bytes:
    """Read a file, or only its beginning if it is much longer than ``expected`` bytes.

    A file that is too long cannot have the expected values. Links and devices are not opened and give no bytes.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        return b""
    with path.open("rb") as file:
        return file.read(LARGEST + 4 * expected)


def compare_files(
    actual: dict[str, bytes], expected: dict[str, bytes], settings: CheckSettings, *, is_recorded: bool
) -> list[tuple[str, str, list[str]]]:
    """Return a row for each file of the folder and of the rerun: name, verdict and differences.

    Args:
        actual: Files of the folder by name.
        expected: Files of the rerun by name.
        settings: Tolerances.
        is_recorded: True if the folder's model has the hash that the commit recorded.
    """
    rows = []
    for file in sorted(expected.keys() | actual.keys()):
        if file not in expected or file not in actual:
            rows.append((file, DIFFERENT, [f"only the {'rerun' if file in expected else 'folder'} has it"]))
            continue
        verdict, differences = compare(file, actual[file], expected[file], settings)
        if verdict == DIFFERENT and file in MODEL and is_recorded:
            verdict, differences = (
                WITHIN,
                [*differences, "it is the file that the commit recorded; the bytes of a rerun may differ"],
            )
        if verdict == DIFFERENT and file == GRAPH:
            differences = [*differences, *foreign(actual[file], expected[file])]
        rows.append((file, verdict, differences[:SHOWN]))
    return rows


def foreign(actual: bytes, expected: bytes) -> list[str]:
    """Name operations of a SavedModel that the rerun's lacks, for example to write files or run Python."""
    try:
        names = sorted(operations(actual) - operations(expected))
    except ValueError as error:
        return [f"not a SavedModel ({error})"]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"it has operations that the rerun's lacks: {', '.join(names[:SHOWN])}{more}"] if names else []


def tree_hash(files: dict[str, bytes]) -> str:
    """Return DVC's hash of a folder of files: the MD5 of its listing, and ".dir" (``dvc_data.hashfile.tree.Tree``)."""
    listing = [{"md5": hashlib.md5(files[name]).hexdigest(), "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def main(arguments: list[str] | None = None) -> int:
    """Verify the folder that the command line names, print a line for each file, and return the exit code."""
    parser = Parser(prog="python -m export.verify", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder that `make export` made")
    folder = parser.parse_args(arguments).folder
    rows, machine = verify(folder)
    verdict = max((verdict for _, verdict, _ in rows), key=VERDICTS.index)
    lines = [f"{folder}: {verdict}", ""]
    for file, of_file, differences in rows:
        lines += [f"{printable(file):16}  {of_file}"]
        lines += [f"{'':16}    {printable(difference)}" for difference in differences]
    print("\n".join([*lines, "", *(f"{key:12}  {value}" for key, value in machine.items())]))
    return CODES[verdict]


if __name__ == "__main__":
    command(main, SentimentError, OSError)
