"""`make bench`: tables of the speed of this project and of other libraries, which run in turns on one machine.

Needs the arrays of `make repro` and, in IMDB_SOURCE, the raw data. Every number is a median over rounds in which each
contender runs once. The ratios, in brackets, can be compared between machines; the times can't.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.cases import CASES, Sizes, build
from benchmarks.contenders import Task
from sentiment import InputError, load
from sentiment.data.padding import FIRST_WORD, UNKNOWN
from sentiment.keras import archive
from sentiment.keras.backend import keras
from sentiment.kinds import cnn_lstm
from sentiment.model import BATCH
from sentiment.schema import ModelSettings
from stages.params import read

ROOT = Path(__file__).parents[1]
PUBLISHED = "small"  # the model of the published script
PEERS = ROOT / ".venv-bench" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")  # has PyTorch and the like
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
CONTENDERS = {
    "ours": "this project",
    "keras fit": "Keras",
    "keras jit_compile": "Keras with `jit_compile`",
    "keras on jax": "Keras on JAX",
    "jax": "JAX, `jit` and `scan`",
    "pytorch": "PyTorch",
    "pytorch compiled": "PyTorch with `torch.compile`",
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "floor": "the FLOPs at the speed of the best matrix product",
}
COMMANDS = {
    "cold": "`dvc repro` from nothing, the published script",
    "warm": "the same, kernels compiled before",
    "again": "`dvc repro` again",
    "gate": "`make gate`",
    "predict first": "`make predict` for the first time",
    "predict": "`make predict` again",
}
BY_PEERS = ("keras on jax", "jax", "pytorch", "pytorch compiled", "openvino", "onnxruntime")
ANY_NETWORK = ("ours", "keras fit", "keras on jax")  # the others only have code for the plain CNN-LSTM


class Contender:
    """A process of benchmarks/contenders.py, which has warmed up and waits for requests."""

    def __init__(self, name: str, task: Task):
        python = PEERS if name in BY_PEERS else Path(sys.executable)
        self.name = name
        self.process = subprocess.Popen(
            [python, ROOT / "benchmarks/contenders.py", name, json.dumps(task._asdict())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
            start_new_session=True,  # Ctrl-C reaches only this process; the other ends when its input ends
        )  # fmt: skip
        self.kinds = json.loads(self.answer())
        if isinstance(self.kinds, str):
            print(f"{CONTENDERS[name]} is left out: {self.kinds}", file=sys.stderr)
            self.kinds = []

    def answer(self) -> str:
        """Return the next line that the process prints."""
        if line := self.process.stdout.readline():
            return line
        sys.exit(f"error: {self.name} ended with exit code {self.process.wait()}; its own error is above")

    def time(self, task: str) -> float:
        """Measure a task: seconds per step of "train", per review of "predict", or per single review of "one"."""
        time.sleep(0.3)  # threads of the previous contender may spin for a while
        self.process.stdin.write(f"{task}\n")
        self.process.stdin.flush()
        return float(self.answer())

    def stop(self) -> None:
        """End the process."""
        self.process.communicate()


def tasks(models: dict[str, ModelSettings]) -> dict[str, Task]:
    """Return the tasks by title: each model, and each case of the blocks at the sizes of the longest model."""
    tasks = {}
    for name, model in models.items():
        keys, layers = model.pad.model_dump() | model.architecture.model_dump(), model.architecture
        plain = layers.dense and not layers.bidirectional and layers.over_time == "last"
        sizes = {key: value for key, value in keys.items() if type(value) in (int, float)} if plain else None
        tasks[f"`{name}`"] = Task(name, cnn_lstm.build(model.pad, layers, keras).to_json(), model.train.batch, sizes)
    longest = max(models, key=lambda name: models[name].pad.max_length)
    keys = models[longest].pad.model_dump() | models[longest].architecture.model_dump()
    # A model without a dense layer has no size of it.
    sizes = Sizes(**{key: keys[key] or Sizes().dense for key in Sizes._fields if key in keys})
    return tasks | {
        f"{case}, sizes of `{longest}`": Task(longest, build(case, sizes).to_json(), models[longest].train.batch)
        for case in CASES
    }


def steps(title: str, task: Task, rounds: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each contender for each kind of work; the contenders take turns."""
    names = [name for name in CONTENDERS if task.sizes or name in ANY_NETWORK]
    contenders = {name: Contender(name, task) for name in names if name not in BY_PEERS or PEERS.exists()}
    times = {
        kind: {name: [] for name, contender in contenders.items() if kind in contender.kinds}
        for kind in ("train", "predict", "one")
    }
    for number in range(rounds):
        print(f"\r{title}: round {number + 1} of {rounds}", end="", file=sys.stderr)
        for kind, lists in times.items():
            for name, measured in lists.items():
                measured.append(contenders[name].time(kind))
    print(file=sys.stderr)
    for contender in contenders.values():
        contender.stop()
    return {kind: {name: statistics.median(values) for name, values in lists.items()} for kind, lists in times.items()}


