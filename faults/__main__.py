"""Break `dvc repro` in many ways, run the next obvious command, and compare every byte with an undisturbed run.

A fault survives if that command ends well, all results are those of the undisturbed run, nothing of the user's is lost,
nothing is left behind, and no traceback was shown meanwhile.
"""

import argparse
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
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML

from demo.project import environment_of, write_project
from faults.server import FAULTS, Server

MODEL = "nb-adam"
STAGES = ("params", "download", "environment", *(f"{stage}@{MODEL}" for stage in ("pad", "train", "evaluate")))
HIDDEN = re.compile(r"(^|/)(\.git|\.dvc|__pycache__|corpus|\.checkpoints)/|^params\.yaml$|\.pyc$")
NOTES = "data/notes of mine.txt"
NEXT = "make repro"


class Project:
    """A copy of the finished project in a folder of its own, in which one fault happens."""

    def __init__(self, folder: Path, source: Path):
        shutil.copytree(source, folder, symlinks=True)
        self.folder, self.environment, self.said = folder, environment_of(folder), ""

    def run(self, *command: str, limit: int | None = None, stop: tuple[int, float] | None = None, **environment) -> int:
        """Run a command to its end, or till a signal after some seconds; what it says is kept. The exit code.

        Args:
            command: The command.
            limit: Bytes that a file may have.
            stop: A signal, and the seconds before all processes get it.
            environment: More environment variables; None removes one.
        """
        assert sys.platform != "win32"  # as `main` says
        import resource

        changed = self.environment | environment
        prepare = None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with subprocess.Popen(
            command, cwd=self.folder, env={name: value for name, value in changed.items() if value is not None},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, preexec_fn=prepare,
        ) as process:  # fmt: skip
            if stop is not None:
                time.sleep(stop[1])
                if process.poll() is None:
                    os.killpg(process.pid, stop[0])
            said, _ = process.communicate(timeout=600)
        self.said += said
        return process.returncode

    def repro(self, *arguments: str, **options) -> int:
        """`dvc repro`."""
        return self.run("dvc", "repro", *arguments, **options)

    def again(self) -> int:
        """Run the commands of `make repro`."""
        return self.run(sys.executable, "-E", "-m", "stages.common.leftovers") or self.repro()

    def files(self) -> dict[str, bytes]:
        """Everything in it but caches, by path."""
        names = {path.relative_to(self.folder).as_posix(): path for path in self.folder.rglob("*") if path.is_file()}
        return {name: path.read_bytes() for name, path in names.items() if not HIDDEN.search(name)}

    def without_run_cache(self) -> None:
        """Make DVC run a stage that it has run before."""
        shutil.rmtree(self.folder / ".dvc/cache/runs", ignore_errors=True)


class Fault(NamedTuple):
    """A way to break a run.

    Attributes:
        name: In the table.
        places: Where, one a try, in turn.
        inject: Breaks the project at a place; what the user must do besides the next command, or "".
    """

    name: str
    places: tuple[str, ...]
    inject: Callable[[Project, str, random.Random], str]


def kill(number: int, seconds: dict[str, float]) -> Callable:
    """Send a signal to `dvc repro` and all that it started, at a random moment of a stage."""

    def inject(project: Project, stage: str, choose: random.Random) -> str:
        project.without_run_cache()
        project.repro("--force", "--single-item", stage, stop=(number, choose.uniform(0.2, seconds[stage])))
        return ""

    return inject


def full_disk(project: Project, stage: str, choose: random.Random) -> str:
    """No file may grow beyond a random size, as on a full disk."""
    project.without_run_cache()
    project.repro("--force", "--single-item", stage, limit=int(2 ** choose.uniform(0, 18)))
    return ""


