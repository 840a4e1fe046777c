"""README and docs: the commands exist, the examples print what is shown, and the numbers are those of the results."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from dvc.cli import DvcParserError, parse_args
from ruamel.yaml import YAML

from faults.__main__ import faults
from sentiment import kinds
from stages.params import Corpus, Download, Evaluate
from tests.conftest import ROOT

README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


def name_of(page: Path) -> str:
    return page.stem


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """Commands in the code blocks and between backticks, without comments, prompts and angle brackets."""
    shown = [line for block in blocks(page, "sh") for line in block.splitlines()]
    shown += [line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]
    prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    shown += [line.strip() for line in re.findall(r"``? ?((?:[A-Z_]+=\S+ )?(?:make|dvc|python -m) [^`]*?) ?``?", prose)]
    lines = [re.sub(r"<\w+>", "small", re.sub(r"(^|\s)#.*|\.\.\.$", "", line)) for line in shown]
    return [part.strip() for line in lines for part in line.split("&&") if part.strip()]


def source_of(module: str) -> str:
    """The code of a command's module, or of all modules of its package."""
    path = ROOT / module.replace(".", "/")
    files = path.glob("*.py") if path.is_dir() else [path.with_suffix(".py"), *path.parent.glob("shell.py")]
    return "".join(file.read_text(encoding="utf-8") for file in files)


def check_command(line: str) -> None:
    """Raise unless the program of a command line knows its subcommand, its options and its variables."""
    words = shlex.split(line)
    while "=" in words[0]:
        name = words.pop(0).partition("=")[0]
        assert name in ("LAUNCHER", "IMDB_SOURCE"), line
    if words[0] == "make":
        variables = {word.partition("=")[0] for word in words[1:] if "=" in word}
        unknown = [name for name in variables if not re.search(rf"\b{name}\b", MAKEFILE)]
        assert not unknown, f"{line}: the Makefile has no {unknown}"
        subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    elif words[0] == "dvc":
        parse_args(words[1:] + ["."] * (words[1:] == ["add"]))  # a sentence names it without its files
    elif words[:2] == ["python", "-m"]:
        if words[2] != "pytest":
            code, options = source_of(words[2]), {word for word in words[3:] if word.startswith("--")}
            assert all(f'"{option}"' in code for option in options - {"--help"}), line
    else:
        assert shutil.which(words[0]) or words[0] in OTHERS, line


OTHERS = ("docker", "pip", "pre-commit", "python", "source", "uv")
"""Commands of other projects, which may be missing on this machine."""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_is_one_that_its_program_knows(page):
    for line in commands(page):
        check_command(line)


@pytest.mark.parametrize(
    "line", ["make reprod", "make repro MODLE=small", "dvc metrics sho", "python -m checks.gate --forse", "fraud -x"]
)
def test_a_wrong_command_is_noticed(line):
    with pytest.raises((AssertionError, subprocess.CalledProcessError, DvcParserError)):
        check_command(line)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def shape(text: str) -> str:
    """Replace each number and hash by ``#``, and several spaces by one."""
    return re.sub(r"[+-]?\b(?:[0-9a-f]{8}|[\d,]*\d(?:\.\d+)?)\b", "#", re.sub(r" +", " ", text)).strip()


def example(page: Path, start: str) -> tuple[str, str]:
    """The command that begins with ``start``, and the output that the page shows for it."""
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE):
            command, _, output = part.partition("\n")
            if command.startswith(start) and output:
                return command, output
    raise AssertionError(f"{page.name} has no example of {start}")


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """A project with the Makefile and the checks; its commands are those of the pages, without ``setup``."""
    copy = finished.copy(tmp_path_factory.mktemp("docs") / "project")
    shutil.copy(ROOT / "Makefile", copy.folder)
    (copy.folder / "checks").symlink_to(ROOT / "checks")
    return copy


def typed(project, command: str, code: int = 0) -> str:
    """Output of a command that is typed in the project, without make's line about a failure."""
    line = command.replace("make ", "make --silent --old-file=setup ")
    run = project.run("bash", "-c", line, code=code)
    return re.sub(r"^make(\[\d+\])?: .*\n?", "", run.stdout + run.stderr, flags=re.MULTILINE)


def test_a_prediction_looks_as_in_the_readme(project):
    command, output = example(README, "make predict MODEL=small")
    line = r"(positive|negative) P\(positive\)=# (?:\S+?# ?)+"
    assert re.fullmatch(line, shape(output))
    assert re.fullmatch(line, shape(typed(project, command)))


def test_the_python_of_the_readme_runs(project):
    (code,) = blocks(README, "python")
    lines = "\n".join(
        f"print({line.partition('  #')[0]})" if line.startswith("model.") else line for line in code.splitlines()
    )
    printed = project.run(sys.executable, "-c", lines, PYTHONPATH=str(project.folder)).stdout.splitlines()
    assert re.match(r"\[Answer\(label='(positive|negative)', probability=0\.\d+", printed[0])
    assert re.match(r"(positive|negative)  P\(positive\)=0\.\d+  ", printed[1])


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("params.yaml", r"epochs: 4", "epochs: 6"), ("metrics/small.json", r'"accuracy": 0\.\d', '"accuracy": 0.0')],
)
def test_the_gate_says_what_the_docs_show(project, file, old, new):
    wanted = "stale" if file == "params.yaml" else "inconsistent"
    shown = [output for output in re.findall(r"\$ make gate\n(.*?)```", (DOCS / "review.md").read_text(), re.DOTALL)]
    (output,) = [output for output in shown if output.startswith(wanted)]
    path = project.folder / file
    before = path.read_text()
    path.write_text(re.sub(old, new, before, count=1))
    try:
        assert shape(typed(project, "make gate", code=2)) == shape(output)
    finally:
        path.write_text(before)


