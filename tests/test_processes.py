"""Any number of processes, started by a real launcher of MPI, gives the same bits, and a failure is one line."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.cases import CASES, Sizes, plain
from stages.common.launcher import _show
from tests.bits import TUNING, Run
from tests.conftest import ROOT, SHOWN, shown_of
from tests.projects import Project
from tests.test_pipeline import start_training

WINDOWS = sys.platform == "win32"
NEEDS_MPI = pytestmark = pytest.mark.skipif(
    WINDOWS or not find_spec("mpi4py"), reason="needs mpi4py and MPICH: `make mpi`"
)

NAME = SHOWN[0]
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def on(processes: int) -> dict[str, str]:
    """Environment variables for a stage on this number of processes."""
    return {"LAUNCHER": f"mpiexec -n {processes}", "PATH": PATH}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Path of runs of every block, with more and fewer shards than processes, and with fewer reviews than shards."""
    by_name = {name: Run(plain(name, Sizes()), updates=2, batch=10, shards=3) for name in CASES}
    by_name["many shards"] = by_name["lstm"]._replace(shards=10)
    by_name["one shard"] = by_name["average"]._replace(shards=1)
    by_name["fewer reviews than shards"] = by_name["bidirectional, average"]._replace(batch=2, shards=5)
    by_name["words dropped"] = by_name["dropout"]._replace(tuning=TUNING)
    by_name["one prediction"] = by_name["lstm"]._replace(updates=1, predictions=1)
    path = tmp_path_factory.mktemp("processes") / "runs.json"
    path.write_text(json.dumps({name: run._asdict() for name, run in by_name.items()}))
    return path


@pytest.fixture(scope="module")
def alone(runs) -> str:
    """Output of one process without MPI."""
    command = [sys.executable, "-m", "tests.bits", str(runs)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_any_number_of_processes_gives_the_bits_of_one(runs, alone, processes):
    command = ["mpiexec", "-n", str(processes), sys.executable, "-m", "mpi4py", "-m", "tests.bits", str(runs)]
    environment = os.environ | {"PATH": PATH}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, alone), run.stderr


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory) -> Project:
    """A project that has been run once, in one process; the last batch has fewer reviews than there are shards."""
    changes = {"batch": 29, "schedule": "linear", "word_dropout": 0.3, "validation_fraction": 0.12, "epochs": 12}
    project = finished.copy(tmp_path_factory.mktemp("processes") / "project", **changes)
    project.repro(f"evaluate@{NAME}")
    return project


def processes_of(folder: Path) -> list[int]:
    """Process ids of the trainings that a launcher started in a folder."""
    pids = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (
                b"\0mpi4py\0-m\0stages.train\0" in (path / "cmdline").read_bytes()
                and (path / "cwd").resolve() == folder
            ):
                pids.append(int(path.name))
        except OSError:  # it has ended meanwhile
            continue
    return pids


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the processes in /proc")
def test_training_killed_on_four_processes_and_resumed_on_two_ends_with_the_bytes_of_one(project, tmp_path):
    project = project.copy(tmp_path / "killed")
    before, folder = project.files(), project.folder.resolve()
    for path in (f"models/{NAME}", f"plots/{NAME}/history"):
        shutil.rmtree(folder / path)
    project.environment |= on(4)
    killed = start_training(project)
    ours = processes_of(folder)
    assert len(ours) == 4
    assert sys.platform != "win32"
    os.kill(ours[-1], signal.SIGKILL)
    printed, errors = killed.communicate(timeout=60)
    assert killed.returncode == 1
    assert re.fullmatch(
        rf"error: process {ours[-1]} on \S+ was killed by SIGKILL; .* run the same command .*\n", errors
    )
    assert all(line.startswith((NAME, "epoch ")) for line in printed.splitlines())
    assert processes_of(folder) == []
    resumed = project.stage("train", NAME, **on(2))
    assert f"{NAME}: compiled arithmetic: " in resumed.stdout
    assert re.search(r"^resuming after epoch \d+ of 12$", resumed.stdout, re.MULTILINE)
    assert project.files() == before


