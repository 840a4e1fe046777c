"""docs/template.md: its steps turn a copy of this repository into a pipeline without IMDB, and the gate passes."""

import ast
import csv
import random
import re
import shutil
import subprocess

import pytest
from ruamel.yaml import YAML

from demo.project import environment_of
from tests.conftest import ROOT
from tests.repositories import commit

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("make"), reason="needs make")]

PAGE = (ROOT / "docs/template.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ *```sh\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)
DELETED = set(re.findall(r"`(\w+)/`", PAGE.partition("## Delete")[2].partition("## Rename")[0]))
PRAISE, BLAME, NEUTRAL = ("warm", "clever", "funny"), ("dull", "hollow", "lazy"), ("a", "the", "film", "plot", "scene")


def write_reviews(path):
    """A CSV of 120 reviews, half of them positive."""
    choose = random.Random(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["review", "sentiment"])
        for number in range(120):
            words = [choose.choice(NEUTRAL) for _ in range(8)] + choose.choices((PRAISE, BLAME)[number % 2], k=3)
            rows.writerow([" ".join(choose.sample(words, 11)), ("positive", "negative")[number % 2]])


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A copy of the tracked files after the steps of the page, and the output of the last command."""
    folder = tmp_path_factory.mktemp("template") / "project"
    for name in subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).strip("\0").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    commit(folder)
    write_reviews(folder / "reviews.csv")
    corpus, delete, finish = (block.replace("make ", "make --old-file=setup ") for block in BLOCKS)
    run(folder, corpus)
    yaml = YAML()
    for name, section, kept in (("params.yaml", "models", {"mine"}), ("dvc.yaml", "stages", None)):
        values = yaml.load(folder / name)
        for key in set(values[section]) - kept if kept else {"download"}:
            del values[section][key]
        yaml.dump(values, folder / name)
    run(folder, delete)
    return folder, run(folder, finish)


def run(folder, script: str) -> str:
    """Run the commands of a code block, and return the output."""
    names = ("AUTHOR", "COMMITTER")
    people = {f"GIT_{who}_{key}": "someone@example.org" for who in names for key in ("NAME", "EMAIL")}
    environment = environment_of(ROOT / "demo") | people
    environment.pop("IMDB_SOURCE")
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_pipeline_runs_without_imdb_and_the_gate_prints_what_the_page_says(template):
    folder, printed = template
    assert re.search(r'prints "(.*?)"', PAGE)[1] in printed.splitlines()
    assert [path.name for path in (folder / "metrics").iterdir()] == ["mine.json"]
    assert not subprocess.check_output(["git", "status", "--porcelain"], cwd=folder)


def test_the_remaining_code_imports_nothing_that_was_deleted(template):
    folder, _ = template
    assert {"demo", "tests", "experiments", "benchmarks", "faults", "docs"} == DELETED
    assert not [name for name in DELETED if (folder / name).exists()]
    for path in [*folder.glob("*.py"), *folder.glob("[!.]*/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.partition(".")[0] in DELETED], path


def test_the_page_names_the_targets_of_what_was_deleted():
    targets = re.findall(r"^([\w-]+):[^\n]*##[^\n]*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    dead = {name for name, recipe in targets if re.search(rf"-m ({'|'.join(DELETED)})\b|-c docs|--emulators", recipe)}
    (row,) = re.findall(r"^\| in `Makefile`: (.*?) \|", PAGE, re.MULTILINE)
    assert set(re.findall(r"`([\w-]+)`", row)) == dead
