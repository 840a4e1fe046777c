"""What a reviewer looks at: metrics, params and plots of the working tree against the merge base, on one page."""

import copy
import json
import math
import mimetypes
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from html import escape
from pathlib import Path, PurePosixPath
from string import Template

import vl_convert
from dvc.exceptions import DvcException
from dvc.render.match import match_defs_renderers
from dvc.repo import Repo
from dvc_render.base import Renderer
from dvc_render.exceptions import DvcRenderError
from dvc_render.image import ImageRenderer
from dvc_render.vega import VegaRenderer
from dvc_render.vega_templates import LinearTemplate, SimpleLinearTemplate

from .scratch import project
from .settings import Settings, read_settings
from .shell import GitError, InputError, Parser, command, explain, git

PAGE = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
COMPARISON = Template("""\
<ul>
$verdicts
</ul>

<h2>Metrics</h2>
<div class="scroll" role="region" aria-label="Metrics" tabindex="0">
<table>
<thead><tr><th scope="col">metric</th><th scope="col" class="number">$base</th>
<th scope="col" class="number">workspace</th><th scope="col" class="number">difference</th>
<th scope="col">verdict</th></tr></thead>
$metrics
</table>
</div>
<p class="note">$rule</p>

<h2>Params</h2>
<div class="scroll" role="region" aria-label="Params" tabindex="0">
<table>
<thead><tr><th scope="col">param</th><th scope="col">$base</th><th scope="col">workspace</th></tr></thead>
<tbody>
$params
</tbody>
</table>
</div>

<h2>Plots</h2>
""")
MARKER = "<!-- dvc-report -->"  # by which CI finds its comment again
LONGEST_COMMENT = 65_536  # characters, GitHub's limit
RULE = (
    "A difference between two single runs is beyond the noise between random seeds if it exceeds "
    "1.96 * sqrt(2) * the standard deviation over seeds, as chance alone makes it once in twenty comparisons."
)
ARTIFACT = "All of it, with the plots, is `index.html` in the report artifact of this run."
CUT = "\nThe tables are cut here to fit a comment."

FEW = 60  # points of a plot that are drawn as such: one alone makes no line
INK = {"labelColor": "currentColor", "titleColor": "currentColor", "labelFontSize": 12, "titleFontSize": 12}
THEME = {  # the ink is the page's, so that one picture serves light and dark
    "aria": False,  # one label for the picture instead of one for each of its points
    "background": None,
    "view": {"stroke": None},
    "axis": {**INK, "titleFontWeight": "normal", "gridColor": "currentColor", "gridOpacity": 0.15}
    | {"tickCount": 5, "labelFlush": False}
    | {"domainColor": "currentColor", "domainOpacity": 0.5, "tickColor": "currentColor", "tickOpacity": 0.5},
    "header": {**INK, "title": None},
    "legend": {**INK, "labelLimit": 0, "orient": "bottom", "columns": 1, "symbolSize": 300}
    | {"gradientDirection": "horizontal"},  # below, so that a picture is no wider than a phone
}


@dataclass(frozen=True)
class Metric:
    """One metric before and after; ``None`` where there is none. ``noise`` is the largest difference by chance."""

    name: str
    before: object
    after: object
    noise: float | None

    @property
    def difference(self) -> float | None:
        """After minus before, if both are numbers and differ."""
        numbers = is_number(self.before) and is_number(self.after)
        return self.after - self.before if numbers and self.after != self.before else None

    @property
    def judgement(self) -> str:
        """New, gone, the same, changed, within or beyond the noise."""
        if self.before is None or self.after is None:
            return "new" if self.before is None else "gone"
        if self.before == self.after:
            return "the same"
        if self.noise is None or self.difference is None:
            return "changed"
        side = "within" if abs(self.difference) <= self.noise else "beyond"
        return f"{side} ±{self.noise:.6f}"


@dataclass(frozen=True)
class Model:
    """A model's metrics by name, the one its verdict begins with, and the file its noise is missing from, if any."""

    name: str
    metrics: dict[str, Metric]
    headline: str = ""
    unmeasured: str = ""

    @property
    def verdict(self) -> str:
        """One sentence; of the files' own words it holds none, so that it needs no quoting."""
        judgements = [metric.judgement for metric in self.metrics.values()]
        head = self.metrics.get(self.headline)
        if set(judgements) == {"gone"}:
            return "no results in the working tree."
        if set(judgements) == {"new"}:
            return "new" + (f", {self.headline} {number(head.after)}." if head and is_number(head.after) else ".")
        if set(judgements) == {"the same"}:
            return "the same in every metric."
        if head is None or head.difference is None:
            changed = len(judgements) - judgements.count("the same")
            rest = f"; {self.headline} is {head.judgement}." if head else "."
            return f"{changed} of {len(judgements)} metrics differ{rest}"
        side, _, noise = head.judgement.partition(" ")
        text = (
            f"{self.headline} {'rose' if head.difference > 0 else 'fell'} from {number(head.before)} "
            f"to {number(head.after)} ({number(head.difference, '+')})"
        )
        return text + (f", {side} the noise between seeds ({noise})." if noise else ".")


