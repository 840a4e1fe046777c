"""Comparison of the metrics and params of two sides: the differences, and whether noise alone explains them."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import IO

from .settings import CheckSettings
from .shell import InputError
from .sides import FileFault, Side, same

ABSENT = object()
"""Stands for a value that one side lacks."""
DASH = "—"
RULE = (
    "A difference between two single runs is beyond the noise between random seeds if it exceeds "
    "1.96 * sqrt(2) * the standard deviation over seeds, as chance alone makes it once in twenty comparisons."
)


@dataclass(frozen=True)
class Metric:
    """One metric before and after; a missing value is ``ABSENT``. ``noise`` is the largest difference by chance."""

    name: str
    before: object
    after: object
    noise: float | None = None

    @property
    def difference(self) -> float | None:
        """After minus before, if both are finite numbers and differ."""
        numbers = is_number(self.before) and is_number(self.after)
        return self.after - self.before if numbers and self.after != self.before else None

    @property
    def verdict(self) -> str:
        """One of: new, gone, the same, changed, within ±noise, beyond ±noise."""
        if self.before is ABSENT or self.after is ABSENT:
            return "new" if self.before is ABSENT else "gone"
        if same(self.before, self.after):
            return "the same"
        if self.noise is None or self.difference is None:
            return "changed"
        side = "within" if abs(self.difference) <= self.noise else "beyond"
        return f"{side} ±{self.noise:.2g}"

    @property
    def shown(self) -> tuple[str, str, str]:
        """Before, after and difference as text; the numbers have equally many decimals."""
        sides = [value for value in (self.before, self.after) if is_number(value)]
        show = number_format(sides, self.difference)
        texts = [show(value, "") if is_number(value) else as_text(value) for value in (self.before, self.after)]
        return *texts, DASH if self.difference is None else show(self.difference, "+")


@dataclass(frozen=True)
class ModelMetrics:
    """A model's metrics by name, and the name of the metric with which its verdict begins.

    ``unmeasured`` is the missing file of the noise, or empty. ``stale`` has the reasons why the stage of the metrics,
    or a stage before it, was not rerun.
    """

    name: str
    metrics: dict[str, Metric]
    headline: str = ""
    unmeasured: str = ""
    stale: tuple[str, ...] = ()

    @property
    def changed(self) -> list[Metric]:
        """The metrics that are not the same."""
        return [metric for metric in self.metrics.values() if metric.verdict != "the same"]

    @property
    def same(self) -> list[Metric]:
        """The metrics that are the same."""
        return [metric for metric in self.metrics.values() if metric.verdict == "the same"]

    @property
    def verdict(self) -> str:
        """One sentence. It quotes nothing from the metrics files; the name of the headline is a setting."""
        verdicts = [metric.verdict for metric in self.metrics.values()]
        head = self.metrics.get(self.headline)
        if set(verdicts) <= {"the same"}:
            return "not rerun." if self.stale else "the same in every metric."
        if set(verdicts) == {"gone"}:
            return "no results in the working tree."
        if set(verdicts) == {"new"}:
            return "new" + (f", {self.headline} {head.shown[1]}." if head and is_number(head.after) else ".")
        if head is None or head.difference is None:
            headline = f"; {self.headline} is {head.verdict}." if head else "."
            return f"{len(self.changed)} of {counted(len(verdicts), 'metric')} changed{headline}"
        side, _, noise = head.verdict.partition(" ")
        before, after, difference = head.shown
        verb = "rose" if head.difference > 0 else "fell"
        text = f"{self.headline} {verb} from {before} to {after} ({difference})"
        return text + (f", {side} the noise between seeds ({noise})." if noise else ".")


@dataclass(frozen=True)
class Report:
    """All facts about metrics and params that the page and the comment show. ``params`` has (name, before, after)."""

    base: str
    head: str
    models: list[ModelMetrics] = field(default_factory=list)
    params: list[tuple[str, str, str]] = field(default_factory=list)
    faults: list[FileFault] = field(default_factory=list)
    subject: str = ""  # first line of the base's message
    dirty: bool = False  # the working tree has changes that are not committed
    upstream: tuple[str, ...] = ()  # reasons why a stage that every model depends on was not rerun
    unread: bool = False  # the base's pipelines could not be read
    plots: int = 0  # number of plots that changed
    outdated: tuple[str, ...] = ()  # reasons why other stages, on which no metric depends, were not rerun

    @property
    def changed(self) -> list[ModelMetrics]:
        """Models with a metric that is not the same."""
        return [model for model in self.models if model.changed]

    @property
    def stale(self) -> dict[tuple[str, ...], list[ModelMetrics]]:
        """Models whose metrics are the same because they were not rerun, by the reasons for that."""
        groups: dict[tuple[str, ...], list[ModelMetrics]] = {}
        for model in self.models:
            if model.stale and not model.changed:
                groups.setdefault(model.stale, []).append(model)
        return groups

    @property
    def same(self) -> list[ModelMetrics]:
        """Models that were rerun and are the same in every metric."""
        return [model for model in self.models if not model.changed and not model.stale]

    @property
    def title(self) -> str:
        """Heading that names the models that changed since the base."""
        if self.unread:
            return f"Nothing is compared, as {self.base} could not be read"
        stale = [model for models in self.stale.values() for model in models]
        entirely = {model.name: {metric.verdict for metric in model.metrics.values()} for model in self.changed}
        groups = {word: [model for model in self.changed if entirely[model.name] == {word}] for word in ("new", "gone")}
        changed = [model for model in self.changed if entirely[model.name] not in ({"new"}, {"gone"})]
        parts = [f"{_subject(changed, self.models)} changed"] if changed else []
        for word, models in groups.items():
            parts += [f"{_subject(models, self.models)} {'is' if len(models) == 1 else 'are'} {word}"] if models else []
        parts += [f"{_subject(stale, self.models)} {'was' if len(stale) == 1 else 'were'} not rerun"] if stale else []
        if not parts and self.upstream:
            parts = ["A stage that every model depends on was not rerun"]
        but = ""
        if not parts and self.params:
            parts = [f"{counted(len(self.params), 'param')} changed"]
            but = ", but no metric did" if self.models and not self.unreadable else ""
        if not parts and self.plots:
            parts = [f"{counted(self.plots, 'plot')} changed"]
        edited = sorted({fault.file for fault in self.faults if fault.edited})
        faults = [_subject_of_files(edited, "differs from its lock", "differ from their locks")]
        faults.append(_subject_of_files(self.unreadable, *["could not be read"] * 2))
        faults = "; ".join(filter(None, faults))
        if parts:
            return f"{'; '.join(parts)} since {self.base}{but}" + (f"; {faults}" if faults else "")
        if not faults and self.outdated:
            return f"Some stages were not rerun; no metric, param or plot changed since {self.base}"
        if not faults:
            return f"Nothing changed since {self.base}"
        nothing = "nothing else" if self.unreadable else "no metric, param or plot"
        return f"{faults}; {nothing} changed since {self.base}"

    @property
    def unreadable(self) -> list[str]:
        """Files that are missing or that could not be read."""
        return sorted({fault.file for fault in self.faults if not fault.edited})

    @property
    def faulty(self) -> dict[str, list[str]]:
        """Files with faults, by the reason."""
        files: dict[str, list[str]] = {}
        for fault in self.faults:
            files.setdefault(fault.why, []).append(fault.file)
        return files

    @property
    def others(self) -> str:
        """Name of the stages on which no metric depends."""
        return "Other stages" if self.models else "Stages"

    @property
    def rule(self) -> str:
        """Sentence that explains the noise; empty if no difference was compared with it."""
        metrics = (metric for model in self.changed for metric in model.changed)
        return RULE if any("±" in metric.verdict for metric in metrics) else ""

    def unchanged(self, name: Callable[[str], str] = str) -> str:
        """Return a sentence that names all equal metrics, or an empty text. ``name`` quotes the names of models."""
        more = sum(len(model.same) for model in self.changed)
        stale = [name(model.name) for models in self.stale.values() for model in models]
        parts = []
        if self.same:
            parts.append(f"every metric of {listed([name(model.name) for model in self.same])}")
        if more:
            parts.append(
                f"{counted(more, 'metric')} of {listed([name(model.name) for model in self.changed if model.same])}"
            )
        text = f"The same{' so far' if self.upstream else ''}: {'; '.join(parts)}." if parts else ""
        return f"{text} Not rerun: {listed(stale)}.".strip() if stale else text


def _subject(models: list[ModelMetrics], among: list[ModelMetrics]) -> str:
    names = [model.name for model in models]
    if len(names) > 3:
        return f"All {len(names)} models" if len(names) == len(among) else f"{len(names)} of {len(among)} models"
    return listed(names)


def _subject_of_files(files: list[str], verb: str, verbs: str) -> str:
    if len(files) > 1:
        return f"{len(files)} files {verbs}"
    return f"{files[0]} {verb}" if files else ""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural.

    >>> counted(1, "plot"), counted(2, "plot")
    ('1 plot', '2 plots')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: list[str], most: int = 12) -> str:
    """Join names with commas and *and*, for a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed(["a", "b", "c"], 2)
    ('a', 'a, b and c', 'a, b and 1 more')
    """
    shown = [*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])]
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def is_number(value: object) -> bool:
    """True for a finite number that is no truth value, so that a difference can be computed."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def number_format(values: list, difference: float | None) -> Callable[[float, str], str]:
    """Return a function that formats the numbers of one row, with enough digits to show their difference, or four.

    >>> show = number_format([0.829829, 0.829841], 0.000012)
    >>> show(0.829829, ""), show(0.000012, "+"), number_format([39053, 40000], 947)(39053, "")
    ('0.829829', '+0.000012', '39,053')
    >>> number_format([0.9, 0.8], -0.1)(0.9, ""), number_format([0.8252], None)(0.8252, "")
    ('0.9', '0.8252')
    >>> number_format([0.880012], None)(0.880012, ""), number_format([1234.5678], None)(1234.5678, "")
    ('0.8800', '1,235')
    >>> number_format([0.00001], None)(0.00001, ""), number_format([2e20], None)(2e20, "")
    ('1e-05', '2e+20')
    """
    if not any(isinstance(value, float) for value in values):
        return lambda value, sign: f"{value:{sign},}"
    largest = max((magnitude(value) for value in values if value), default=0)
    digits = max(4, largest - magnitude(difference) + 2 if difference else 0)  # shows two digits of the difference
    if not -4 <= largest < 15:
        digits = _fewest(values, min(digits, 17) - 1, lambda value, digits: f"{value:.{digits}e}")
        return lambda value, sign: f"{value:{sign}.{digits}e}"
    decimals = max(0, min(digits, 17) - 1 - largest)
    decimals = _fewest(values, decimals, lambda value, digits: f"{value:.{digits}f}")
    return lambda value, sign: f"{value:{sign},.{decimals}f}"


