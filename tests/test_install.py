"""`make setup` installs into .venv and nowhere else, whatever the settings, or prints one line with the reason."""

import hashlib
import json
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

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")

UV = f"""#!/bin/sh
while [ "$1" = pip ] && [ -e wait ]; do echo $$ >waiting; sleep 0.01; done
case "$BROKEN" in *" $1 "*) exit 2;; esac
exec '{sys.prefix}/bin/uv' "$@"
"""
"""A uv that waits while the file `wait` exists, and fails for the commands in BROKEN."""


@pytest.fixture
def project(tmp_path) -> Path:
    """A fresh clone, and next to it the small packages of its two locks, uv included."""
    folder, wheels = tmp_path / "a clone", tmp_path / "wheels"
    folder.mkdir()
    wheels.mkdir()
    for name in ("Makefile", "install.py"):
        shutil.copy(ROOT / name, folder)
    elsewhere = "windows_only==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    (folder / "requirements.txt").write_text(elsewhere + package(wheels, "uv", UV) + package(wheels, "tiny_one"))
    (folder / "requirements-mpi.txt").write_text(package(wheels, "more"))
    return folder


def package(wheels: Path, name: str, script: str = "") -> str:
    """Make a wheel with a command, a shell script or a Python function, and return its lines of a lock."""
    wheel, about = wheels / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        if script:
            program = zipfile.ZipInfo(f"{name}-1.0.data/scripts/{name}")
            program.external_attr = 0o100755 << 16
            file.writestr(program, script)
        else:
            file.writestr(f"{name}.py", "def main(): pass")
            file.writestr(f"{about}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")
    return f"{name.replace('_', '-')}==1.0 \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def start(project: Path, target="setup", python=sys.executable, stops=signal.SIG_DFL, **environment: str):
    """Start `make setup` in a new process group; with ``stops`` = SIG_IGN it ignores signals, as under nohup."""
    assert sys.platform != "win32"  # it has no make, without which all tests here are skipped
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PIP_"))}
    wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (project.parent / "wheels").as_uri(), "LC_ALL": "C"}
    before = {name: signal.signal(name, stops) for name in (signal.SIGINT, signal.SIGHUP)}
    try:
        return subprocess.Popen(
            ["make", "--silent", f"PYTHON={python}", target],
            cwd=project, env=outside | wheels | environment, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def setup(project: Path, target="setup", **more) -> tuple[int, list[str]]:
    """Exit code and error lines of `make setup`, without the lines of make."""
    process = start(project, target, **more)
    output, errors = process.communicate()
    assert output == ""
    return process.returncode, [line for line in errors.splitlines() if not line.startswith("make: ")]


def holds(project: Path, *names: str) -> bool:
    """True if the project's environment has its marker and these commands run."""
    runs = [subprocess.run([project / ".venv/bin" / name], check=False) for name in names]
    return (project / ".venv/installed").exists() and not any(run.returncode for run in runs)


def by_uv(project: Path) -> bool:
    """True if uv installed the packages."""
    (installer,) = (project / ".venv").rglob("tiny_one-*/INSTALLER")
    return installer.read_text().strip() == "uv"


def script(path: Path, text: str) -> Path:
    """A shell script."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def python(path: Path, **attributes: object) -> Path:
    """A Python whose module `sys` has other attributes."""
    program = (
        f"import runpy, sys; vars(sys).update({attributes!r}); sys.argv = sys.argv[1:];"
        " runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return script(path, f'exec "{sys.executable}" -c "{program}" "$@"')


def wait_until(process: subprocess.Popen, path: Path) -> None:
    """Wait for a file that a process writes."""
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def test_two_runs_at_once_install_once_and_nothing_anywhere_else(project):
    runs = [start(project) for _ in range(2)]
    errors = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    assert "".join(errors).count("installing requirements.txt") == 1
    assert holds(project, "tiny_one")
    assert by_uv(project)
    assert not (project / ".venv/uv").exists()  # here pip had put the uv that made the environment
    nowhere = subprocess.run([sys.executable, "-c", "import tiny_one"], capture_output=True, check=False)
    assert b"No module named 'tiny_one'" in nowhere.stderr


@pytest.mark.parametrize("uv", [True, False])
def test_settings_of_pip_uv_and_python_change_the_source_of_packages_and_not_their_target(project, tmp_path, uv):
    config, away = tmp_path / "pip.conf", f"{tmp_path}/elsewhere"
    source = f"[global]\nno-index = true\nfind-links = \n    {(tmp_path / 'wheels').as_uri()}\n    {tmp_path}\n"
    config.write_text(f"{source}target = {away}\n[install]\ndry-run = true\nroot = {away}\n")
    (tmp_path / "uv.toml").write_text(f'[pip]\ntarget = "{away}"\n')
    (tmp_path / "none").write_text("tiny-one==2\nmore==2\n")
    lead = dict.fromkeys(["PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PYTHONHOME", "PYTHONPATH"], away)
    lead |= dict.fromkeys(["PIP_DRY_RUN", "PIP_USER", "UV_SYSTEM_PYTHON", "UV_NO_BINARY", "PYTHONSAFEPATH"], "1")
    lead |= {"PIP_PYTHON": "/usr/bin/python3", "UV_CONFIG_FILE": f"{tmp_path}/uv.toml", "PIP_CONFIG_FILE": str(config)}
    lead |= dict.fromkeys(["UV_CONSTRAINT", "PIP_CONSTRAINT"], f"{tmp_path}/none")
    code, lines = setup(project, "mpi", PIP_FIND_LINKS="", BROKEN="" if uv else " pip ", **lead)
    assert code == 0, lines
    assert holds(project, "tiny_one", "more")
    assert by_uv(project) == uv
    assert not Path(away).exists()


def test_uv_takes_packages_from_where_pip_does():
    pips = {"INDEX_URL": "https://a.b", "EXTRA_INDEX_URL": "https://c.d https://e.f", "FIND_LINKS": "/g /h"}
    pips |= {"TRUSTED_HOST": "a.b", "CERT": "/i.pem", "PROXY": "http://j:1", "TARGET": "/away", "CONSTRAINT": "/k"}
    uvs = {"UV_DEFAULT_INDEX": "https://a.b", "UV_INDEX": "https://c.d https://e.f", "UV_FIND_LINKS": "/g,/h"}
    uvs |= {"UV_INSECURE_HOST": "a.b", "SSL_CERT_FILE": "/i.pem", "ALL_PROXY": "http://j:1", "UV_NO_CONFIG": "1"}
    others = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", *uvs))}
    environment = others | {f"PIP_{name}": value for name, value in pips.items()} | {"PIP_CONFIG_FILE": os.devnull}
    code = "import install, json, os; install.choose_settings(install.PYTHON); print(json.dumps({**os.environ}))"
    settings = json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=environment, text=True))
    assert settings | uvs == settings
    assert not {"PIP_TARGET", "PIP_CONSTRAINT"} & settings.keys()


def test_mpi_joins_an_environment_and_stays_when_that_is_set_up_again(project):
    assert setup(project)[0] == 0
    assert not (project / ".venv/bin/more").exists()
    created = (project / ".venv/pyvenv.cfg").stat().st_ino
    assert setup(project, "mpi", PIP_TARGET=str(project / "elsewhere"))[0] == 0
    for target in ("setup", "mpi"):
        assert setup(project, target) == (0, [])
    assert holds(project, "tiny_one", "more")
    assert (project / ".venv/pyvenv.cfg").stat().st_ino == created


def test_a_changed_lock_makes_the_environment_again_though_its_own_python_is_first_on_the_path(project):
    lock = project / "requirements.txt"
    lock.write_text(lock.read_text() + (project / "requirements-mpi.txt").read_text())
    assert setup(project, python="python3")[0] == 0
    assert holds(project, "tiny_one", "more")
    lock.write_text("".join(lock.read_text().splitlines(keepends=True)[:-2]))  # the old one starts with the new one
    whole, removal = (project / "install.py").read_text(), "shutil.rmtree(environment)\n        install("
    assert removal in whole
    (project / "install.py").write_text(whole.replace(removal, f"sys.exit('killed')\n        {removal}"))
    assert setup(project, python="python3")[0] == 2
    assert not (project / ".venv/installed").exists()  # a part of the packages may be gone
    (project / "install.py").write_text(whole)
    assert setup(project, python="python3")[0] == 0
    assert holds(project, "tiny_one")
    assert not (project / ".venv/bin/more").exists()


@pytest.mark.parametrize("change", ["moved", "python gone", "python of another version"])
def test_an_environment_that_no_longer_works_is_made_again(project, tmp_path, change):
    assert setup(project)[0] == 0
    interpreter = project / ".venv/bin/python"
    if change == "moved":
        project = project.rename(tmp_path / "moved")
    elif change == "python gone":
        interpreter.unlink()
        interpreter.symlink_to(tmp_path / "gone")
    else:
        interpreter.unlink()
        script(interpreter, f'echo "{project / ".venv"} (3, 9)"')
    assert setup(project)[0] == 0
    assert holds(project, "tiny_one")
    assert setup(project) == (0, [])


@pytest.mark.parametrize("exists", [True, False])
def test_an_environment_that_is_a_link_is_never_emptied(project, tmp_path, exists):
    mine = tmp_path / "mine"
    if exists:
        mine.mkdir()
        (mine / "thesis.txt").touch()
    (project / ".venv").symlink_to(mine)
    assert setup(project) == (2, [f"error: .venv is a link to {mine}, which would be emptied; remove it"])
    assert not exists or [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_an_interrupted_setup_leaves_no_process_and_can_start_again(project):
    assert sys.platform != "win32"
    (project / "wait").touch()
    process = start(project)
    wait_until(process, project / "waiting")
    os.killpg(process.pid, signal.SIGINT)
    assert "Traceback" not in process.communicate()[1]
    assert process.returncode != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((project / "waiting").read_text()), 0)
    (project / "wait").unlink()
    assert setup(project)[0] == 0
    assert holds(project, "tiny_one")


def test_setup_goes_on_under_nohup(project):
    assert sys.platform != "win32"
    (project / "wait").touch()
    process = start(project, stops=signal.SIG_IGN)
    wait_until(process, project / "waiting")
    for name in (signal.SIGINT, signal.SIGHUP):
        os.killpg(process.pid, name)
    (project / "wait").unlink()
    process.communicate()
    assert process.returncode == 0
    assert holds(project, "tiny_one")


def test_a_failed_installation_is_not_taken_for_done(project):
    lock = project / "requirements.txt"
    right = lock.read_text()
    lock.write_text(right[:-5] + "0000\n")
    code, lines = setup(project)
    assert (code, lines[-1]) == (2, "error: pip cannot install requirements.txt; its own error is above")
    lock.write_text(right)
    assert setup(project)[0] == 0
    assert holds(project, "tiny_one")


def test_a_python_too_new_gives_way_to_one_that_uv_finds(project, tmp_path):
    new = python(tmp_path / "a bin/python3", version_info=(3, 14, 0, "final", 0))
    script(tmp_path / "bin/python3.13", "exit 127  # as that of a version manager")
    script(tmp_path / "bin/python3.12", f'exec "{sys.executable}" "$@"')
    code, lines = setup(project, python=str(new), PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert code == 0
    assert "TensorFlow has no release for Python 3.14; uv uses another" in lines
    assert holds(project, "tiny_one")


def test_a_python_too_new_and_alone_gives_up_in_one_line(project, tmp_path):
    new = python(tmp_path / "bin/python3", version_info=(3, 14, 0, "final", 0))
    code, lines = setup(project, python=str(new), BROKEN=" venv ")
    assert (code, lines[-1]) == (2, "error: uv finds no Python 3.10 to 3.13; install one of them")
    assert not (project / ".venv/installed").exists()


def test_a_python_that_has_neither_pip_nor_venv_names_the_package_that_has_them(project, tmp_path):
    bare = tmp_path / "bare"
    link = f'"{sys.executable}" "$@" && exec ln -sf "{bare}" .venv/bin/python'
    script(bare, f'case "$*" in *"import pip"|*ensurepip) echo none; exit 1;; *venv*) {link};; esac')
    tools = script(tmp_path / "bin/uv", "exit 2").parent
    new = python(tools / "python3", _base_executable=str(bare))
    code, lines = setup(project, python=str(new), PATH=f"{tools}:{os.environ['PATH']}")
    why = f"error: {bare} cannot make environments; on Debian and Ubuntu: apt install python3-venv"
    assert (code, lines[-1]) == (2, why)


def test_a_python_without_pip_gets_it_from_venv(project, tmp_path):
    lacks = 'case "$*" in *"import pip"|*"-m pip"*) echo none; exit 1;; esac'
    bare = script(tmp_path / "bare", f'{lacks}; exec "{sys.executable}" "$@"')
    tools = script(tmp_path / "bin/uv", "exit 2").parent
    new = python(tools / "python3", _base_executable=str(bare))
    code, lines = setup(project, python=str(new), PATH=f"{tools}:{os.environ['PATH']}")
    assert code == 0, lines
    assert by_uv(project)


def test_no_network_is_said_in_one_line(project):
    server = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    why = "error: pip reaches no package index, so nothing can be installed; is there a network?"
    code, lines = setup(project, PIP_NO_INDEX="", PIP_FIND_LINKS="", **server)
    assert (code, lines[1:]) == (2, [why])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_too_full_for_the_marker_is_not_taken_for_done(project):
    broken = (ROOT / "install.py").read_text().replace('environment / "installed.partial"', 'Path("/dev/full")')
    (project / "install.py").write_text(broken)
    code, lines = setup(project)
    assert (code, lines[-1]) == (2, "error: [Errno 28] No space left on device")
    assert not (project / ".venv/installed").exists()
