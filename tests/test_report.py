"""The report tells a reviewer what changed, in a comment and on a page that is safe and complete by itself."""

import json
import os
import re
import shutil
import subprocess
import sys
from html import escape, unescape
from pathlib import Path

import pytest

from checks.report import (
    LONGEST_COMMENT,
    MARKER,
    Metric,
    Model,
    Report,
    compare_metrics,
    find_base,
    read_noise,
    to_html,
    to_markdown,
)
from demo.project import write_project
from sentiment import InputError
from tests.conftest import MODELS, ROOT

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs a browser: chromium or google-chrome on PATH")
CURVES = ["history/plots/metrics/train/accuracy.tsv", "history/plots/metrics/train/loss.tsv"]
CURVES += ["calibration.csv", "confusion.csv", "precision_recall.csv", "roc.csv"]
PLOTS = [f"plots/{model}/{curve}" for model in MODELS for curve in CURVES]
HOSTILE = "<script>document.title='run'</script>|`*@all*`"


def git(folder: Path, *command: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    run = ("git", *identity, *command)
    return subprocess.run(run, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout.strip()


def report(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "checks.report", *arguments],
        cwd=folder, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


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
    folder = tmp_path_factory.mktemp("project")
    environment = write_project(folder, 300)
    params = folder / "params.yaml"
    for epochs in (4, 3):
        params.write_text(params.read_text().replace("epochs: 4", f"epochs: {epochs}", 1))
        subprocess.run(["dvc", "repro", "--quiet"], cwd=folder, env=environment, capture_output=True, check=True)
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", f"{epochs} epochs")
    run = report(folder)
    assert (run.returncode, run.stderr) == (0, "")
    return folder


@pytest.fixture
def copy(project, tmp_path) -> Path:
    return Path(shutil.copytree(project, tmp_path / "copy", symlinks=True))


@pytest.fixture(scope="module")
def hostile(project, tmp_path_factory) -> Path:
    """A project whose every name and value tries to become markup."""
    copy = Path(shutil.copytree(project, tmp_path_factory.mktemp("hostile") / "copy", symlinks=True))
    name = HOSTILE.replace("/", "")  # a file's name holds none
    pipeline = (copy / "dvc.yaml").read_text().replace("ROC, ${key}", json.dumps(HOSTILE))
    pipeline = pipeline.replace("epoch\n", json.dumps(HOSTILE) + "\n")
    (copy / "dvc.yaml").write_text(f"{pipeline}metrics:\n- {json.dumps(f'metrics/{name}.json')}\n")
    (copy / f"metrics/{name}.json").write_text(json.dumps({"accuracy": HOSTILE, HOSTILE: 1.5}))
    params = copy / "params.yaml"
    params.write_text(params.read_text().replace("seed: 1", f"seed: {json.dumps(HOSTILE)}"))
    run = report(copy)
    assert run.returncode == 0, run.stderr
    return copy


def test_the_comment_names_the_changed_param_and_every_metric_before_and_after(project):
    _, comment = read(project)
    assert comment.splitlines()[0] == MARKER
    table = rows(comment)
    assert [row for row in table if row[0].startswith("models.")] == [["models.small.train.epochs", "4", "3"]]
    before, after = metrics(project, "HEAD~1", "small"), metrics(project, "HEAD", "small")
    assert before["loss"] != after["loss"]
    difference = f"{after['loss'] - before['loss']:+.6f}"
    assert ["small", "loss", f"{before['loss']:.6f}", f"{after['loss']:.6f}", difference, "changed"] in table
    assert ["small", "weights", before["weights"], after["weights"], "—", "changed"] in table
    assert {row[1] for row in table if row[0] == "small" and len(row) == 6} == set(before)
    assert ["full", "the same in every metric."] in table
    assert {row[5] for row in table if row[0] == "full" and len(row) == 6} == {"the same"}
    assert "make noise" in comment
    assert "report artifact" in comment.splitlines()[-1]


def test_the_page_says_what_the_comment_says(project):
    page, comment = read(project)
    cells = {unescape(re.sub(r"<.*?>", "", cell)) for cell in re.findall(r"<t[hd].*?</t[hd]>", page, re.S)}
    for row in rows(comment):
        if len(row) == 6 and row[0] in ("small", "full"):
            assert set(row[1:]) <= cells
    assert {"models.small.train.epochs", "4", "3"} <= cells
    base, head = git(project, "rev-parse", "--short=7", "HEAD~1"), git(project, "rev-parse", "--short=7", "HEAD")
    assert f"<title>{base}..workspace</title>" in page
    assert head in page
    assert "make noise MODEL=small" in page


def test_the_page_has_every_plot_of_the_pipeline_with_both_revisions(project):
    page, _ = read(project)
    base = git(project, "rev-parse", "--short=7", "HEAD~1")
    figure = r'<figcaption>(.*?)<span>(.*?)</span>.*?<svg role="img" aria-label="([^"]*)"(.*?)</svg>'
    pictures = re.findall(figure, page, re.S)
    assert sorted(title for title, *_ in pictures) == sorted(PLOTS)
    for title, remark, label, svg in pictures:
        assert label.startswith(f"{title}: ")
        assert f">{base}<" in svg
        assert ">workspace<" in svg
        changed = git(project, "diff", "--name-only", "HEAD~1", "--", title)
        assert remark == ("" if changed else "The same in both.")


def test_against_a_commit_without_results_everything_is_new(copy):
    run = report(copy, "--base", "HEAD~2")
    assert run.returncode == 0
    page, comment = read(copy)
    after = metrics(copy, "HEAD", "small")
    assert ["small", f"new, accuracy {after['accuracy']:.6f}."] in rows(comment)
    assert ["small", "loss", "—", f"{after['loss']:.6f}", "—", "new"] in rows(comment)
    assert page.count("<span>New.</span>") == page.count("<svg ") == len(PLOTS)


def test_a_missing_and_a_damaged_result_are_named(copy):
    (copy / "metrics/small.json").unlink()
    (copy / "metrics/full.json").write_text("{")
    (copy / "plots/small/roc.csv").unlink()
    assert report(copy).returncode == 0
    page, comment = read(copy)
    assert ["small", "no results in the working tree."] in rows(comment)
    assert ["metrics/small.json", "is missing in workspace."] in rows(comment)
    assert ["metrics/full.json", "could not be read in workspace: JSONFileCorruptedError."] in rows(comment)
    assert "plots/small/roc.csv is missing in workspace." in page


def test_a_fresh_clone_elsewhere_gives_the_same_bytes(project, tmp_path):
    """Without data, models or cache, under another hash seed."""
    clone = tmp_path / "a folder with spaces"
    git(tmp_path, "clone", "--quiet", str(project), str(clone))
    base = git(project, "rev-parse", "HEAD~1")
    assert report(clone, "--base", base, PYTHONHASHSEED="5").returncode == 0
    assert read(clone) == read(project)
    for text in read(project):
        assert str(project) not in text
        assert not re.search(rf"\b{re.escape(os.uname().nodename)}\b", text)


def test_tensorflow_stays_out():
    code = "import checks.report, sys; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("base", ["nonsense", "-x", "", "HEAD~3", "HEAD:params.yaml"])
def test_a_bad_base_is_one_line(project, tmp_path, base):
    run = report(project, f"--base={base}", "--folder", str(tmp_path / "report"))
    assert run.returncode == 3
    assert run.stderr == f"error: base: expected a commit of this repository, got {base!r}; `git log` lists them\n"
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (
            ".dvc/plots/counts.json",
            '"nominal"',
            '"nominal", "type": "no such"',
            "error: plot 'plots/small/confusion.csv': ",
        ),
        ("dvc.yaml", "template: counts", "template: none", "error: Template 'none' not found."),
        ("dvc.yaml", "stages:", "stages: [", "error: unable to read: 'dvc.yaml'"),
    ],
)
def test_a_pipeline_that_can_not_be_drawn_is_one_line(copy, file, old, new, expected):
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new))
    run = report(copy)
    assert run.returncode == 3
    assert run.stderr.startswith(expected)
    assert len(run.stderr.splitlines()) == 1