def seconds(command: list, **options) -> float:
    """Return the seconds that a command takes. If it fails, print its output and exit."""
    start = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if run.returncode:
        sys.exit(f"error: {' '.join(map(str, command))} failed:\n{run.stdout}{run.stderr}")
    return time.perf_counter() - start


def end_to_end(rounds: int) -> dict[str, list[float]]:
    """Seconds of whole commands in each round, by title, from process start to end.

    They run in a clone of the last commit. The second `dvc repro` finds the compiled kernels of the first one, and
    nothing else. An interruption ends the rounds.
    """
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    source = str(Path(os.environ["IMDB_SOURCE"]).resolve())
    repro = ["dvc", "repro", f"evaluate@{PUBLISHED}"]
    predict = [sys.executable, "-m", "sentiment", "--model", PUBLISHED, "--", "A wonderful film"]
    script = [sys.executable, ROOT / "benchmarks/published.py", source]
    times = {title: [] for title in ("cold", "again", "gate", "predict first", "predict", "warm", "script")}
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch, "project")
        subprocess.run(["git", "clone", "--quiet", ROOT, project], check=True)
        options = {"cwd": project, "env": ENVIRONMENT | path | {"IMDB_SOURCE": source}}
        options["env"].pop("NUMBA_CACHE_DIR", None)  # otherwise the first run would find compiled kernels

        def clean(*kept: str) -> None:
            subprocess.run(["git", "clean", "-ffdxq", *(f"--exclude={name}" for name in kept)], cwd=project, check=True)
            shutil.rmtree(project / ".dvc/cache", ignore_errors=True)

        try:
            for number in range(rounds):
                print(f"\rwhole commands: round {number + 1} of {rounds}", end="", file=sys.stderr)
                clean()
                times["cold"].append(seconds(repro, **options))
                times["again"].append(seconds(repro, **options))
                times["gate"].append(seconds([sys.executable, "-m", "checks.gate"], **options))
                times["predict first"].append(seconds(predict, **options))
                times["predict"].append(seconds(predict, **options))
                clean("__pycache__")
                times["warm"].append(seconds(repro, **options))
                times["script"].append(seconds(script, env=ENVIRONMENT))
        except KeyboardInterrupt:
            print(f"\ninterrupted in round {number + 1}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return times


def padding(rounds: int, model: ModelSettings) -> dict[str, float]:
    """Return the median seconds of reading and padding both splits, in one process, in turns with Keras."""
    numbers = map(str, (rounds, model.pad.max_length, model.pad.vocabulary))
    code = [sys.executable, ROOT / "benchmarks/padding.py", os.environ["IMDB_SOURCE"], *numbers]
    run = subprocess.run(code, capture_output=True, text=True, check=True, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)})
    ours, keras = map(float, run.stdout.split())
    return {"ours": ours, "keras fit": keras}


