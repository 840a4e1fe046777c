"""The checks are a separate tool: they name nothing of this project and install without it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomlkit
import yaml

from checks import OLDEST
from tests.conftest import ROOT
from tests.repositories import ENVIRONMENT, create, repro, write

CHECKS = ROOT / "checks"
SOURCES = sorted(CHECKS.glob("*.py"))
MODULES = {"configobj": "configobj", "dpath": "dpath", "dvc": "dvc", "dvc_data": "dvc", "dvc_render": "dvc"} | {
    "h5py": "h5py", "networkx": "networkx", "numpy": "numpy", "vl_convert": "vl-convert-python",
    "voluptuous": "voluptuous", "yaml": "pyyaml",
}  # fmt: skip


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_they_import_what_they_declare_and_nothing_of_this_project(file):
    project = tomlkit.parse((CHECKS / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["arrays"]]
    names = {re.match(r"[\w-]+", line)[0] for line in declared}
    for node in ast.walk(ast.parse(file.read_text())):
        imported = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for module in (name.partition(".")[0] for name in imported):
            assert module in sys.stdlib_module_names or MODULES[module] in names


@pytest.mark.parametrize("file", [*SOURCES, CHECKS / "report.html", ROOT / "action.yml"], ids=lambda file: file.name)
def test_they_name_nothing_of_this_project(file):
    words = r"\b(imdb|sentiment|from stages|keras|accuracy|roc_auc|numba|tensorflow|evaluate@|make (gate|report))\b"
    text = "\n".join(line for line in file.read_text().splitlines() if ">>>" not in line)
    assert re.findall(words, text, re.IGNORECASE) == []


@pytest.fixture(scope="module")
def stale(tmp_path_factory) -> Path:
    """A stranger's repository, one of whose files has changed since it was run."""
    folder = create(
        tmp_path_factory.mktemp("stale") / "made",
        {"i": "1\n", "dvc.yaml": "stages: {a: {cmd: cp i o, deps: [i], outs: [o]}}\n"},
    )
    repro(folder)
    write(folder, "i", "2\n")
    return folder


HELP = """\
import runpy, sys
for path in sys.argv[1:]:
    sys.argv = [path, "--help"]
    try: runpy.run_path(path, run_name="__main__")
    except SystemExit as end: assert not end.code
"""


def test_they_install_alone_and_check_a_strangers_repository(stale, tmp_path):
    """Uses the packages of this environment, because those of the package index change from day to day."""
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(CHECKS)]
    environment = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("PIP_")}
    subprocess.run(install, env=environment, check=True)
    environment |= {"PYTHONPATH": str(site)}

    def run(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *command], env=environment, cwd=stale, capture_output=True, text=True, check=False
        )

    scripts = [str(site / "bin" / name) for name in ("dvc-gate", "dvc-verify", "dvc-report")]
    helped = run("-c", HELP, *scripts)
    assert helped.returncode == 0, helped.stderr
    assert re.findall("^usage: (.*?) ", helped.stdout, re.MULTILINE) == ["dvc-gate", "dvc-verify", "dvc-report"]
    ended = run("-X", "importtime", scripts[0])
    assert ended.returncode == 1
    assert ended.stdout.startswith("stale: a: i: its content differs")
    imported = set(re.findall(r"\| +([\w.]+)$", ended.stderr, re.MULTILINE))
    assert "dvc_checks.locks" in imported
    assert not imported & {"checks", "tensorflow", "keras", "numba", "sentiment", "stages"}


def test_the_hook_for_pre_commit_runs_them(stale):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    run = subprocess.run(
        [ROOT / hook["entry"]], cwd=stale, env={"PATH": path}, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (1, "")
    assert run.stdout.startswith("stale: a: i: ")


def test_the_hook_refuses_a_dvc_that_is_too_old(stale, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "old"], check=True)
    (packages,) = (tmp_path / "old").glob("lib/python*/site-packages")
    for name in ("dvc.py", "yaml.py"):
        (packages / name).touch()
    (packages / "dvc-3.66.1.dist-info").mkdir()
    (packages / "dvc-3.66.1.dist-info/METADATA").write_text("Name: dvc\nVersion: 3.66.1\n")
    path = f"{tmp_path / 'old/bin'}:/usr/bin:/bin"
    run = subprocess.run([CHECKS / "hook"], cwd=stale, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert run.returncode == 3
    assert run.stderr.startswith("error: expected DVC 3.67 or later in the Python on the PATH, got none; ")


def test_the_version_is_the_same_in_all_files():
    version = tomlkit.parse((CHECKS / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert next(name for name in headings if name != "Unreleased") == version
    assert "Unreleased" not in headings[1:]
    assert f"rev: v{version}" in (CHECKS / "README.md").read_text()


def test_the_oldest_dvc_is_the_same_in_all_files():
    packages = tomlkit.parse((CHECKS / "pyproject.toml").read_text())["project"]["dependencies"]
    major, minor = OLDEST
    assert f"dvc>={major}.{minor},<{major + 1}" in packages
    assert f"< ({major}, {minor})" in (CHECKS / "hook").read_text()
    assert f"DVC {major}.{minor} or later" in (CHECKS / "README.md").read_text()
