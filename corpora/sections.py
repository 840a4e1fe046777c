"""Sections of ``params.yaml`` as text, with a comment on every key; the other text of the file stays as it is."""

import json
import re
from typing import Any

from sentiment import InputError

COMMENTS = {
    "reviews": "file or folder of labelled texts",
    "format": "csv, label-text or text-label lines, jsonl, json, excel, parquet, or a folder or file for each label",
    "encoding": "encoding of the file, by its name in Python",
    "separator": "separator of columns, or of label and text",
    "header": "true: the first row has the names of the columns; false: they are numbered from 1",
    "quoting": "true: a quoted text may contain separators and line ends; false: quotes are part of the texts",
    "text": "column or key of the text",
    "label": "column or key of the label",
    "labels": "the labels, from 0; or the values in the file for each label",
    "leave_out": "values of the label whose rows are left out on purpose",
    "bad_rows": "rows that may be left out because they have no text or label; the stage prints each",
    "splits": "files or folders of each split, below reviews",
    "test_fraction": "fraction of the different texts of each label that is drawn for the test split",
    "seed": "seed of the random choices",
    "tokens": "words, or characters",
    "lowercase": "true: letters are lower-cased",
    "symbols": "true: punctuation, symbols and emoji are tokens; false: they separate tokens",
    "language": "language of the texts, for the model card",
    "license": "licence of the texts, for the model card",
    "corpus": "a name under corpora",
    "max_length": "empty: whole texts; or the maximum number of tokens read, the last ones",
    "vocabulary": "empty: all tokens; or the number of token ids, and n-grams with rarer tokens are left out",
    "kind": "a file of sentiment/kinds",
    "longest": "maximum number of tokens in an n-gram, up to 5",
    "min_df": "drop n-grams that occur in fewer texts",
    "max_features": "maximum number of n-grams; those in the most texts are kept",
    "weighting": "feature of an n-gram: counts, presence, tfidf or naive-bayes",
    "engine": "scikit-learn: LIBLINEAR; compiled: Adam, the same bits on every machine",
    "loss": "log_loss: logistic regression; squared_hinge: support vector machine",
    "c": "inverse strength of the regularisation",
    "interpolation": "fraction of each weight; the remaining fraction is the mean magnitude of the weights",
    "batch": "number of texts scored at once; more is faster and needs more memory",
    "calibration_bins": "equal-width probability bins of the calibration plot",
}


def as_yaml(name: str, keys: dict[str, Any]) -> str:
    """Return a section as YAML, indented by two spaces; the values are JSON, which YAML reads too."""
    return f"  {name}:\n" + _block(keys, "    ")


def _block(keys: dict[str, Any], indent: str) -> str:
    lines = []
    for key, value in keys.items():
        comment = f" # {COMMENTS[key]}" if key in COMMENTS else ""
        if isinstance(value, dict) and key not in ("labels", "splits"):
            lines.append(f"{indent}{key}:{comment}\n{_block(value, indent + '  ')}")
        elif isinstance(value, dict):
            inner = "".join(f"{indent}  {_scalar(name)}: {_scalar(each)}\n" for name, each in value.items())
            lines.append(f"{indent}{key}:{comment}\n{inner}")
        else:
            lines.append(f"{indent}{key}:{'' if value is None else ' ' + _scalar(value)}{comment}\n")
    return "".join(lines)


def _scalar(value: Any) -> str:
    """Return a value as one line; JSON is valid YAML 1.2."""
    if (
        isinstance(value, str)
        and re.fullmatch(r"[a-z_][a-z0-9_./-]*", value)
        and value not in ("true", "false", "null")
    ):
        return value
    return json.dumps(value, ensure_ascii=False)


def insert(text: str, corpus: str, model: str) -> str:
    """Add a section below ``corpora`` and a section below ``models`` to the text of a params file.

    Raises:
        InputError: The file lacks one of the two keys.
    """
    if not (head := re.search(r"^corpora:[ \t]*(\{\})?[^\n]*\n", text, re.M)):
        raise InputError("params.yaml: corpora is missing; add `corpora: {}`")
    line = head[0].replace("{} ", "", 1).replace("{}", "", 1) if head[1] else head[0]
    blank = "" if text[head.end() :].startswith("\n") else "\n"
    text = text[: head.start()] + line.rstrip(" \n") + "\n" + corpus + blank + text[head.end() :]
    if not (begin := re.search(r"^models:[^\n]*\n", text, re.M)):
        raise InputError("params.yaml: models is missing; `git restore params.yaml` restores it from Git")
    after = re.search(r"^[^ \n#]", text[begin.end() :], re.M)
    at = begin.end() + after.start() if after else len(text)
    return text[:at].rstrip("\n") + "\n\n" + model + ("\n" if after else "") + text[at:]


def changes(old: Any, new: Any, *at: str) -> list[str]:
    """Return a line for each value that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [line for key in keys for line in changes(old.get(key), new.get(key), *at, str(key))]
    return [] if old == new else [f"{'.'.join(at)}: {old!r} would be {new!r}"]
