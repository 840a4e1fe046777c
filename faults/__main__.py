"""Break `dvc repro` in many ways, run the next obvious command, and compare every byte with an undisturbed run.

A project survives a fault if that command succeeds, all results have the bytes of the undisturbed run, no file of the
user is lost, nothing is left behind, and no traceback is printed.
"""

import argparse
import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import psutil
from ruamel.yaml import YAML

from demo.project import environment_of, write_project
from faults.server import FAULTS, Server

MODEL, NETWORK = "nb-adam", "small"  # only a network is trained by several processes
OF_MODELS = tuple(f"{stage}@{model}" for model in (MODEL, NETWORK) for stage in ("pad", "train", "evaluate"))
STAGES = ("params", "download", "environment", *OF_MODELS)
HIDDEN = re.compile(r"(^|/)(\.git|\.dvc|__pycache__|corpus|\.checkpoints)/|^params\.yaml$|\.pyc$")
NOTES = "data/notes of mine.tmp"
CHECKPOINT = f".checkpoints/{MODEL}.npz"
NEXT = "make repro"


class Project:
    """A copy of the finished project, in which one fault is injected."""

    def __init__(self, folder: Path, source: Path):
        shutil.copytree(source, folder, symlinks=True)
        self.folder, self.environment, self.output = folder, environment_of(folder), ""

    def run(
        self,
        *command: str,
        prepare: Callable | None = None,
        meanwhile: Callable[[subprocess.Popen], object] | None = None,
        **environment,
    ) -> int:
        """Run a command, add its output to ``output``, and return its exit code.

        Args:
            command: The command and its arguments.
            prepare: Called in the new process before the command.
            meanwhile: Called with the process while it runs.
            environment: More environment variables; None removes one.
        """
        assert sys.platform != "win32"  # `main` refuses it
        changed = self.environment | environment
        with subprocess.Popen(
            command, cwd=self.folder, env={name: value for name, value in changed.items() if value is not None},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, preexec_fn=prepare,
        ) as process:  # fmt: skip
            if meanwhile is not None:
                meanwhile(process)
            try:
                output, _ = process.communicate(timeout=600)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        self.output += output
        return process.returncode

    def repro(self, *arguments: str, **options) -> int:
        """Run `dvc repro`."""
        return self.run("dvc", "repro", *arguments, **options)

    def again(self) -> int:
        """Run the commands of `make repro`."""
        stages = ("common.leftovers", "params")
        return any(self.run(sys.executable, "-E", "-m", f"stages.{stage}") for stage in stages) or self.repro()

    def files(self) -> dict[str, bytes]:
        """Return the contents of all files but caches, by path."""
        names = {path.relative_to(self.folder).as_posix(): path for path in self.folder.rglob("*") if path.is_file()}
        return {name: path.read_bytes() for name, path in names.items() if not HIDDEN.search(name)}

    def without_cache(self) -> None:
        """Delete DVC's cache, so that DVC runs a stage again and does not take its earlier results."""
        shutil.rmtree(self.folder / ".dvc/cache", ignore_errors=True)


class Fault(NamedTuple):
    """A way to break a run.

    Attributes:
        name: Name in the table.
        targets: The stages, files, folders or settings to break; each try breaks the next one.
        inject: Breaks a target of the project; returns "", or a line if the injection itself shows an error.
        then: The next command.
    """

    name: str
    targets: tuple[str, ...]
    inject: Callable[[Project, str, random.Random], str]
    then: str = NEXT


def wait(process: subprocess.Popen, until: Callable[[], object]) -> object:
    """Wait for a true value of ``until`` or for the end of the process; return the value."""
    while not (value := until()) and process.poll() is None:
        time.sleep(0.01)
    return value


def end(number: int, process: subprocess.Popen) -> None:
    """Send a signal to a process and its children, if it still runs."""
    assert sys.platform != "win32"
    if process.poll() is None:
        os.killpg(process.pid, number)


