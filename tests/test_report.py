"""The report tells a reviewer what changed, in a comment and on a page that is safe and complete by itself."""

import base64
import json
import platform
import re
import shutil
import subprocess
import sys
from html import escape, unescape
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from dvc_render.vega import VegaRenderer

from checks.charts import model_of, ranking
from checks.comment import MARKER, MAX_COMMENT_CHARACTERS, to_markdown
from checks.comparison import (
    ABSENT,
    DASH,
    RULE,
    Metric,
    ModelMetrics,
    Report,
    compare_metrics,
    compare_params,
    name_models,
    read_noise,
)
from checks.drawing import Plot, to_image, to_svg
from checks.findings import Report as Findings
from checks.page import report_page
from checks.report import find_base, find_faults, in_common, main
from checks.report import write as write_report
from checks.settings import CheckSettings
from checks.shell import InputError
from checks.sides import Committed, FileFault, Side, relative
from tests.conftest import MODELS, ROOT
from tests.repositories import ENVIRONMENT, call, clone, commit, create, git, repro, write

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs a browser: chromium or google-chrome on PATH")
PLOTS = {
    "Loss": {"x": "step", "y": {"plots/small/loss.tsv": "loss", "plots/full/loss.tsv": "loss"}, "x_label": "epoch"},
    "ROC": {"x": "false", "y": {"plots/small/roc.csv": "true", "plots/full/roc.csv": "true"}},
    "Confusion, small": {"template": "counts", "x": "predicted", "y": {"plots/small/confusion.csv": "actual"}},
    "plots/full/confusion.csv": {"template": "counts", "x": "predicted", "y": "actual", "title": "Confusion of full"},
}
PIPELINE = {
    "stages": {
        "evaluate": {
            "foreach": "${models}",
            "do": {
                "cmd": "python3 evaluate.py ${key}",
                "deps": ["evaluate.py"],
                "params": ["models.${key}"],
                "metrics": [{"metrics/${key}.json": {"cache": False}}],
                "outs": [{"plots/${key}": {"cache": False}}],
            },
        }
    },
    "plots": [*({name: plot} for name, plot in PLOTS.items()), {"plots/small/picture.png": None}],
}
EVALUATE = """\
import json, os, sys
model = sys.argv[1]
line = next(line for line in open("params.yaml") if line.strip().startswith(model))
epochs = int(line.partition("epochs: ")[2].partition("}")[0])
os.makedirs("metrics", exist_ok=True)
os.makedirs(f"plots/{model}", exist_ok=True)
score = 0.5 + epochs / 10
values = {"accuracy": score, "loss": 1 - score, "weights": f"digest-{epochs}", "parameters": 39053}
json.dump(values, open(f"metrics/{model}.json", "w"), indent=2)
rows = "".join(f"{i}\\t{1 / (i + 1)}\\n" for i in range(epochs))
open(f"plots/{model}/loss.tsv", "w").write("step\\tloss\\n" + rows)
open(f"plots/{model}/roc.csv", "w").write(f"false,true\\n0,0\\n0.5,{score}\\n1,1\\n")
cells = [(a, p, 1000 if a == p else 10 * epochs) for a in ("negative", "positive") for p in ("negative", "positive")]
table = "".join(f"{a},{p},{n}\\n" for a, p, n in cells)
open(f"plots/{model}/confusion.csv", "w").write("actual,predicted,reviews\\n" + table)
open(f"plots/{model}/picture.png", "wb").write(bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000" "1f15c489"
    "0000000d49444154789c6360f8cfc00000000301010018dd8db00000000049454e44ae426082"
))
"""
FILES = {
    "params.yaml": "models:\n  small: {seed: 1, epochs: 4}\n  full: {seed: 1, epochs: 2}\n",
    "evaluate.py": EVALUATE,
    "dvc.yaml": yaml.safe_dump(PIPELINE, sort_keys=False),
    "checks.yaml": "headline: accuracy\nnoise: metrics/noise/{model}.json\n",
    ".gitignore": "/report/\n",
}
HOSTILE = "<script>document.title='run'</script>|`*@all*`"


