"""A report, or the plots of the working tree, as a self-contained page; all text from files is escaped."""

import html
import re
from collections.abc import Iterable
from pathlib import Path
from string import Template

from .charts import Section
from .comparison import Metric, ModelMetrics, Report, counted, listed
from .drawing import Picture
from .shell import printable

MOST_PARAMS = 25
"""Most changed params that a page shows without a click."""
PAGE = Template((Path(__file__).parent / "report.html").read_text(encoding="utf-8"))


def escape(text: str) -> str:
    """Return text as HTML, with invisible characters written out."""
    return html.escape(printable(text))


def report_page(report: Report, sections: list[Section]) -> str:
    """Return the page of a report: verdicts, changed metrics, params and plots; what is the same is folded."""
    changed = [part for part in (section.part(same=False) for section in sections) if part.pictures]
    same = [part for part in (section.part(same=True) for section in sections) if part.pictures]
    pictures = sum(len(section.pictures) for section in sections)
    agree = sum(len(section.pictures) for section in same)
    parts = [_verdicts(report), _metrics(report), _params(report)]
    if changed:
        parts += ["<h2>Plots</h2>", *_sections(changed, 3)]
    if same:
        number = f"All {pictures}" if agree == pictures > 1 else f"{agree} of {pictures}"
        words = "The only plot is the same" if pictures == 1 else f"{number} plots are the same"
        parts.append(_fold(f"{words} in both", "\n".join(_sections(same, 3))))
    against = f"<code>{escape(report.base)}</code>" + (f" ({escape(report.subject)})" if report.subject else "")
    at = "" if report.head == report.base else f" at <code>{escape(report.head)}</code>"
    state = ", with changes that are not committed," if report.dirty else ""
    note = f"The working tree{at}{state} against {against}."
    return PAGE.substitute(title=escape(report.title), note=note, body="\n".join(filter(None, parts)))


def plots_page(sections: list[Section]) -> str:
    """Return the page of the working tree's plots: a table of contents, then a section for each model."""
    links = "".join(
        f'<li><a href="#section-{number}">{escape(section.title)}</a></li>'
        for number, section in enumerate(sections, 1)
    )
    body = [f'<nav aria-label="Contents"><ul>{links}</ul></nav>'] if len(sections) > 1 else []
    total = sum(len(section.pictures) for section in sections)
    note = f"{counted(total, 'plot')} of the working tree."
    return PAGE.substitute(title="Plots", note=note, body="\n".join([*body, *_sections(sections, 2)]))


def _verdicts(report: Report) -> str:
    """Return a list of the models that changed or were not rerun, and of the faults."""
    lines = [
        f"<li><strong>{escape(model.name)}</strong>: {escape(model.verdict)}{_reasons(model.stale, 'Not rerun since:')}"
        "</li>"
        for model in report.changed
    ]
    lines += [
        f"<li><strong>{escape(listed([model.name for model in models]))}</strong>: not rerun:{_reasons(reasons)}</li>"
        for reasons, models in report.stale.items()
    ]
    if report.upstream:
        lines.append(f"<li>Every model depends on a stage that was not rerun:{_reasons(report.upstream)}</li>")
    if report.outdated:
        lines.append(f"<li>{report.others} were not rerun:{_reasons(report.outdated)}</li>")
    lines += [
        f"<li><strong>{escape(listed(files))}</strong>: {escape(why)}</li>" for why, files in report.faulty.items()
    ]
    if not lines and not report.models and not report.unread:
        lines = ["<li>No metrics.</li>"]
    return "<ul>\n" + "\n".join(lines) + "\n</ul>" if lines else ""


def _reasons(reasons: Iterable[str], ahead: str = "") -> str:
    """Return reasons why a model is stale, a line each."""
    lines = "".join(f"<br><span>{escape(reason)}</span>" for reason in reasons)
    return f" {ahead}{lines}" if lines else ""


def _metrics(report: Report) -> str:
    """Return a table of the metrics that changed and a folded one of those that did not."""
    parts = []
    if report.changed:
        rows = [row for model in report.changed for row in _rows(model, model.changed)]
        parts += ["<h2>Metrics</h2>", _metrics_table(report, rows)]
        parts += [f'<p class="note">{report.rule}</p>'] if report.rule else []
    rows = [row for model in report.models if model.same for row in _rows(model, model.same)]
    if rows:
        parts.append(_fold(escape(report.unchanged()), _metrics_table(report, rows)))
    return "\n".join(parts)


