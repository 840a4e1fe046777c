"""`make faults` notices each way in which a project may not survive a fault."""

import random
import sys
from pathlib import Path

import pytest

from faults.__main__ import NOTES, Fault, Project, survives


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