def report(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.CompletedProcess(arguments, *call(main, folder, *arguments))


def read(folder: Path) -> tuple[str, str]:
    """The page and the comment."""
    return (folder / "report/index.html").read_text(), (folder / "report/report.md").read_text()


def rows(comment: str) -> list[list[str]]:
    """The cells of the comment's tables as a reader sees them."""
    lines = [line.strip("| ").split(" | ") for line in comment.splitlines() if line.startswith("|")]
    return [[unescape(re.sub(r"</?code>|`", "", cell)) for cell in line] for line in lines]


def metrics(folder: Path, revision: str, model: str) -> dict:
    return json.loads(git(folder, "show", f"{revision}:metrics/{model}.json"))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with three commits: no results yet, results, and one epoch less of `small`; and its report."""
    folder = create(tmp_path_factory.mktemp("project"), FILES)
    shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots", dirs_exist_ok=True)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "The pipeline")
    for epochs in (4, 3):
        write(folder, "params.yaml", FILES["params.yaml"].replace("epochs: 4", f"epochs: {epochs}"))
        repro(folder)
    run = report(folder)
    assert (run.returncode, run.stderr) == (0, "")
    return folder


@pytest.fixture
def copy(project, tmp_path) -> Path:
    return Path(shutil.copytree(project, tmp_path / "copy", symlinks=True))


@pytest.fixture(scope="module")
def hostile(project, tmp_path_factory) -> Path:
    """A project in which every name and value is markup."""
    copy = Path(shutil.copytree(project, tmp_path_factory.mktemp("hostile") / "copy", symlinks=True))
    name = HOSTILE.replace("/", "")  # no file name has a slash
    pipeline = json.loads(json.dumps(PIPELINE).replace("epoch", HOSTILE).replace("ROC", HOSTILE))
    pipeline["metrics"] = [f"metrics/{name}.json"]
    write(copy, "dvc.yaml", yaml.safe_dump(pipeline))
    write(copy, f"metrics/{name}.json", json.dumps({"accuracy": HOSTILE, HOSTILE: 1.5}))
    params = copy / "params.yaml"
    params.write_text(params.read_text().replace("seed: 1", f"seed: {json.dumps(HOSTILE)}"))
    run = report(copy)
    assert run.returncode == 0, run.stderr
    return copy


def test_the_comment_names_the_changed_param_and_every_changed_metric_before_and_after(project):
    _, comment = read(project)
    assert comment.splitlines()[0] == MARKER
    shown, folded = comment.split("<details>")
    table = rows(shown)
    assert [row for row in table if row[0].startswith("models.")] == [["models.small.epochs", "4", "3"]]
    assert {row[0] for row in table if len(row) == 6} == {"model", "small"}
    assert ["small", "loss", "0.1000", "0.2000", "+0.1000", "changed"] in table  # of 4 epochs 1 - 0.9, of 3 1 - 0.8
    assert ["small", "weights", "digest-4", "digest-3", "—", "changed"] in table
    assert "<summary>The same: every metric of <code>full</code>; 1 metric of <code>small</code>.</summary>" in folded
    assert ["full", "parameters", "39,053", "39,053", "—", "the same"] in rows(folded)
    assert {row[5] for row in rows(folded) if len(row) == 6} == {"verdict", "the same"}
    assert "report artifact" in comment.splitlines()[-1]


def test_the_page_says_what_the_comment_says(project):
    page, comment = read(project)
    cells = {unescape(re.sub(r"<.*?>", "", cell)) for cell in re.findall(r"<t[hd].*?</t[hd]>", page, re.S)}
    for row in rows(comment):
        if len(row) == 6 and row[0] in ("small", "full"):
            assert set(row[1:]) <= cells
    assert {"models.small.epochs", "4", "3"} <= cells
    base, head = git(project, "rev-parse", "--short=7", "HEAD~1"), git(project, "rev-parse", "--short=7", "HEAD")
    assert f"<title>small changed since {base}</title>" in page
    assert f"### small changed since {base}" in comment
    assert head in page
    assert "noise not measured: no <code>metrics/noise/small.json</code>" in page


def test_the_page_has_every_plot_with_both_revisions_and_folds_away_those_that_are_the_same(project):
    page, _ = read(project)
    base = git(project, "rev-parse", "--short=7", "HEAD~1")
    figure = (
        r'<figcaption>([^<]*)<span>([^<]*)</span></figcaption>\n[^\n]*?<svg role="img" aria-label="([^"]*)"(.*?)</svg>'
    )
    changed, same = (
        {title: fields for title, *fields in re.findall(figure, part, re.S)}
        for part in page.split("<h2>Plots")[1].split("<details>")
    )
    assert changed.keys() == {"Loss", "ROC", "Confusion, small"}
    assert same.keys() == {"Confusion of full"}
    assert "2 of 5 plots are the same in both</summary>" in page  # with the image
    for title, (remark, label, svg) in changed.items():
        assert label.startswith(f"{title}: ")
        assert f">{base}<" in svg
        assert ">workspace<" in svg
        assert remark == ""
    assert same["Confusion of full"][0] == "The same in both."
    assert f">{base}<" not in same["Confusion of full"][2]


def test_a_plot_that_could_not_be_read_is_not_the_same_in_both():
    renderer = SimpleNamespace(datapoints=[{"x": 1, "rev": revision} for revision in ("base", "workspace")])
    for faults, same in (((), True), (("roc.csv could not be read in base.",), False)):
        plot = Plot("roc.csv", ("roc.csv",), renderer, faults)
        assert (plot.same(["base", "workspace"]), plot.changed(["base", "workspace"])) == (same, False)


def test_a_file_that_only_the_base_lacks_is_no_fault():
    before = Side(faults=[FileFault("m.json", "missing"), FileFault("n.json", "nested too deeply")])
    expected = [FileFault("n.json", "could not be read in c0: nested too deeply.")]
    assert find_faults(Findings(), before, Side(), "c0") == expected


def texts(svg: str) -> list[str]:
    """Texts of a picture, in their order."""
    return [unescape(text) for text in re.findall(r"<text [^>]*>(.*?)</text>", svg)]


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (["1"], ["1"]),
        (["1", "2"], ["1", "2"]),
        ([1, 2, 3], ["1", "2", "3"]),
        (["1", "12"], ["2", "4", "6", "8", "10", "12"]),
        (["0.95054"], ["0.9505"]),
        ([0.95054, 0.95054], ["0.9505"]),
        (["1", "1.5", "3"], ["1.0", "1.5", "2.0", "2.5", "3.0"]),
    ],
)
@pytest.mark.parametrize("channel", ["x", "y"])
def test_an_axis_of_integers_has_no_fractions(column, labels, channel):
    axis = {"field": "step", "type": "quantitative", "scale": {"zero": False}}
    points = [{"step": step, "rev": "workspace"} for step in column]
    spec = {"data": {"values": points}, "mark": "line", "encoding": {channel: axis}}
    assert texts(to_svg(spec, points)) == [*labels, "step"]


def test_a_single_point_shows(copy):
    """After one epoch a line has a single point and no length."""
    write(copy, "params.yaml", FILES["params.yaml"].replace("epochs: 2", "epochs: 1"))
    repro(copy)
    assert report(copy, "--plots").returncode == 0
    loss = re.search(r"<figcaption>Loss<.*?</figure>", (copy / "report/plots.html").read_text(), re.S)[0]
    symbols = re.search(r'<g class="mark-symbol role-mark.*?</g>', loss)[0]
    assert symbols.count("<path ") == 4 + 1


def test_the_page_of_plots_needs_no_commit_to_compare_with_and_no_network(copy):
    shutil.rmtree(copy / ".git")
    git(copy, "init", "--quiet")
    run = report(copy, "--plots")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == "report/plots.html shows the plots of the working tree\n"
    page = (copy / "report/plots.html").read_text()
    assert page.count("<svg ") == 1 + len(PLOTS)  # and the ranking
    assert page.count("<img ") == 1
    assert "default-src 'none'" in page
    assert "Metrics" not in page
    contents = re.findall(r'<a href="#section-(\d)">(.*?)</a>', page)
    assert [name for _, name in contents] == ["All models", "full", "small", "Other plots"]
    for number, name in contents:
        assert f'<h2 id="section-{number}">{name}</h2>' in page


def test_every_plot_of_this_repository_has_its_title_and_roc_and_calibration_have_a_diagonal(tmp_path):
    assert report(ROOT, "--plots", "--folder", str(tmp_path)).returncode == 0
    page = (tmp_path / "plots.html").read_text()
    figures = dict(re.findall(r"<figcaption>([^<]*)<span>.*?(<svg .*?</svg>)", page, re.S))
    assert len(figures) == page.count("<figure>") == 5 * len(MODELS) + 3 + 2  # a history of two parts
    assert [*figures][:3] == ["accuracy", "ROC", "Precision and recall"]
    assert {*MODELS} <= {*texts(figures["ROC"])} & {*texts(figures["Precision and recall"])}
    assert not any("/" in title for title in figures)
    for title, svg in figures.items():
        diagonal = re.search(r'<line transform="translate\(0,\d+\)" x2="\d+" y2="-\d+"[^>]*stroke-dasharray', svg)
        assert bool(diagonal) == (title == "ROC" or title.startswith("Calibration, "))
        if title.startswith("Training, "):
            assert "1.5" not in texts(svg)
        if title.startswith("Confusion, "):
            assert len([text for text in texts(svg) if re.fullmatch(r"[\d,]+", text)]) >= 4


def test_against_a_commit_without_results_everything_is_new(copy):
    run = report(copy, "--base", "HEAD~2")
    assert run.returncode == 0
    page, comment = read(copy)
    after = metrics(copy, "HEAD", "small")
    assert after["accuracy"] == 0.8
    assert "- <code>small</code>: new, accuracy 0.8.\n" in comment
    assert ["small", "loss", "—", "0.2000", "—", "new"] in rows(comment)
    assert page.count("<svg ") == len(PLOTS)
    assert page.count("<span>New.</span>") == len(PLOTS) + 1
    assert f"<title>full and small are new since {git(copy, 'rev-parse', '--short=7', 'HEAD~2')}</title>" in page


def test_a_folder_of_plots_that_the_base_lacks_is_new_and_no_fault(copy):
    plots = {"plots": [{"plots/later": {"x": "i", "y": "n"}}]}
    write(copy, "dvc.yaml", yaml.safe_dump({"stages": PIPELINE["stages"]} | plots))
    commit(copy)
    write(copy, "plots/later/a.csv", "i,n\n1,2\n2,3\n")
    assert report(copy).returncode == 0
    page, comment = read(copy)
    assert "could not be read" not in page + comment
    assert dict(re.findall(r"<figcaption>([^<]*)<span>([^<]*)</span>", page))["plots/later/a.csv"] == "New."


def test_a_missing_and_a_damaged_result_are_named(copy):
    (copy / "metrics/small.json").unlink()
    (copy / "metrics/full.json").write_text("{")
    (copy / "plots/small/roc.csv").unlink()
    assert report(copy, "--base", "HEAD~1").returncode == 0
    page, comment = read(copy)
    lines = [unescape(re.sub(r"</?code>", "", line)) for line in comment.splitlines() if line.startswith("- ")]
    assert "- small: no results in the working tree." in lines
    assert "- metrics/small.json and plots/small/roc.csv: missing in the working tree." in lines
    (fault,) = [
        line for line in lines if line.startswith("- metrics/full.json: could not be read in the working tree: ")
    ]
    assert "unable to read: 'metrics/full.json', JSON file structure is corrupted: Expecting property name" in fault
    base = git(copy, "rev-parse", "--short=7", "HEAD~1")
    (title,) = re.findall("<title>(.*)</title>", page)
    assert title == f"small is gone since {base}; 3 files could not be read"
    assert not [line for line in lines if line.startswith("- full: ") or "not what" in line]
    assert str(copy) not in page + comment
    assert "<figcaption>ROC<span>plots/small/roc.csv could not be read in workspace: " in page


def test_results_that_only_a_cache_would_have_are_missing_and_no_folder_of_this_machine_is_named(tmp_path):
    write_metrics = "import os; os.mkdir('m'); open('m/a.json', 'w').write('{}')"
    pipeline = {"stages": {"s": {"cmd": f'python -c "{write_metrics}"', "outs": ["m"]}}, "metrics": ["m/a.json"]}
    pipeline["plots"] = [f"{name}.csv" for name in "fbdace"]
    files = {"dvc.yaml": yaml.safe_dump(pipeline), "clash.dvc": "outs: [{path: m/a.json}]\n", "params.yaml": "p: 1\n"}
    folder = create(tmp_path / "made", files)
    commit(folder)
    (folder / "clash.dvc").unlink()
    repro(folder)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(folder), str(clone))
    for base, why in (("HEAD", ""), ("HEAD~1", "could not be read in ")):
        assert report(clone, "--base", base).returncode == 0
        page, comment = read(clone)
        title = "Nothing is compared, as " if why else "7 files could not be read; nothing else changed since "
        assert f"### {title}" in comment
        assert why in comment
        assert rows(comment) == []
        (missing,) = re.findall("^- (.*): <code>missing in the working tree.</code>$", comment, re.MULTILINE)
        assert re.findall(r"(\w).csv", missing) == [*"abcdef"]
        for text in (page, comment):
            assert not re.search(r"dvc-checks-|files&#47;md5|\[Errno", text + unescape(text)), comment
            assert str(tmp_path) not in unescape(text)


def test_the_title_names_the_files_that_were_edited_or_could_not_be_read():
    edited, unread = FileFault("m.json", "not what s recorded.", True), [FileFault(name, "missing") for name in "ab"]
    still = ModelMetrics("small", {"acc": Metric("acc", 0.5, 0.5)})
    moved = ModelMetrics("small", {"acc": Metric("acc", 0.5, 0.6)})
    params = [("rate", "1", "2")]
    for models, changed, faults, title in (
        ([still], [], [], "Nothing changed since 1234567"),
        ([still], [], [edited], "m.json differs from its lock; no metric, param or plot changed since 1234567"),
        ([still], [], unread, "2 files could not be read; nothing else changed since 1234567"),
        ([], [], [edited, *unread[:1]], "m.json differs from its lock; a could not be read; nothing else changed"),
        ([moved], [], [edited], "small changed since 1234567; m.json differs from its lock"),
        ([still], params, [edited], "1 param changed since 1234567, but no metric did; m.json differs from its lock"),
        ([still], params, unread, "1 param changed since 1234567; 2 files could not be read"),
    ):
        assert Report("1234567", "", models, changed, faults).title.startswith(title)


def test_params_of_a_file_that_can_not_be_read_are_not_reported_as_changed():
    known = Side(params={"p.yaml": {"a": 1}})
    for why, changed in (("broken", []), ("missing", [("p.yaml:a", "1", DASH)])):
        lacking = Side(faults=[FileFault("p.yaml", why)])
        assert compare_params(known, lacking) == changed
        assert compare_params(lacking, known) == [(name, now, was) for name, was, now in changed]


def test_the_users_home_folder_is_not_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    text = f"{tmp_path}/secret/d.yaml and {tmp_path}/project/e.yaml"
    assert relative(text, f"{tmp_path}/project") == "~/secret/d.yaml and e.yaml"


def test_a_fresh_clone_elsewhere_gives_the_same_bytes(project, tmp_path):
    """The clone has no data, models or cache, and the hash seed is another one."""
    clone = tmp_path / "a folder with spaces"
    git(tmp_path, "clone", "--quiet", str(project), str(clone))
    base = git(project, "rev-parse", "HEAD~1")
    command = [sys.executable, "-W", "error", "-m", "checks.report", "--base", base]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "5"}
    run = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert read(clone) == read(project)
    for text in read(project):
        assert str(project) not in text
        assert not re.search(rf"\b{re.escape(platform.node())}\b", text)


def test_the_report_does_not_import_tensorflow():
    code = "import checks.report, sys; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, check=True)


@pytest.mark.parametrize("base", ["nonsense", "-x", "", "HEAD~3", "HEAD:params.yaml"])
def test_a_bad_base_is_one_line(project, tmp_path, base):
    run = report(project, f"--base={base}", "--folder", str(tmp_path / "report"))
    assert run.returncode == 3
    assert run.stderr == f"error: base: expected a commit of this repository, got {base!r}; `git log` lists them\n"
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (".dvc/plots/counts.json", '"nominal"', '"nominal", "type": "no such"', "Not drawn: "),
        ("dvc.yaml", "template: counts", "template: none", "there is no template &#x27;none&#x27; in .dvc/plots"),
        ("dvc.yaml", "template: counts", "template: /etc/hostname", "there is no template"),
    ],
)
def test_a_template_that_is_missing_or_wrong_costs_its_plots_alone(copy, file, old, new, expected):
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new))
    assert report(copy, "--base", "HEAD~1").returncode == 0
    page, _ = read(copy)
    remarks = dict(re.findall(r"<figcaption>([^<]*)<span>([^<]*)</span>", page))
    assert expected in remarks["Confusion, small"]
    assert remarks["Loss"] == remarks["ROC"] == ""
    assert page.count("<svg ") == 2


def test_a_pipeline_that_can_not_be_read_is_one_line(copy):
    write(copy, "dvc.yaml", "stages: [\n")
    run = report(copy)
    assert run.returncode == 3
    assert run.stderr.startswith("error: dvc.yaml: unable to read: 'dvc.yaml'")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("branch", ["main", "trunk"])
def test_the_default_base_is_what_the_change_is_based_on(tmp_path, monkeypatch, branch):
    """For uncommitted work HEAD, on a branch its merge base with the default branch, on that the commit before HEAD."""
    origin, folder = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    git(origin, "init", "--quiet", "--initial-branch", branch)
    commits = [commit(origin, "0"), commit(origin, "1")]
    git(tmp_path, "clone", "--quiet", str(origin), str(folder))
    monkeypatch.chdir(folder)
    short = [one[:7] for one in commits]
    assert find_base(None) == short[0]
    git(folder, "checkout", "--quiet", "-b", "topic")
    write(folder, "x", "1")
    commit(folder, "2")
    commit(folder, "3")
    assert find_base(None) == short[1]
    write(folder, "untracked", "")
    assert find_base(None) == short[1]
    write(folder, "x", "2")
    assert find_base(None) == git(folder, "rev-parse", "--short=7", "HEAD")


def test_without_a_remote_the_base_is_the_merge_base_with_main(tmp_path, monkeypatch):
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no earlier commit"):
        find_base(None)
    first = commit(tmp_path, "0")
    with pytest.raises(InputError, match="no earlier commit"):
        find_base(None)
    git(tmp_path, "checkout", "--quiet", "-b", "topic")
    commit(tmp_path, "1")
    assert find_base(None) == first[:7]


@pytest.mark.parametrize(
    ("before", "after", "noise", "expected"),
    [
        (0.5, 0.75, 0.25, "within ±0.25"),
        (0.75, 0.5, 0.25, "within ±0.25"),
        (0.5, 0.75, 0.2499, "beyond ±0.25"),
        (0.75, 0.5, 0.2499, "beyond ±0.25"),
        (0.5, float("nan"), 1.0, "changed"),
        (0.5, 0.5, 0.0, "the same"),
        (0.5, 0.75, None, "changed"),
        ("a", "b", 1.0, "changed"),
        ("a", "a", None, "the same"),
        (float("nan"), float("nan"), 1.0, "the same"),
        (True, 1, 1.0, "changed"),
        (ABSENT, 0.5, 1.0, "new"),
        (0.5, ABSENT, 1.0, "gone"),
    ],
)
def test_a_difference_is_compared_with_the_noise(before, after, noise, expected):
    assert Metric("accuracy", before, after, noise).verdict == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"accuracy": (0.8, 0.9)}, "accuracy rose from 0.8 to 0.9 (+0.1), beyond the noise"),
        ({"accuracy": (0.9, 0.89)}, "accuracy fell from 0.90 to 0.89 (-0.01), within the noise"),
        ({"accuracy": (0.9, 0.9), "loss": (0.3, 0.4)}, "1 of 2 metrics changed; accuracy is the same."),
        ({"loss": (0.3, 0.4)}, "1 of 1 metric changed."),
        ({"accuracy": (ABSENT, 0.9), "loss": (0.3, 0.3)}, "1 of 2 metrics changed; accuracy is new."),
        ({"accuracy": (HOSTILE, 0.9)}, "1 of 1 metric changed; accuracy is changed."),
        ({"accuracy": (ABSENT, HOSTILE)}, "new."),
        ({"accuracy": (0.9, ABSENT)}, "no results in the working tree."),
        ({"accuracy": (0.9, 0.9)}, "the same in every metric."),
    ],
)  # fmt: skip
def test_the_verdict_is_one_sentence_about_accuracy_first(values, expected):
    model = ModelMetrics("small", {name: Metric(name, *pair, 0.02) for name, pair in values.items()}, "accuracy")
    assert model.verdict.startswith(expected)
    assert HOSTILE not in model.verdict


def test_the_noise_is_that_of_a_difference_of_two_runs(copy):
    noise = copy / "metrics/noise/small.json"
    noise.parent.mkdir()
    noise.write_text('{"seeds": [1, 2], "accuracy": {"mean": 0.8, "std": 0.01, "low": 0.7, "high": 0.9}}')
    assert read_noise(open, str(noise)) == {"accuracy": pytest.approx(0.027718, abs=1e-6)}
    assert report(copy, "--base", "HEAD~1").returncode == 0
    page, comment = read(copy)
    (verdict,) = [row[5] for row in rows(comment) if row[:2] == ["small", "accuracy"]]
    assert verdict == "beyond ±0.028"  # four epochs have an accuracy of 0.9, three of 0.8
    assert "noise not measured" not in page  # of `full`, no number of which changed
    assert RULE in page
    assert RULE in comment
    noise.write_text('{"other": {"std": 0.01}}')
    assert report(copy, "--base", "HEAD~1").returncode == 0
    assert RULE not in "".join(read(copy))


@pytest.mark.parametrize("text", ["", "[]", '{"accuracy": {"mean": 0.8}}', '{"accuracy": {"std": "wide"}}'])
def test_a_damaged_noise_file_is_named(tmp_path, text):
    (tmp_path / "small.json").write_text(text)
    with pytest.raises(InputError, match=r"small.json: expected a `std` for each metric, got "):
        read_noise(open, str(tmp_path / "small.json"))


def test_no_word_from_a_file_becomes_markup(hostile):
    page, comment = read(hostile)
    assert "<script" not in page + comment
    assert page.count("&lt;script&gt;") > 8
    table = rows(comment)
    assert ["models.small.seed", "1", HOSTILE] in table
    name = HOSTILE.replace("/", "")
    assert [name, HOSTILE, "—", "1.5", "—", "new"] in table
    assert not re.search(r"[|`*@<>&](?!#\d+;)", "".join(re.findall(r"<code>(.*?)</code>", comment)))


def test_the_page_refers_to_nothing_outside_itself(project, hostile):
    for page, _ in (read(project), read(hostile)):
        references = re.findall(r"""(?:src|href|srcset|data|action)\s*=\s*["']?([^"'\s>]+)""", page)
        references += re.findall(r"url\(['\"]?([^)]+)", page)
        assert references
        assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in references)
        assert "@import" not in page
        assert "default-src 'none'" in page


def test_a_comment_too_long_for_github_is_cut_at_its_end(project):
    _, short = read(project)
    few = [("k", "1", "2")]
    assert Report("1234567", "", [], few).title == "1 param changed since 1234567"
    still = ModelMetrics("a", {"x": Metric("x", 1, 1)})
    assert Report("1234567", "", [still], few).title == "1 param changed since 1234567, but no metric did"
    many = Report("1234567", "89abcde", [], [(f"models.small.{i}", "|" * 100, "") for i in range(1000)])
    long = to_markdown(many)
    assert len(short) < MAX_COMMENT_CHARACTERS - 1000 < len(long) <= MAX_COMMENT_CHARACTERS
    assert long.startswith(MARKER)
    assert "cut here" in long
    assert "cut here" not in short
    assert "report artifact" in long.splitlines()[-1]
    page = report_page(many, [])
    assert "<summary>1000 params changed</summary>" in page
    assert "models.<wbr>small.<wbr>999" in page
    assert "<details>" not in report_page(Report("1234567", "", [], few), [])


def browse(page: Path, tmp_path: Path, scheme: str = "light") -> tuple[str, str]:
    """HTML of the page after it ran in a browser, light or dark, and the lines of the browser's console."""
    run = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / page.stem}",
            f"--blink-settings=preferredColorScheme={['dark', 'light'].index(scheme)}",
            "--enable-logging=stderr", "--window-size=1400,900", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return run.stdout, "\n".join(line for line in run.stderr.splitlines() if "CONSOLE" in line)


