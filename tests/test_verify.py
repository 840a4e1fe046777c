import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from checks import verify
from checks.verify import DIFFERENT, IDENTICAL, TOLERANCES, WITHIN, Output, Stage, compare, stale
from demo.project import write_project
from tests.conftest import MODELS, ROOT

SCORES = {
    "accuracy": 0.8,
    "f1": 0.79,
    "loss": 0.4,
    "parameters": 39053,
    "precision": 0.7,
    "recall": 0.9,
    "roc_auc": 0.85,
}


def output(path, content: str, tracked=True):
    data = content.encode()
    return {path: Output(hashlib.md5(data).hexdigest(), {path: data} if tracked else {})}


def results(weights="a", seed=1, array="x", curve="0,1", table="39,053", **scores) -> dict[str, Stage]:
    """Results of a made-up model, which follow its weights but where another value is given."""
    metrics = json.dumps(SCORES | {"weights": weights} | scores)
    return {
        "pad@small": Stage({"cmd": "pad"}, output("data/small/x_train.npy", array, tracked=False)),
        "train@small": Stage(
            {"models.small.train.seed": seed},
            output("models/small.keras", weights, tracked=False) | output("models/small.txt", table),
        ),
        "evaluate@small": Stage({}, output("metrics/small.json", metrics) | output("plots/small/roc.csv", curve)),
    }


def verdicts(committed, rerun) -> dict[str, str]:
    return {row.output: row.verdict for row in compare(committed, rerun)}


def reasons(committed, rerun) -> str:
    return "\n".join(line for row in compare(committed, rerun) for line in row.differences)


def test_the_same_bytes_are_identical():
    assert set(verdicts(results(), results()).values()) == {IDENTICAL}
    assert reasons(results(), results()) == ""


def test_other_weights_that_score_alike_are_within_tolerance_and_the_rest_is_identical():
    found = verdicts(results(), results(weights="b", curve="0,2", accuracy=0.801))
    followers = {"metrics/small.json", "models/small.keras", "plots/small/roc.csv"}
    assert {path for path, verdict in found.items() if verdict == WITHIN} == followers
    assert {verdict for path, verdict in found.items() if path not in followers} == {IDENTICAL}