def test_dvc_records_the_same_for_three_processes_as_for_one(project):
    before = project.files()
    run = project.run("dvc", "repro", "--force", "--single-item", f"evaluate@{NAME}", **on(3))
    assert run.stdout.count(f"{NAME}: compiled arithmetic: ") == 1
    assert project.files() == before


@pytest.mark.parametrize("name", [shown_of("cnn_lstm", "keras"), shown_of("ngrams", "compiled")])
def test_a_model_that_processes_cannot_share_is_trained_in_one_process_and_says_so(finished, tmp_path, name):
    project = finished.copy(tmp_path / "one process")
    (project.folder / f"data/{name}/x_train.npy").unlink()  # it prints the line before it reads the file
    printed = project.stage("train", name, code=1, **on(2)).stdout
    assert printed.splitlines() == [f"{name}: one process trains it, so the launcher is not used"]


STAGE = '''"""A stage."""
import os, signal, sys, time
from pathlib import Path
from sentiment import InputError
from stages.common.command import command
from stages.common.files import replacing
from stages.common.launcher import launch

def main():
    if launch():
        return
    from sentiment.engine import shards
    exec(os.environ["DO"])

command(main, interrupted="interrupted; go on")
'''


def stage(folder: Path, do: str, environment: dict[str, str]) -> subprocess.Popen:
    """Start a stage whose processes execute ``do``, in which ``shards.processes().rank`` is the rank."""
    (folder / "stage.py").write_text(STAGE)
    return subprocess.Popen(
        [sys.executable, "-m", "stage"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT), "DO": do, "PATH": PATH} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


WAIT = "time.sleep(600)"  # until a process has failed


@pytest.mark.parametrize(
    ("do", "code", "printed", "errors"),
    [
        ("print('fine') if shards.processes().rank == 0 else None", 0, "fine\n", ""),
        ("print('a warning', file=sys.stderr)", 0, "", "a warning\n"),
        ("raise InputError('two\\nfaults')", 1, "", "error: two\nerror: faults\n"),
        (f"if shards.processes().rank == 1: raise InputError('mine')\n{WAIT}", 1, "", "error: mine\n"),
        (
            f"if shards.processes().rank == 2: raise ArithmeticError('boom')\n{WAIT}",
            1, "", r"Traceback(.|\n)*ArithmeticError: boom\n(Abort.*\n)?error: process \d+ on \S+ failed; .* above\n",
        ),
        (
            f"if shards.processes().rank == 1: os.kill(os.getpid(), signal.SIGBUS)\n{WAIT}",
            1, "", r"error: process \d+ on \S+ was killed by SIGBUS; the shared memory in /dev/shm .*\n",
        ),
        (  # before MPI has started, where MPICH's launcher ends no other process
            "try:\n Path('first').mkdir()\nexcept FileExistsError:\n shards.processes()\n"
            "else:\n os.kill(os.getpid(), signal.SIGKILL)",
            1, "", r"error: process \d+ on \S+ was killed by SIGKILL; .*\n",
        ),
        (
            f"if shards.processes().rank == 1: os._exit(3)\n{WAIT}",
            1, "", r"error: process \d+ on \S+ failed .* code 3; .*\n",
        ),
        (
            "shards.agree('ab'[shards.processes().rank == 2], 'weights after epoch 1')",
            1, "", r"error: weights after epoch 1: expected the same in all .* and b in number 3, .*\n",
        ),
    ],
)  # fmt: skip
def test_processes_end_together_and_print_the_reason_once(tmp_path, do, code, printed, errors):
    run = stage(tmp_path, do, on(3))
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (code, printed), err
    assert re.fullmatch(errors, err)