def _metrics_table(report: Report, rows: list[str]) -> str:
    head = (
        f'<th scope="col">metric</th><th scope="col" class="number">{escape(report.base)}</th>'
        '<th scope="col" class="number">workspace</th><th scope="col" class="number">difference</th>'
        '<th scope="col">verdict</th>'
    )
    return _table("Metrics", head, rows)


def _rows(model: ModelMetrics, metrics: list[Metric]) -> list[str]:
    unknown = model.unmeasured if any(metric.difference for metric in metrics) else ""
    hint = f"<span>noise not measured: no <code>{escape(unknown)}</code></span>" if unknown else ""
    rows = [f'<tbody><tr><th colspan="5" scope="rowgroup">{escape(model.name)}{hint}</th></tr>']
    for metric in metrics:
        *sides, difference = metric.shown
        words = [isinstance(value, str) for value in (metric.before, metric.after)]
        cells = "".join(
            f'<td class="{"word" if word else "number"}">{escape(text)}</td>'
            for text, word in zip([*sides, difference], [*words, False], strict=True)
        )
        verdict = "not rerun" if model.stale and metric.verdict == "the same" else metric.verdict
        side = verdict.partition(" ")[0]
        rows.append(f'<tr><th scope="row">{escape(metric.name)}</th>{cells}<td class="{side}">{verdict}</td></tr>')
    return [*rows, "</tbody>"]


def _params(report: Report) -> str:
    if not report.params:
        return ""
    head = f'<th scope="col">param</th><th scope="col">{escape(report.base)}</th><th scope="col">workspace</th>'
    rows = [
        f'<tr><th scope="row"><code>{_breakable(escape(name))}</code></th>'
        f"<td><code>{escape(before)}</code></td><td><code>{escape(after)}</code></td></tr>"
        for name, before, after in report.params
    ]
    table = _table("Params", head, ["<tbody>", *rows, "</tbody>"], "params")
    if len(rows) > MOST_PARAMS:
        table = _fold(f"{len(rows)} params changed", table)
    return f"<h2>Params</h2>\n{table}"


def _breakable(name: str) -> str:
    """Return HTML in which a dotted key can be broken behind each dot, underscore and hyphen."""
    return re.sub(r"(?<=[._-])(?=[^._-])", "<wbr>", name)


def _table(name: str, head: str, rows: list[str], kind: str = "") -> str:
    return (
        f'<div class="scroll" role="region" aria-label="{name}" tabindex="0">\n'
        f'<table class="{kind}">\n<thead><tr>{head}</tr></thead>\n' + "\n".join(rows) + "\n</table>\n</div>"
    )


def _fold(summary: str, content: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n{content}\n</details>"


def _sections(sections: list[Section], level: int) -> list[str]:
    parts = []
    for number, section in enumerate(sections, 1):
        if len(sections) > 1:
            parts.append(f'<h{level} id="section-{number}">{escape(section.title)}</h{level}>')
        parts.append('<div class="pictures">\n' + "\n".join(map(_figure, section.pictures)) + "\n</div>")
    return parts


def _figure(picture: Picture) -> str:
    title, remark = escape(picture.title), escape(picture.remark)
    width = re.search(r'width="([\d.]+)"', picture.svg)
    # On a page that is narrower than three quarters of the picture, the picture scrolls.
    least = f' style="min-width: {0.75 * float(width[1]):.0f}px"' if width else ""
    drawing = picture.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(picture.label)}"{least} ', 1)
    images = "".join(
        f'<div class="image"><span>{escape(revision)}</span>'
        f'<img src="{escape(address)}" alt="{title}, in {escape(revision)}"></div>'
        for revision, address in picture.images
    )
    if images:
        drawing = f'<div class="images">{images}</div>'
    caption = f"<figcaption>{title}<span>{remark}</span></figcaption>"
    kind = ' class="wide"' if images else ""
    return (
        f'<figure{kind}>{caption}\n<div class="scroll" role="region" aria-label="{title}" tabindex="0">'
        f"{drawing}</div></figure>"
    )