def kill(number: int, seconds: dict[str, float]) -> Callable:
    """Return an injection that sends a signal to `dvc repro` and its processes, at a random moment of a stage."""

    def inject(project: Project, stage: str, choose: random.Random) -> str:
        moment = time.monotonic() + choose.uniform(0.2, seconds[stage])

        def strike(process: subprocess.Popen) -> None:
            wait(process, lambda: time.monotonic() > moment)
            end(number, process)

        project.without_cache()
        project.repro("--force", "--single-item", stage, meanwhile=strike)
        return ""

    return inject


def kill_rank(project: Project, stage: str, choose: random.Random) -> str:
    """Kill one of two processes of mpiexec. All others must end, and a line must say why."""

    killed = []

    def strike(process: subprocess.Popen) -> None:
        wait(process, lambda: len(ranks_of(process)) == 2)
        time.sleep(choose.uniform(0, 5))
        for rank in choose.sample(ranks := ranks_of(process), min(1, len(ranks))):  # none if the stage has ended
            rank.kill()
            killed.append(rank)

    project.without_cache()
    code = project.repro("--force", "--single-item", stage, meanwhile=strike, LAUNCHER="mpiexec -n 2")
    if not killed:
        return "" if code == 0 else "the stage fails without a fault"
    return "" if code and "was killed by SIGKILL" in project.output else "no line says that a process was killed"


def ranks_of(process: subprocess.Popen) -> list[psutil.Process]:
    """Return the processes of a stage that mpiexec has started, which run `python -m mpi4py`."""
    ranks = []
    with suppress(psutil.Error):  # a process has ended
        for child in psutil.Process(process.pid).children(recursive=True):
            if "mpi4py" in child.cmdline():
                ranks.append(child)
    return ranks


def change_input(project: Project, name: str, choose: random.Random) -> str:
    """Damage an input of a stage after its first epoch. The stage must fail and name the input."""

    def strike(process: subprocess.Popen) -> None:
        wait(process, (project.folder / CHECKPOINT).exists)
        damage(project, name, choose)

    project.without_cache()
    code = project.repro("--force", "--single-item", f"train@{MODEL}", meanwhile=strike)
    return "" if code and name in project.output else "no line names it"


def wrong_value(project: Project, value: str, choose: random.Random) -> str:
    """Set a wrong value in ``params.yaml``. The next run must name its key, and delete no result."""
    params, before = project.folder / "params.yaml", project.files()
    text = params.read_text()
    params.write_text(text.replace("epochs: ", f"epochs: {value} # "))
    code = project.again()
    params.write_text(text)
    if not code or "epochs" not in project.output:
        return "no line names the key"
    return "" if project.files() == before else "a result is changed"


def full_disk(project: Project, stage: str, choose: random.Random) -> str:
    """Limit the size of the files of a stage, or of DVC too, to a random number of bytes, as on a full disk.

    Python writes no bytecode meanwhile: before 3.12.8 and 3.13.1, it would leave cut files in .venv, which end later
    commands (https://github.com/python/cpython/issues/126606; ``docs/troubleshooting.md``).
    """
    assert sys.platform != "win32"
    import resource

    limit = int(2 ** choose.uniform(9, 20))
    project.without_cache()
    if choose.random() < 0.5:
        path = limited(project, f"ulimit -f {limit >> 9}")  # blocks of 512 bytes
        code, reason = project.repro("--force", "--single-item", stage, PATH=path), "File too large"
    else:
        prepare = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
        options = {"prepare": prepare, "PYTHONDONTWRITEBYTECODE": "1"}
        code, reason = project.repro("--force", "--single-item", stage, **options), "ERROR: "
    return "" if code == 0 or reason in project.output else "no line says why"