MEASURE = """<script>
const luminance = color => color.match(/[0-9.]+/g).slice(0, 3).map(part => part / 255)
  .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0)
const ground = node => {
  const { left, right, top, bottom } = node.getBoundingClientRect()
  for (const cell of node.ownerSVGElement?.querySelectorAll(".mark-rect path") ?? []) {
    const box = cell.getBoundingClientRect()
    if (box.left < left && right < box.right && box.top < top && bottom < box.bottom) return getComputedStyle(cell).fill
  }
  const color = getComputedStyle(node).backgroundColor
  if (!color.startsWith("rgba(")) return color
  if (node.parentElement) return ground(node.parentElement)
  node.style.backgroundColor = "Canvas"
  return ground(node)
}
const contrast = node => {
  const style = getComputedStyle(node)
  const both = [luminance(node instanceof SVGElement ? style.fill : style.color), luminance(ground(node))]
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05)
}
addEventListener("load", () => {
  const hasText = node => [...node.childNodes].some(child => child.nodeType == 3 && child.data.trim())
  const texts = [...document.body.querySelectorAll("*:not(script, style)")].filter(hasText)
  parent.document.getElementById("measured").textContent = JSON.stringify({
    width: innerWidth, content: document.documentElement.scrollWidth,
    requests: performance.getEntriesByType("resource").map(entry => entry.name),
    scripts: document.scripts.length, title: document.title,
    dark: matchMedia("(prefers-color-scheme: dark)").matches, contrast: Math.min(...texts.map(contrast)),
    paper: luminance(ground(document.body)), texts: texts.length,
    pictures: [...document.querySelectorAll("figure svg")].map(svg => svg.getBoundingClientRect())
      .map(box => [box.width, box.height]),
    lines: Object.fromEntries([...document.querySelectorAll("figure")].map(figure => [
      figure.querySelector("figcaption").firstChild.data,
      [...figure.querySelectorAll(".mark-line path")].map(line => getComputedStyle(line))
        .map(style => [style.stroke, parseFloat(style.strokeWidth), style.strokeOpacity * style.opacity]),
    ])),
    cut: [...document.querySelectorAll(".scroll")].filter(box => box.scrollWidth > box.clientWidth)
      .map(box => getComputedStyle(box).backgroundAttachment),
  })
})</script>"""


