"""Drawing of DVC's plots by the repository's definitions and templates, as SVG that runs and fetches nothing."""

import copy
import errno
import json
import math
import mimetypes
import posixpath
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

import vl_convert
from dvc.exceptions import DvcException
from dvc.render.match import PlotsData, match_defs_renderers
from dvc.repo.plots import infer_data_sources
from dvc_render.base import Renderer
from dvc_render.exceptions import DvcRenderError
from dvc_render.image import ImageRenderer
from dvc_render.vega import VegaRenderer
from dvc_render.vega_templates import TEMPLATES, LinearTemplate, SimpleLinearTemplate, Template

from .shell import InputError, explain, printable
from .sides import WORKTREE

FEW = 60  # up to so many points, each is also drawn as a dot, because one point alone makes no line
MODEL = "model"  # field with the model's name, in a chart of several models
ADDRESS_SPACE = 72 << 30  # bytes; V8, which draws the plots, reserves them without use
COLORS = ("#4c78a8", "#f58518", "#e45756", "#2f9e8f", "#54a24b", "#b279a2", "#9d755d", "#d67195", "#8a8a8a", "#b8961f")
INK = {"labelColor": "currentColor", "titleColor": "currentColor", "labelFontSize": 12, "titleFontSize": 12}
THEME = {  # text and lines have the colour of the page's text, for light and dark pages
    "aria": False,  # the picture has one label, instead of one for each point
    "background": None,
    "view": {"stroke": None},
    "axis": {**INK, "titleFontWeight": "normal", "gridColor": "currentColor", "gridOpacity": 0.15}
    | {"tickCount": 5, "labelFlush": False}
    | {"domainColor": "currentColor", "domainOpacity": 0.5, "tickColor": "currentColor", "tickOpacity": 0.5},
    "header": {**INK, "title": None},
    "legend": {**INK, "labelLimit": 0, "orient": "bottom", "columns": 1, "symbolSize": 300}
    | {"gradientDirection": "horizontal", "tickCount": 3},  # at the bottom, so that the picture fits a phone
    "text": {"color": "currentColor"},
}
FAULTS = (DvcException, DvcRenderError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""Errors of a plot whose definition, template or data DVC can't use."""


@dataclass(frozen=True)
class Picture:
    """A plot as it is shown on the page."""

    title: str
    label: str  # text for screen readers
    svg: str  # empty without data, and for an image
    remark: str
    images: tuple[tuple[str, str], ...] = ()  # a revision and a data URL for each
    same: bool = False  # the data of both sides are equal


@dataclass(frozen=True)
class Plot:
    """A plot of DVC's, its data files, and the faults because of which it can't be drawn.

    ``renderer`` has the data and the template; it is None if DVC can't match them.
    """

    name: str
    files: tuple[str, ...]
    renderer: Renderer | None
    faults: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name of the plot in the pipeline."""
        return (self.renderer and self.renderer.properties.get("title")) or self.name

    def points(self, revision: str) -> list[dict]:
        """Return the data of one side."""
        points = self.renderer.datapoints if self.renderer else []
        chosen = [point for point in points if point["rev"] == revision]
        return [{key: value for key, value in point.items() if key != "rev"} for point in chosen]

    def same(self, revisions: list[str]) -> bool:
        """True if both sides have equal data."""
        if self.faults or len(revisions) < 2:
            return False
        first, second = map(self.points, revisions)
        return bool(first) and repr(first) == repr(second)

    def changed(self, revisions: list[str]) -> bool:
        """True if the two sides have other data."""
        first, second = map(self.points, revisions)
        return repr(first) != repr(second)


def find_plots(data: dict[str, dict], revisions: list[str], open_file: Callable[[str], IO], folder: str) -> list[Plot]:
    """Match each plot of all sides with its data and template, separately, so that a fault concerns one plot only.

    Args:
        data: Definitions and data of each revision, as DVC collects them.
        revisions: The base first.
        open_file: Opens a file of the working tree, if it may be opened.
        folder: The folder of the repository's templates.
    """
    plots = []
    for name, group in PlotsData(data).group_definitions().items():
        sides, files, faults = {}, {}, []
        for revision, inner, definition in group:
            files |= dict.fromkeys(infer_data_sources(inner, definition))
            definition = dict(definition)
            try:
                definition["template"] = find_template(definition.get("template"), open_file, folder)
            except FAULTS as error:
                faults.append(f"Not drawn: {_fault(error)}.")
            sides[revision] = {
                "definitions": {"data": {"": {"data": {inner: definition}}}},
                "sources": data[revision].get("sources", {}),
            }
        renderer = None
        if not faults:
            try:
                (match,) = match_defs_renderers(sides)
                renderer = match.renderer
                renderer.datapoints.sort(key=lambda point: revisions.index(point["rev"]))
                faults = [
                    f"{file} could not be read in {revision}: {_fault(error)}."
                    for revision, errors in match.source_errors.items()
                    for file, error in errors.items()
                    if not isinstance(error, FileNotFoundError) or revision == WORKTREE
                ] + [f"In {revision}: {_fault(error)}." for revision, error in match.definition_errors.items()]
            except FAULTS as error:
                faults.append(f"Not drawn: {_fault(error)}.")
        plots.append(Plot(name, tuple(files), renderer, tuple(dict.fromkeys(faults))))
    return plots


def find_template(name: str | None, open_file: Callable[[str], IO], folder: str) -> Template:
    """Return a template of the repository by name or path, or one of DVC's.

    Raises:
        ValueError: There is no such template, or it is not JSON.
        OSError: The file can't be opened.
    """
    for path in (posixpath.join(folder, name), posixpath.join(folder, f"{name}.json"), name) if name else ():
        try:
            with open_file(path) as file:
                return Template(json.load(file), name=name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno == errno.EISDIR:
                continue
            raise
    builtin = {template.DEFAULT_NAME: template for template in TEMPLATES}
    builtin |= {None: SimpleLinearTemplate, LinearTemplate.DEFAULT_NAME: SimpleLinearTemplate}  # DVC's own has a slider
    if name in builtin:
        return builtin[name]()
    raise ValueError(f"there is no template {name!r} in {folder}, and DVC has none of that name")


def draw(plot: Plot, title: str, revisions: list[str], stale: bool = False) -> Picture:
    """Draw a plot of one or two revisions, the first below the second; a plot with equal data is drawn once."""
    remarks, same = list(plot.faults), plot.same(revisions)
    shown = [revision for revision in revisions if plot.points(revision)]
    if shown == [WORKTREE] and len(revisions) > 1:
        remarks.append("New.")
    elif shown and WORKTREE not in shown and not plot.faults:
        remarks.append("No data in the working tree.")
    elif not shown and not plot.faults:
        remarks.append("No data.")
    if stale:
        remarks.append("Not rerun.")
    if same:
        remarks.append("The same in both.")
        shown = [WORKTREE]
    renderer, svg, images = plot.renderer, "", ()
    if isinstance(renderer, VegaRenderer) and shown:
        points, omitted = drop_infinite([point for point in renderer.datapoints if point["rev"] in shown])
        renderer.datapoints[:] = points
        renderer.properties["revs_with_datapoints"] = shown[::-1]  # DVC assigns its first colour to the workspace
        try:
            svg = to_svg(renderer.get_filled_template(), points)
            remarks.append(omitted)
        except FAULTS as error:
            remarks.append(f"Not drawn: {_fault(error)}.")
    elif isinstance(renderer, ImageRenderer):
        images = tuple(to_image(point) for point in renderer.datapoints if point["rev"] in shown)
    label = f"{title}, in {' and '.join(shown)}"
    if isinstance(renderer, VegaRenderer):
        axes = [renderer.properties.get(f"{axis}_label") or axis for axis in "yx"]
        label = f"{title}: {axes[0]} against {axes[1]}, in {' and '.join(shown)}"
    return Picture(title, label, svg, " ".join(filter(None, remarks)), images, same)


def draw_together(plots: dict[str, Plot], title: str, revisions: list[str]) -> Picture:
    """Draw the same plot of several models in one chart, with a colour for each model and the base in dashes."""
    points, shown = [], set()
    for name, plot in plots.items():
        same = plot.same(revisions)
        points += [point | {MODEL: name} for point in plot.renderer.datapoints if not same or point["rev"] == WORKTREE]
    points, remark = drop_infinite(points)
    shown = [revision for revision in revisions if any(point["rev"] == revision for point in points)]
    first = next(plot.renderer for plot in plots.values() if isinstance(plot.renderer, VegaRenderer))
    combined = VegaRenderer(points, title, **first.properties | {"template": copy.deepcopy(first.template)})
    combined.properties.pop("data", None)
    try:
        svg = to_svg(combined.get_filled_template(), points, (*plots,), len(shown) > 1)
    except FAULTS as error:
        svg, remark = "", f"Not drawn: {_fault(error)}."
    if len(shown) > 1:
        remark = f"{shown[0]} in dashes. {remark}".strip()
    axes = [combined.properties.get(f"{axis}_label") or axis for axis in "yx"]
    return Picture(title, f"{title}: {axes[0]} against {axes[1]}, of {', '.join(plots)}", svg, remark)


def to_svg(spec: dict, points: list[dict], models: tuple[str, ...] = (), dashes: bool = False) -> str:
    """Draw a Vega-Lite plot without its title, which is the caption on the page; an empty spec gives an empty text.

    Args:
        spec: The plot, with its data.
        points: The data.
        models: Names of models that get a colour each; otherwise the revisions get colours.
        dashes: Draw all revisions but the working tree in dashes.

    Raises:
        ValueError: Vega-Lite rejects the plot.
    """
    if not spec:
        return ""
    check_address_space()
    spec = {name: copy.deepcopy(part) if name != "data" else part for name, part in spec.items() if name != "title"}
    for parameter in spec.get("params", []):
        if isinstance(parameter.get("bind"), dict) and parameter["bind"].get("input") == "checkbox":
            parameter.setdefault("value", True)  # a picture has no checkbox: always show the counts of a matrix
    lines = '"line"' in json.dumps({name: part for name, part in spec.items() if name != "data"}, default=str)
    symbol = {"symbolType": "stroke"} if lines else {}
    tidy(spec, points, symbol, models, dashes)
    theme = copy.deepcopy(THEME) | {"line": {"point": len(points) <= FEW}}
    if models:
        theme["legend"]["columns"] = 2 if max(map(len, models)) > 12 else 3
        spec |= {name: size for name, size in (("width", 360), ("height", 300)) if name in spec}
    try:
        return vl_convert.vegalite_to_svg(spec, config=theme, allowed_base_urls=[])
    except ValueError as error:
        raise ValueError(" ".join(" ".join(str(error).splitlines()[:2]).split())) from None


def check_address_space() -> None:
    """Refuse to draw with a limit of the address space that is too small for V8, which would abort.

    Raises:
        InputError: The limit is too small.
    """
    if sys.platform == "win32":  # has no such limit
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < ADDRESS_SPACE:
        raise InputError(
            f"address space: expected no limit, or {ADDRESS_SPACE >> 30} GiB, which V8 reserves to draw plots, got "
            f"{limit >> 20:,} MiB; `ulimit -v unlimited` lifts it"
        )


def drop_infinite(points: list[dict]) -> tuple[list[dict], str]:
    """Replace numbers that are not finite by null, and return a remark on them.

    >>> drop_infinite([{"x": 1, "y": float("nan")}, {"x": "2", "y": "Infinity"}, {"x": "3", "y": "word"}])
    ([{'x': 1, 'y': None}, {'x': '2', 'y': None}, {'x': '3', 'y': 'word'}], '2 values are not finite, so not drawn.')
    """
    kept, omitted = [], 0
    for point in points:
        infinite = [key for key, value in point.items() if key != "rev" and _is_infinite(value)]
        omitted += len(infinite)
        kept.append(point | dict.fromkeys(infinite) if infinite else point)
    values = "A value is" if omitted == 1 else f"{omitted} values are"
    return kept, f"{values} not finite, so not drawn." if omitted else ""


def _is_infinite(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"[-+]?(nan|inf|infinity)", value.strip(), re.IGNORECASE) is not None
    return isinstance(value, float) and not math.isfinite(value)


def is_whole(value: object) -> bool:
    """True if a number, or the text in a cell of a table, is an integer."""
    return isinstance(value, int) or (isinstance(value, str) and re.fullmatch(r"[-+]?\d+", value) is not None)


def tidy(spec: object, points: list[dict], symbol: dict, models: tuple[str, ...], dashes: bool) -> None:
    """Change a plot in place: no fractions on axes of integers, and no title above the legend of revisions.

    In a chart of ``models`` each model gets a colour.
    """
    if isinstance(spec, list):
        for part in spec:
            tidy(part, points, symbol, models, dashes)
    elif isinstance(spec, dict):
        for name, part in list(spec.items()):
            if isinstance(part, dict) and name in ("x", "y") and part.get("type") == "quantitative":
                values = [point.get(part.get("field")) for point in points]
                if all(map(is_whole, values)):
                    whole = {"tickCount": {"expr": f"max(1, min(5, span(domain('{name}'))))"}}
                    part["axis"] = whole | (part.get("axis") or {})
                elif (value := only_number(values)) is not None:  # which Vega rounds to an integer
                    part["axis"] = {"values": [value], "format": ".4"} | (part.get("axis") or {})
            elif isinstance(part, dict) and name == "color" and part.get("field") == "rev":
                several = len({point.get("rev") for point in points}) > 1
                part |= {"title": None, "legend": symbol if several else None}
                if models:
                    colors = [COLORS[i % len(COLORS)] for i in range(len(models))]
                    scale = {"domain": [*models], "range": colors}
                    color = {"field": MODEL, "type": "nominal", "sort": [*models], "scale": scale}
                    spec["color"] = color | {"title": None, "legend": symbol}
                    later = [[1, 0] if i < len(COLORS) else [6, 2] for i in range(len(models))]
                    spec["strokeDash"] = color | {"title": None, "scale": scale | {"range": later}}
                    if dashes:
                        base = {"condition": {"test": f"datum.rev != '{WORKTREE}'", "value": [4, 3]}, "value": [1, 0]}
                        spec |= {"detail": {"field": "rev"}, "strokeDash": base}
            elif name != "data":
                tidy(part, points, symbol, models, dashes)


def only_number(values: list) -> float | None:
    """The number that all cells of a column stand for; None if they stand for several, or for none."""
    try:
        numbers = {float(value) for value in values}
    except (TypeError, ValueError):
        return None
    return numbers.pop() if len(numbers) == 1 else None


def to_image(point: dict) -> tuple[str, str]:
    """Return the revision of an image that DVC read, and the image as a data URL."""
    kind = mimetypes.guess_type(point["filename"])[0] or "image/png"
    return point["rev"], f"data:{kind};base64,{point['src'].partition(',')[2]}"


def _fault(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = error.strerror if isinstance(error, OSError) and error.strerror else explain(error)
    return printable(text).rstrip(".")