def full_file_system(project: Project, target: str, choose: random.Random) -> str:
    """Mount a small file system on a folder, so that it is full."""
    project.without_cache()
    (project.folder / target).mkdir(parents=True, exist_ok=True)
    mount = f"mount -t tmpfs -o size=4k tmpfs '{target}' && exec dvc repro --force --single-item pad@{MODEL}"
    code = project.run("unshare", "--mount", "sh", "-c", mount)
    return "" if code and "No space left" in project.output else "nothing was full"


def little_memory(project: Project, stage: str, choose: random.Random) -> str:
    """Limit the memory that a stage can reserve, but not that of DVC, to a random number of bytes."""
    limit = int(2 ** choose.uniform(26, 33))
    project.without_cache()
    code = project.repro("--force", "--single-item", stage, PATH=limited(project, f"ulimit -v {limit >> 10}"))
    return "no line says why" if code and "error: " not in project.output else ""


def limited(project: Project, command: str) -> str:
    """Return a PATH on which a stage's Python, but not DVC, runs under a limit that a shell command sets."""
    python = project.folder / ".dvc/tmp/programs/python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\n{command}\nexec "{sys.executable}" -B "$@"\n')
    python.chmod(0o755)
    return f"{python.parent}{os.pathsep}{project.environment['PATH']}"


def no_permission(project: Project, target: str, choose: random.Random) -> str:
    """Remove the permission to write a folder, or to read a file."""
    path = project.folder / target
    project.without_cache()
    before = path.stat().st_mode
    path.chmod(0o555 if path.is_dir() else 0o000)
    try:
        stage = f"{'pad' if target.startswith('data/') else 'train'}@{MODEL}"
        code = project.repro("--force", "--single-item", stage, prepare=without_privileges)
    finally:
        path.chmod(before)
    return "" if code and target.rpartition("/")[2] in project.output else "no line names it"


def without_privileges() -> None:
    """Remove root's right to read and write every file from this process and its children."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def damage_checkpoint(project: Project, target: str, choose: random.Random) -> str:
    """Kill a run after an epoch and damage its checkpoint; the next run must name the file."""
    assert sys.platform != "win32"
    name = CHECKPOINT

    def strike(process: subprocess.Popen) -> None:
        wait(process, (project.folder / name).exists)
        end(signal.SIGKILL, process)

    project.without_cache()
    project.repro("--force", "--single-item", f"train@{MODEL}", meanwhile=strike)
    if not (project.folder / name).exists():
        return "no checkpoint is left"
    damage(project, name, choose)
    project.output = ""
    if project.again():
        if name not in project.output:
            return "no line names the checkpoint"
        (project.folder / name).unlink()
    return ""


def replace_output(project: Project, name: str, choose: random.Random) -> str:
    """Replace an output by a pipe or by a link to nothing; the next run must name it."""
    assert sys.platform != "win32"
    path = project.folder / name
    path.unlink()
    os.mkfifo(path) if choose.random() < 0.5 else path.symlink_to("nowhere")
    if project.again() == 0 or name not in project.output:
        return "no line names it"
    path.unlink()
    return ""


def damage_compiled(project: Project, target: str, choose: random.Random) -> str:
    """Damage files of compiled code."""
    copy = Path(shutil.copytree(project.environment["NUMBA_CACHE_DIR"], project.folder / "__pycache__"))
    for path in choose.sample([path for path in sorted(copy.rglob("*")) if path.is_file()], 8):
        damage(project, path.relative_to(project.folder).as_posix(), choose)
    project.environment["NUMBA_CACHE_DIR"] = str(copy)
    project.without_cache()
    return "" if project.repro("--force", "--single-item", f"train@{MODEL}") == 0 else "the stage fails"


def other_times(project: Project, target: str, choose: random.Random) -> str:
    """Give all files times of another year, as from a clock that was wrong."""
    for path in project.folder.rglob("*"):
        moment = time.mktime((int(target), 1, 1, 0, 0, 0, 0, 0, 0)) + choose.uniform(0, 1e6)
        os.utime(path, (moment, moment), follow_symlinks=False)
    return ""


def shallow(project: Project, target: str, choose: random.Random) -> str:
    """Replace the project by a shallow clone of it, without its data."""
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org")
    for command in (("add", "."), ("commit", "--quiet", "--message", "Results")):
        project.run(*git, *command)
    clone = project.folder.with_name("clone")
    project.run("git", "clone", "--quiet", "--depth", "1", project.folder.as_uri(), str(clone))
    shutil.copytree(project.folder / "corpus", clone / "corpus")
    shutil.copy(project.folder / NOTES, clone / NOTES)
    project.folder, project.environment = clone, environment_of(clone)
    return ""


def damage(project: Project, name: str, choose: random.Random) -> str:
    """Flip a random bit of a file, or cut its end at a random byte."""
    path = project.folder / name
    content = bytearray(path.read_bytes())
    at = choose.randrange(len(content))
    if choose.random() < 0.5:
        content[at] ^= 1 << choose.randrange(8)
    else:
        del content[at:]
    path.chmod(0o644)
    path.write_bytes(content)
    return ""


def damage_cache(project: Project, name: str, choose: random.Random) -> str:
    """Damage the cache object of an output, and delete the output."""
    md5 = re.search(
        rf"path: {re.escape(name)}\n\s+hash: md5\n\s+md5: (\w+)\n", (project.folder / "dvc.lock").read_text()
    )
    damage(project, f".dvc/cache/files/md5/{md5[1][:2]}/{md5[1][2:]}", choose)
    (project.folder / name).unlink()
    return ""


def cut_lock(project: Project, target: str, choose: random.Random) -> str:
    """Cut `dvc.lock` and DVC's `rwlock`, and leave an unfinished file. The next run must name all three."""
    (project.folder / "dvc.lock").write_text("")
    (project.folder / ".dvc/tmp/rwlock").write_text('{"read": {')
    (project.folder / "data/raw/imdb.npz.AAAAAAAAAAAAAAAAAAAAAA.tmp").write_text("half")
    project.again()
    lines = (".dvc/tmp/rwlock: removed", "dvc.lock: restored from Git", "A.tmp: removed")
    return "" if all(line in project.output for line in lines) else "no line says what was done"