def magnitude(value: float) -> int:
    """Return the power of ten of a number's first digit."""
    return math.floor(math.log10(abs(value))) if value else 0


def _fewest(numbers: list, digits: int, show: Callable[[float, int], str]) -> int:
    """Return the smallest number of digits, at most ``digits``, that shows each number exactly."""
    while digits and all(float(show(value, digits - 1)) == value for value in numbers):
        digits -= 1
    return digits


def as_text(value: object) -> str:
    """Return a value as JSON or YAML writes it; a missing value is a dash.

    >>> as_text(True), as_text(ABSENT), as_text(None), as_text("a"), as_text([1, True]), as_text(float("nan"))
    ('true', '—', 'null', 'a', '[1, true]', 'NaN')
    """
    if value is ABSENT:
        return DASH
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def read_noise(open_file: Callable[[str], IO], path: str) -> dict[str, float]:
    """Read the largest difference by chance of each metric, computed from its standard deviation over seeds.

    Raises:
        InputError: The file does not have an object with ``std`` for each metric.
    """
    try:
        with open_file(path) as file:
            measured = json.load(file)
        return {
            name: 1.96 * math.sqrt(2) * values["std"] for name, values in measured.items() if isinstance(values, dict)
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: expected a `std` for each metric, got {error!r}") from None


def name_models(files: list[str]) -> dict[str, str]:
    """Name each metrics file by the part of its path that differs from the other paths.

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


def models_of(files: list[str], settings: CheckSettings) -> dict[str, str]:
    """Return the name of the model of each metrics file that the settings do not hide."""
    shown = [file for file in files if not any(fnmatchcase(file, pattern) for pattern in settings.hidden)]
    return dict(sorted(name_models(shown).items(), key=lambda pair: pair[1]))


def compare_metrics(
    before: Side,
    after: Side,
    settings: CheckSettings,
    open_file: Callable[[str], IO] = open,
    stale: Callable[[str], tuple[str, ...]] = lambda file: (),
) -> list[ModelMetrics]:
    """Return the models of the metrics files of both sides, each with its measured noise.

    Args:
        before: The base.
        after: The working tree.
        settings: The settings of the repository.
        open_file: Opens a file of the working tree.
        stale: Returns the reasons why the stage that makes a file was not rerun.
    """
    models = []
    broken = {fault.file for fault in after.faults}
    # Which metrics of a file that can't be read are new or gone is unknown.
    unknown = {fault.file for fault in (*before.faults, *after.faults) if fault.why != "missing"}
    files = sorted({*before.metrics, *after.metrics})
    for file, name in models_of(files, settings).items():
        if file in unknown:
            continue
        measured, noise = settings.noise.replace("{model}", name), None
        if measured:
            try:
                noise = read_noise(open_file, measured)
            except FileNotFoundError:
                noise = None
        was, now = before.metrics.get(file, {}), after.metrics.get(file, {})
        rows = {
            key: Metric(key, was.get(key, ABSENT), now.get(key, ABSENT), (noise or {}).get(key))
            for key in sorted({*was, *now})
        }
        reasons = () if file in broken else stale(file)
        models.append(
            ModelMetrics(name, rows, settings.headline, measured if measured and noise is None else "", reasons)
        )
    return models


def compare_params(before: Side, after: Side) -> list[tuple[str, str, str]]:
    """Return the params that differ: name, value before and value after."""
    changed = []
    unknown = {fault.file for fault in (*before.faults, *after.faults) if fault.why != "missing"}
    for file in sorted({*before.params, *after.params} - unknown):
        was, now = before.params.get(file, {}), after.params.get(file, {})
        for key in sorted({*was, *now}):
            values = was.get(key, ABSENT), now.get(key, ABSENT)
            if ABSENT in values or not same(*values):
                name = key if file == "params.yaml" else f"{file}:{key}"
                changed.append((name, *map(as_text, values)))
    return changed
