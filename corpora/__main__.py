"""Inspect a file or folder of labelled texts and write sections of params.yaml that train a model on them.

The model is chosen on folds of the training split. Nothing is overwritten: the same command again prints what would
change.
"""

import argparse
import json
import re
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from corpora import recommend
from corpora.look import Options, label_keys, look, values_in
from corpora.sections import as_yaml, changes, insert
from sentiment import InputError
from sentiment.data.survey import survey
from sentiment.schema import check
from stages.common.files import write_text
from stages.common.reader import load
from stages.corpus import find_parts, split_read
from stages.params import IMDB, TAKEN, Corpus, parse, read_text

SEPARATORS = {"tab": "\t", "space": " "}
"""Names of separators that make does not pass on."""

SHOWN = 10
"""Number of example rows and of candidates that are printed."""

SHOWN_LABELS = 20
"""Maximum number of labels that are printed."""


def main() -> None:
    """Inspect the texts, print a report, choose a model, and write the sections."""
    parser = argparse.ArgumentParser(prog="python -m corpora", description=__doc__, allow_abbrev=False)
    parser.add_argument("file", type=Path, help="a file or folder below the current folder")
    parser.add_argument("--name", help="name of the corpus and of the model; by default that of the file")
    for option in (*Options._fields, "language", "license"):
        parser.add_argument(f"--{option}", help=f"the same as {option.upper()}= of `make corpus`")
    parser.add_argument("--compare", action="store_true", help="compare with scikit-learn's logistic regression")
    options = parser.parse_args()
    path = relative(options.file)
    name = options.name or re.sub(r"[^a-z0-9_-]+", "-", path.name.partition(".")[0].lower()).strip("-_0123456789")
    if not re.fullmatch("[a-z][a-z0-9_-]{0,63}", name):
        raise InputError(f"NAME={name}: expected small letters, digits, - and _, a letter first")
    if name in (IMDB, *TAKEN):
        raise InputError(f"NAME={name}: the name is taken; add NAME= with another one")
    text = read_text()
    params, before = parse(text), load(text)
    if (name in params.corpora) != (name in params.models):
        there = "models" if name in params.models else "corpora"
        raise InputError(f"NAME={name}: params.yaml has this name under {there} alone; add NAME= with another one")
    options.separator = SEPARATORS.get(options.separator, options.separator)
    keys = look(path, Options(*(getattr(options, key) for key in Options._fields)))
    rows = count_values(values_in(keys))
    keys |= label_keys(rows.values, keys, Options(labels=options.labels))
    keys |= {} if "splits" in keys else {"test_fraction": 0.2, "seed": 1}
    language = options.language or recommend.language_of(rows.scripts)
    report(keys, rows)
    keys |= {"bad_rows": 0, "tokens": "words", "lowercase": True, "symbols": True}
    settings = check(Corpus, keys, "corpora", name)
    training = recommend.some(recommend.training_texts(settings))
    if not training:
        raise InputError(f"{path}: no text of the training split has a label; add LABEL=column or LABELS=")
    start = time.monotonic()
    texts, labels = recommend.sample([text for text, _ in training], np.array([label for _, label in training]))
    common = len(np.unique(labels))
    of_labels = f" of the {common} commonest labels" if common < len({label for _, label in training}) else ""
    print(f"\nchoosing a model on {len(texts):,} texts{of_labels} of the training split")
    candidates = recommend.choose(texts, labels)
    best = candidates[0]
    print(f"accuracy on {recommend.FOLDS} folds of the training split ({time.monotonic() - start:.0f} s):")
    for candidate in candidates[:SHOWN]:
        print(f"  {candidate.accuracy:.4f}  {candidate}")
    print(f"  {np.bincount(labels).max() / len(labels):.4f}  always the commonest label")
    if options.compare:
        start = time.monotonic()
        references = recommend.references(texts, labels)
        seconds = time.monotonic() - start
        print(f"reference on these folds, scikit-learn's LogisticRegression on tf-idf ({seconds:.0f} s):")
        for model, accuracy in references.items():
            print(f"  {accuracy:.4f}  {model}")
    del training, texts
    keys |= {"tokens": best.tokens.unit, "symbols": best.tokens.symbols}
    seen = survey(split_read(find_parts(settings), check(Corpus, keys, "corpora", name))())
    keys["bad_rows"] = seen.kinds.total()
    for label, value in (("language", language), ("license", options.license)):
        keys |= {label: value} if value else {}
    for line in facts(seen, settings):
        print(line)
    model = recommend.model_keys(best, name, len(settings.labels), len(seen.words))
    write(text, before, name, keys, model)
    if name not in params.models:
        print("then:")
        if has_crlf(path):
            pattern = json.dumps(f"{path.as_posix()}{'/**' if path.is_dir() else ''}", ensure_ascii=False)
            print(f"  echo '{pattern} -text' >> .gitattributes    # otherwise Git changes its CRLF line ends")
        print(f"  git add {path}    # or, if it is large: dvc add {path}\n  make repro MODEL={name}")