def test_a_line_of_several_processes_is_printed_once_and_after_a_failure_only_those_of_the_failed_process(capsys):
    said = [
        ("said", "a", "a warning"), ("printed", "a", "fine"), ("said", "b", "a warning"), ("printed", "b", "fine"),
        ("done", "c", ""), ("failed", "b", "has failed"), ("said", "a", "because of b"), ("said", "b", "its reason"),
        ("failed", "a", "was killed"), ("said", "a", "error: late"),
    ]  # fmt: skip
    lines = [json.dumps([kind, who, text if kind in ("done", "failed") else f"{text}\n"]) for kind, who, text in said]
    calls = []
    assert _show(["of the launcher\n", *lines[:-1]], lambda: calls.append("failed")) == ("b has failed", True)
    assert calls == ["failed"]  # once, for two failures
    assert capsys.readouterr() == ("fine\nfine\n", "of the launcher\na warning\nits reason\n")
    assert _show(lines[:4], pytest.fail) == (None, False)
    assert _show(lines, lambda: None) == ("", True)  # the process has printed the message
    assert capsys.readouterr().err.endswith("its reason\nerror: late\n")


def test_a_sweep_gives_all_processes_all_results_though_the_first_process_deletes_its_files(tmp_path):
    do = """
from benchmarks.sweep import sweep
shards.collect = lambda value, real=shards.collect, rank=shards.processes().rank: (real(value), time.sleep(rank))[0]
results = sweep(["a", "b", "c"], lambda run: {"of": run}, Path("kept"))
if shards.processes().rank == 0:
    import shutil
    shutil.rmtree("kept")
assert shards.collect(results) == [[{"of": "a"}, {"of": "b"}, {"of": "c"}]] * 3
"""
    run = stage(tmp_path, do, on(3))
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert re.fullmatch(r"(run [abc] done, [123] of 3\n){3}", err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_all_processes_in_one_line_and_leaves_nothing_half_written(tmp_path, number):
    do = "rank = shards.processes().rank\nwith replacing(Path('out', str(rank))) as path:\n path.write_text('half')\n"
    do += " print('here')\n " + WAIT
    run = stage(tmp_path, do, on(3))
    assert [run.stdout.readline() for _ in range(3)] == ["here\n"] * 3
    run.send_signal(number)
    _, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (128 + number, "\ninterrupted; go on\n")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("launcher", "errors"),
    [
        (
            "no-such-launcher -n 2",
            "error: LAUNCHER: 'no-such-launcher' cannot be run .*\n",
        ),
        ("mpiexec -n '2", "error: LAUNCHER: .* is no command .*\n"),
        ("false", "error: LAUNCHER: `false` ended with exit code 1; .*\n"),
        ("sh -c '\"$@\"; exit 3' sh", "error: LAUNCHER: .* ended with exit code 3; .*\n"),  # after the stage has run
        ("true", "error: LAUNCHER: `true` has not run the stage; expected a launcher of MPI, as `mpiexec -n 4`\n"),
    ],
)
def test_an_invalid_launcher_is_refused_in_one_line(tmp_path, launcher, errors):
    run = stage(tmp_path, "pass", {"LAUNCHER": launcher})
    _, err = run.communicate(timeout=60)
    assert run.returncode == 1
    assert re.fullmatch(errors, err)


def test_without_a_launcher_nothing_of_mpi_is_imported(tmp_path):
    run = stage(
        tmp_path,
        "print(shards.processes().size, [name for name in sys.modules if 'mpi4py' in name])",
        {"LAUNCHER": " "},
    )
    assert run.communicate(timeout=60) == ("1 []\n", "")


def test_processes_that_are_bound_to_no_core_share_those_of_their_machine(tmp_path):
    if sys.platform != "linux":
        pytest.skip("only Linux says which cores a process is bound to")
    run = stage(tmp_path, "print(shards.processes().cores)", on(4))
    cores = max(1, len(os.sched_getaffinity(0)) // 4)
    assert run.communicate(timeout=60) == (f"{cores}\n" * 4, "")