def text_to_answer(model: str, rounds: int) -> dict[str, float]:
    """Return the median seconds per review from text to probability, in turns with Keras, which starts from the ids."""
    folder, ids = ROOT / "models" / model, np.load(ROOT / "data" / model / "x_train.npy")
    ours, keras = load(folder), archive.unpack((folder / cnn_lstm.FILE).read_bytes())
    rare = max(ours.index, key=ours.index.get)  # a word beyond the vocabulary
    word = {rank + FIRST_WORD: word for word, rank in ours.index.items()} | {UNKNOWN: rare}
    texts = [" ".join(word[id] for id in row if id in word) for row in ids.tolist()]
    contenders = {
        "ours": lambda: ours.predict(texts),
        "keras fit": lambda: keras.predict(ids.astype("i4"), BATCH, verbose=0),
    }
    times = {name: [] for name in contenders}
    for _ in range(1 + rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) / len(texts))
    return {name: statistics.median(values[1:]) for name, values in times.items()}  # the first round warms up


def per_second(seconds: float) -> str:
    """Format seconds per review as reviews per second."""
    return f"{1 / seconds:,.0f} reviews/s"


def row(title: str, times: dict[str, float], form: Callable[[float], str]) -> str:
    """Return a line of the table: the time of each contender, and its ratio to the time of this project."""
    ours = times["ours"]
    cells = [f"{form(times[name])} ({times[name] / ours:.2f})" if name in times else "" for name in CONTENDERS]
    return f"| {title} | {' | '.join(cells)} |"


def main(rounds: int, rows: str) -> None:
    """Measure the row named ``rows``, or all rows if it is empty, and print each line of the table.

    Raises:
        InputError: An input is missing, or no row has this name.
    """
    if not os.environ.get("IMDB_SOURCE"):
        raise InputError("IMDB_SOURCE is not set; name the folder of the raw data")
    models = {
        name: model
        for name, model in read().models.items()
        if (model.architecture.kind, model.train.engine) == ("cnn_lstm", "compiled")
    }
    if missing := [name for name in models if not (ROOT / "data" / name / "x_train.npy").exists()]:
        raise InputError(f"data/{missing[0]}/x_train.npy is missing; `make repro` makes it")
    longest = max(models, key=lambda name: models[name].pad.max_length)

    def show(title: str, times: dict[str, float], form: Callable[[float], str]) -> None:
        print(row(title, times, form), flush=True)

    def measure(title: str, task: Task) -> None:
        times = steps(title, task, rounds)
        show(f"{title}: train", times["train"], lambda second: f"{second * 1e3:.2f} ms")
        show(f"{title}: predict", times["predict"], per_second)
        show(f"{title}: one review", times["one"], lambda second: f"{second * 1e6:,.0f} us")

    def whole_commands(title: str) -> None:
        times = {name: statistics.median(values) for name, values in end_to_end(min(rounds, 3)).items() if values}
        for name, command in COMMANDS.items():
            if name in times:
                beside = {"keras fit": times["script"]} if name in ("cold", "warm") and "script" in times else {}
                show(f"{title}: {command}", {"ours": times[name]} | beside, "{:.2f} s".format)

    parts = {
        title.replace("`", "").partition(", sizes of")[0]: partial(measure, title, task)
        for title, task in tasks(models).items()
    } | {
        "padding": lambda: show(
            f"both splits of `{longest}` padded", padding(rounds, models[longest]), "{:.2f} s".format
        ),
        "text": lambda: show(
            f"`{PUBLISHED}`: from text, Keras from its ids", text_to_answer(PUBLISHED, rounds), per_second
        ),
        "commands": lambda: whole_commands(f"`{PUBLISHED}`"),
    }
    names = [name.strip() for name in rows.split(";")] if rows else [*parts]
    if unknown := [name for name in names if name not in parts]:
        raise InputError(f"ROWS: expected some of {'; '.join(parts)}, separated by `;`, got {unknown[0]!r}")
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    print(f"{platform.machine()}, {cores} cores, {rounds} rounds\n")
    print(f"| a step of training, prediction; times ours in brackets | {' | '.join(CONTENDERS.values())} |")
    print(f"|---|{'---|' * len(CONTENDERS)}", flush=True)
    for name in names:
        parts[name]()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--rows", default="", help="models, cases, padding, text, commands, separated by `;`; all by default"
    )
    options = parser.parse_args()
    try:
        main(options.rounds, options.rows)
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
