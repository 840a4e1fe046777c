import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks.noise import spread
from checks.scratch import git
from demo.project import write_project
from sentiment.scoring import METRICS
from tests.conftest import BASELINES, MODELS, ROOT, SHOWN

MODEL, NAMES = MODELS[0], [*MODELS, *SHOWN]


def run(folder, environment, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.noise", *arguments],
        cwd=folder, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    return folder, write_project(folder, 300)


def test_the_interval_holds_one_more_run_nineteen_times_in_twenty():
    draws = np.random.default_rng(0).normal(0.8, 0.01, (4000, 5 + 1))
    held = [spread(list(runs))["low"] <= another <= spread(list(runs))["high"] for *runs, another in draws]
    assert 0.94 < np.mean(held) < 0.96


def test_equal_runs_have_no_spread():
    assert spread([0.5, 0.5]) == {"mean": 0.5, "std": 0.0, "low": 0.5, "high": 0.5}


def test_each_seed_is_trained_and_only_the_file_of_the_model_is_written(project):
    folder, environment = project

    def files():
        paths = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
        return {path: path.read_bytes() for path in paths}

    before = files()
    done = run(folder, environment, MODEL, "--seeds", "2")
    assert done.returncode == 0, done.stderr
    written = folder / "metrics/noise" / f"{MODEL}.json"
    after = files()
    assert set(after) - set(before) == {written}
    assert {path: after[path] for path in before} == before
    stages = [line.split("'")[1] for line in done.stderr.splitlines() if line.startswith("Running stage")]
    assert [stages.count(f"{stage}@{MODEL}") for stage in ("pad", "train", "evaluate")] == [1, 2, 2]
    noise = json.loads(written.read_text())
    assert noise["seeds"] == [1, 2]
    assert set(noise) == {"seeds", *METRICS}
    assert noise["loss"]["std"] > 0
    assert all(noise[name]["low"] <= noise[name]["mean"] <= noise[name]["high"] for name in METRICS)
    assert written.read_text() == json.dumps(noise, indent=2, sort_keys=True) + "\n"


def test_a_baseline_has_noise_where_there_is_chance(project):
    folder, environment = project
    baseline = next(name for name, section in BASELINES.items() if name in SHOWN and section.fit.solver == "adam")
    done = run(folder, environment, baseline, "--seeds", "2")
    assert done.returncode == 0, done.stderr
    noise = json.loads((folder / "metrics/noise" / f"{baseline}.json").read_text())
    assert noise["loss"]["std"] > 0
    (folder / "metrics/noise" / f"{baseline}.json").unlink()


@pytest.mark.skipif(not find_spec("mpi4py"), reason="needs mpi4py: `make mpi`")
def test_runs_on_two_processes_after_one_that_failed_and_some_from_elsewhere_give_the_table_of_one(project):
    folder, environment = project
    expected = (folder / "metrics/noise" / f"{MODEL}.json").read_bytes()
    commit = git(folder, "rev-parse", "HEAD")
    launched = environment | {"LAUNCHER": "mpiexec -n 2"}
    elsewhere = run(folder, launched, MODEL, "--seeds", "2", "--first", "2")
    assert elsewhere.returncode == 0, elsewhere.stderr
    kept = folder / ".checkpoints/noise" / commit[:12] / MODEL
    assert elsewhere.stdout == f"kept in {kept.relative_to(folder)}: copy it where the seeds from 1 on are measured\n"
    assert [path.name for path in kept.iterdir()] == ["2.json"]
    failed = run(folder, launched | {"IMDB_SOURCE": "nowhere"}, MODEL, "--seeds", "2")
    assert failed.returncode == 1
    faults = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert any(fault.startswith("error: run 1: ") for fault in faults)
    assert faults[-1] == f"error: 1 of 2 runs are kept in {kept}; run the same command again"
    merged = run(folder, launched, MODEL, "--seeds", "2")
    assert merged.returncode == 0, merged.stderr
    assert "run 1 done, 2 of 2" in merged.stderr
    assert "run 2 done" not in merged.stderr
    assert (folder / "metrics/noise" / f"{MODEL}.json").read_bytes() == expected
    assert not kept.exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], f"error: name: expected one of {', '.join(NAMES)}, got none; `make noise MODEL={MODEL}`"),
        (["tiny"], f"error: name: expected one of {', '.join(NAMES)}, got 'tiny'"),
        ([NAMES[-1], "--engine", "keras"], f"error: name: expected one of {', '.join(MODELS)}, got '{NAMES[-1]}'"),
        ([MODEL, "--seeds", "1"], "error: seeds: expected at least 2, since one run has no spread, got 1"),
        ([MODEL, "--seeds", "4", "--first", "5"], "error: first: expected a seed from 1 to 4, got 5"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(project, arguments, expected):
    done = run(*project, *arguments)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [expected]