def test_the_default_base_is_where_the_branch_left_main_and_on_main_the_commit_before(tmp_path, monkeypatch):
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no earlier commit"):
        find_base(None)
    commits = []
    for branch in ("main", "main", "topic", "topic", "main"):
        git(tmp_path, "checkout", "--quiet", *(["-b"] if len(commits) == 2 else []), branch) if commits else None
        git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", str(len(commits)))
        commits.append(git(tmp_path, "rev-parse", "--short=7", "HEAD"))
    assert find_base(None) == commits[1]
    git(tmp_path, "checkout", "--quiet", "topic")
    assert find_base(None) == commits[1]
    git(tmp_path, "update-ref", "refs/remotes/origin/main", commits[2])
    assert find_base(None) == commits[2]
    git(tmp_path, "checkout", "--quiet", commits[0])
    with pytest.raises(InputError, match="no earlier commit"):
        find_base(None)


@pytest.mark.parametrize(
    ("before", "after", "noise", "expected"),
    [
        (0.5, 0.75, 0.25, "within ±0.250000"),
        (0.75, 0.5, 0.25, "within ±0.250000"),
        (0.5, 0.75, 0.2499, "beyond ±0.249900"),
        (0.75, 0.5, 0.2499, "beyond ±0.249900"),
        (0.5, float("nan"), 1.0, "beyond ±1.000000"),
        (0.5, 0.5, 0.0, "the same"),
        (0.5, 0.75, None, "changed"),
        ("a", "b", 1.0, "changed"),
        ("a", "a", None, "the same"),
        (None, 0.5, 1.0, "new"),
        (0.5, None, 1.0, "gone"),
    ],
)
def test_a_difference_is_judged_against_the_noise(before, after, noise, expected):
    assert Metric("accuracy", before, after, noise).judgement == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"accuracy": (0.8, 0.9)}, "accuracy rose from 0.800000 to 0.900000 (+0.100000), beyond the noise"),
        ({"accuracy": (0.9, 0.89)}, "accuracy fell from 0.900000 to 0.890000 (-0.010000), within the noise"),
        ({"accuracy": (0.9, 0.9), "loss": (0.3, 0.4)}, "1 of 2 metrics differ; accuracy is the same."),
        ({"loss": (0.3, 0.4)}, "1 of 1 metrics differ."),
        ({"accuracy": (None, 0.9), "loss": (0.3, 0.3)}, "1 of 2 metrics differ; accuracy is new."),
        ({"accuracy": (HOSTILE, 0.9)}, "1 of 1 metrics differ; accuracy is changed."),
        ({"accuracy": (None, HOSTILE)}, "new."),
        ({"accuracy": (0.9, None)}, "no results in the working tree."),
        ({"accuracy": (0.9, 0.9)}, "the same in every metric."),
    ],
)  # fmt: skip
def test_the_verdict_is_one_sentence_about_accuracy_first(values, expected):
    model = Model("small", {name: Metric(name, *pair, 0.02) for name, pair in values.items()}, True)
    assert model.verdict.startswith(expected)
    assert HOSTILE not in model.verdict


