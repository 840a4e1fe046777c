"""Files of a killed DVC are removed if no other DVC runs, and other files stay."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sentiment import InputError
from stages.common import leftovers

STRAY = "imdb.npz.A-_4567890123456789012.tmp"
USERS = ("notes.tmp", "A-_4567890123456789012.tmp.txt")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    """A folder with a cut lock, an unfinished file, and files of the user's."""
    monkeypatch.chdir(tmp_path)
    for name in (".dvc/tmp/rwlock", f"data/raw/{STRAY}", *(f"data/{name}" for name in USERS)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"read": {')
    return tmp_path


def test_a_cut_lock_and_unfinished_files_are_removed_and_named(project, capsys):
    leftovers.main()
    lock, strays = capsys.readouterr().out.splitlines()
    assert lock.startswith(".dvc/tmp/rwlock: removed")
    assert strays.startswith(f"data/raw/{STRAY}: removed")
    assert {path.name for path in project.rglob("*") if path.is_file()} == {*USERS}
    leftovers.main()
    assert capsys.readouterr().out == ""


def test_a_whole_lock_stays(project):
    (project / ".dvc/tmp/rwlock").write_text("{}")
    leftovers.main()
    assert (project / ".dvc/tmp/rwlock").read_text() == "{}"


@pytest.mark.parametrize("part", ["", "schema: '2.0'\nstag"])
def test_a_cut_dvc_lock_is_restored_from_git_or_removed(project, capsys, part):
    Path("dvc.lock").write_text(part)
    leftovers.main()
    assert not Path("dvc.lock").exists()
    assert "dvc.lock: removed" in capsys.readouterr().out
    Path("dvc.lock").write_text("schema: '2.0'\n")
    for command in (["init", "--quiet"], ["add", "dvc.lock"]):
        subprocess.run(["git", *command], check=True)
    Path("dvc.lock").write_text(part)
    leftovers.main()
    assert Path("dvc.lock").read_text() == "schema: '2.0'\n"
    assert "dvc.lock: restored from Git" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_pipe_or_a_broken_link_in_place_of_an_output_is_named_and_others_do_not_matter(kind):
    def make(name: str) -> None:
        assert sys.platform != "win32"
        os.mkfifo(name) if kind == "pipe" else Path(name).symlink_to("nowhere")

    Path("dvc.lock").write_text("stages:\n  a:\n    outs:\n    - path: data/x.npy\n    - path: data/y.npy\n")
    Path("data/y.npy").touch()
    make("data/mine")
    leftovers.main()
    make("data/x.npy")
    with pytest.raises(InputError, match=r"^data/x\.npy: expected a file or a folder, got a pipe, .*; delete it$"):
        leftovers.main()


def test_a_full_disk_is_named_after_a_failed_run(monkeypatch):
    def leave(free: int) -> None:
        monkeypatch.setattr(leftovers.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))

    leave(2**26)
    leftovers.explain()
    leave(2**26 - 1)
    with pytest.raises(SystemExit, match=r"^error: \.dvc/cache: 67,108,863 bytes are free on its disk; make room"):
        leftovers.explain()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at another process")
@pytest.mark.parametrize("here", [True, False])
def test_nothing_is_removed_while_a_dvc_runs_here_and_a_dvc_elsewhere_does_not_matter(project, tmp_path_factory, here):
    folder = project if here else tmp_path_factory.mktemp("elsewhere")
    (folder / "dvc").write_text("import sys; print(flush=True); sys.stdin.read()")
    command = [sys.executable, "dvc"]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        if here:
            with pytest.raises(InputError, match=rf"wait for the DVC that runs here \(process {process.pid}\)"):
                leftovers.main()
            (project / ".dvc/tmp/rwlock").write_text("{}")  # without a cut file, the other DVC's files stay silently
            leftovers.main()
        else:
            leftovers.main()
        assert (project / f"data/raw/{STRAY}").exists() == here
        process.stdin.close()