def damage(project: Project, name: str, choose: random.Random) -> str:
    """Flip a bit of a file, or cut its tail."""
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
    """Damage the cache object of an output, which is lost, too."""
    md5 = re.search(
        rf"path: {re.escape(name)}\n\s+hash: md5\n\s+md5: (\w+)\n", (project.folder / "dvc.lock").read_text()
    )
    damage(project, f".dvc/cache/files/md5/{md5[1][:2]}/{md5[1][2:]}", choose)
    (project.folder / name).unlink()
    return ""


def cut_lock(project: Project, place: str, choose: random.Random) -> str:
    """The lock of DVC and its record, and files that it had not finished."""
    (project.folder / "dvc.lock").write_text("")
    (project.folder / ".dvc/tmp/rwlock").write_text('{"read": {')
    (project.folder / "data/raw/imdb.npz.AAAAAAAAAAAAAAAAAAAAAA.tmp").write_text("half")
    return ""


def network(project: Project, fault: str, choose: random.Random) -> str:
    """The address of the reviews fails; then it is right again."""
    params, yaml = project.folder / "params.yaml", YAML()
    before, values = params.read_text(), yaml.load(params)
    corpus = project.folder / "corpus"
    none = {"IMDB_SOURCE": None, "KERAS_HOME": str(project.folder / "no-cache")}
    shutil.rmtree(project.folder / ".dvc/cache/files")
    project.without_run_cache()
    (project.folder / "data/raw/imdb.npz").unlink()
    with Server((corpus / "imdb.npz").read_bytes()) as server:
        values["download"] |= {"timeout": 2, "retries": 1, "deadline": 5}
        values["download"]["reviews"]["urls"] = [server.url(fault)]
        yaml.dump(values, params)
        begun = time.monotonic()
        if project.repro("--force", "--single-item", "download", **none) == 0:
            raise AssertionError("a source that failed was taken")
        if (elapsed := time.monotonic() - begun) > 60:
            raise AssertionError(f"it took {elapsed:.0f} s to give up")
        if "error: " not in project.said:
            raise AssertionError("no line says why")
    params.write_text(before)
    return ""


def twice(project: Project, stage: str, choose: random.Random) -> str:
    """Two `dvc repro` at once."""
    project.without_run_cache()
    command = ["dvc", "repro", "--force", "--single-item", stage]
    with subprocess.Popen(
        command, cwd=project.folder, env=project.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ):
        project.repro("--force", "--single-item", stage)
    return ""


def surroundings(project: Project, place: str, choose: random.Random) -> str:
    """Another folder name, locale, home or umask."""
    project.without_run_cache()
    environment: dict[str, str | None] = {}
    match place:
        case "umask 077":
            command = ["sh", "-c", "umask 077; exec dvc repro --force --single-item pad@" + MODEL]
            return "" if project.run(*command) == 0 else "nothing helped"
        case "no home" | "a home that can't be written":
            environment = {"HOME": None if place == "no home" else "/proc"}
        case "a link to the project":
            link = project.folder.with_name("link")
            link.symlink_to(project.folder)
            code = project.run("sh", "-c", f"cd '{link}' && dvc repro --force --single-item pad@{MODEL}")
            link.unlink()
            return "" if code == 0 else "nothing helped"
        case "Turkish" | "C":
            environment = {"LC_ALL": "tr_TR.UTF-8" if place == "Turkish" else "C", "PYTHONUTF8": "0"}
        case _:
            moved = project.folder.with_name(place)
            project.folder.rename(moved)
            project.folder, project.environment = moved, environment_of(moved)
    code = project.repro("--force", "--single-item", f"pad@{MODEL}", **environment)
    return "" if code == 0 else "nothing helped"


