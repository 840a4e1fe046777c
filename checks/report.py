"""A page for a reviewer: metrics, params and plots of the working tree, compared with the merge base."""

import logging
import os
import posixpath
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import networkx
from dvc.exceptions import DvcException
from dvc_render.exceptions import DvcRenderError

from .charts import ALL, Section, arrange, ranking
from .comment import to_markdown
from .comparison import ModelMetrics, Report, compare_metrics, compare_params, is_number, models_of
from .drawing import check_address_space, find_plots
from .findings import Kind, few
from .findings import Report as Findings
from .gate import gate
from .page import plots_page, report_page
from .scratch import cache_folder, project
from .settings import CheckSettings, read_settings
from .shell import GitError, InputError, Parser, command, explain, git, printable, without_filters
from .sides import WORKTREE, Committed, FileFault, Side, Snapshot, read_commit, read_worktree
from .tree import name_of, parents

TEMPLATES = ".dvc/plots"


def commit(name: str) -> str | None:
    """Return the short hash of the commit that a name stands for, or None.

    Raises:
        GitError: Git failed; the message is Git's own.
    """
    try:
        return git(Path(), "rev-parse", "--verify", "--quiet", "--short=7", "--end-of-options", f"{name}^{{commit}}")
    except GitError as error:
        if error.code == 1:
            return None
        raise