def test_a_wrong_value_is_refused_with_the_line_in_the_docs(project):
    _, output = example(DOCS / "models.md", "dvc exp run")
    assert output.strip() == PYDANTIC
    path = project.folder / "params.yaml"
    before = path.read_text()
    path.write_text(before.replace("epochs: 4", "epochs: banana", 1))
    try:
        assert project.stage("params", code=1).stderr == output
    finally:
        path.write_text(before)


def test_the_table_of_the_readme_has_the_committed_metrics():
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \|$", README.read_text(), re.MULTILINE)
    assert len(rows) >= 5
    for name, parameters, accuracy, area in rows:
        metrics = json.loads((ROOT / f"metrics/{name}.json").read_text())
        assert (parameters, accuracy, area) == (
            f"{metrics['parameters']:,}", f"{metrics['accuracy']:.4f}", f"{metrics['roc_auc']:.4f}",
        ), name  # fmt: skip


def test_the_noise_in_the_readme_is_the_measured_one():
    text = " ".join(README.read_text().split())
    for name in ("small", "full", "best"):
        noise = json.loads((ROOT / f"metrics/noise/{name}.json").read_text())["accuracy"]["std"]
        assert re.search(rf"{noise:.4f} for `{name}`", text), (name, noise)


def keys_of(section) -> set[str]:
    return set(section.model_fields)


def documented(page: str, heading: str) -> set[str]:
    """The keys in the first column of the tables under a heading that begins with ``heading``."""
    text = (DOCS / page).read_text(encoding="utf-8")
    (part,) = re.findall(rf"^## {re.escape(heading)}.*?\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return {
        key for cell in re.findall(r"^\| (`.*?) \|", part, re.MULTILINE) for key in re.findall(r"`([\w.-]+)`", cell)
    }


def test_the_docs_describe_every_parameter_and_no_other():
    cnn, grams = (kinds.find(kind).Settings.model_fields for kind in ("cnn_lstm", "ngrams"))
    assert documented("models.md", "`architecture` of a CNN-LSTM") | {"kind"} == keys_of(cnn["architecture"].annotation)
    assert documented("models.md", "`architecture` of an n-gram") | {"kind"} == keys_of(
        grams["architecture"].annotation
    )
    assert documented("models.md", "`train` of a network") == keys_of(cnn["train"].annotation)
    assert documented("models.md", "`train` of an n-gram") == {
        key for name in ("Compiled", "Logistic", "Svm") for key in keys_of(getattr(kinds.find("ngrams"), name))
    }
    assert documented("models.md", "`corpus` and `pad`") == {"corpus"} | {
        f"pad.{key}" for key in keys_of(cnn["pad"].annotation)
    }
    assert documented("models.md", "`evaluate`") == keys_of(Evaluate)
    assert documented("models.md", "`download`") >= keys_of(Download)
    assert documented("your-own-text.md", "Change the settings") == keys_of(Corpus)


def test_the_docs_name_every_model_of_params_yaml():
    models = YAML(typ="safe").load(ROOT / "params.yaml")["models"]
    assert documented("models.md", "The models in") == set(models)


def test_the_layout_names_what_is_there():
    text = (DOCS / "layout.md").read_text()
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    top = {path.partition("/")[0] for path in tracked if "/" in path and not path.startswith(".")}
    library = {path.split("/")[1] for path in tracked if path.startswith("sentiment/")}
    names = set(re.findall(r"`([\w./-]+?)/?`", text))
    assert top <= names, top - names
    assert library <= {name.rpartition("/")[2] for name in names}, library - names


def test_the_messages_in_troubleshooting_are_those_of_the_code():
    sources = [*ROOT.glob("*.py"), *(path for name in CODE for path in (ROOT / name).rglob("*.py"))]
    code = " ".join(path.read_text(encoding="utf-8") for path in sources)
    code = re.sub(r"\s+", " ", re.sub(r'"\s*\n?\s*f?"', "", code))
    code = re.sub(r"{.*?}", "#", code)
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").partition("## DVC")[0]
    messages = [message.strip() for _, message in re.findall(r"^\| (``?) ?(.*?) ?\1 \|", text, re.MULTILINE)]
    assert len(messages) > 20
    assert [message for message in messages if not any(run in code for run in runs(message))] == [PYDANTIC]


CODE = ("stages", "sentiment", "corpora", "export", "checks")
PYDANTIC = "error: params.yaml: models.small.train.epochs = 'banana': Input should be a valid integer"
"""The only message of another library; ``test_a_wrong_value_is_refused_with_the_line_in_the_docs`` has it."""


def runs(message: str, words: int = 3) -> list[str]:
    """All sequences of ``words`` consecutive words of a message."""
    split = message.split()
    return [" ".join(split[at : at + words]) for at in range(len(split) - words + 1)]


def test_the_table_of_faults_has_the_faults_that_are_tried():
    _, output = example(DOCS / "faults.md", "make faults")
    rows = re.findall(r"^(.+?)  +\d+ +\d+ +.*make repro$", output, re.MULTILINE)
    rows = [row for row in rows if find_spec("mpi4py") or "mpiexec" not in row]  # `make check` needs no `make mpi`
    assert rows == [fault.name for fault in faults({}, ())]
