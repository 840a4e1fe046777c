"""Compare each dvc.lock with the code, params and results in Git: in a new clone without data, in seconds.

Exit code 0: no difference is found. 1, stale: params, code, a command or data differ from a lock. 2,
inconsistent: a result in Git contradicts a lock, so one of the two was edited by hand. 3, unreadable: DVC can't read a
file. The largest code that applies is returned.

Files in Git are compared by content, data by the hashes that the stage that makes it and the stage that reads it
recorded. So a lock whose two hashes are both forged passes: only a rerun (``verify``) proves results.
"""

import os
from pathlib import Path

from dvc.config import ConfigError
from dvc.exceptions import DvcException
from dvc.repo import Repo

from .findings import Finding, Kind, Report, as_annotations, as_json, as_markdown, as_text
from .locks import LockCheck
from .reading import ReadOnlyRepo
from .shell import InputError, Parser, command, explain, git
from .tree import within

FORMS = {"--json": as_json, "--markdown": as_markdown, "--github": as_annotations}


def gate(folder: Path, remote: bool = False) -> Report:
    """Check every pipeline of the DVC repository around a folder, and of the repositories below the folder.

    Args:
        folder: A folder in the repository.
        remote: Also check that the remotes have the data.

    Raises:
        InputError: There is no repository, or DVC or Git can't open it.
    """
    report = Report(prefix=prefix(folder))
    for root in repositories(folder):
        try:
            with ReadOnlyRepo(root) as repo:
                check = LockCheck(repo, folder, report)
                check.run()
                if remote:
                    check.check_remotes()
        except (DvcException, OSError, ValueError) as error:
            settings = Path(root, ".dvc/config")
            if root == os.path.realpath(folder) or not within(root, os.path.realpath(folder)):
                where = f"{settings}: " if isinstance(error, ConfigError) else ""
                raise InputError(where + explain(error)) from error
            file = settings.relative_to(os.path.realpath(folder)).as_posix()
            report.findings.append(Finding(Kind.UNREADABLE, file, "", "", explain(error)))
    return report


def prefix(folder: Path) -> str:
    """Return the path of a folder from the root of its Git repository; empty without Git."""
    try:
        return git(folder, "rev-parse", "--show-prefix")
    except InputError:
        return ""


def repositories(folder: Path) -> list[str]:
    """Return the roots of the DVC repository around a folder, and of those in Git below the folder.

    Raises:
        InputError: There is none.
    """
    if not folder.is_dir():
        raise InputError(f"folder: expected one that exists, got {folder}")
    try:
        around = [Repo.find_root(str(folder))]
    except DvcException:
        around = []
    try:
        configs = git(folder, "ls-files", "-z", "--", "*/.dvc/config").split("\0")
    except InputError:
        configs = []
    below = [os.path.realpath(folder / config / "../..") for config in filter(None, configs)]
    roots = list(dict.fromkeys([*around, *sorted(below)]))
    if not roots:
        raise InputError(f"folder: expected one in a DVC repository, got {folder.resolve()}; `dvc init` makes one")
    return roots


def main(arguments: list[str] | None = None) -> int:
    """Print what is wrong in the folder that the command line names, and return the exit code."""
    parser = Parser(prog="dvc-gate", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="in a DVC repository; here by default")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if something is unknown")
    parser.add_argument("--warn", action="store_true", help="exit with 0 whatever the verdict")
    parser.add_argument("--verbose", action="store_true", help="a line for each stage and file")
    parser.add_argument("--remote", action="store_true", help="also check that the remotes have all recorded outputs")
    forms = parser.add_mutually_exclusive_group()
    for option, form in FORMS.items():
        forms.add_argument(option, action="store_const", dest="form", const=form, help=form.__doc__)
    parser.set_defaults(form=as_text)
    options = parser.parse_args(arguments)
    report = gate(options.folder, options.remote)
    print(options.form(report, options.verbose))
    return 0 if options.warn else report.code(options.strict)


def run() -> None:
    """The command ``dvc-gate``."""
    command(main)


if __name__ == "__main__":
    run()
