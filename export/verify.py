"""Is an exported folder what its recipe makes? Runs the recipe in a scratch checkout and compares file by file.

Exit codes as of ``checks.verify``: 0 identical, 1 the same values or within tolerance, 2 different, 3 there is no
verdict. The SavedModel, whose bytes TensorFlow does not promise, is asked some texts, and its answers are compared with
those of the new model.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from dvc.repo import Repo

from checks.runs import forget, freeze_external, frozen
from checks.scratch import bring_data, checkout, project
from checks.settings import Settings, read_settings
from checks.shell import InputError, Parser, command
from checks.values import CODES, DIFFERENT, IDENTICAL, VERDICTS, WITHIN, compare
from checks.verify import environment
from export.contents import INDEX, REPRODUCE, described, made
from sentiment import InputError as SentimentError

TEXTS = ("A wonderful film.", "The worst acting I\u2019ve ever seen\u2026", "good\xa0and bad<br />and good", "")
TOLERANCE = 1e-5  # TensorFlow's sums are in another order


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
    if not (folder / f"{name}.keras").is_file():
        raise InputError(f"{folder}: expected {name}.keras, which {REPRODUCE} names, got none; export it again")
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
        corpus = json.loads(again[f"{name}.json"])["corpus"]
        index = json.loads((scratch.folder / "data/raw" / INDEX.format(corpus)).read_bytes())
    rows = compare_files(here, expected, settings, recorded)
    return [*rows, ("saved_model", *compare_answers(folder / "saved_model", here, name, index))], machine


def compare_files(
    here: dict[str, bytes], expected: dict[str, bytes], settings: Settings, recorded: set[str]
) -> list[tuple[str, str, list[str]]]:
    """A row for each file of the folder and of the rerun: its name, its verdict and its differences.

    Args:
        here: The folder's files by name.
        expected: The rerun's.
        settings: The tolerances.
        recorded: The MD5 of each file that the commit recorded of its training.
    """
    rows = []
    for file in sorted(expected.keys() | here.keys()):
        if file not in expected or file not in here:
            rows.append((file, DIFFERENT, [f"only the {'rerun' if file in expected else 'folder'} has it"]))
            continue
        verdict, differences = compare(file, here[file], expected[file], settings)
        if verdict == DIFFERENT and file.endswith(".keras") and hashlib.md5(here[file]).hexdigest() in recorded:
            verdict, differences = WITHIN, [*differences, "it is what the commit recorded, whose bytes are free"]
        rows.append((file, verdict, differences))
    return rows


def compare_answers(saved: Path, files: dict[str, bytes], name: str, index: dict[str, int]) -> tuple[str, list[str]]:
    """Whether the SavedModel answers as the model beside it."""
    from sentiment import archive
    from sentiment.answers import Answer, Asker
    from sentiment.network import tf, use_no_gpu
    from sentiment.prediction import Predictor

    use_no_gpu()
    try:
        about, predictor = json.loads(files[f"{name}.json"]), Predictor(archive.unpack(files[f"{name}.keras"]))
        served = tf.saved_model.load(str(saved)).signatures["serving_default"]
        found = served(text=tf.constant(TEXTS))
        probabilities, labels = found["probability"].numpy(), [label.decode() for label in found["label"].numpy()]
    except (SentimentError, OSError, KeyError, ValueError) as error:
        return DIFFERENT, [f"it does not answer: {error}"]
    settings = {key: about[key] for key in ("max_length", "vocabulary", "labels")}
    answers = Asker(lambda ids: predictor.predict(ids, batch=len(ids)), index, **settings).ask(TEXTS)
    expected = [answer.probability if isinstance(answer, Answer) else np.nan for answer in answers]
    if not np.allclose(probabilities, expected, rtol=0, atol=TOLERANCE, equal_nan=True):
        return DIFFERENT, [f"its answers are {probabilities}, those of {name}.keras {np.float32(expected)}"]
    names = [answer.label if isinstance(answer, Answer) else "" for answer in answers]
    even = np.abs(np.float32(expected) - 0.5) <= TOLERANCE  # either label will do
    if any(np.array(names)[~even] != np.array(labels)[~even]):
        return DIFFERENT, [f"its labels are {labels}, those of {name}.keras {names}"]
    return IDENTICAL, []


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