def network(project: Project, fault: str, choose: random.Random) -> str:
    """Run the download with an address that fails, and restore the right address."""
    params, yaml = project.folder / "params.yaml", YAML()
    before, values = params.read_text(), yaml.load(params)
    corpus = project.folder / "corpus"
    none = {"IMDB_SOURCE": None, "KERAS_HOME": str(project.folder / "no-cache")}
    project.without_cache()
    (project.folder / "data/raw/imdb.npz").unlink()
    with Server((corpus / "imdb.npz").read_bytes()) as server:
        values["download"] |= {"timeout": 2, "retries": 1, "deadline": 5}
        values["download"]["reviews"]["urls"] = [server.url(fault)]
        yaml.dump(values, params)
        begun = time.monotonic()
        if project.repro("--force", "--single-item", "download", **none) == 0:
            raise AssertionError("a download that failed was accepted")
        if (elapsed := time.monotonic() - begun) > 60:
            raise AssertionError(f"it took {elapsed:.0f} s to give up")
        if "error: " not in project.output or server.url(fault) not in project.output:
            raise AssertionError("no line says why")
    params.write_text(before)
    return ""


def twice(project: Project, stage: str, choose: random.Random) -> str:
    """Run two `dvc repro` at once."""
    project.without_cache()
    command = ["dvc", "repro", "--force", "--single-item", stage]
    with subprocess.Popen(
        command, cwd=project.folder, env=project.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ):
        code = project.repro("--force", "--single-item", stage)
    return "" if code == 0 or "lock" in project.output else "no line says why"