@dataclass(frozen=True)
class Picture:
    """A plot of both revisions: its title, what it shows, the drawing (empty without data), and a remark.

    A plot that is an image has none, but two ``images``, each with its revision and as an address that holds it.
    """

    title: str
    label: str
    svg: str
    remark: str
    images: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Report:
    """All that the page and the comment say. ``params`` holds (name, before, after) of the changed ones."""

    base: str
    head: str
    models: list[Model]
    params: list[tuple[str, str, str]]
    pictures: list[Picture]
    faults: list[tuple[str, str]]


def is_number(value: object) -> bool:
    """Whether a metric can be subtracted; others, such as a digest, can only be the same or not."""
    return isinstance(value, int | float)


def number(value: object, sign: str = "") -> str:
    """A metric as the tables show it: fractions to the six decimals they are stored with, absence as a dash."""
    if value is None:
        return "—"
    if isinstance(value, float):
        return f"{value:{sign}.6f}"
    return f"{value:{sign},}" if isinstance(value, int) else str(value)


def show(param: object) -> str:
    """A param as written, absence as a dash."""
    return "—" if param is None else str(param)


def commit(name: str) -> str | None:
    """The short hash of a commit, if there is one of that name.

    Raises:
        GitError: Git can't look; its own reason.
    """
    try:
        return git(Path(), "rev-parse", "--verify", "--quiet", "--short=7", "--end-of-options", f"{name}^{{commit}}")
    except GitError as error:
        if error.code == 1:
            return None
        raise


def find_base(name: str | None) -> str:
    """The commit to compare with.

    The one named; or HEAD where there is uncommitted work; or where HEAD left the remote's default branch; or on that
    branch itself the commit before.

    Raises:
        InputError: There is no such commit.
    """
    if name is not None:
        if found := commit(name):
            return found
        raise InputError(f"base: expected a commit of this repository, got {name!r}; `git log` lists them")
    head = commit("HEAD")
    if head and git(Path(), "status", "--porcelain", "--untracked-files=no"):
        return head
    candidates = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
    default = next(filter(commit, candidates), None) if head else None
    fork = merge_base(default) if default else head
    found = commit("HEAD~1") if head and fork == head else fork
    if not found:
        raise InputError("base: there is no earlier commit here; `git fetch --unshallow`, or name one with --base")
    return found


def merge_base(branch: str) -> str | None:
    """The newest commit that a branch and HEAD share."""
    try:
        return commit(git(Path(), "merge-base", "HEAD", branch))
    except GitError as error:
        if error.code == 1:
            return None
        raise


def read_noise(path: Path) -> dict[str, float]:
    """The largest difference by chance of each metric, from its standard deviation over seeds.

    Raises:
        InputError: The file is of another form: an object for each metric, with its ``std``.
    """
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: 1.96 * math.sqrt(2) * values["std"] for name, values in measured.items() if isinstance(values, dict)
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: expected a `std` for each metric, got {error!r}") from None


def name_models(files: list[str]) -> dict[str, str]:
    """A name for each metrics file: what tells its path from the others'.

    >>> name_models(["m/small.json", "m/full.json"]), name_models(["a/out/m.json", "b/out/m.json"])
    ({'m/small.json': 'small', 'm/full.json': 'full'}, {'a/out/m.json': 'a', 'b/out/m.json': 'b'})
    >>> name_models(["eval/metrics.json"]), name_models(["a/m.json", "a/m.yaml"])
    ({'eval/metrics.json': 'eval/metrics'}, {'a/m.json': 'a/m.json', 'a/m.yaml': 'a/m.yaml'})
    """
    parts = {file: PurePosixPath(file).with_suffix("").parts for file in files}
    shortest = min(map(len, parts.values()), default=0)
    ahead = behind = 0
    if len(files) > 1:
        while ahead < shortest - 1 and len({part[ahead] for part in parts.values()}) == 1:
            ahead += 1
        while behind < shortest - ahead - 1 and len({part[-1 - behind] for part in parts.values()}) == 1:
            behind += 1
    names = {file: "/".join(part[ahead : len(part) - behind]) for file, part in parts.items()}
    return names if len(set(names.values())) == len(names) else {file: file for file in files}


