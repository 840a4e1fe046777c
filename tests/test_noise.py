"""The noise of seeds is measured by real runs and summarized by Student's interval."""

import json
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import noise
from benchmarks.noise import spread
from demo.corpus import write_corpus
from demo.project import adapt, shown, shrink
from experiments import compare
from sentiment import InputError
from sentiment.scoring import METRICS
from stages.common.files import write_json
from stages.params import parse
from tests.conftest import MODELS, ROOT, SHOWN, shown_of
from tests.repositories import git
from tests.test_processes import on

MODEL, GRAMS = SHOWN[0], shown_of("ngrams", "compiled")
NOISE = f"metrics/noise/{GRAMS}.json"


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    return finished.copy(tmp_path_factory.mktemp("noise") / "project")


def test_the_interval_has_one_more_run_in_it_in_95_of_100_cases():
    draws = np.random.default_rng(0).normal(0.8, 0.01, (4000, 5 + 1))
    held = [spread(list(runs))["low"] <= another <= spread(list(runs))["high"] for *runs, another in draws]
    assert 0.94 < np.mean(held) < 0.96


def test_equal_runs_have_no_spread():
    assert spread([0.5, 0.5]) == {"mean": 0.5, "std": 0.0, "low": 0.5, "high": 0.5}


def test_an_interval_stays_inside_the_range_of_its_metric():
    wide = [0.98, 0.99, 1.0]  # mean +- 4.303 * 0.01 * sqrt(4 / 3)
    assert spread(wide)["high"] == pytest.approx(1.039683, abs=1e-6)
    assert spread(wide, 0, 1) == spread(wide) | {"high": 1.0}
    assert spread([-0.99, -1.0], METRICS["matthews"].lowest, 1)["low"] == -1


@pytest.fixture(scope="module")
def measured(project):
    """Files before, finished command and files after the noise of an n-gram model was measured; its runs are short."""
    before = project.files()
    done = project.tool("benchmarks.noise", GRAMS, "--seeds", "2")
    after = project.files()
    (project.folder / NOISE).unlink()
    return before, done, after


def test_each_seed_is_trained_and_only_the_file_of_the_model_is_written(measured):
    before, done, after = measured
    assert set(after) - set(before) == {NOISE}
    assert {path: after[path] for path in before} == before
    stages = [line.split("'")[1] for line in done.stderr.splitlines() if line.startswith("Running stage")]
    assert [stages.count(f"{stage}@{GRAMS}") for stage in ("pad", "train", "evaluate")] == [1, 2, 2]
    written = json.loads(after[NOISE])
    assert written["seeds"] == [1, 2]
    assert set(written) == {"seeds", *METRICS}
    assert written["loss"]["std"] > 0
    assert all(written[metric]["low"] <= written[metric]["mean"] <= written[metric]["high"] for metric in METRICS)
    assert after[NOISE].decode() == json.dumps(written, indent=2, sort_keys=True) + "\n"


@pytest.mark.skipif(not find_spec("mpi4py"), reason="needs mpi4py: `make mpi`")
def test_runs_on_two_processes_after_a_failed_run_and_with_runs_from_elsewhere_give_the_same_table(project, measured):
    two, launched = ("--seeds", "2"), on(2)
    elsewhere = project.tool("benchmarks.noise", GRAMS, *two, "--first", "2", **launched)
    kept = project.folder / ".checkpoints/noise" / git(project.folder, "rev-parse", "HEAD")[:12] / GRAMS
    folder = kept.relative_to(project.folder)
    assert elsewhere.stdout == f"kept in {folder}: copy this folder to the machine that measures from seed 1\n"
    assert [path.name for path in kept.iterdir()] == ["2.json"]
    failed = project.tool("benchmarks.noise", GRAMS, *two, code=1, **launched, IMDB_SOURCE="nowhere")
    faults = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert any(fault.startswith("error: run 1: ") for fault in faults)
    assert faults[-1] == f"error: 1 of 2 runs are kept in {kept}; run the same command again"
    merged = project.tool("benchmarks.noise", GRAMS, *two, **launched)
    assert "run 1 done, 2 of 2" in merged.stderr
    assert "run 2 done" not in merged.stderr
    assert (project.folder / NOISE).read_bytes() == measured[2][NOISE]
    assert not kept.exists()
    (project.folder / NOISE).unlink()