def has_crlf(path: Path) -> bool:
    """True if a file, or a file below a folder, is a text file with CRLF line ends, which Git would change."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as opened:
                if b"\0" not in opened.read(8000):  # Git's rule for a text file
                    opened.seek(0)
                    if any(line.endswith(b"\r\n") for line in opened):
                        return True
    return False


def relative(path: Path) -> Path:
    """Return a path relative to the current folder, the root of the repository.

    Raises:
        InputError: The path is outside the repository.
    """
    absolute = path.resolve()
    if not absolute.is_relative_to(Path.cwd().resolve()):
        raise InputError(f"FILE={path}: outside this repository, whose clones would not have it; copy it inside")
    return absolute.relative_to(Path.cwd().resolve())


class Counts(NamedTuple):
    """Counts over all rows: values of the label column, lengths of the texts, and scripts of the first texts."""

    values: Counter[str]
    lengths: array
    scripts: list[tuple[str, float]]


def count_values(rows: Iterable[tuple[str, object]]) -> Counts:
    """Count rows as they are read; four bytes are held of each."""
    values, lengths, first = Counter(), array("I"), []
    for value, text in rows:
        values[value] += 1
        if isinstance(text, str):
            lengths.append(len(text))
            if len(first) < recommend.SCRIPT_TEXTS:
                first.append(text)
    return Counts(values, lengths, recommend.scripts_of(first))


def report(keys: dict[str, Any], rows: Counts) -> None:
    """Print the keys, the labels, the lengths of the texts, and some rows."""
    counts = rows.values
    for key, value in keys.items():
        if key not in ("labels", "leave_out"):
            print(f"{key}: {value!r}" if key != "reviews" else str(value))
    labels = keys["labels"]
    for label in [*labels][:SHOWN_LABELS]:
        values = labels[label] if isinstance(labels, dict) else [label]
        written = f" ({', '.join(map(repr, values))})" if values != [label] else ""
        print(f"label {label!r}{written}: {sum(counts[value] for value in values):,} rows")
    if len(labels) > SHOWN_LABELS:
        print(f"and {len(labels) - SHOWN_LABELS} other labels, which params.yaml lists")
    if out := keys.get("leave_out"):
        shown = ", ".join(f"{value!r} {counts[value]:,}" for value in out[:10])
        print(f"left out: {shown}{' ...' if len(out) > 10 else ''}; LABELS= names other labels")
    used = {*chain(*labels.values())} if isinstance(labels, dict) else {*labels}
    if set(used) == {*"1245"}:
        print("stars: 1 and 2 are one label, 4 and 5 the other; LABELS=1,2,3,4,5 makes five of them")
    low, middle, high = np.percentile(rows.lengths or [0], [5, 50, 95]).astype(int)
    print(f"{counts.total():,} rows; characters: median {middle:,}, 90% of texts {low:,} to {high:,}")
    print(f"script: {', '.join(f'{script.title()} {share:.0%}' for script, share in rows.scripts[:3])}\n")
    shown = {*np.linspace(0, counts.total() - 1, SHOWN).astype(int).tolist()}
    for label, text in (row for number, row in enumerate(values_in(keys)) if number in shown):
        print(f"  {label[:20]:20}  {str(text)[:90]!r}")


def facts(seen, settings: Corpus) -> list[str]:
    """Return lines on the sizes of the splits, duplicates, contradicting labels and faulty rows."""
    train, test = (len(seen.labels[split]) for split in ("train", "test"))
    lines = [f"\n{train:,} texts to train on, {test:,} to test on, {len(seen.words):,} different tokens"]
    if seen.repeated:
        lines.append(f"copies of other texts, of the same tokens: {seen.repeated:,}")
    if seen.contradicting:
        lines.append(f"copies and originals with different labels: {seen.contradicting:,}")
    if seen.kinds:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in seen.kinds.most_common())
        lines += [f"rows without a text or a label, which are left out: {seen.kinds.total():,} ({kinds})", *seen.faults]
    return lines


def write(text: str, before: dict, name: str, keys: dict[str, Any], model: dict[str, Any]) -> None:
    """Add the sections to params.yaml, or print what would change if it has them already.

    Raises:
        InputError: The new params.yaml is not valid.
    """
    corpora, models = before.get("corpora") or {}, before.get("models") or {}
    if name in corpora or name in models:
        lines = changes(corpora.get(name), keys, "corpora", name) + changes(models.get(name), model, "models", name)
        print("\nparams.yaml has these sections already; nothing is written")
        print("\n".join(lines) if lines else "nothing would change")
        return
    new = insert(text, as_yaml(name, keys), as_yaml(name, model))
    parse(new)
    write_text(Path("params.yaml"), new)
    print(f"\nparams.yaml: corpora.{name} and models.{name} are written")


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        main()
    except InputError as error:
        sys.exit("\n".join(f"error: {line}" for line in str(error).splitlines()))
    except OSError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