def faults(seconds: dict[str, float], outputs: tuple[str, ...]) -> Iterator[Fault]:
    """All faults, by the seconds that each stage takes and the outputs there are."""
    for name in ("SIGKILL", "SIGTERM", "SIGINT"):
        yield Fault(f"kill: {name} at a random moment of a stage", STAGES, kill(getattr(signal, name), seconds))
    yield Fault("disk: no file may grow beyond a random size", STAGES, full_disk)
    yield Fault("damage: a bit or the tail of an output", outputs, damage)
    cached = tuple(name for name in outputs if name.startswith("data/") and name != "data/environment.json")
    yield Fault("damage: the same of its cache object, output lost", cached, damage_cache)
    yield Fault("leftovers: cut rwlock, dvc.lock, unfinished files", ("",), cut_lock)
    yield Fault("network: 12 failures of a server", FAULTS, network)
    yield Fault("two at once", STAGES, twice)
    places = ('sp ace\'s "q"', "naïve-日本", "umask 077", "no home", "a home that can't be written", "Turkish", "C")
    yield Fault("surroundings: folder, umask, home, locale", (*places, "a link to the project"), surroundings)


def survives(project: Project, fault: Fault, place: str, expected: dict[str, bytes], choose: random.Random) -> str:
    """Inject a fault and run the next command: "" if all is as in the undisturbed run, or else what is not."""
    notes = project.folder / NOTES
    notes.write_text("mine")
    try:
        if besides := fault.inject(project, place, choose):
            return f"{besides}: {_last(project.said)}"
        if project.again():
            return f"the next command fails: {_last(project.said)}"
    except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    found = project.files()
    if found.pop(NOTES, b"") != b"mine":
        return "a file of the user's is lost"
    if "Traceback" in project.said:
        return f"a traceback: {_last(project.said)}"
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    return f"{wrong[0]} is another than without the fault" if wrong else ""


def _last(said: str) -> str:
    """The last line that names an error."""
    lines = [line for line in said.splitlines() if "rror" in line] or said.splitlines() or [""]
    return lines[-1].strip()[:160]


def prepare(folder: Path, reviews: int) -> tuple[dict[str, float], dict[str, bytes]]:
    """Run the pipeline undisturbed in a folder: the seconds of each stage, and its files."""
    write_project(folder, reviews)
    params, yaml = folder / "params.yaml", YAML()
    values = yaml.load(params)
    values["models"] = {MODEL: values["models"][MODEL]}
    yaml.dump(values, params)
    environment, seconds = environment_of(folder), {}
    for stage in STAGES:
        begun = time.monotonic()
        subprocess.run(["dvc", "repro", "--quiet", "--single-item", stage], cwd=folder, env=environment, check=True)
        seconds[stage] = time.monotonic() - begun
    reference = Project.__new__(Project)
    reference.folder = folder
    return seconds, reference.files()


def main() -> int:
    """Print the table; the exit code is 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tries", type=int, default=1, help="of each fault, at its places in turn; 1 by default")
    parser.add_argument("--only", default="", help="faults whose name begins so")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments, sizes and bits")
    options = parser.parse_args()
    if sys.platform == "win32":
        parser.error("expected a system with POSIX signals and limits; there are none on Windows")
    choose, lost = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as scratch:
        seconds, expected = prepare(Path(scratch, "reference"), 300)
        outputs = tuple(name for name in expected if name.startswith(("data/", "metrics/", "models/", "plots/")))
        outputs = tuple(name for name in outputs if not name.endswith(".gitignore") and expected[name])
        print(f"{'fault':52}  tries  survived  then", flush=True)
        for fault in faults(seconds, outputs):
            if not fault.name.startswith(options.only):
                continue
            places = choose.sample(fault.places, len(fault.places))
            failures = []
            for number in range(options.tries):
                place = places[number % len(places)]
                with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder:
                    project = Project(Path(folder, "project"), Path(scratch, "reference"))
                    if wrong := survives(project, fault, place, expected, choose):
                        failures.append(f"{place}: {wrong}")
            lost += len(failures)
            print(f"{fault.name:52}  {options.tries:5}  {options.tries - len(failures):8}  {NEXT}", flush=True)
            for failure in failures:
                print(f"    {failure}", flush=True)
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
