"""Measurement of the noise of the metrics between seeds, written to metrics/noise/<name>.json.

`python -m benchmarks.noise small --seeds 5`, or `make noise MODEL=small`, trains with several seeds. With `--engine
keras` the file is small.keras.json. The processes of a LAUNCHER share the runs. Finished runs are kept in
.checkpoints/noise until all are finished.

The result shows how large a difference between two models or versions must be to exceed the noise. It is not used to
choose a seed, parameter or model.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML
from scipy import stats

from benchmarks.sweep import sweep
from checks.scratch import checkout, command, repository
from sentiment import InputError
from sentiment.engine import shards
from sentiment.schema import Engine
from sentiment.scoring import METRICS
from sentiment.training import DECIMALS
from stages.common import launcher
from stages.common.files import write_json
from stages.params import get_section, parse, read


def metrics_by_seed(name: str, seeds: range, engine: str | None = None) -> tuple[list[dict[str, float]], Path]:
    """Train a model of the current commit with each of the seeds in a scratch folder.

    ``engine`` replaces the model's own engine, unless it is None.

    Returns:
        The metrics of each seed, and the folder in which they are kept.

    Raises:
        InputError: There is no such model, or a stage failed.
    """
    with checkout() as scratch:
        (scratch.folder / "dvc.lock").unlink(missing_ok=True)  # so that DVC runs the stages again
        scratch.environment.pop(launcher.NAME, None)  # each run is one process
        yaml, path = YAML(), scratch.folder / "params.yaml"
        params = yaml.load(path)
        values = get_section(params["models"], "model", name)
        if engine is not None:
            values["train"]["engine"] = engine
            yaml.dump(params, path)
            parse(path.read_text(encoding="utf-8"))

        def make(seed):
            values["train"]["seed"] = seed
            yaml.dump(params, path)
            scratch.repro(f"evaluate@{name}")
            return json.loads((scratch.folder / "metrics" / f"{name}.json").read_text())

        folder = kept(scratch.commit, name, engine)
        return sweep(seeds, make, folder), folder


def kept(commit: str, name: str, engine: str | None) -> Path:
    """Return the folder of the finished runs of a commit."""
    return repository() / ".checkpoints/noise" / commit[:12] / _file_name(name, engine)


def spread(values: list[float], least: float = -np.inf, most: float = np.inf) -> dict[str, float]:
    """Return mean, sample standard deviation (n - 1), and a 95% prediction interval, ``low`` to ``high``, of one run.

    Args:
        values: The value of each run.
        least: The smallest possible value, which limits the interval.
        most: The largest possible value.

    The interval is mean +- t(0.975, n - 1) * std * sqrt(1 + 1 / n), with Student's t. It is wider than the confidence
    interval of the mean (G. Hahn and W. Meeker, Statistical Intervals, 1991, chapter 4).

    >>> spread([1.0, 2.0, 3.0])
    {'mean': 2.0, 'std': 1.0, 'low': -2.968275, 'high': 6.968275}
    >>> spread([1.0, 2.0, 3.0], least=0)["low"]
    0.0
    """
    n, mean, std = len(values), np.mean(values), np.std(values, ddof=1)
    half = stats.t.ppf(0.975, n - 1) * std * np.sqrt(1 + 1 / n)
    figures = {"mean": mean, "std": std, "low": max(mean - half, least), "high": min(mean + half, most)}
    return {name: round(float(value), DECIMALS) for name, value in figures.items()}


def written(name: str, engine: str | None) -> Path:
    """Return the path, from the root, of the file with the noise of a model's metrics."""
    return Path("metrics/noise") / f"{_file_name(name, engine)}.json"


def check_fewer(name: str, engine: str | None, seeds: int) -> None:
    """Check that the file has no results of more seeds.

    Raises:
        InputError: The file has results of more seeds.
    """
    file = repository() / written(name, engine)
    measured = len(json.loads(file.read_text(encoding="utf-8"))["seeds"]) if file.exists() else 0
    if measured > seeds:
        raise InputError(
            f"seeds: expected at least the {measured} that {written(name, engine).as_posix()} has, got {seeds}; "
            "`git rm` the file to start over"
        )


def _file_name(name: str, engine: str | None) -> str:
    return f"{name}.{engine}" if engine else name


def main() -> int:
    """Measure the noise, write the file and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", help="a model in params.yaml")
    parser.add_argument("--seeds", type=int, default=5, help="number of runs, with seeds 1, 2, ...; 5 by default")
    parser.add_argument("--first", type=int, default=1, help="first seed; from 2 on, the runs are only kept")
    parser.add_argument("--engine", choices=Engine.__args__, help="engine to train with; that of the model by default")
    arguments = parser.parse_args()
    name, engine, seeds = arguments.name, arguments.engine, range(arguments.first, arguments.seeds + 1)
    if name is None:
        names = [*read().models]
        raise InputError(f"name: expected one of {', '.join(names)}, got none; `make noise MODEL={names[0]}`")
    if arguments.seeds < 2:
        raise InputError(
            f"seeds: expected at least 2, because one run has no standard deviation, got {arguments.seeds}"
        )
    if not 1 <= arguments.first <= arguments.seeds:
        raise InputError(f"first: expected a seed from 1 to {arguments.seeds}, got {arguments.first}")
    check_fewer(name, engine, arguments.seeds)
    if launcher.launch():
        return 0
    runs, folder = metrics_by_seed(name, seeds, engine)
    if shards.processes().rank:  # the first process writes
        return 0
    if arguments.first > 1:
        print(f"kept in {folder.relative_to(repository())}: copy this folder to the machine that measures from seed 1")
        return 0
    spreads = {
        name: spread([run[name] for run in runs], metric.lowest, metric.highest) for name, metric in METRICS.items()
    }
    file = written(name, engine)
    write_json(repository() / file, {"seeds": [*seeds], **spreads})
    shutil.rmtree(folder)
    for metric, values in spreads.items():
        print(f"{metric:9} {values['mean']:.6f} +- {values['std']:.6f}, one run in {values['low']} to {values['high']}")
    print(f"wrote {file.as_posix()}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    command(main, InputError)
