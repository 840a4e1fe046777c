"""`make setup`: into .venv and nowhere else, whatever is around, or one line on why not."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

BASE = sys._base_executable  # ty: ignore[missing-attribute]  # as install.py has it
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


@pytest.fixture
def project(tmp_path) -> Path:
    """A fresh clone whose lock is one small package, which lies beside it."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "install.py"):
        shutil.copy(ROOT / name, folder)
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("tiny.py", "")
        file.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        file.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("tiny-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "requirements.txt").write_text(f"./{wheel.name} --hash=sha256:{digest}\n")
    return folder


def start(project: Path, **environment: str) -> subprocess.Popen:
    """`make setup` by this Python, in a process group of its own, whatever make runs the tests."""
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.Popen(
        ["make", "--silent", f"PYTHON={environment.pop('python', sys.executable)}", "setup"],
        cwd=project, env=outside | {"LC_ALL": "C"} | environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def setup(project: Path, **environment: str) -> tuple[int, list[str]]:
    """The exit code and what it says, but for make's own lines."""
    process = start(project, **environment)
    _, errors = process.communicate()
    return process.returncode, [line for line in errors.splitlines() if not line.startswith("make: ")]


def has_tiny(project: Path) -> bool:
    """Whether the package is in the project's own environment, and by its marker wholly so."""
    found = [*project.glob(".venv/lib/python*/site-packages/tiny.py")]
    return len(found) == 1 and (project / ".venv/installed").exists()


def script(path: Path, text: str) -> Path:
    """A shell script."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def old_python(path: Path) -> Path:
    """A Python that says it is 3.14."""
    program = (
        "import runpy, sys; sys.version_info = (3, 14, 0, 'final', 0); sys.argv = sys.argv[1:];"
        " runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return script(path, f'exec "{sys.executable}" -c "{program}" "$@"')


def test_two_runs_at_once_install_once_and_nothing_anywhere_else(project):
    runs = [start(project) for _ in range(2)]
    said = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert "".join(said).count("what requirements.txt lists") == 1
    assert has_tiny(project)
    nowhere = subprocess.run([sys.executable, "-c", "import tiny"], capture_output=True, check=False)
    assert b"No module named 'tiny'" in nowhere.stderr


def test_settings_of_pip_and_python_do_not_lead_elsewhere(project, tmp_path):
    config = tmp_path / "pip.conf"
    config.write_text(f"[install]\ntarget = {tmp_path}/elsewhere\nuser = true\n")
    more = {"PIP_PREFIX": str(tmp_path / "elsewhere"), "PYTHONPATH": str(tmp_path), "PIP_PYTHON": "/usr/bin/python3"}
    assert setup(project, PIP_CONFIG_FILE=str(config), **more)[0] == 0
    assert has_tiny(project)
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_touched_but_not_changed_installs_nothing(project):
    assert setup(project)[0] == 0
    os.utime(project / "requirements.txt", (2e9, 2e9))
    assert setup(project) == (0, [])
    assert has_tiny(project)


def test_a_changed_lock_makes_the_environment_anew_though_its_own_python_is_first_on_the_path(project):
    for _ in range(2):
        assert setup(project, python="python3")[0] == 0
        assert has_tiny(project)
        lock = project / "requirements.txt"
        lock.write_text(f"# changed\n{lock.read_text()}")


@pytest.mark.parametrize("exists", [True, False])
def test_an_environment_that_is_a_link_is_never_emptied(project, tmp_path, exists):
    mine = tmp_path / "mine"
    if exists:
        mine.mkdir()
        (mine / "thesis.txt").touch()
    (project / ".venv").symlink_to(mine)
    assert setup(project) == (2, [f"error: .venv is a link to {mine}, which would be emptied; remove it"])
    assert not exists or [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_set_up_interrupted_starts_afresh(project, tmp_path):
    half = """
if [ "$2" = venv ]; then
  trap "echo Traceback >&2" INT # as those of pip and venv are
  mkdir -p .venv/bin; touch .venv/bin/pip; sleep 60
fi"""
    slow = script(tmp_path / "slow/python", f'{half}\nexec "{sys.executable}" "$@"')
    (project / "install.py").write_text(
        (ROOT / "install.py").read_text().replace("sys._base_executable", repr(str(slow)), 1)
    )
    process = start(project)
    while not (project / ".venv/bin/pip").exists():
        assert process.poll() is None
        time.sleep(0.01)
    assert sys.platform != "win32"  # it has no process groups; nor make, without which all this is skipped
    os.killpg(process.pid, signal.SIGINT)
    assert "Traceback" not in process.communicate()[1]
    assert process.returncode != 0
    shutil.copy(ROOT / "install.py", project)
    assert setup(project)[0] == 0
    assert has_tiny(project)


def test_a_failed_installation_is_not_taken_for_done(project):
    lock = project / "requirements.txt"
    right = lock.read_text()
    lock.write_text(right.replace("sha256:", "sha256:00", 1)[:-3] + "\n")
    for _ in range(2):
        code, lines = setup(project)
        assert code == 2
        assert lines[-1].startswith("error: `.venv/bin/python -m pip ")
    lock.write_text(right)
    assert setup(project)[0] == 0
    assert has_tiny(project)


def test_a_python_too_new_gives_way_to_the_newest_on_the_path_that_works(project, tmp_path):
    new = old_python(tmp_path / "bin/python3")
    script(tmp_path / "bin/python3.13", "exit 127  # as that of a version manager")
    script(tmp_path / "bin/python3.12", f'exec "{sys.executable}" "$@"')
    code, lines = setup(project, python=str(new), PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert (code, lines[0].split(" and ")[0]) == (0, f".venv: {BASE}")
    assert has_tiny(project)


@pytest.mark.parametrize("uv", [True, False])
def test_a_python_too_new_and_alone_has_uv_bring_one_or_gives_up_in_one_line(project, tmp_path, uv):
    new, tools = old_python(tmp_path / "bin/python3"), tmp_path / "bin"
    for name in ("sh", "make", "mkdir"):
        (tools / name).symlink_to(shutil.which(name))
    if uv:
        script(tools / "uv", f'[ "$2" = install ] || echo "{sys.executable}"')
    code, lines = setup(project, python=str(new), PATH=str(tools))
    if uv:
        assert code == 0
        assert has_tiny(project)
    else:
        why = "error: expected Python 3.10 to 3.13, got 3.14; install one, or uv, which brings one"
        assert (code, lines) == (2, [why])
        assert not (project / ".venv").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_too_full_for_the_marker_is_not_taken_for_done(project, tmp_path):
    """The copy that becomes the marker is the first thing that fails; none is left that make would look at."""
    broken = (ROOT / "install.py").read_text().replace('environment / "installed.partial"', '"/dev/full"')
    (project / "install.py").write_text(broken)
    code, lines = setup(project)
    assert (code, lines[-1]) == (2, "error: [Errno 28] No space left on device")
    assert not (project / ".venv/installed").exists()