def compare_metrics(files: dict, settings: Settings, root: Path = Path()) -> list[Model]:
    """Models from DVC's difference of the metrics files, each with the noise that was measured of it, if any was."""
    shown = {
        file: values
        for file, values in sorted(files.items())
        if not any(fnmatchcase(file, pattern) for pattern in settings.hidden)
    }
    models = []
    for file, name in name_models(list(shown)).items():
        measured = settings.noise.replace("{model}", name)
        noise = read_noise(root / measured) if measured and (root / measured).exists() else None
        rows = {
            metric: Metric(metric, value["old"], value["new"], (noise or {}).get(metric))
            for metric, value in sorted(shown[file].items())
        }
        models.append(Model(name, rows, settings.headline, measured if measured and noise is None else ""))
    return models


def find_faults(errors: dict, base: str) -> list[tuple[str, str]]:
    """What DVC could not read, as (file, why). A file that the base lacks is no fault: it is new."""
    faults = []
    for revision, error in errors.items():
        for file, fault in (error if isinstance(error, dict) else {"dvc.yaml": error}).items():
            if not isinstance(fault, FileNotFoundError):
                faults.append((file, f"could not be read in {revision}: {explain(fault)}."))
            elif revision != base:
                faults.append((file, f"is missing in {revision}."))
    return faults


def is_whole(value: object) -> bool:
    """Whether a number, or a cell of a table, is an integer."""
    return isinstance(value, int) or (isinstance(value, str) and re.fullmatch(r"[-+]?\d+", value) is not None)


def tidy(spec: object, points: list[dict], symbol: dict) -> None:
    """Give axes of integers no fractions, and the legend of revisions, which name themselves, no title but a symbol."""
    if isinstance(spec, list):
        for part in spec:
            tidy(part, points, symbol)
    elif isinstance(spec, dict):
        for name, part in spec.items():
            if isinstance(part, dict) and name in ("x", "y") and part.get("type") == "quantitative":
                if all(is_whole(point.get(part.get("field"))) for point in points):
                    whole = {"tickCount": {"expr": f"max(1, min(5, span(domain('{name}'))))"}}
                    part["axis"] = whole | (part.get("axis") or {})
            elif isinstance(part, dict) and name == "color" and part.get("field") == "rev":
                part |= {"title": None, "legend": symbol}
            elif name != "data":
                tidy(part, points, symbol)


def to_svg(name: str, spec: dict, points: list[dict]) -> str:
    """Draw a Vega-Lite plot without its title, which the page has as a caption; nothing if there is nothing to draw.

    Raises:
        InputError: Vega-Lite rejects the plot.
    """
    spec = {name: copy.deepcopy(part) if name != "data" else part for name, part in spec.items() if name != "title"}
    lines = '"line"' in json.dumps({name: part for name, part in spec.items() if name != "data"})
    tidy(spec, points, {"symbolType": "stroke"} if lines else {})
    theme = THEME | {"line": {"point": len(points) <= FEW}}
    try:
        return vl_convert.vegalite_to_svg(spec, config=theme, allowed_base_urls=[]) if spec else ""
    except ValueError as error:
        reason = " ".join(str(error).splitlines()[:2])
        raise InputError(f"plot {name!r}: {reason}; check its definition and template in dvc.yaml") from None


def to_image(point: dict) -> tuple[str, str]:
    """The revision of an image that DVC read, and an address that holds it, of the kind that its name says."""
    kind = mimetypes.guess_type(point["filename"])[0] or "image/png"
    return point["rev"], f"data:{kind};base64,{point['src'].partition(',')[2]}"


def name_plots(titles: dict[str, str]) -> dict[str, str]:
    """What each plot is called, by its name: its title, and where others have the same, what tells their names apart.

    >>> name_plots({"a/loss.tsv": "Training", "a/f1.tsv": "Training", "roc.csv": "ROC"})
    {'a/loss.tsv': 'Training: loss', 'a/f1.tsv': 'Training: f1', 'roc.csv': 'ROC'}
    """
    named = dict(titles)
    for title in set(titles.values()):
        alike = [name for name in titles if titles[name] == title]
        if len(alike) > 1:
            named |= {name: f"{title}: {part}" for name, part in name_models(alike).items()}
    return named