@pytest.mark.parametrize("name", [name for name in TOLERANCES if name != "weights"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_metric_may_be_off_by_less_than_its_tolerance_and_no_more(name, sign):
    def found(share):
        return results(weights="b", **{name: SCORES[name] + sign * share * TOLERANCES[name]})

    assert verdicts(results(), found(0.99))["metrics/small.json"] == WITHIN
    assert verdicts(results(), found(1.01))["metrics/small.json"] == DIFFERENT
    assert verdicts(results(), found(1.01))["models/small.keras"] == DIFFERENT
    assert f"beyond the tolerance: {name}" in reasons(results(), found(1.01))


def test_a_metric_without_a_tolerance_must_be_the_same():
    found = results(weights="b", parameters=39054)
    assert verdicts(results(), found)["metrics/small.json"] == DIFFERENT
    assert "parameters: committed 39053, found 39054" in reasons(results(), found)


@pytest.mark.parametrize("changed", [{"array": "y"}, {"table": "39,054"}])
def test_what_does_not_follow_the_weights_must_be_the_same(changed):
    assert [*verdicts(results(), results(weights="b", **changed)).values()].count(DIFFERENT) == 1


@pytest.mark.parametrize("changed", [{"accuracy": 0.8001}, {"curve": "0,2"}])
def test_the_same_weights_must_score_the_same(changed):
    assert [*verdicts(results(), results(**changed)).values()].count(DIFFERENT) == 1
    assert "the model file is the committed one" in reasons(results(), results(**changed))


def test_a_committed_file_that_dvc_lock_does_not_record_is_different_whatever_its_metrics():
    committed = results()
    recorded = committed["evaluate@small"].outputs["metrics/small.json"]
    edited = {"metrics/small.json": recorded.files["metrics/small.json"].replace(b"0.8,", b"0.8001,")}
    committed["evaluate@small"].outputs["metrics/small.json"] = recorded._replace(files=edited)
    for rerun in (results(), results(weights="b")):
        assert verdicts(committed, rerun)["metrics/small.json"] == DIFFERENT
        assert "accuracy: committed 0.8001, found 0.8" in reasons(committed, rerun)


def test_a_file_the_commit_lacks_is_different():
    committed = results()
    recorded = committed["evaluate@small"].outputs["plots/small/roc.csv"]
    committed["evaluate@small"].outputs["plots/small/roc.csv"] = recorded._replace(files={})
    assert verdicts(committed, results())["plots/small/roc.csv"] == DIFFERENT
    del committed["evaluate@small"]
    assert verdicts(committed, results())["metrics/small.json"] == DIFFERENT


def test_stale_inputs_are_named_and_forbid_all_tolerance_but_not_the_same_bytes():
    assert stale(results(), results(seed=2)) == {
        "train@small": ["models.small.train.seed: dvc.lock records 1, found 2"]
    }  # fmt: skip
    assert set(verdicts(results(), results(seed=2)).values()) == {IDENTICAL}
    assert verdicts(results(), results(seed=2, weights="b"))["metrics/small.json"] == DIFFERENT


@pytest.mark.parametrize("content", [b"", b"[0.8]", b'{"accuracy": NaN}'])
def test_an_unreadable_metrics_file_is_different(content):
    committed = results()
    file = {"metrics/small.json": content}
    committed["evaluate@small"].outputs["metrics/small.json"] = Output(hashlib.md5(content).hexdigest(), file)
    assert verdicts(committed, results(weights="b"))["metrics/small.json"] == DIFFERENT


@pytest.mark.parametrize(
    ("key", "value", "verdict"),
    [("architecture", "aarch64", "within tolerance"), ("packages", {"numba": "2"}, "different")],
)
def test_another_architecture_is_tolerated_and_other_packages_are_not(key, value, verdict):
    recorded = {"architecture": "x86_64", "packages": {"numba": "1"}}
    committed, rerun = (
        output(verify.ENVIRONMENT, json.dumps(values))[verify.ENVIRONMENT]
        for values in (recorded, recorded | {key: value})
    )
    found, changes = verify.judge(verify.ENVIRONMENT, committed, rerun, "")
    assert found == verdict
    assert changes[0].startswith(f"{key}: committed ")


def test_both_forms_of_the_report_name_the_verdict_the_outputs_their_differences_and_the_environment():
    report = {
        "revision": "4f1c",
        "target": "evaluate@small",
        "verdict": DIFFERENT,
        "results": [row._asdict() for row in compare(results(), results(curve="0|1"))],
        "stale": stale(results(), results(seed=2)),
        "environment": {"promise": "none"},
    }
    for text in (verify.as_text(report), verify.as_markdown(report)):
        for part in ("evaluate@small of 4f1c: different", "data/small/x_train.npy", "records 1, found 2", "none"):
            assert part in text
    assert "committed '0,1', found '0|1'" in verify.as_text(report)
    assert "committed '0,1', found '0\\|1'" in verify.as_markdown(report)


class Project:
    """A repository whose pipeline has been run for `small` and committed, and commits of it that are not true."""

    def __init__(self, folder: Path):
        self.folder, self.environment = folder, write_project(folder, 300)
        self.run("dvc", "repro", "evaluate@small")
        self.true = self.commit()
        metrics, params = folder / "metrics/small.json", folder / "params.yaml"
        accuracy = json.loads(metrics.read_text())["accuracy"]
        self.edited = self.commit_instead(metrics, str(accuracy), str(round(accuracy + 1e-6, 6)))
        self.reseeded = self.commit_instead(params, "seed: 1 ", "seed: 2 ")
        text = params.read_text()
        for name, broken in {"empty": "", "no-yaml": "a: [", "renamed": text.replace("models:", "networks:")}.items():
            self.run("git", "tag", name, self.commit_instead(params, text, broken))

    def run(self, *command: str) -> str:
        run = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout.strip()

    def commit(self) -> str:
        self.run("git", "add", ".")
        git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        self.run(*git, "commit", "--quiet", "--message", "Results")
        return self.run("git", "rev-parse", "HEAD")

    def commit_instead(self, path: Path, old: str, new: str) -> str:
        """A commit on no branch, with one change to the true one."""
        path.write_text(path.read_text().replace(old, new, 1))
        commit = self.commit()
        self.run("git", "reset", "--quiet", "--hard", self.true)
        return commit

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "checks.verify", *arguments],
            cwd=self.folder, env=self.environment | {"PYTHONPATH": str(ROOT)} | environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def verify(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **environment)
        output, errors = process.communicate()
        return process.returncode, output, errors

    def files(self) -> dict[str, bytes]:
        """Everything, Git's own files and DVC's cache among them."""
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def test_a_true_result_is_identical_rerun_without_any_cache_and_the_users_tree_stays_as_it_is(project, tmp_path):
    (project.folder / "params.yaml").write_text("unfinished work")
    (project.folder / "new").write_text("staged")
    project.run("git", "add", "new")
    shared = tmp_path / "config"
    shared.write_text(f"[cache]\n    dir = {project.folder}/.dvc/cache\n")  # which holds every result
    before, branches = project.files(), project.run("git", "worktree", "list")
    code, output, errors = project.verify(
        "--model", "small", "--json", IMDB_SOURCE="corpus", DVC_GLOBAL_CONFIG_DIR=str(tmp_path), TMPDIR=str(tmp_path)
    )
    assert (project.files(), project.run("git", "worktree", "list")) == (before, branches)
    project.run("git", "reset", "--quiet", "--hard", project.true)
    assert code == 0, errors
    report = json.loads(output)
    assert (report["verdict"], report["revision"], report["stale"]) == (IDENTICAL, project.true, {})
    stages = ["params", "download", "environment", "pad@small", "train@small", "evaluate@small"]
    assert list(dict.fromkeys(row["stage"] for row in report["results"])) == stages
    assert [line.split("'")[1] for line in errors.splitlines() if line.startswith("Running stage")] == stages
    assert report["environment"]["recorded packages"] == "the same"
    assert [path.name for path in tmp_path.iterdir()] == ["config"]


def test_a_metric_edited_in_its_last_digit_is_different_and_named(project):
    code, output, errors = project.verify("--model", "small", "--rev", project.edited)
    assert code == 2, errors
    assert re.search(r"metrics/small.json +different", output)
    assert "the committed file is not the one dvc.lock records" in output
    assert "accuracy: committed" in output
    assert output.count("different") == 2  # the verdict and this file


def test_another_seed_with_the_old_metrics_kept_is_different_and_named(project):
    code, output, errors = project.verify("--model", "small", "--rev", project.reseeded, "--markdown")
    assert code == 2, errors
    assert "train.seed: dvc.lock records 1, found 2" in output
    assert "| evaluate@small | `metrics/small.json` | different | " in output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rev", "nowhere"], "error: revision: expected a commit, got 'nowhere'"),
        (["--model", "tiny"], f"error: model: expected one of {', '.join(MODELS)}, got 'tiny'"),
        (["--rev", "HEAD~1"], "has no dvc.lock and so no result"),
        *((["--rev", name], "has no `models` in its params.yaml") for name in ("empty", "no-yaml", "renamed")),
        (["--modle"], "error: unrecognized arguments: --modle"),
    ],
)
def test_what_cannot_run_says_so_in_one_line_and_has_no_verdict(project, arguments, expected):
    code, output, errors = project.verify(*arguments)
    assert (code, output) == (3, "")
    assert expected in errors
    assert len(errors.splitlines()) == 1


def test_without_the_data_the_stage_says_so_and_there_is_no_verdict(project, tmp_path):
    code, output, errors = project.verify(IMDB_SOURCE=str(tmp_path))
    assert (code, output) == (3, "")
    assert f"error: IMDB_SOURCE={tmp_path}: " in errors
    assert errors.splitlines()[-1].startswith("error: `dvc repro` of ")
    assert "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_leaves_neither_folder_nor_process(project, tmp_path, number):
    ignored = signal.signal(number, signal.SIG_DFL)  # a shell ignores some for what it runs in the background
    process = project.start("--model", "small", TMPDIR=str(tmp_path))
    signal.signal(number, ignored)
    for line in process.stderr:
        if "Running stage 'train@small'" in line:
            break
    assert os.listdir(tmp_path) != []
    process.send_signal(number)
    _, errors = process.communicate()  # returns when nobody is left to write
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "the bits are" not in errors  # what the training says first, had it lived on
    assert os.listdir(tmp_path) == []
