"""Sections of a page of plots: first the charts that all models share, then the plots of each model."""

import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from dvc_render.vega import VegaRenderer

from .comparison import name_models, number_format
from .drawing import Picture, Plot, draw, draw_together, to_svg
from .settings import CheckSettings
from .sides import WORKTREE, Side

ALL, REST = "All models", "Other plots"


@dataclass
class Section:
    """Pictures under a heading."""

    title: str
    pictures: list[Picture] = field(default_factory=list)

    def part(self, same: bool) -> "Section":
        """Return a section with the pictures that are the same on both sides, or with the others."""
        return Section(self.title, [picture for picture in self.pictures if picture.same == same])


def arrange(
    plots: list[Plot],
    models: Iterable[str],
    settings: CheckSettings,
    side: Side,
    revisions: list[str],
    stale: Callable[[str], object] = lambda file: False,
) -> list[Section]:
    """Draw plots and put each in the section of its model; empty sections are left out.

    Args:
        plots: The plots of all models.
        models: Names of the models, in the order of the sections.
        settings: The settings, which say which plots share a chart.
        side: The working tree, whose params say which models share a chart.
        revisions: One revision, or the base and another.
        stale: Returns a true value if the stage that makes a file was not rerun.
    """
    models = list(models)
    sections = {name: Section(name) for name in (ALL, *models, REST)}
    shared, alone = _shared(plots, models, settings, side)
    for title, group in shared:
        changed = {name: plot for name, plot in group.items() if not plot.same(revisions)}
        picture = draw_together(changed or group, title, revisions)
        if not changed:
            picture = _replace(picture, "The same in both.", same=True)
        elif len(changed) < len(group):
            others = len(group) - len(changed)
            subject = "The other model is" if others == 1 else f"The other {others} models are"
            picture = _replace(picture, f"{subject} the same in both.")
        sections[ALL].pictures.append(picture)
    titles = name_plots({plot.name: plot.title for plot in alone})
    for plot in alone:
        picture = draw(plot, titles[plot.name], revisions, any(map(stale, plot.files)))
        sections[model_of(plot.files, models) or REST].pictures.append(picture)
    return [section for section in sections.values() if section.pictures]


def _replace(picture: Picture, remark: str, same: bool = False) -> Picture:
    text = " ".join(filter(None, (picture.remark, remark)))
    return Picture(picture.title, picture.label, picture.svg, text, picture.images, same)


def _shared(
    plots: list[Plot], models: list[str], settings: CheckSettings, side: Side
) -> tuple[list[tuple[str, dict[str, Plot]]], list[Plot]]:
    """Return the plots that share a chart, with a title and by their models, and the other plots."""
    groups: dict[tuple[str, object], dict[str, Plot]] = {}
    alone = []
    for plot in plots:
        pattern = next((one for one in settings.together if fnmatchcase(plot.name, one)), None)
        model = model_of(plot.files, models)
        drawn = isinstance(plot.renderer, VegaRenderer) and plot.renderer.datapoints and not plot.faults
        if pattern is None or model is None or not drawn:
            alone.append(plot)
            continue
        key = settings.apart.replace("{model}", model)
        value = next((params[key] for params in side.params.values() if key in params), None)
        groups.setdefault((pattern, value), {})[model] = plot
    shared = []
    for (pattern, value), group in groups.items():
        if len(group) == 1:
            alone += group.values()
            continue
        values = {other for one, other in groups if one == pattern}
        titles = {plot.title.replace(model, "").strip(" ,:;-()") for model, plot in group.items()}
        name = titles.pop() if len(titles) == 1 else posixpath.splitext(posixpath.basename(pattern))[0]
        ordered = {model: group[model] for model in models if model in group}
        shared.append((f"{name}, {value}" if len(values) > 1 else name, ordered))
    return shared, alone


def model_of(files: Iterable[str], models: Iterable[str]) -> str | None:
    """Return the model whose name is a folder or the file name in all of these paths; the longest such name.

    >>> model_of(["plots/a/roc.csv"], ["a", "b"]), model_of(["plots/a/roc.csv", "plots/b/roc.csv"], ["a", "b"])
    ('a', None)
    >>> model_of(["roc/a-2.csv"], ["a", "a-2"])
    'a-2'
    """
    files = list(files)
    fitting = [name for name in models if files and all(_mentions(file, name) for file in files)]
    return max(fitting, key=len, default=None)


def _mentions(file: str, model: str) -> bool:
    return f"/{model}/" in f"/{posixpath.splitext(file)[0]}/" or f"/{model}/" in f"/{file}/"


def name_plots(titles: dict[str, str]) -> dict[str, str]:
    """Return the caption of each plot: its title, and where titles are equal also the part of the name that differs.

    >>> name_plots({"a/loss.tsv": "Training", "a/f1.tsv": "Training", "roc.csv": "ROC"})
    {'a/loss.tsv': 'Training: loss', 'a/f1.tsv': 'Training: f1', 'roc.csv': 'ROC'}
    """
    named = dict(titles)
    for title in set(titles.values()):
        alike = [name for name in titles if titles[name] == title]
        if len(alike) > 1:
            named |= {name: f"{title}: {part}" for name, part in name_models(alike).items()}
    return named


def ranking(values: dict[str, float], headline: str) -> Picture:
    """Draw one number of every model, the highest at the top."""
    show = number_format([*values.values()], None)
    points = [
        {"model": name, "value": value, "text": show(value, ""), "rev": WORKTREE} for name, value in values.items()
    ]
    rank = {"field": "model", "type": "nominal", "title": None, "sort": "-x"}
    value = {"field": "value", "type": "quantitative", "title": headline, "scale": {"zero": False}}
    spec = {
        "data": {"values": points},
        "width": 200,
        "height": {"step": 22},
        "encoding": {"y": rank | {"axis": {"grid": True, "labelLimit": 240}}, "x": value},
        "layer": [
            {"mark": {"type": "circle", "size": 90, "color": "#945dd6", "opacity": 1}},
            {
                "mark": {"type": "text", "align": "left", "dx": 9, "fontSize": 12, "color": "currentColor"},
                "encoding": {"text": {"field": "text", "type": "nominal"}},
            },
        ],
    }
    return Picture(headline, f"{headline} of {', '.join(values)}", to_svg(spec, points), "Highest first.")