def test_the_noise_is_that_of_a_difference_of_two_runs(copy):
    noise = copy / "metrics/noise/small.json"
    noise.parent.mkdir()
    noise.write_text('{"seeds": [1, 2], "accuracy": {"mean": 0.8, "std": 0.01, "low": 0.7, "high": 0.9}}')
    assert read_noise(noise) == {"accuracy": pytest.approx(0.027718, abs=1e-6)}
    assert report(copy, "--base", "HEAD~1").returncode == 0
    page, comment = read(copy)
    (judgement,) = [row[5] for row in rows(comment) if row[:2] == ["small", "accuracy"]]
    assert judgement.endswith("±0.027719") or judgement == "the same"
    assert "MODEL=full" in page
    assert "MODEL=small" not in page


@pytest.mark.parametrize("text", ["", "[]", '{"accuracy": {"mean": 0.8}}', '{"accuracy": {"std": "wide"}}'])
def test_a_damaged_noise_file_is_named(tmp_path, text):
    (tmp_path / "small.json").write_text(text)
    with pytest.raises(InputError, match=r"small.json: expected a `std` for each metric, got .*`make noise` writes it"):
        read_noise(tmp_path / "small.json")


def test_no_word_from_a_file_becomes_markup(hostile):
    page, comment = read(hostile)
    assert "<script" not in page + comment
    assert page.count("&lt;script&gt;") > 8
    table = rows(comment)
    assert ["models.small.train.seed", "1", HOSTILE] in table
    name = HOSTILE.replace("/", "")
    assert [name, HOSTILE, "—", "1.500000", "—", "new"] in table
    assert not re.search(r"[|`*@<>&](?!#\d+;)", "".join(re.findall(r"<code>(.*?)</code>", comment)))


