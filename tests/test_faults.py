"""`make faults` notices each way in which a project may not survive a fault."""

import random
import sys
from pathlib import Path

import pytest

from faults import __main__ as program
from faults.__main__ import NOTES, Fault, Project, survives
from tests.repositories import as_command


class Small(Project):
    """A project whose next command is given instead of `make repro`."""

    next = ""

    def again(self) -> int:
        return self.run("sh", "-c", self.next)


REPAIR = "printf good > data/result"
CHECKPOINT = "mkdir .checkpoints && touch .checkpoints/m.npz params.yaml"


@pytest.mark.skipif(sys.platform == "win32", reason="faults need POSIX")
@pytest.mark.parametrize(
    ("fault", "then", "expected"),
    [
        ("printf bad > data/result", REPAIR, ""),
        ("rm data/result", REPAIR, ""),
        ("printf bad > data/result", "true", "data/result differs from the run without a fault"),
        ("rm data/result", "true", "data/result differs from the run without a fault"),
        ("touch left.tmp", REPAIR, "left.tmp differs from the run without a fault"),
        (CHECKPOINT, f"{REPAIR}; echo resuming after epoch 1", ""),
        (CHECKPOINT, REPAIR, "the training has not gone on after its last epoch: "),
        (f"rm '{NOTES}'", REPAIR, "a file of the user is lost"),
        (f"echo yours > '{NOTES}'", REPAIR, "a file of the user is lost"),
        ("true", "echo 'error: no more'; exit 1", "the next command fails: error: no more"),
        ("echo Traceback; echo ValueError: x", REPAIR, "a traceback: ValueError: x"),
    ],
)
def test_a_project_survives_if_the_next_command_repairs_it_and_nothing_is_lost_or_left(tmp_path, fault, then, expected):
    source = tmp_path / "source"
    (source / "data").mkdir(parents=True)
    (source / "data/result").write_text("good")
    project = Small(tmp_path / "project", source)
    project.next = then

    def inject(project, target, choose):
        assert project.run("sh", "-c", fault) == 0
        return ""

    found = survives(project, Fault("f", (), inject), "", {"data/result": b"good"}, random.Random(1))
    assert found == expected


def test_an_injection_that_is_not_noticed_or_takes_too_long_is_no_survival(tmp_path):
    source = tmp_path / "source"
    (source / "data").mkdir(parents=True)

    def refuse(project, target, choose):
        raise AssertionError(f"{target} took too long")

    for number, (inject, expected) in enumerate(((lambda *_: "accepted", "accepted: "), (refuse, "it took too long"))):
        project = Small(tmp_path / str(number), source)
        assert survives(project, Fault("f", (), inject), "it", {}, random.Random(1)) == expected
    assert Path(project.folder, NOTES).read_text() == "mine"


class Told(Project):
    """A project whose commands all end with one exit code, print one line, and remove one file."""

    def __init__(self, folder: Path, code: int, printed: str, removed: str = ""):
        super().__init__(folder / "project", folder / "source")
        self.code, self.printed, self.removed = code, printed, removed

    def run(self, *command, **options) -> int:
        self.output += self.printed
        if self.removed:
            (self.folder / self.removed).unlink()
        return self.code

    def again(self) -> int:
        return self.run("make")


@pytest.mark.skipif(sys.platform == "win32", reason="faults need POSIX")
@pytest.mark.parametrize(
    ("name", "target", "code", "printed", "expected"),
    [
        ("full_disk", "pad", 0, "", ""),
        ("full_disk", "pad", 1, "ERROR: disk I/O error", ""),
        ("full_disk", "pad", 1, "Killed", "no line says why"),
        ("full_file_system", "data", 1, "error: No space left on device", ""),
        ("full_file_system", "data", 1, "Killed", "nothing was full"),
        ("full_file_system", "data", 0, "No space left", "nothing was full"),
        ("little_memory", "pad", 0, "", ""),
        ("little_memory", "pad", 1, "error: out of memory", ""),
        ("little_memory", "pad", 1, "Killed", "no line says why"),
        ("no_permission", "params.yaml", 1, "error: 'params.yaml'", ""),
        ("no_permission", "params.yaml", 1, "Killed", "no line names it"),
        ("no_permission", "params.yaml", 0, "params.yaml", "no line names it"),
        ("surroundings", "no home", 0, "", ""),
        ("surroundings", "C", 1, "error: x", "nothing helped"),
        ("wrong_value", "banana", 1, "error: epochs", ""),
        ("wrong_value", "banana", 1, "error: x", "no line names the key"),
        ("wrong_value", "banana", 0, "epochs", "no line names the key"),
    ],
)
def test_a_fault_without_the_line_that_explains_it_is_no_survival(tmp_path, name, target, code, printed, expected):
    (tmp_path / "source/.dvc/tmp").mkdir(parents=True)
    (tmp_path / "source/params.yaml").write_text("epochs: 4\n")
    project = Told(tmp_path, code, printed)
    assert getattr(program, name)(project, target, random.Random(1)) == expected
    assert (project.folder / "params.yaml").read_text() == "epochs: 4\n"
    assert (project.folder / "params.yaml").stat().st_mode & 0o600 == 0o600


def test_a_wrong_value_that_costs_a_result_is_no_survival(tmp_path):
    (tmp_path / "source").mkdir()
    for name in ("params.yaml", "result"):
        (tmp_path / "source" / name).write_text("epochs: 4\n")
    project = Told(tmp_path, 1, "error: epochs", removed="result")
    assert program.wrong_value(project, "banana", random.Random(1)) == "a result is changed"


@pytest.mark.skipif(sys.platform == "win32", reason="faults need POSIX")
@pytest.mark.parametrize(("problem", "code", "survived"), [("", 0, "2"), ("a file is lost", 1, "0")])
def test_the_exit_code_says_whether_a_project_did_not_survive(tmp_path, monkeypatch, capsys, problem, code, survived):
    tried = [Fault("kill: one", ("a",), lambda *_: ""), Fault("disk: another", ("b",), lambda *_: "")]
    monkeypatch.setattr(program, "prepare", lambda folder, reviews: folder.mkdir() or ({}, {"data/x": b"1"}))
    monkeypatch.setattr(program, "faults", lambda seconds, outputs: tried)
    monkeypatch.setattr(program, "survives", lambda project, fault, target, *_: problem if target == "b" else "")
    monkeypatch.setattr(sys, "argv", ["faults", "--tries", "2"])
    with as_command():
        assert program.main() == code
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
        assert [row[:4] for row in rows if row[0] in ("kill:", "disk:")] == [
            ["kill:", "one", "2", "2"], ["disk:", "another", "2", survived],
        ]  # fmt: skip
        assert rows.count(["b:", *problem.split()]) == (2 if problem else 0)
        monkeypatch.setattr(sys, "argv", ["faults", "--only", "kill"])
        assert program.main() == 0  # without the fault that costs a file
