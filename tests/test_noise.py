"""The noise of seeds: measured by real runs, and summed up as Student's interval."""

import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks import noise
from benchmarks.noise import spread
from sentiment import InputError
from sentiment.scoring import METRICS
from tests.conftest import BASELINES, MODELS, SHOWN
from tests.repositories import git
from tests.test_processes import on

MODEL, NAMES = MODELS[0], [*MODELS, *SHOWN]


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    return finished.copy(tmp_path_factory.mktemp("noise") / "project")


def test_the_interval_holds_one_more_run_nineteen_times_in_twenty():
    draws = np.random.default_rng(0).normal(0.8, 0.01, (4000, 5 + 1))
    held = [spread(list(runs))["low"] <= another <= spread(list(runs))["high"] for *runs, another in draws]
    assert 0.94 < np.mean(held) < 0.96


def test_equal_runs_have_no_spread():
    assert spread([0.5, 0.5]) == {"mean": 0.5, "std": 0.0, "low": 0.5, "high": 0.5}


def test_each_seed_is_trained_and_only_the_file_of_the_model_is_written(project):
    before = project.files()
    done = project.tool("benchmarks.noise", MODEL, "--seeds", "2")
    name = f"metrics/noise/{MODEL}.json"
    after = project.files()
    assert set(after) - set(before) == {name}
    assert {path: after[path] for path in before} == before
    stages = [line.split("'")[1] for line in done.stderr.splitlines() if line.startswith("Running stage")]
    assert [stages.count(f"{stage}@{MODEL}") for stage in ("pad", "train", "evaluate")] == [1, 2, 2]
    found = json.loads(after[name])
    assert found["seeds"] == [1, 2]
    assert set(found) == {"seeds", *METRICS}
    assert found["loss"]["std"] > 0
    assert all(found[metric]["low"] <= found[metric]["mean"] <= found[metric]["high"] for metric in METRICS)
    assert after[name].decode() == json.dumps(found, indent=2, sort_keys=True) + "\n"


@pytest.mark.skipif(not find_spec("mpi4py"), reason="needs mpi4py: `make mpi`")
def test_runs_on_two_processes_after_one_that_failed_and_some_from_elsewhere_give_the_table_of_one(project):
    """Of a baseline, whose runs are short; its noise is that of chance."""
    name = next(name for name, section in BASELINES.items() if name in SHOWN and section.fit.solver == "adam")
    written, two, launched = project.folder / f"metrics/noise/{name}.json", ("--seeds", "2"), on(2)
    project.tool("benchmarks.noise", name, *two)
    expected = written.read_bytes()
    assert json.loads(expected)["loss"]["std"] > 0
    written.unlink()
    elsewhere = project.tool("benchmarks.noise", name, *two, "--first", "2", **launched)
    kept = project.folder / ".checkpoints/noise" / git(project.folder, "rev-parse", "HEAD")[:12] / name
    place = kept.relative_to(project.folder)
    assert elsewhere.stdout == f"kept in {place}: copy it where the seeds from 1 on are measured\n"
    assert [path.name for path in kept.iterdir()] == ["2.json"]
    failed = project.tool("benchmarks.noise", name, *two, code=1, **launched, IMDB_SOURCE="nowhere")
    faults = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert any(fault.startswith("error: run 1: ") for fault in faults)
    assert faults[-1] == f"error: 1 of 2 runs are kept in {kept}; run the same command again"
    merged = project.tool("benchmarks.noise", name, *two, **launched)
    assert "run 1 done, 2 of 2" in merged.stderr
    assert "run 2 done" not in merged.stderr
    assert written.read_bytes() == expected
    assert not kept.exists()
    written.unlink()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], f"name: expected one of {', '.join(NAMES)}, got none; `make noise MODEL={MODEL}`"),
        (["tiny"], f"name: expected one of {', '.join(NAMES)}, got 'tiny'"),
        ([NAMES[-1], "--engine", "keras"], f"name: expected one of {', '.join(MODELS)}, got '{NAMES[-1]}'"),
        ([MODEL, "--seeds", "1"], "seeds: expected at least 2, since one run has no spread, got 1"),
        ([MODEL, "--seeds", "4", "--first", "5"], "first: expected a seed from 1 to 4, got 5"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(project, monkeypatch, arguments, expected):
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(sys, "argv", ["noise", *arguments])
    with pytest.raises(InputError) as caught:
        noise.main()
    assert str(caught.value) == expected


def test_a_refused_request_ends_with_exit_code_3(project):
    assert project.tool("benchmarks.noise", MODEL, "--seeds", "1", code=3).stderr.startswith("error: seeds: ")