def test_the_page_refers_to_nothing_outside_itself(project, hostile):
    for page, _ in (read(project), read(hostile)):
        references = re.findall(r"""(?:src|href|srcset|data|action)\s*=\s*["']?([^"'\s>]+)""", page)
        references += re.findall(r"url\(['\"]?([^)]+)", page)
        assert references
        assert all(reference.startswith("#") for reference in references)
        assert "@import" not in page
        assert "default-src 'none'" in page


def test_a_comment_too_long_for_github_is_cut_at_its_end(project):
    _, short = read(project)
    many = Report("1234567", "89abcde", [], [(f"models.small.{i}", "|" * 100, "") for i in range(1000)], [], [])
    long = to_markdown(many)
    assert len(short) < LONGEST_COMMENT - 1000 < len(long) <= LONGEST_COMMENT
    assert long.startswith(MARKER)
    assert "cut here" in long
    assert "cut here" not in short
    assert "report artifact" in long.splitlines()[-1]
    assert "models.small.999" in to_html(many)


def browse(page: Path, tmp_path: Path, scheme: str = "light") -> tuple[str, str]:
    """The page's final state in a browser, light or dark, and what its console says."""
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
  })
})</script>"""


def measure(page: str, width: int, tmp_path: Path, scheme: str = "light") -> dict:
    """What a browser makes of a copy of the page that may run this script, in a frame, as no window is phone-narrow.

    The contrast is that of WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio, the least of all texts'.
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
def test_a_browser_has_nothing_to_complain_of(project, tmp_path):
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
    assert measured["title"].endswith("..workspace")
    assert measured["requests"] == []
    assert measured["content"] <= 390


@needs_browser
def test_the_page_itself_forbids_scripts_and_requests(project, tmp_path):
    """The measures above would see both: here a page runs a script and asks a closed port, and then may not."""
    extra = '<img src="http://127.0.0.1:9/picture"><script>document.title = "run"</script>'
    page = read(project)[0].replace("</body>", f"{extra}</body>")
    measured = measure(page, 390, tmp_path)
    assert measured["title"] == "run"
    assert measured["requests"] == ["http://127.0.0.1:9/picture"]
    (tmp_path / "forbidden.html").write_text(page)
    dom, console = browse(tmp_path / "forbidden.html", tmp_path)
    assert "<title>run</title>" not in dom
    assert console.count("Content Security Policy") == 2


def test_the_metrics_of_a_history_are_no_models():
    changed = {"accuracy": {"old": 0.5, "new": 0.6}}
    files = {"metrics/tiny.json": changed, "plots/tiny/history/metrics.json": changed}
    assert [model.name for model in compare_metrics(files)] == ["tiny"]