def is_dirty() -> bool:
    """True if a file in Git has changes that are not committed. No filter program of Git runs."""
    options = without_filters(Path())
    return bool(git(Path(), *options, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty"))


def find_base(name: str | None) -> str:
    """Return the commit to compare with.

    It is the named commit; or HEAD if there is uncommitted work; or the commit where HEAD left the remote's default
    branch; or, on that branch itself, the commit before HEAD.

    Raises:
        InputError: There is no such commit.
    """
    if name is not None:
        if named := commit(name):
            return named
        raise InputError(f"base: expected a commit of this repository, got {name!r}; `git log` lists them")
    head = commit("HEAD")
    if head and is_dirty():
        return head
    candidates = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
    default = next(filter(commit, candidates), None) if head else None
    fork = merge_base(default) if default else head
    base = commit("HEAD~1") if head and fork == head else fork
    if not base:
        raise InputError("base: there is no earlier commit here; `git fetch --unshallow`, or name one with --base")
    return base


def merge_base(branch: str) -> str | None:
    """Return the newest commit that a branch and HEAD share, or None."""
    try:
        return commit(git(Path(), "merge-base", "HEAD", branch))
    except GitError as error:
        if error.code == 1:
            return None
        raise


def find_stale(repo: Snapshot, findings: Findings) -> Callable[[str], tuple[str, ...]]:
    """Return a function of a file: the gate's stale findings on the stage that makes it and on the stages before."""
    causes: dict[str, list[str]] = defaultdict(list)
    for finding in findings.findings:
        if finding.kind is Kind.STALE:
            causes[finding.stage].append(str(finding).removeprefix(f"{Kind.STALE.word}: "))
    reasons: dict[str, tuple[str, ...]] = {}
    for stage in repo.index.stages:
        before = [stage, *networkx.descendants(repo.index.graph, stage)] if stage in repo.index.graph else [stage]
        lines = sorted({cause for one in before for cause in causes.get(name_of(one, repo.root_dir), [])})
        for out in stage.outs:
            reasons[out.fs_path] = tuple(lines)

    def stale(file: str) -> tuple[str, ...]:
        path = os.path.join(repo.root_dir, *file.split("/"))
        return next((reasons[one] for one in (path, *parents(path)) if one in reasons), ())

    return stale


def find_outdated(findings: Findings, named: set[str]) -> tuple[str, ...]:
    """Return the gate's stale findings without those that are ``named``; stages of one cause share a line."""
    ahead = f"{Kind.STALE.word}: "
    stale = [one for one in findings.findings if one.kind is Kind.STALE and str(one).removeprefix(ahead) not in named]
    groups = Findings(findings=stale).groups()
    return tuple(finding.line(few(stages), few(files)).removeprefix(ahead) for finding, stages, files in groups)


def in_common(models: list[ModelMetrics]) -> tuple[str, ...]:
    """Return the reasons for which every model is stale, such as a param that a stage for all models reads.

    Such a stage can read all params and only check them, so these reasons say nothing about a single model.
    """
    if len(models) < 2:
        return ()
    return tuple(reason for reason in models[0].stale if all(reason in model.stale for model in models))


def find_faults(findings: Findings, before: Side, after: Side, base: str) -> list[FileFault]:
    """Return the files that could not be read or were edited by hand. A file that only the base lacks is no fault."""
    faults = [
        FileFault(file, f"could not be read in {base}: {why}.") for file, why, _ in before.faults if why != "missing"
    ]
    for file, why, _ in after.faults:
        words = "missing in" if why == "missing" else "could not be read in"
        faults.append(FileFault(file, f"{words} the working tree" + ("." if why == "missing" else f": {why}.")))
    named = {fault.file for fault in faults}
    for finding in findings.findings:
        if finding.kind is Kind.INCONSISTENT and finding.what not in named:
            faults.append(FileFault(finding.what, f"not what {finding.stage} recorded: {finding.cause}.", True))
    return list(dict.fromkeys(faults))


def opener(repo: Snapshot) -> Callable[[str], IO]:
    """Return a function that opens a regular file of the repository by its path in it."""
    return lambda name: repo.fs.open(os.path.join(repo.root_dir, *name.split("/")), "r", encoding="utf-8")


def compare(root: Path, base: str) -> tuple[Report, list[Section]]:
    """Compare the working tree of a DVC repository with a commit."""
    settings, cache = read_settings(root), cache_folder(root)
    with Snapshot(str(root), cache) as repo:
        after, findings = read_worktree(repo), gate(root)
        stale, open_file = find_stale(repo, findings), opener(repo)
        with tempfile.TemporaryDirectory(prefix="dvc-checks-", ignore_cleanup_errors=True) as scratch:
            before = read_base(root, Path(scratch).resolve(), cache, base)
        unread = any(fault.file == "dvc.yaml" for fault in before.faults)
        if unread:  # a metric of which one side is unknown is neither new nor gone
            before, after = (Side(faults=side.faults) for side in (before, after))
        models = compare_metrics(before, after, settings, open_file, stale)
        common = in_common(models)
        models = [replace(model, stale=tuple(one for one in model.stale if one not in common)) for model in models]
        report = Report(
            base,
            commit("HEAD") or "",
            models,
            compare_params(before, after),
            find_faults(findings, before, after, base),
            git(root, "log", "-1", "--format=%s", base),
            is_dirty(),
            common,
            unread,
            outdated=find_outdated(findings, {reason for model in models for reason in model.stale} | {*common}),
        )
        plots = find_plots({WORKTREE: after.plots, base: before.plots}, [base, WORKTREE], open_file, TEMPLATES)
        report = replace(report, plots=sum(plot.changed([base, WORKTREE]) for plot in plots))
        names = [model.name for model in models]
        return report, arrange(
            plots, names, settings, after, [base, WORKTREE], lambda file: any(one not in common for one in stale(file))
        )


def read_base(root: Path, folder: Path, cache: Path, base: str) -> Side:
    """Return the side of the base; empty if the commit has no DVC repository."""
    files = Committed(root, folder, base)
    if not (folder / ".dvc").is_dir():
        return Side()
    with Snapshot(str(folder), cache, files) as repo:
        return read_commit(repo)


def show_plots(root: Path) -> list[Section]:
    """Draw the plots of the working tree of a DVC repository."""
    settings = read_settings(root)
    with Snapshot(str(root), cache_folder(root)) as repo:
        side = read_worktree(repo)
        models = models_of(sorted(side.metrics), settings)
        plots = find_plots({WORKTREE: side.plots}, [WORKTREE], opener(repo), TEMPLATES)
        sections = arrange(plots, models.values(), settings, side, [WORKTREE])
    return add_ranking(sections, side, models, settings)


def add_ranking(sections: list[Section], side: Side, models: dict[str, str], settings: CheckSettings) -> list[Section]:
    """Add a chart of the headline metric of every model, if there are several models."""
    values = {name: side.metrics[file].get(settings.headline) for file, name in models.items()}
    values = {name: value for name, value in values.items() if is_number(value)}
    if len(values) < 2:
        return sections
    picture = ranking(values, settings.headline)
    if sections and sections[0].title == ALL:
        sections[0].pictures.insert(0, picture)
        return sections
    return [Section(ALL, [picture]), *sections]


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files to a folder. A link to a file is replaced, a link to a folder refused.

    Raises:
        InputError: The folder is a link.
    """
    for path in (folder, *folder.parents) if not folder.is_absolute() else (folder,):
        if path.is_symlink():
            raise InputError(f"folder: expected one to write to, got {path}, a symbolic link to {os.readlink(path)}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8", newline="\n") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(file.name, 0o666 & ~mask)  # as any other new file
        os.replace(file.name, folder / name)


def main(arguments: list[str] | None = None) -> int:
    """Write ``index.html`` and ``report.md``, or ``plots.html``."""
    parser = Parser(prog="dvc-report", description=__doc__)
    parser.add_argument("--base", metavar="REV", help="commit to compare with; else HEAD or the branch's start")
    parser.add_argument("--plots", action="store_true", help="only draw the plots of the working tree, in plots.html")
    parser.add_argument("--folder", type=Path, default=Path("report"), help="folder to write to; report by default")
    options = parser.parse_args(arguments)
    logging.getLogger("dvc").setLevel(logging.CRITICAL)  # the page names the files that DVC could not read
    check_address_space()
    try:
        root = project()
        if options.plots:
            files, done = {"plots.html": plots_page(show_plots(root))}, "shows the plots of the working tree"
        else:
            report, sections = compare(root, find_base(options.base))
            files = {"index.html": report_page(report, sections), "report.md": to_markdown(report)}
            done = f"compare the working tree with {report.base}"
        write(options.folder, files)
    except (DvcException, DvcRenderError, OSError) as error:
        raise InputError(explain(error)) from error
    print(printable(f"{' and '.join(posixpath.join(options.folder.as_posix(), name) for name in files)} {done}"))
    return 0


def run() -> None:
    """The command ``dvc-report``."""
    command(main)


if __name__ == "__main__":
    run()