def draw(repo: Repo, revisions: list[str]) -> list[Picture]:
    """The plots of dvc.yaml by its definitions and templates, the revisions in each, the first of two beneath."""
    found = match_defs_renderers(repo.plots.show(revs=revisions), templates_dir=repo.plots.templates_dir)
    titles = name_plots({plot.name: plot.properties.get("title") or plot.name for plot, *_ in found})
    return [to_picture(plot, titles[plot.name], errors, revisions) for plot, *errors in found]


def to_picture(plot: Renderer, title: str, errors: list[dict], revisions: list[str]) -> Picture:
    """A plot as DVC has it, with its errors by revision, drawn under a title."""
    plot.datapoints.sort(key=lambda point: revisions.index(point["rev"]))
    points = {revision: [] for revision in revisions}
    for point in plot.datapoints:
        points[point["rev"]].append({name: value for name, value in point.items() if name != "rev"})
    remarks = [f"{file} {why}" for by_file in errors for file, why in find_faults(by_file, revisions[0])]
    if not plot.datapoints:
        remarks.append("No data.")
    elif not all(points.values()):
        remarks.append("New." if points["workspace"] else "No data in the working tree.")
    elif len(revisions) > 1 and points[revisions[0]] == points["workspace"]:
        remarks.append("The same in both.")
    svg, images = "", ()
    if isinstance(plot, VegaRenderer):
        if type(plot.template) is LinearTemplate:  # DVC's own: two layers of lines, for smoothing by hand
            plot.template = SimpleLinearTemplate()
        svg = to_svg(title, plot.get_filled_template(), plot.datapoints)
    elif isinstance(plot, ImageRenderer):
        images = tuple(to_image(point) for point in plot.datapoints)
    else:
        remarks.append(f"Not drawn here, being of type {plot.TYPE}; see `dvc plots diff {revisions[0]}`.")
    label = title
    if not images:
        axes = [plot.properties.get(f"{axis}_label", axis) for axis in "yx"]
        label += f": {axes[0]} against {axes[1]}"
    label += f", in {' and '.join(revisions)}"
    return Picture(title, label, svg, " ".join(remarks), images)


def compare(base: str) -> Report:
    """Compare the working tree of the current folder with a commit."""
    root = project()
    settings = read_settings(root)
    with Repo(str(root)) as repo:
        repo.index.check_graph()  # the differences below only warn of a pipeline that can't be read
        metrics = repo.metrics.diff(base, "workspace", all=True)
        params = repo.params.diff(base, "workspace")
        changed = [
            (name if file == "params.yaml" else f"{file}:{name}", *(show(value[side]) for side in ("old", "new")))
            for file, values in sorted(params.get("diff", {}).items())
            for name, value in sorted(values.items())
        ]
        faults = find_faults(metrics.get("errors", {}), base) + find_faults(params.get("errors", {}), base)
        models = compare_metrics(metrics.get("diff", {}), settings, root)
        return Report(base, commit("HEAD"), models, changed, draw(repo, [base, "workspace"]), faults)


def plots_page() -> str:
    """The plots of the working tree of the current folder as a page."""
    with Repo(str(project())) as repo:
        repo.index.check_graph()
        return to_page("Plots", "Of the working tree.", "", draw(repo, ["workspace"]))


def rule(report: Report) -> str:
    """How the noise is to be read, where there is any."""
    measured = any(metric.noise is not None for model in report.models for metric in model.metrics.values())
    return RULE if measured else ""


def to_html(report: Report) -> str:
    """The report as a page."""
    verdicts = [f"<li><strong>{escape(model.name)}</strong>: {model.verdict}</li>" for model in report.models]
    verdicts += [f"<li><strong>{escape(file)}</strong> {escape(why)}</li>" for file, why in report.faults]
    metrics = []
    for model in report.models:
        hint = f" — noise not measured: no <code>{escape(model.unmeasured)}</code>" if model.unmeasured else ""
        metrics.append(f'<tbody><tr><th colspan="5" scope="rowgroup">{escape(model.name)}{hint}</th></tr>')
        for metric in model.metrics.values():
            cells = "".join(
                f'<td class="{"word" if isinstance(value, str) else "number"}">{escape(number(value, sign))}</td>'
                for value, sign in ((metric.before, ""), (metric.after, ""), (metric.difference, "+"))
            )
            side = metric.judgement.partition(" ")[0]
            metrics.append(
                f'<tr><th scope="row">{escape(metric.name)}</th>{cells}<td class="{side}">{metric.judgement}</td></tr>'
            )
        metrics.append("</tbody>")
    params = [
        f'<tr><th scope="row"><code>{escape(name)}</code></th>'
        f"<td><code>{escape(before)}</code></td><td><code>{escape(after)}</code></td></tr>"
        for name, before, after in report.params
    ]
    comparison = COMPARISON.substitute(
        base=report.base,
        rule=rule(report),
        verdicts="\n".join(verdicts),
        metrics="\n".join(metrics),
        params="\n".join(params) or '<tr><td colspan="3">none changed</td></tr>',
    )
    note = f"The working tree at <code>{report.head}</code> against commit <code>{report.base}</code>."
    return to_page(f"{report.base}..workspace", note, comparison, report.pictures)