def measure(page: str, width: int, tmp_path: Path, scheme: str = "light") -> dict:
    """Result of the script ``MEASURE`` on a copy of the page, in a frame, because no window is as narrow as a phone.

    The contrast is the least of all texts, by WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio.
    """
    frame = escape(re.sub("<meta http-equiv.*?>", "", page) + MEASURE)
    outer = tmp_path / "measured.html"
    outer.write_text(
        '<meta name="color-scheme" content="light dark"><pre id="measured"></pre>'
        f'<iframe width="{width}" height="900" srcdoc="{frame}"></iframe>'
    )
    dom, _ = browse(outer, tmp_path, scheme)
    return json.loads(unescape(re.search(r'<pre id="measured">(.*?)</pre>', dom, re.S)[1]))


@needs_browser
def test_a_browser_prints_no_warning(project, tmp_path):
    dom, console = browse(project / "report/index.html", tmp_path)
    assert dom.count("<svg ") == len(PLOTS)
    assert console == ""


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_every_picture_shows_nothing_is_requested_and_nothing_overflows(project, tmp_path, width):
    measured = measure(read(project)[0], width, tmp_path)
    assert measured["width"] == width
    assert measured["content"] <= width
    assert measured["requests"] == []
    assert len(measured["pictures"]) == len(PLOTS)
    assert all(min(box) > 200 for box in measured["pictures"])


