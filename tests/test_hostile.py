"""A hostile repository runs no program, cannot hang a check, and cannot forge a line of the report."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from checks import reading
from checks.findings import as_annotations, as_text
from checks.gate import gate, main
from checks.runs import recorded
from checks.scratch import checkout
from checks.shell import _interrupt, command, git, printable
from checks.verify import as_markdown as table
from checks.verify import as_text as proof
from checks.verify import main as verify
from tests.conftest import ROOT
from tests.repositories import (
    ENVIRONMENT,
    PLAIN_GIT,
    PROGRAMS,
    as_command,
    call,
    clone,
    commit,
    create,
    inside,
    repro,
    run,
    surrounded,
    write,
)  # fmt: skip
from tests.repositories import git as plain_git

PIPELINE = """
params: [p.yaml]
stages:
  a: {cmd: cp src/a.py o, deps: [src], params: [p.yaml: [k]], outs: [o]}
  b: {cmd: echo 1 > m.json, metrics: [m.json: {cache: false}]}
"""
FILES = {"src/a.py": "1\n", "src/__pycache__/a.pyc": "x", "p.yaml": "k: 1\n", ".gitignore": "__pycache__/\n"}
UNKNOWN = "unknown: a: src: recorded with files that are not here"


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """A repository whose code folder was recorded with bytecode, so that Git is asked what changed since."""
    folder = create(tmp_path_factory.mktemp("origin") / "made", FILES | {"dvc.yaml": PIPELINE})
    repro(folder)
    return folder


@pytest.fixture
def copy(origin, tmp_path) -> Path:
    return clone(origin, tmp_path / "clone")


@pytest.fixture
def program(tmp_path) -> Path:
    """A program that writes a file when it runs; ``ran`` looks for the file."""
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\necho >{tmp_path}/ran\ncat\n")
    path.chmod(0o755)
    return path


def ran(program: Path) -> bool:
    """True if the program ran since the last call."""
    there = program.with_name("ran").exists()
    program.with_name("ran").unlink(missing_ok=True)
    return there


def looks_bare(folder: Path, program: Path) -> None:
    """Make a folder of ordinary files that Git takes for a repository."""
    for name, text in {"HEAD": "ref: refs/heads/main\n", "objects/x": "", "refs/x": "", ".dvc/config": ""}.items():
        write(folder, name, text)
    write(folder, "config", f"[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = {folder}\n")
    plain_git(folder, "config", "--file", "config", "core.fsmonitor", str(program))


def test_a_folder_that_looks_like_a_bare_repository_runs_no_program(copy, program):
    looks_bare(copy / "b", program)
    commit(copy)
    subprocess.run(["git", "status"], cwd=copy / "b", env=ENVIRONMENT | PLAIN_GIT, capture_output=True, check=False)
    assert ran(program)
    text = as_text(gate(copy))
    assert UNKNOWN in text
    assert "unreadable: b/.dvc/config: `git rev-parse --show-toplevel` failed" in text
    assert call(main, copy / "b")[0] == 3
    assert not ran(program)


SETTINGS = {  # settings of Git, each with a command that runs the program
    "core.fsmonitor": ("status",),
    "filter.x.clean": ("diff", "HEAD"),
    "filter.x.process": ("diff", "HEAD"),
    "diff.external": ("diff", "HEAD~1"),
    "diff.x.textconv": ("log", "-p"),
    "gpg.program": ("-c", "log.showSignature=true", "log"),
}


@pytest.mark.parametrize("elsewhere", [False, True], ids=["", "by a file in place of .git"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_of_the_repository_runs_a_program(copy, program, setting, elsewhere):
    write(copy, ".gitattributes", "* filter=x diff=x\n")
    write(copy, "src/a.py", "2\n")
    signer = program.with_name("signer")
    signer.write_text(
        "#!/bin/sh\ncat >/dev/null\nprintf '\\n[GNUPG:] SIG_CREATED ' >&2\necho '-----BEGIN PGP SIGNATURE-----'\n"
    )
    signer.chmod(0o755)
    plain_git(copy, "add", "--all")
    amend = ["--amend"] if setting == "gpg.program" else []  # `git log` shows the commit that recorded the lock
    plain_git(copy, "-c", f"gpg.program={signer}", "commit", "--quiet", "--gpg-sign", "--message", "x", *amend)
    plain_git(copy, "config", setting, str(program))
    plain_git(copy, "config", "log.showSignature", "true")
    if elsewhere:
        (copy / ".git").rename(copy / "git")
        write(copy, ".git", "gitdir: git\n")
    for path in ("src/a.py", "dvc.lock"):
        os.utime(copy / path, (1, 1))  # so that Git reads it again
    arguments = ["git", *SETTINGS[setting]]
    subprocess.run(arguments, cwd=copy, env=ENVIRONMENT | PLAIN_GIT, capture_output=True, check=False)
    assert ran(program)
    os.utime(copy / "src/a.py", (2, 2))
    assert any(finding.what == "src" for finding in gate(copy).findings)
    assert not ran(program)


def test_settings_of_dvc_in_git_make_no_folder(copy, tmp_path):
    write(copy, ".dvc/config", f"[core]\n    site_cache_dir = {tmp_path}/ran\n[cache]\n    dir = {tmp_path}/ran\n")
    assert UNKNOWN in as_text(gate(copy))
    assert not (tmp_path / "ran").exists()


def shadow(tmp_path: Path) -> str:
    """Code of a module that writes a file when it is imported."""
    return f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit(5)\n"


def test_the_hook_imports_nothing_of_the_checked_folder(copy, tmp_path):
    for name in ("checks/__init__.py", "dvc/__init__.py", "yaml.py", "sys.py", "sitecustomize.py"):
        write(copy, name, shadow(tmp_path))
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    command = [ROOT / hook["entry"]]
    environment = {"PATH": PROGRAMS, "PYTHONPATH": "."}
    run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("check", ["gate", "verify"])
def test_no_module_of_the_checked_repository_replaces_an_installed_one(copy, tmp_path, check):
    for name in ("dvc/__init__.py", "yaml.py", "configobj.py", "lib/dvc.py", "lib/yaml.py"):
        write(copy, name, shadow(tmp_path))
    commit(copy)
    variables = {"PYTHONPATH": f"{copy / 'lib'}{os.pathsep}{ROOT}", "PATH": PROGRAMS}
    script = "import sys; sys.argv[0] = 'dvc-' + sys.argv.pop(1); import checks; import checks.{0} as it; it.run()"
    command = [sys.executable, "-c", script.format(check), check, *(["--env", "PYTHONPATH"] * (check == "verify"))]
    run = subprocess.run(command, cwd=copy / "src", env=ENVIRONMENT | variables, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert not (tmp_path / "ran").exists()


def test_an_import_that_fails_is_no_verdict(copy, tmp_path):
    write(tmp_path, "site/dvc/__init__.py", "raise ImportError('broken')\n")
    failed = run(copy, "gate", PYTHONPATH=f"{tmp_path / 'site'}{os.pathsep}{ROOT}")
    assert (failed.returncode, failed.stdout) == (70, "")
    assert failed.stderr == "error: broken; install dvc-checks again, with its dependencies\n"


@pytest.mark.parametrize(("found", "named"), [("3.66.1", "3.66.1"), ("4.0.0", "4.0.0"), ("", "one without a version")])
@pytest.mark.parametrize("check", ["gate", "verify", "report"])
def test_a_dvc_of_another_version_is_no_verdict(copy, tmp_path, check, found, named):
    write(tmp_path, "site/dvc-0.dist-info/METADATA", f"Name: dvc\n{found and f'Version: {found}'}\n")
    failed = run(copy, check, PYTHONPATH=f"{tmp_path / 'site'}{os.pathsep}{ROOT}")
    assert (failed.returncode, failed.stdout) == (70, "")
    assert failed.stderr == f"error: expected dvc>=3.67,<4, got {named}; `pip install 'dvc>=3.67,<4'`\n"


def test_an_import_that_fails_late_is_no_verdict(capsys):
    with as_command(), pytest.raises(SystemExit) as end:
        command(lambda: __import__("no_such_module"))
    assert end.value.code == 70
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: No module named 'no_such_module'; install dvc-checks again, with its dependencies"


def test_python_without_docstrings_escapes_characters_that_the_terminal_lacks(copy):
    write(copy, "dvc.yaml", PIPELINE.replace("deps: [src]", 'deps: ["src", "имя"]'))
    ended = run(copy, "gate", python=("-OO",), PYTHONIOENCODING="cp1252")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert r"stale: a: \u0438\u043c\u044f: " in ended.stdout


NESTED = "[" * 10_000
BOMB = "x0: &x0 [1, 1]\n" + "".join(f"x{i}: &x{i} [*x{i - 1}, *x{i - 1}]\n" for i in range(1, 40))


@pytest.mark.parametrize("text", [f"x: {NESTED}", "x: " + NESTED + "]" * 10_000, "- " * 10_000, BOMB])
@pytest.mark.parametrize("name", ["dvc.lock", "dvc.yaml", "p.yaml", "params.yaml", "x.dvc"])
def test_a_file_that_no_computer_can_read_is_one_line_that_names_it(copy, name, text):
    write(copy, name, text)
    code, output, errors = call(main, copy)
    assert (code, errors) == (3, "")
    (line,) = [line for line in output.splitlines() if line.startswith("unreadable: ")]
    assert name in line
    assert "nested too deeply" in line or "aliases" in line


def test_aliases_of_small_values_are_read():
    reading.check_nesting("x: &x [1, 2]\ny: {<<: &z {a: 1}, b: *x}\nz: *z\n", "x.yaml")


def test_a_file_too_large_to_parse_is_one_line(copy, monkeypatch):
    monkeypatch.setattr(reading, "LARGEST", 250)
    assert "unreadable: dvc.lock: expected 0 MB at most, got 0 MB" in as_text(gate(copy))


def test_a_pipeline_or_a_lock_of_more_stages_than_dvc_reads_in_a_minute_is_one_line(copy, monkeypatch):
    numbers = ", ".join(map(str, range(1000)))
    matrix = f"a: [{numbers}], b: [{numbers}], c: [{numbers}]"
    write(copy, "dvc.yaml", f"stages: {{s: {{matrix: {{{matrix}}}, cmd: x}}}}\n")
    commit(copy)
    text = "dvc.yaml: expected 20,000 stages at most, got 1,000,000,000"
    assert f"unreadable: {text}" in as_text(gate(copy))
    assert call(verify, copy)[::2] == (3, f"error: {text}\n")
    monkeypatch.setattr(reading, "MOST_KEYS", 10)
    assert "unreadable: dvc.lock: expected 10 keys at most, got 25" in as_text(gate(copy))


@pytest.mark.parametrize("name", ["m.json", "src/a.py", "p.yaml", "dvc.yaml", "dvc.lock", ".dvcignore", ".dvc/config"])
def test_a_link_to_a_file_without_end_is_not_read(copy, name):
    read, write = os.pipe()  # a pipe to which nobody writes has no end
    before = os.dup(0)
    os.dup2(read, 0)
    try:
        for target in ("/dev/zero", "/dev/stdin"):
            (copy / name).unlink(missing_ok=True)
            (copy / name).symlink_to(target)
            commit(copy)
            code, output, errors = call(main, copy)
            assert code == 3
            assert name.partition("/")[0] in output + errors
            assert "Traceback" not in errors
    finally:
        os.dup2(before, 0)
        for number in (before, read, write):
            os.close(number)


@pytest.mark.parametrize("name", ["m.json", "src/a.py", "p.yaml", "dvc.lock", ".dvc/config", "checks.yaml"])
def test_a_link_to_a_file_without_end_stops_a_rerun_in_one_line(copy, name):
    (copy / name).unlink(missing_ok=True)
    (copy / name).symlink_to("/dev/zero")
    commit(copy)
    code, output, errors = call(verify, copy)
    assert (code, output) == (3, "")
    assert errors == f"error: {name}: expected a file, got a device or a pipe\n"


def test_links_in_place_of_dvcs_own_files_let_a_rerun_write_nothing_elsewhere(copy, tmp_path):
    write(tmp_path, "theirs/config.local", "[core]\n    site_cache_dir = x\n")
    for name in ("tmp", "cache"):
        shutil.rmtree(copy / ".dvc" / name, ignore_errors=True)
        (copy / ".dvc" / name).symlink_to(tmp_path / "theirs")
    (copy / ".dvc/config.local").symlink_to(tmp_path / "theirs/config.local")
    plain_git(copy, "add", "--all", "--force")
    commit(copy)
    before = {path: path.read_bytes() for path in (tmp_path / "theirs").rglob("*") if path.is_file()}
    with surrounded(), inside(copy), checkout() as scratch:
        scratch.dvc("root")
        assert not (scratch.folder / ".dvc/config.local").is_symlink()
    assert {path: path.read_bytes() for path in (tmp_path / "theirs").rglob("*") if path.is_file()} == before
    shutil.move(copy / ".dvc", tmp_path / "dvc")
    (copy / ".dvc").symlink_to(tmp_path / "dvc")
    commit(copy)
    code, _, errors = call(verify, copy)
    assert (code, "has no DVC repository" in errors) == (3, True)


def test_a_lock_that_a_rerun_cannot_read_is_named_with_the_reason(copy, monkeypatch):
    write(copy, "dvc.lock", "<<<<<<< HEAD\n" + (copy / "dvc.lock").read_text())
    commit(copy)
    assert "error: dvc.lock: line 1 is a conflict marker of a merge;" in call(verify, copy)[2]
    write(copy, "dvc.lock", f"x: {NESTED}")
    commit(copy)
    assert call(verify, copy)[2] == "error: dvc.lock: nested too deeply: expected 200 levels at most\n"
    monkeypatch.setattr(reading, "LARGEST", 250)
    assert call(verify, copy)[2] == "error: dvc.lock: expected 0 MB at most, got 0 MB\n"


def test_a_result_that_is_a_link_out_of_the_repository_is_not_shown(copy, tmp_path):
    write(tmp_path, "secret.json", '{"k": "password"}\n')
    (copy / "m.json").unlink()
    (copy / "m.json").symlink_to(tmp_path / "secret.json")
    write(copy, "dvc.lock", (copy / "dvc.lock").read_text().replace("b026324c6904b2a9cb4b88d6d61c81d1", "ab" * 16))
    commit(copy)
    code, output, errors = call(verify, copy)
    assert code == 2, errors
    assert "not proved" in output
    assert "password" not in output + errors


def test_a_folder_of_results_with_a_link_out_of_the_repository_is_not_kept(copy, tmp_path):
    write(tmp_path, "secret.json", '{"k": "password"}\n')
    write(copy, "d/m.json", "1\n")
    write(copy, "dvc.yaml", "stages: {b: {cmd: x, outs: [d: {cache: false}]}}\n")
    item = f"{{path: d, hash: md5, md5: {'ab' * 16}.dir, nfiles: 1}}"
    write(copy, "dvc.lock", f"schema: '2.0'\nstages: {{b: {{cmd: x, outs: [{item}]}}}}\n")
    commit(copy)

    def files():
        return recorded(copy, copy / ".dvc/cache", tmp_path / "kept")["b"].outputs["d"].files

    assert files() == {"m.json": tmp_path / "kept/d/m.json"}
    shutil.rmtree(tmp_path / "kept")
    (copy / "d/n.json").symlink_to(tmp_path / "secret.json")
    commit(copy)
    assert files() is None
    assert not (tmp_path / "kept").exists()


def test_an_endless_path_outside_the_repository_is_not_read(copy):
    write(copy, "dvc.yaml", "stages: {b: {cmd: x, deps: [/usr, /dev/zero, up], params: [/dev/zero: [k]], outs: [o]}}\n")
    item = "{path: %s, hash: md5, md5: 68b329da9893e34099c7d8ad5cb9c940}"
    deps = ", ".join(item % path for path in ("/usr", "/dev/zero", "up"))
    write(copy, "dvc.lock", f"schema: '2.0'\nstages: {{b: {{cmd: x, deps: [{deps}], outs: [{item % 'o'}]}}}}\n")
    (copy / "up").symlink_to("/")
    commit(copy)
    text = as_text(gate(copy))
    assert "unknown: b: /usr, up: not in this repository" in text
    assert "unreadable: b: /dev/zero: expected a file, got a device or a pipe" in text


def test_a_link_shows_no_values_of_a_file_out_of_the_repository(copy, tmp_path):
    write(tmp_path, "secret.yaml", "k: password\n")
    (copy / "p.yaml").unlink()
    (copy / "p.yaml").symlink_to(tmp_path / "secret.yaml")
    commit(copy)
    text = as_text(gate(copy))
    assert "unknown: a: src, p.yaml" in text or "unknown: a: p.yaml: not in this repository" in text
    assert "password" not in text


def test_no_name_forges_a_line_of_the_report(copy):
    name = "x\x1b[2K\nstale: forged\u202e"
    pipeline = {"stages": {"a": {"cmd": "echo 1 > o", "deps": [name], "outs": ["o"]}}}
    write(copy, "dvc.yaml", json.dumps(pipeline))
    for form in (as_text, as_annotations):
        lines = form(gate(copy)).splitlines()
        assert not any(line.startswith("stale: forged") or not line.isprintable() for line in lines)
        assert any(r"x\x1b[2K\nstale: forged\u202e" in line for line in lines)
    row = {"stage": name, "output": name, "verdict": "identical", "promised": "", "differences": [f"recorded {name}"]}
    report = {
        "target": name,
        "revision": "r",
        "verdict": "identical",
        "results": [row],
        "stale": {name: [name]},
        "line_ends": {},
    }
    for form in (proof, table):
        lines = form(report | {"environment": {"python": name}}).splitlines()
        assert not any(line.startswith("stale: forged") or not line.isprintable() for line in lines)
    assert table(report | {"environment": {}}).splitlines()[4].count("\\n") == 3
    assert printable("a b\tc") == r"a b\tc"


def test_a_second_interruption_does_not_stop_the_first():
    with as_command():
        signal.signal(signal.SIGINT, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_nothing_is_left_outside_the_repository(copy, tmp_path):
    for name in ("site", "tmp"):
        (tmp_path / name).mkdir()
    for check in (main, verify):
        code, _, errors = call(check, copy, DVC_SITE_CACHE_DIR=str(tmp_path / "site"), TMPDIR=str(tmp_path / "tmp"))
        assert code == 0, errors
    assert [*tmp_path.glob("site/*"), *tmp_path.glob("tmp/*")] == []


def test_settings_of_git_in_the_environment_count_and_another_repository_does_not(copy, tmp_path):
    excludes = tmp_path / "excludes"
    excludes.write_text("/new.py\n")
    setting = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.excludesFile", "GIT_CONFIG_VALUE_0": str(excludes)}
    write(copy, "new.py", "")
    with surrounded(**setting, GIT_DIR=str(tmp_path), GIT_WORK_TREE=str(tmp_path), GIT_LITERAL_PATHSPECS="1"):
        assert git(copy, "status", "--porcelain") == ""
    with surrounded():
        assert git(copy, "status", "--porcelain") == "?? new.py"


def test_a_repository_of_sha_256_is_checked_like_any_other(origin, tmp_path):
    folder = Path(shutil.copytree(origin, tmp_path / "sha256", ignore=shutil.ignore_patterns(".git")))
    plain_git(folder, "init", "--quiet", "--object-format=sha256")
    commit(folder)
    assert as_text(gate(folder)) == "2 stages: as dvc.lock describes them"
    write(folder, "p.yaml", "k: 2\n")
    assert as_text(gate(folder)).startswith("stale: a: p.yaml: k: recorded 1, found 2\n")