@pytest.mark.parametrize("name", ["no", "on"])
def test_models_named_like_booleans_of_yaml_keep_their_names_where_params_yaml_is_written(tmp_path, monkeypatch, name):
    """The measurement of noise, the comparison and the demo write params.yaml."""
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace(f"  {MODEL}:", f"  {name}:", 1))
    names = [name, *MODELS[1:]]
    assert [*parse(path.read_text()).models] == names
    ran = []

    def repro(target):
        ran.append((target, parse(path.read_text()).models[name].train.seed))
        write_json(tmp_path / "metrics" / f"{name}.json", dict.fromkeys(METRICS, 0.5))

    scratch = SimpleNamespace(folder=tmp_path, commit="c0", environment={}, repro=repro)
    monkeypatch.setattr(noise, "checkout", lambda: nullcontext(scratch))
    monkeypatch.setattr(noise, "repository", lambda: tmp_path)
    assert len(noise.metrics_by_seed(name, range(7, 9), "keras")[0]) == 2
    assert ran == [(f"evaluate@{name}", 7), (f"evaluate@{name}", 8)]
    assert parse(path.read_text()).models[name].train.engine == "keras"
    monkeypatch.setattr(compare, "stage", lambda *arguments, **environment: 0.0)
    write_corpus(tmp_path / "corpus", 20)
    compare.pin(scratch, tmp_path / "corpus", 9)
    models = parse(path.read_text()).models
    assert [*models] == names
    assert {model.train.seed for model in models.values()} == {9}
    adapt(path, tmp_path / "corpus", keras=True)
    written = parse(path.read_text()).models
    assert [*written] == shown({key: model.model_dump() for key, model in models.items()}, keras=True)
    assert name in written


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], f"name: expected one of {', '.join(SHOWN)}, got none; `make noise MODEL={MODEL}`"),
        (["tiny"], f"model: expected one of {', '.join(SHOWN)}, got 'tiny'"),
        (
            [GRAMS, "--engine", "keras"],
            f"params.yaml: models.{GRAMS}.train.engine = 'keras': expected one of 'compiled', 'scikit-learn'",
        ),
        ([MODEL, "--seeds", "1"], "seeds: expected at least 2, because one run has no standard deviation, got 1"),
        (
            [MODEL, "--seeds", "3"],
            f"seeds: expected at least the 4 that metrics/noise/{MODEL}.json has, got 3; "
            "`git rm` the file to start over",
        ),
        ([MODEL, "--seeds", "4", "--first", "5"], "first: expected a seed from 1 to 4, got 5"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(project, monkeypatch, tmp_path, arguments, expected):
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(sys, "argv", ["noise", *arguments])
    monkeypatch.setattr(noise, "repository", lambda: tmp_path)
    write_json(tmp_path / f"metrics/noise/{MODEL}.json", {"seeds": [1, 2, 3, 4]})
    with pytest.raises(InputError) as caught:
        noise.main()
    assert str(caught.value) == expected


def test_the_demo_makes_no_review_shorter_than_the_network_can_read():
    for kernel, pool in ((9, 2), (3, 8)):
        model = {
            "pad": {"max_length": 12, "vocabulary": 90},
            "architecture": {"kernel": kernel, "pool": pool},
            "train": {},
        }
        shrink(model)
        assert model["pad"] == {"max_length": max(kernel, pool), "vocabulary": 30}


def test_as_many_seeds_as_before_may_be_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr(noise, "repository", lambda: tmp_path)
    write_json(tmp_path / noise.written(MODEL, None), {"seeds": [1, 2, 3, 4]})
    noise.check_fewer(MODEL, None, 4)
    noise.check_fewer(MODEL, "keras", 2)
    with pytest.raises(InputError, match="expected at least the 4"):
        noise.check_fewer(MODEL, None, 3)


def test_a_commit_that_is_made_during_the_measurement_changes_nothing(project, monkeypatch):
    """And the finished runs of the measured commit are removed."""
    monkeypatch.setattr(noise, "repository", lambda: project.folder)
    monkeypatch.setattr(sys, "argv", ["noise", GRAMS, "--seeds", "2"])
    folder = project.folder / ".checkpoints/noise" / git(project.folder, "rev-parse", "HEAD")[:12] / GRAMS

    def metrics_by_seed(name, seeds, engine):
        write_json(folder / "1.json", {})
        git(project.folder, "commit", "--quiet", "--allow-empty", "--message", "while it runs")
        return [dict.fromkeys(METRICS, 0.5)] * len(seeds), folder

    monkeypatch.setattr(noise, "metrics_by_seed", metrics_by_seed)
    assert noise.main() == 0
    assert not folder.exists()
    assert json.loads((project.folder / NOISE).read_text())["seeds"] == [1, 2]
    (project.folder / NOISE).unlink()


def test_a_refused_request_ends_with_exit_code_3(project):
    assert project.tool("benchmarks.noise", MODEL, "--seeds", "1", code=3).stderr.startswith("error: seeds: ")