@needs_browser
def test_of_two_equal_lines_both_are_visible_because_that_of_the_base_is_wider(project, tmp_path):
    """The line of the base lies below that of the workspace, in another opaque colour; `full` is equal in both."""
    lines = measure(read(project)[0], 1280, tmp_path)["lines"]
    for title in ("Loss", "ROC"):
        colors, widths, opacities = zip(*lines[title], strict=True)
        assert len(colors) == 4
        base, workspace = colors[0], colors[-1]
        assert colors == (base, base, workspace, workspace)
        assert base != workspace
        assert min(widths[:2]) >= 2 * max(widths[2:])
        assert set(opacities) == {1}


@needs_browser
def test_a_table_that_is_wider_than_a_phone_has_a_shadow_until_one_scrolls(project, tmp_path):
    cut = measure(read(project)[0], 390, tmp_path)["cut"]
    assert cut
    assert set(cut) == {"local, local, scroll, scroll"}


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_every_text_stands_out_in_light_and_dark(project, tmp_path, scheme):
    measured = measure(read(project)[0], 1280, tmp_path, scheme)
    assert measured["dark"] == (scheme == "dark")
    assert (measured["paper"] < 0.5) == (scheme == "dark")
    assert measured["texts"] > 100
    assert measured["contrast"] >= 4.5  # WCAG's AA


@needs_browser
def test_in_a_browser_hostile_words_run_nothing_and_do_not_overflow(hostile, tmp_path):
    measured = measure(read(hostile)[0], 390, tmp_path)
    assert measured["scripts"] == 1
    assert measured["title"].startswith(HOSTILE.replace("/", ""))
    assert measured["requests"] == []
    assert measured["content"] <= 390


