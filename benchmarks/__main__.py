"""`make bench`: one table of this project against its peers, taking turns in one run on one machine.

Needs the arrays of `make repro` and, in IMDB_SOURCE, the raw data. Every figure is a median of rounds in which each
contender runs once; the ratios, in brackets, are what counts, the times are this machine's.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sentiment import InputError
from stages.params import Model, read

ROOT = Path(__file__).parents[1]
PUBLISHED = "small"  # the model of the published script
PYTORCH = ROOT / ".venv-bench/bin/python"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
CONTENDERS = {
    "ours": "this project",
    "keras fit": "Keras",
    "keras jit_compile": "Keras with `jit_compile`",
    "pytorch": "PyTorch",
    "floor": "the FLOPs at the best matrix product's pace",
}


class Contender:
    """A process of benchmarks/contenders.py, warm and waiting."""

    def __init__(self, name: str, task: str):
        python = PYTORCH if name == "pytorch" else Path(sys.executable)
        self.name = name
        self.process = subprocess.Popen(
            [python, ROOT / "benchmarks/contenders.py", name, task],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip
        self.answer()

    def answer(self) -> str:
        """The next line it prints."""
        if line := self.process.stdout.readline():
            return line
        sys.exit(f"error: {self.name} ended with exit code {self.process.wait()}; its own error is above")

    def time(self, task: str) -> float:
        """Seconds per step of "train", or per review of "predict"."""
        time.sleep(0.3)  # the threads of the one before may spin for a while, waiting for more
        self.process.stdin.write(f"{task}\n")
        self.process.stdin.flush()
        return float(self.answer())

    def stop(self) -> None:
        """End the process."""
        self.process.communicate()


def described(name: str, model: Model) -> str:
    """A model of params.yaml as the contenders take it."""
    layers = model.network.model_dump(exclude={"bidirectional", "average"})
    return json.dumps({"model": name, **model.pad.model_dump(), **layers, "batch": model.train.batch})


def steps(model: str, task: str, rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of each contender and task, the contenders taking turns."""
    contenders = {name: Contender(name, task) for name in CONTENDERS if name != "pytorch" or PYTORCH.exists()}
    times = {task: {name: [] for name in contenders} for task in ("train", "predict")}
    for number in range(rounds):
        print(f"\r{model}: round {number + 1} of {rounds}", end="", file=sys.stderr)
        for task, lists in times.items():
            for name, contender in contenders.items():
                lists[name].append(contender.time(task))
    print(file=sys.stderr)
    for contender in contenders.values():
        contender.stop()
    return {task: {name: statistics.median(values) for name, values in lists.items()} for task, lists in times.items()}


def seconds(command: list, **options) -> float:
    """How long a command takes; its failure ends the benchmark with its output."""
    start = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if run.returncode:
        sys.exit(f"error: {' '.join(map(str, command))} failed:\n{run.stdout}{run.stderr}")
    return time.perf_counter() - start


def end_to_end(rounds: int) -> dict[str, float]:
    """Median seconds of whole commands, from process start to end: `dvc repro` twice, and the published script."""
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    source = {"IMDB_SOURCE": str(Path(os.environ["IMDB_SOURCE"]).resolve())}
    times = {"ours": [], "keras fit": [], "nothing": []}
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch, "project")
        subprocess.run(["git", "clone", "--quiet", ROOT, project], check=True)
        cold = {"cwd": project, "env": ENVIRONMENT | path | source}
        for number in range(rounds):
            print(f"\rwhole commands: round {number + 1} of {rounds}", end="", file=sys.stderr)
            subprocess.run(["git", "clean", "-ffdxq"], cwd=project, check=True)
            shutil.rmtree(project / ".dvc/cache", ignore_errors=True)
            times["ours"].append(seconds(["dvc", "repro", f"evaluate@{PUBLISHED}"], **cold))
            times["nothing"].append(seconds(["dvc", "repro", f"evaluate@{PUBLISHED}"], **cold))
            script = [sys.executable, ROOT / "benchmarks/published.py", source["IMDB_SOURCE"]]
            times["keras fit"].append(seconds(script, env=ENVIRONMENT))
    print(file=sys.stderr)
    return {name: statistics.median(values) for name, values in times.items()}


def padding(rounds: int, model: Model) -> dict[str, float]:
    """Median seconds of reading and padding both splits, in one process, taking turns with Keras."""
    numbers = map(str, (rounds, model.pad.max_length, model.pad.vocabulary))
    code = [sys.executable, ROOT / "benchmarks/padding.py", os.environ["IMDB_SOURCE"], *numbers]
    run = subprocess.run(code, capture_output=True, text=True, check=True, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)})
    ours, keras = map(float, run.stdout.split())
    return {"ours": ours, "keras fit": keras}


def row(title: str, times: dict[str, float], form: Callable[[float], str]) -> str:
    """A line of the table: each contender's figure and how many times our time it takes."""
    ours = times["ours"]
    cells = [f"{form(times[name])} ({times[name] / ours:.2f})" if name in times else "" for name in CONTENDERS]
    return f"| {title} | {' | '.join(cells)} |"


def comparable(model: Model) -> bool:
    """Whether the contenders have the model's network: the plain one."""
    return not (model.network.bidirectional or model.network.average) and model.train.engine == "compiled"


def main(rounds: int) -> None:
    """Run all and print the table.

    Raises:
        InputError: Something that is needed is not there.
    """
    if not os.environ.get("IMDB_SOURCE"):
        raise InputError("IMDB_SOURCE is not set; name the folder of the raw data")
    models = {name: model for name, model in read().models.items() if comparable(model)}
    if missing := [name for name in models if not (ROOT / "data" / name / "x_train.npy").exists()]:
        raise InputError(f"data/{missing[0]}/x_train.npy is missing; `make repro` makes it")
    rows = [f"| times ours in brackets | {' | '.join(CONTENDERS.values())} |", f"|---|{'---|' * len(CONTENDERS)}"]
    for name, model in models.items():
        times = steps(name, described(name, model), rounds)
        step = f"`{name}`: a training step of {model.train.batch}"
        rows.append(row(step, times["train"], lambda second: f"{second * 1e3:.2f} ms"))
        rows.append(row(f"`{name}`: prediction", times["predict"], lambda second: f"{1 / second:,.0f} reviews/s"))
    longest = max(models, key=lambda name: models[name].pad.max_length)
    rows.append(row(f"both splits of `{longest}` padded", padding(rounds, models[longest]), "{:.2f} s".format))
    times = end_to_end(3)
    rows.append(row(f"`{PUBLISHED}`: `dvc repro` from nothing, the published script", times, "{:.2f} s".format))
    rows.append(row(f"`{PUBLISHED}`: `dvc repro` again", {"ours": times["nothing"]}, "{:.2f} s".format))
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {rounds} rounds\n", *rows, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    try:
        main(parser.parse_args().rounds)
    except InputError as error:
        sys.exit(f"error: {error}")