def to_page(title: str, note: str, comparison: str, pictures: list[Picture]) -> str:
    """A page that needs nothing else, of pictures and what stands above them; every word from a file is escaped."""
    figures = [
        f"<figure><figcaption>{escape(picture.title)}<span>{escape(picture.remark)}</span></figcaption>\n"
        f'<div class="scroll" role="region" aria-label="{escape(picture.title)}" tabindex="0">'
        + picture.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(picture.label)}" ', 1)
        + "".join(
            f'<div class="image"><img src="{escape(address)}" alt="{escape(picture.title)}, in {escape(revision)}">'
            f"<span>{escape(revision)}</span></div>"
            for revision, address in picture.images
        )
        + "</div></figure>"
        for picture in pictures
    ]
    return PAGE.substitute(title=title, note=note, comparison=comparison, pictures="\n".join(figures))


def to_markdown(report: Report) -> str:
    """The report's tables as a pull-request comment, cut at its end to the longest that GitHub takes."""

    def quote(value: object) -> str:
        """Text as code, where GitHub finds no mention, and in entities, so that it finds no markup."""
        if value is None or is_number(value):
            return number(value)
        safe = "".join(letter if letter.isalnum() or letter in " .,-" else f"&#{ord(letter)};" for letter in value)
        return f"<code>{safe}</code>"

    lines = [MARKER, f"| model | `{report.base}`..workspace |", "|:--|:--|"]
    lines += [f"| {quote(model.name)} | {model.verdict} |" for model in report.models]
    lines += [f"| {quote(file)} | {quote(why)} |" for file, why in report.faults]
    lines += ["", f"| model | metric | `{report.base}` | workspace | difference | verdict |"]
    lines += ["|:--|:--|--:|--:|--:|:--|"]
    for model in report.models:
        for metric in model.metrics.values():
            values = quote(metric.before), quote(metric.after), number(metric.difference, "+"), metric.judgement
            lines.append(f"| {quote(model.name)} | {quote(metric.name)} | {' | '.join(values)} |")
    lines += ["", f"| param | `{report.base}` | workspace |", "|:--|:--|:--|"]
    lines += [f"| {' | '.join(map(quote, param))} |" for param in report.params] or ["| none changed | | |"]
    closing = "\n" + " ".join(filter(None, (rule(report), ARTIFACT))) + "\n"
    kept, size = len(lines), sum(len(line) + 1 for line in [*lines, CUT, closing])
    while size > LONGEST_COMMENT:
        kept -= 1
        size -= len(lines[kept]) + 1
    return "\n".join([*lines[:kept], *([CUT] if kept < len(lines) else []), closing])


def main(arguments: list[str] | None = None) -> int:
    """Write ``index.html`` and ``report.md``."""
    parser = Parser(prog="dvc-report", description=__doc__)
    parser.add_argument("--base", metavar="REV", help="compare with this; else HEAD or the branch's start")
    parser.add_argument("--plots", action="store_true", help="only draw the plots of the working tree, in plots.html")
    parser.add_argument("--folder", type=Path, default=Path("report"), help="where to write; report by default")
    options = parser.parse_args(arguments)
    try:
        if options.plots:
            files, done = {"plots.html": plots_page()}, "shows the plots of the working tree"
        else:
            report = compare(find_base(options.base))
            files = {"index.html": to_html(report), "report.md": to_markdown(report)}
            done = f"compare the working tree with {report.base}"
        options.folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (options.folder / name).write_text(text, encoding="utf-8", newline="\n")
    except (DvcException, DvcRenderError, OSError) as error:
        raise InputError(explain(error)) from error
    print(f"{' and '.join(str(options.folder / name) for name in files)} {done}")
    return 0


def run() -> None:
    """What ``dvc-report`` is."""
    command(main)


if __name__ == "__main__":
    run()