def surroundings(project: Project, target: str, choose: random.Random) -> str:
    """Run with another folder name, locale, home or umask."""
    project.without_cache()
    environment: dict[str, str | None] = {}
    match target:
        case "umask 077":
            command = ["sh", "-c", "umask 077; exec dvc repro --force --single-item pad@" + MODEL]
            return "" if project.run(*command) == 0 else "nothing helped"
        case "no home" | "a home that can't be written":
            environment = {"HOME": None if target == "no home" else "/proc"}
        case "a link to the project":
            link = project.folder.with_name("link")
            link.symlink_to(project.folder)
            code = project.run("sh", "-c", f"cd '{link}' && dvc repro --force --single-item pad@{MODEL}")
            link.unlink()
            return "" if code == 0 else "nothing helped"
        case "Turkish" | "C":
            environment = {"LC_ALL": "tr_TR.UTF-8" if target == "Turkish" else "C", "PYTHONUTF8": "0"}
        case _:
            folder = project.folder.with_name(target)
            project.folder.rename(folder)
            project.folder, project.environment = folder, environment_of(folder)
    code = project.repro("--force", "--single-item", f"pad@{MODEL}", **environment)
    return "" if code == 0 else "nothing helped"


def faults(seconds: dict[str, float], outputs: tuple[str, ...]) -> Iterator[Fault]:
    """Yield all faults, for a pipeline with these seconds of each stage and these outputs."""
    assert sys.platform != "win32"
    for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"):
        yield Fault(f"kill: {name} at a random moment of a stage", STAGES, kill(getattr(signal, name), seconds))
    if find_spec("mpi4py"):  # `make mpi`
        yield Fault("kill: SIGKILL of a process of mpiexec", (f"train@{NETWORK}", f"evaluate@{NETWORK}"), kill_rank)
    yield Fault("disk: no file may grow beyond a random size", STAGES, full_disk)
    if sys.platform == "linux" and os.geteuid() == 0:  # only root may mount
        folders = (f"data/{MODEL}", ".dvc/cache", ".dvc/tmp")
        yield Fault("disk: a file system that is full", folders, full_file_system)
    if sys.platform == "linux":  # macOS does not limit it
        yield Fault("memory: less than a stage needs", STAGES, little_memory)
        yield Fault("permission: a folder, a file", (f"data/{MODEL}", f"models/{MODEL}", "params.yaml"), no_permission)
    inputs = tuple(f"data/{MODEL}/{name}_train.npy" for name in ("x", "y", "lengths"))
    yield Fault("change: an input while a stage runs", inputs, change_input)
    yield Fault("change: a wrong value in params.yaml", ("banana", "-1", "1e999"), wrong_value)
    yield Fault("damage: a bit or the tail of an output", outputs, damage)
    pipes = tuple(
        name for name in outputs if not name.startswith(("models/", "data/parts/")) and "/history/" not in name
    )
    yield Fault("damage: a pipe or a broken link for an output", pipes, replace_output, "rm what is named, " + NEXT)
    yield Fault("damage: a checkpoint", ("",), damage_checkpoint, "rm what is named, " + NEXT)
    yield Fault("damage: compiled code", ("",), damage_compiled)
    in_git = ("data/environment.json", "data/params-checked.txt", "data/parts/")
    cached = tuple(name for name in outputs if name.startswith("data/") and not name.startswith(in_git))
    yield Fault("damage: the same of its cache object, output lost", cached, damage_cache)
    yield Fault("leftovers: cut rwlock, dvc.lock, unfinished files", ("",), cut_lock)
    yield Fault("network: 12 failures of a server", FAULTS, network)
    yield Fault("two at once", STAGES, twice)
    settings = ('sp ace\'s "q"', "naïve-日本", "umask 077", "no home", "a home that can't be written", "Turkish", "C")
    yield Fault("surroundings: folder, umask, home, locale", (*settings, "a link to the project"), surroundings)
    yield Fault("surroundings: a clock that jumps", ("1971", "2199"), other_times)
    yield Fault("surroundings: a shallow clone", ("",), shallow)