@needs_browser
def test_the_page_itself_forbids_scripts_and_requests(project, tmp_path):
    """Without its policy the page runs a script and requests a closed port, as ``measure`` shows; with it neither."""
    extra = '<img src="http://127.0.0.1:9/picture"><script>document.title = "run"</script>'
    page = read(project)[0].replace("</body>", f"{extra}</body>")
    measured = measure(page, 390, tmp_path)
    assert measured["title"] == "run"
    assert measured["requests"] == ["http://127.0.0.1:9/picture"]
    (tmp_path / "forbidden.html").write_text(page)
    dom, console = browse(tmp_path / "forbidden.html", tmp_path)
    assert "<title>run</title>" not in dom
    assert console.count("Content Security Policy") == 2


def test_metrics_files_that_the_settings_hide_are_no_models():
    changed = {"accuracy": 0.5}
    files = {"metrics/tiny.json": changed, "metrics/big.json": changed, "plots/tiny/history/metrics.json": changed}
    hidden = compare_metrics(Side(files), Side(files), CheckSettings(hidden=("plots/*",)))
    assert [model.name for model in hidden] == ["big", "tiny"]
    assert len(compare_metrics(Side(files), Side(files), CheckSettings())) == 3


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ([], []),
        (["metrics.json"], ["metrics"]),
        (["a/metrics.json", "b/metrics.json"], ["a", "b"]),
        (["metrics.json", "b/metrics.json"], ["metrics", "b/metrics"]),
        (["m/a.json", "m/b.yaml"], ["a", "b"]),
        (["m/a.json", "m/a.yaml"], ["m/a.json", "m/a.yaml"]),
        (["r/a/x/m.json", "r/b/y/m.json"], ["a/x", "b/y"]),
    ],
)
def test_models_are_named_by_the_part_of_their_path_that_differs(files, names):
    assert list(name_models(files).values()) == names


def test_a_plot_is_of_the_model_with_the_longest_name_in_its_path():
    assert model_of(["plots/x/y/roc.csv", "loss/x/y.tsv"], ["x", "x/y", "y"]) == "x/y"


def test_an_image_that_did_not_change_is_embedded_once(project):
    page, _ = read(project)
    head, base = (base64.b64encode(picture_of(project, revision)).decode() for revision in ("HEAD", "HEAD~1"))
    assert head == base
    assert page.count(f'<img src="data:image/png;base64,{head}" alt="plots/small/picture.png, in workspace"') == 1
    assert 'aria-label="plots/small/picture.png"' in page


def test_an_image_is_of_the_kind_that_its_name_says():
    point = {"rev": "r", "src": "data:image/png;base64,QQ=="}
    assert to_image(point | {"filename": "a.svg"}) == ("r", "data:image/svg+xml;base64,QQ==")
    assert to_image(point | {"filename": "a"}) == ("r", "data:image/png;base64,QQ==")


def picture_of(folder: Path, revision: str) -> bytes:
    command = ("git", "show", f"{revision}:plots/small/picture.png")
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, check=True).stdout


def test_plots_that_changed_are_counted_where_nothing_else_did(copy):
    write(copy, "evaluate.py", EVALUATE.replace("1 / (i + 1)", "2 / (i + 1)"))
    repro(copy)
    assert report(copy, "--base", "HEAD~1").returncode == 0
    assert "<title>1 plot changed since " in read(copy)[0]


def test_nothing_needs_settings(copy):
    (copy / "checks.yaml").unlink()
    run = report(copy, "--base", "HEAD~1")
    assert run.returncode == 0, run.stderr
    _, comment = read(copy)
    assert "- <code>small</code>: 3 of 4 metrics changed.\n" in comment
    assert "noise" not in comment


def test_a_project_in_a_folder_of_a_larger_repository_has_a_report(tmp_path):
    git(tmp_path, "init", "--quiet")
    for name, content in FILES.items():
        write(tmp_path, f"sub/{name}", content)
    shutil.copytree(ROOT / ".dvc/plots", tmp_path / "sub/.dvc/plots")
    write(tmp_path, "sub/.dvc/config", "")
    edited = yaml.safe_load(FILES["dvc.yaml"])
    edited["stages"]["evaluate"]["do"]["params"].append({"more.yaml": ["k"]})
    write(tmp_path, "sub/dvc.yaml", yaml.safe_dump(edited))
    for epochs in (4, 3):
        write(tmp_path, "sub/params.yaml", FILES["params.yaml"].replace("epochs: 4", f"epochs: {epochs}"))
        write(tmp_path, "sub/more.yaml", f"k: {epochs + 5}\n")
        repro(tmp_path / "sub")
    run = report(tmp_path / "sub")
    assert run.returncode == 0, run.stderr
    table = rows(read(tmp_path / "sub")[1])
    assert ["models.small.epochs", "4", "3"] in table
    assert ["more.yaml:k", "9", "8"] in table


def test_gits_own_reason_is_shown(copy):
    (copy / ".git/HEAD").write_text("junk")
    run = report(copy)
    assert run.returncode == 3
    assert "fatal: " in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_a_model_whose_stage_is_stale_is_not_rerun_and_never_the_same(copy):
    write(copy, "params.yaml", FILES["params.yaml"])  # one epoch more of small than was run
    assert report(copy).returncode == 0
    page, comment = read(copy)
    base = git(copy, "rev-parse", "--short=7", "HEAD")
    assert f"<title>small was not rerun since {base}</title>" in page
    reason = "evaluate@small: params.yaml: models.small.epochs: recorded 3, found 4"
    assert f"- small: not rerun: {reason}" in unescape(re.sub(r"</?code>", "", comment)).splitlines()
    assert reason in page
    assert "every metric of <code>full</code>. Not rerun: <code>small</code>." in comment
    assert {row[5] for row in rows(comment) if row[0] == "small"} == {"not rerun"}
    assert {row[5] for row in rows(comment) if row[0] == "full"} == {"the same"}
    remarks = dict(re.findall(r"<figcaption>([^<]*)<span>([^<]*)</span>", page))
    assert remarks["Confusion, small"] == "Not rerun. The same in both."
    assert remarks["Confusion of full"] == "The same in both."


def test_the_title_names_up_to_three_models_and_counts_more():
    def title(changed: int, among: int) -> str:
        metrics = [{"x": Metric("x", 1, 2 if number < changed else 1)} for number in range(among)]
        models = [ModelMetrics(f"m{number}", each) for number, each in enumerate(metrics)]
        return Report("a1", "workspace", models).title

    assert title(1, 5) == "m0 changed since a1"
    assert title(3, 5) == "m0, m1 and m2 changed since a1"
    assert title(4, 5) == "4 of 5 models changed since a1"
    assert title(4, 4) == "All 4 models changed since a1"


def test_a_stale_stage_that_every_model_depends_on_is_named_once():
    def model(name: str, *stale: str) -> ModelMetrics:
        return ModelMetrics(name, {}, stale=stale)

    shared, alone = "check: params.yaml: a: recorded 1, found 2", "train@a: params.yaml: a: recorded 1, found 2"
    assert in_common([model("a", shared, alone), model("b", shared)]) == (shared,)
    assert in_common([model("a", shared, alone), model("b")]) == ()
    assert in_common([model("a", shared)]) == ()


