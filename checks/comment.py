"""A report as the comment of a pull request, in GitHub's Markdown."""

from .comparison import Metric, ModelMetrics, Report, listed
from .shell import printable

MARKER = "<!-- dvc-report -->"
"""First line of the comment. CI finds its earlier comment by this line."""
MAX_COMMENT_CHARACTERS = 65_536
"""Characters of the longest comment that GitHub accepts."""
ARTIFACT = "The whole report, with the plots, is `index.html` in the report artifact of this run."
CUT = "\nThe tables are cut here to fit a comment."


def quote(text: str) -> str:
    """Return a text as code in HTML entities, so that GitHub finds neither a mention nor markup in it."""
    safe = (letter if letter.isalnum() or letter in " .,-" else f"&#{ord(letter)};" for letter in printable(text))
    return f"<code>{''.join(safe)}</code>"


def to_markdown(report: Report) -> str:
    """Return the report as Markdown; a report that is too long for GitHub loses its last rows."""
    lines = [MARKER, f"### {_plain(report.title)}", ""]
    for model in report.changed:
        lines.append(f"- {quote(model.name)}: {_plain(model.verdict)}" + _reasons(model.stale, " Not rerun since: "))
    for reasons, models in report.stale.items():
        lines.append(f"- {_names(models)}: not rerun: " + _reasons(reasons, ""))
    if report.upstream:
        lines.append("- Every model depends on a stage that was not rerun: " + _reasons(report.upstream, ""))
    if report.outdated:
        lines.append(f"- {report.others} were not rerun: " + _reasons(report.outdated, ""))
    lines += [f"- {listed([*map(quote, files)])}: {quote(why)}" for why, files in report.faulty.items()]
    if report.changed:
        lines += ["", *_heading(report)]
        lines += [_row(model, metric) for model in report.changed for metric in model.changed]
    if report.params:
        lines += ["", f"| param | `{report.base}` | workspace |", "|:--|:--|:--|"]
        lines += [f"| {' | '.join(map(quote, param))} |" for param in report.params]
    same = [(model, metric) for model in report.models for metric in model.same]
    fold = []
    if same:
        fold = ["", f"<details><summary>{report.unchanged(quote)}</summary>", "", *_heading(report)]
        fold += [*(_row(*pair) for pair in same), "", "</details>"]
    closing = "\n" + " ".join(filter(None, (report.rule, ARTIFACT))) + "\n"
    if len("\n".join([*lines, *fold, closing])) <= MAX_COMMENT_CHARACTERS:
        return "\n".join([*lines, *fold, closing])
    kept, size = len(lines), sum(len(line) + 1 for line in [*lines, CUT, closing])
    while size > MAX_COMMENT_CHARACTERS:
        kept -= 1
        size -= len(lines[kept]) + 1
    return "\n".join([*lines[:kept], CUT, closing])


def _heading(report: Report) -> list[str]:
    titles = f"| model | metric | `{report.base}` | workspace | difference | verdict |"
    return [titles, "|:--|:--|--:|--:|--:|:--|"]


def _row(model: ModelMetrics, metric: Metric) -> str:
    before, after, difference = metric.shown
    sides = [
        quote(text) if isinstance(value, str) else _plain(text)
        for text, value in ((before, metric.before), (after, metric.after))
    ]
    verdict = "not rerun" if model.stale and metric.verdict == "the same" else metric.verdict
    return f"| {quote(model.name)} | {quote(metric.name)} | {' | '.join(sides)} | {difference} | {verdict} |"


def _plain(text: str) -> str:
    """Return a text outside of code, with every character that could be markup or a mention as an entity."""
    plain = " .,;-()±—+"
    return "".join(letter if letter.isalnum() or letter in plain else f"&#{ord(letter)};" for letter in printable(text))


def _names(models: list[ModelMetrics]) -> str:
    return listed([quote(model.name) for model in models])


def _reasons(reasons: tuple[str, ...], ahead: str) -> str:
    return ahead + ", ".join(map(quote, reasons)) if reasons else ""