def survives(project: Project, fault: Fault, target: str, expected: dict[str, bytes], choose: random.Random) -> str:
    """Inject a fault and run the next command; return "" if the project survives, or else the first difference."""
    notes = project.folder / NOTES
    notes.write_text("mine")
    try:
        if problem := fault.inject(project, target, choose):
            return f"{problem}: {_last(project.output)}"
        stopped, before = any(project.folder.glob(".checkpoints/*.npz")), len(project.output)
        if project.again():
            return f"the next command fails: {_last(project.output)}"
    except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    later = project.output[before:]
    if stopped and "resuming after epoch" not in later:
        return f"the training has not gone on after its last epoch: {_last(later)}"
    files = project.files()
    if files.pop(NOTES, b"") != b"mine":
        return "a file of the user is lost"
    if "Traceback" in project.output:
        return f"a traceback: {_last(project.output)}"
    wrong = sorted(name for name in files.keys() | expected.keys() if files.get(name) != expected.get(name))
    return f"{wrong[0]} differs from the run without a fault" if wrong else ""


def _last(output: str) -> str:
    """Return the last line that names an error, or the last line."""
    lines = [line for line in output.splitlines() if "rror" in line] or output.splitlines() or [""]
    return lines[-1].strip()[:160]


def prepare(folder: Path, reviews: int) -> tuple[dict[str, float], dict[str, bytes]]:
    """Run the pipeline without a fault in a folder; return the seconds of each stage, and the files."""
    write_project(folder, reviews)
    params, yaml = folder / "params.yaml", YAML()
    values = yaml.load(params)
    values["models"] = {model: values["models"][model] for model in (MODEL, NETWORK)}
    yaml.dump(values, params)
    environment, seconds = environment_of(folder), {}
    for stage in STAGES:
        begun = time.monotonic()
        subprocess.run(["dvc", "repro", "--quiet", "--single-item", stage], cwd=folder, env=environment, check=True)
        seconds[stage] = time.monotonic() - begun
    # An incomplete dvc.lock is restored from Git. Without Git's copy, its stages could end up in another order.
    subprocess.run(["git", "add", "dvc.lock"], cwd=folder, env=environment, check=True)
    reference = Project.__new__(Project)
    reference.folder = folder
    return seconds, reference.files()


def main() -> int:
    """Print the table; return 1 if the project did not survive a fault."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--tries", type=int, default=1, help="tries of each fault, each with the next target; 1 by default"
    )
    parser.add_argument("--only", default="", help="beginning of the names of faults to try; several, comma-separated")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random moments, sizes and bits")
    options = parser.parse_args()
    if sys.platform == "win32":
        parser.error("expected a system with POSIX signals and limits; there are none on Windows")
    for number in (signal.SIGINT, signal.SIGHUP):  # nohup and background jobs ignore them, and so would all children
        signal.signal(number, signal.default_int_handler)
    choose, lost = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as scratch:
        seconds, expected = prepare(Path(scratch, "reference"), 300)
        outputs = tuple(name for name in expected if name.startswith(("data/", "metrics/", "models/", "plots/")))
        outputs = tuple(name for name in outputs if not name.endswith(".gitignore") and expected[name])
        print(f"{'fault':52}  tries  survived  then", flush=True)
        for fault in faults(seconds, outputs):
            if not fault.name.startswith(tuple(options.only.split(","))):
                continue
            targets = choose.sample(fault.targets, len(fault.targets))
            failures = []
            for number in range(options.tries):
                target = targets[number % len(targets)]
                with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder:
                    project = Project(Path(folder, "project"), Path(scratch, "reference"))
                    if wrong := survives(project, fault, target, expected, choose):
                        failures.append(f"{target}: {wrong}")
            lost += len(failures)
            print(f"{fault.name:52}  {options.tries:5}  {options.tries - len(failures):8}  {fault.then}", flush=True)
            for failure in failures:
                print(f"    {failure}", flush=True)
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