def test_a_stage_is_not_rerun_where_one_before_it_is_stale(tmp_path):
    stages = {
        "train": {"cmd": "cp params.yaml model", "params": ["seed"], "outs": ["model"]},
        "score": {"cmd": "echo 'a: 1' > m.yaml", "deps": ["model"], "metrics": [{"m.yaml": {"cache": False}}]},
    }
    files = {"params.yaml": "seed: 1\n", "dvc.yaml": yaml.safe_dump({"stages": stages})}
    folder = create(tmp_path / "chain", files)
    repro(folder)
    write(folder, "params.yaml", "seed: 2\n")
    assert report(folder).returncode == 0
    page, comment = read(folder)
    assert "m was not rerun since" in page
    assert "train: params.yaml: seed: recorded 1, found 2" in page
    assert "No metrics" not in page
    assert "<code>m</code>: not rerun" in comment


def test_stale_stages_on_which_no_metric_depends_are_named(tmp_path):
    stages = {name: {"cmd": f"cp i {name}", "deps": ["i"], "outs": [name]} for name in "ab"}
    folder = create(tmp_path / "made", {"i": "1\n", "dvc.yaml": yaml.safe_dump({"stages": stages})})
    repro(folder)
    write(folder, "i", "2\n")
    assert report(folder).returncode == 0
    page, comment = read(folder)
    (title,) = re.findall("<title>(.*)</title>", page)
    assert title.startswith("Some stages were not rerun; no metric, param or plot changed since ")
    assert "<li>Stages were not rerun: <br><span>a, b: i: its content differs: recorded " in page
    assert "- Stages were not rerun: <code>a, b&#58; i&#58; its content differs" in comment


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("dvc.yaml", "stages:\n<<<<<<< a\n", "dvc.yaml: line 2 is a conflict marker of a merge; "),
        ("dvc.lock", "s: {cmd: x}\n", "dvc.lock: in the format of DVC 1; "),
    ],
)
def test_a_pipeline_that_can_not_be_read_is_named_as_the_gate_names_it(copy, file, text, reason):
    write(copy, file, text)
    failed = report(copy)
    assert failed.returncode == 3
    assert failed.stderr.startswith(f"error: {reason}")
    assert failed.stderr.count("\n") == 1


def test_the_two_sides_of_an_image_that_changed_stand_side_by_side(copy):
    write(copy, "plots/small/picture.png", picture_of(copy, "HEAD") + b"more")
    assert report(copy).returncode == 0
    page, _ = read(copy)
    shown = page.split("<details>")[0] + page.split("<h2>Plots")[1].split("<details>")[0]
    images = re.search(r'<div class="images">(.*?)</div></div>', shown, re.S)[1]
    base = git(copy, "rev-parse", "--short=7", "HEAD")
    assert re.findall(r"<span>(.*?)</span><img ", images) == [base, "workspace"]
    assert "grid-template-columns: repeat(auto-fit" in page


def test_values_that_are_not_finite_are_left_out_of_a_plot_and_counted(copy):
    write(copy, "plots/small/loss.tsv", "step\tloss\n0\t0.5\n1\tInfinity\n2\tNaN\n3\t0.25\n")
    write(copy, "metrics/small.json", '{"accuracy": NaN, "loss": Infinity, "good": true}')
    assert report(copy).returncode == 0
    page, comment = read(copy)
    loss = re.search(r"<figcaption>Loss<span>(.*?)</span>.*?(<svg .*?</svg>)", page, re.S)
    assert loss[1] == "2 values are not finite, so not drawn."
    assert {"0.2", "0.4"} < {*texts(loss[2])}
    assert not re.search(r"NaN|Infinity", loss[2])
    table = rows(comment)
    assert ["small", "accuracy", "0.8", "NaN", "—", "changed"] in [
        [*r[:2], r[2][:3], *r[3:]] for r in table if len(r) == 6
    ]
    assert ["small", "good", "—", "true", "—", "new"] in table


def test_models_share_a_chart_of_each_common_plot_unless_a_param_separates_them(copy):
    plots = [
        {f"plots/{name}/roc.csv": {"x": "false", "y": "true", "title": f"ROC, {name}"}} for name in ("small", "full")
    ]
    write(copy, "dvc.yaml", yaml.safe_dump(PIPELINE | {"plots": plots}, sort_keys=False))
    settings = FILES["checks.yaml"] + "together: [plots/*/roc.csv]\n"
    write(copy, "checks.yaml", settings)
    assert report(copy, "--plots").returncode == 0
    page = (copy / "report/plots.html").read_text()
    figures = dict(re.findall(r"<figcaption>([^<]*)<span>.*?(<svg .*?</svg>)", page, re.S))
    assert figures.keys() == {"accuracy", "ROC"}
    assert {"full", "small"} < {*texts(figures["ROC"])}
    assert len({*re.findall(r'stroke="(#[0-9a-f]{6})" stroke-width="2"', figures["ROC"])}) == 2
    names = [text for text in texts(figures["accuracy"]) if text in ("full", "small")]
    assert names == ["small", "full"]  # the highest accuracy at the top: 0.8, 0.7
    base = commit(copy)[:7]
    assert report(copy, "--base", "HEAD").returncode == 0
    assert "<figcaption>ROC<span>The same in both.</span>" in read(copy)[0].partition("<details>")[2]
    write(copy, "plots/small/roc.csv", "false,true\n0,0\n0.5,0.625\n1,1\n")
    assert report(copy).returncode == 0
    page, _ = read(copy)
    assert f"<figcaption>ROC<span>{base} in dashes. The other model is the same in both.</span>" in page
    assert re.findall(r'aria-label="(ROC: [^"]*)"', page) == ["ROC: true against false, of small"]
    write(copy, "checks.yaml", settings + "apart: models.{model}.epochs\n")  # 3 and 2
    assert report(copy, "--plots").returncode == 0
    assert [*re.findall("<figcaption>([^<]*)<", (copy / "report/plots.html").read_text())] == [
        "accuracy", "ROC, full", "ROC, small",
    ]  # fmt: skip


def test_a_long_param_and_codes_in_names_are_shown_and_escaped(copy):
    sizes = [*range(200)]
    params = yaml.safe_load((copy / "params.yaml").read_text()) | {"sizes": sizes, "\x1b[31mred\n": True}
    write(copy, "params.yaml", json.dumps(params))
    assert report(copy).returncode == 0
    for text in read(copy):
        assert "\x1b" not in text
        assert "x1b" in text
    page, comment = read(copy)
    assert f"<code>{json.dumps(sizes)}</code>" in page
    assert ["\\x1b[31mred\\n", "—", "true"] in rows(comment)


def test_a_folder_that_is_a_link_is_refused_and_a_file_that_is_one_replaced(copy, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(copy / "report")
    (copy / "report").symlink_to(elsewhere)
    run = report(copy)
    assert run.returncode == 3
    assert run.stderr == f"error: folder: expected one to write to, got report, a symbolic link to {elsewhere}\n"
    assert not [*elsewhere.iterdir()]
    (elsewhere / "kept").write_text("theirs")
    (tmp_path / "index.html").symlink_to(elsewhere / "kept")
    write_report(tmp_path, {"index.html": "ours"})
    assert (elsewhere / "kept").read_text() == "theirs"
    assert (tmp_path / "index.html").read_text() == "ours"
    (tmp_path / "plain").touch()
    assert (tmp_path / "index.html").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the address space")
def test_a_limit_of_the_address_space_is_one_line(project):
    command = f"ulimit -v 30000000; exec '{sys.executable}' -m checks.report --plots"
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        ["sh", "-c", command], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 3
    assert run.stderr.startswith("error: address space: expected no limit, or 72 GiB")
    assert len(run.stderr.splitlines()) == 1


def test_of_a_commit_links_are_left_out_and_a_pointer_of_git_lfs_is_no_content(tmp_path):
    top, target = tmp_path / "made", tmp_path / "target"
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 2\n"
    for name, content in {"kept/m.json": "{}", "kept/large.json": pointer, "more.json": "[]"}.items():
        write(top, name, content)
    (top / "kept/link.json").symlink_to("m.json")
    (top / "folder").symlink_to("kept")
    git(top, "init", "--quiet")
    target.mkdir()
    files = Committed(top, target, commit(top))
    names = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert names == {"kept/m.json", "kept/large.json", "more.json"}
    with files.open(str(target / "kept/m.json")) as file:
        assert file.read() == "{}"
    with pytest.raises(OSError, match="Git LFS keeps it, and only its pointer is in the commit"):
        files.open(str(target / "kept/large.json"))


def test_a_partial_clone_fetches_what_it_shows_and_says_so_where_it_can_not(project, tmp_path):
    git(project, "config", "uploadpack.allowFilter", "true")
    clone(project, tmp_path / "partial", "--filter=blob:none")
    allowed = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}
    code, _, errors = call(main, tmp_path / "partial", "--base", "HEAD~1", **allowed)
    assert (code, errors) == (0, "")
    pages = [re.sub(r"(clip|gradient_)\d+", "", page) for page, _ in (read(tmp_path / "partial"), read(project))]
    assert pages[0] == pages[1]
    clone(project, tmp_path / "alone", "--filter=blob:none")
    git(tmp_path / "alone", "remote", "set-url", "origin", (tmp_path / "nowhere").as_uri())
    code, _, errors = call(main, tmp_path / "alone", "--base", "HEAD~1", **allowed)
    assert code == 3
    assert errors.startswith("error: base: Git can neither find nor fetch ")
    assert len(errors.splitlines()) == 1


def test_nothing_of_the_repository_runs_and_nothing_is_left_behind(copy, tmp_path):
    trap = tmp_path / "ran"
    for key in ("filter.trap.clean", "filter.trap.smudge", "diff.trap.textconv", "core.fsmonitor", "diff.external"):
        git(copy, "config", key, f"touch '{trap}'; cat")
    write(copy, ".git/hooks/post-checkout", f"#!/bin/sh\ntouch '{trap}'\n")
    (copy / ".git/hooks/post-checkout").chmod(0o755)
    write(copy, ".gitattributes", "* filter=trap diff=trap\n")
    write(copy, "json.py", f"open({str(trap)!r}, 'w')\n")
    (copy / "params.yaml").touch()  # Git looks into it again
    shutil.rmtree(copy / ".dvc/tmp", ignore_errors=True)
    site = tmp_path / "site"
    code, _, errors = call(main, copy, "--base", "HEAD~1", DVC_SITE_CACHE_DIR=str(site), TMPDIR=str(tmp_path))
    assert (code, errors) == (0, "")
    assert not trap.exists()
    assert not site.exists()
    assert not (copy / ".dvc/tmp").exists()


@pytest.mark.parametrize(
    "file", ["metrics/small.json", "plots/small/roc.csv", ".dvc/plots/counts.json", "metrics/noise/small.json"]
)
@pytest.mark.skipif(sys.platform == "win32", reason="needs /dev/zero")
def test_a_device_in_place_of_a_file_ends_in_a_fault(copy, file):
    path = copy / file
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to("/dev/zero")
    run = report(copy)
    assert run.returncode == (3 if "noise" in file else 0), run.stderr
    text = run.stderr if "noise" in file else "".join(read(copy))
    assert "a device or a pipe" in text or "a link or a path out of it" in text


def test_in_a_folder_below_the_root_the_names_are_those_of_the_root(copy):
    run = report(copy / "plots/small", "--base", "HEAD~1", "--folder", str(copy / "report"))
    assert run.returncode == 0, run.stderr
    assert "models.small.epochs" in {row[0] for row in rows(read(copy)[1])}
    assert 'aria-label="plots/small/picture.png"' in read(copy)[0]


def test_files_of_one_fault_share_a_line():
    why = "not what s recorded: its content differs."
    faults = [FileFault(name, why, True) for name in ("a.csv", "b.csv")]
    report = Report("1234567", "", [], [], [faults[0], FileFault("c.csv", "other."), faults[1]])
    assert f"<li><strong>a.csv and b.csv</strong>: {why}</li>" in report_page(report, [])
    lines = [unescape(line) for line in to_markdown(report).splitlines() if line.startswith("- ")]
    assert [line.partition(":")[0] for line in lines] == [
        "- <code>a.csv</code> and <code>b.csv</code>", "- <code>c.csv</code>",
    ]  # fmt: skip


def test_the_ranking_shows_every_number_with_equally_many_digits():
    assert {"0.8220", "0.9271"} <= {*texts(ranking({"a": 0.82196, "b": 0.92712}, "f1.mean").svg)}


def test_text_has_the_colour_of_the_page_unless_its_template_has_another():
    points = [{"x": 1, "y": 2, "rev": "workspace"}]
    spec = {"data": {"values": points}, "mark": "text", "encoding": {"text": {"field": "y"}}}
    assert re.search(r'<text [^>]*fill="currentColor"[^>]*>2<', to_svg(spec, points))
    assert re.search(
        r'<text [^>]*fill="red"[^>]*>2<', to_svg(spec | {"mark": {"type": "text", "color": "red"}}, points)
    )


def test_a_matrix_of_dvcs_own_template_shows_its_counts():
    points = [{"actual": a, "predicted": p, "rev": "workspace"} for a, p in ["xx"] * 5 + ["xy"] * 2 + ["yy"] * 7]
    names = {"x": "predicted", "y": "actual", "anchors_y_definitions": [{"filename": "f", "field": "actual"}]}
    plot = VegaRenderer(points, "Matrix", template="confusion", **names)
    assert {"5", "2", "7", "0"} <= {*texts(to_svg(plot.get_filled_template(), points))}
