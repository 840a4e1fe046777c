"""Checks of a DVC repository, for reviewers and CI: gate, verify and report."""

import os
import sys

OLDEST = (3, 67)
"""Version of the oldest DVC that the checks run with."""
REMEDY = "install dvc-checks again, with its dependencies"


def _modules() -> list[str]:
    """Return ``sys.path`` without the folders of the checked repository, some of which PYTHONPATH may name."""
    here = root = os.getcwd()
    while not os.path.exists(os.path.join(root, ".git")) and os.path.dirname(root) != root:
        root = os.path.dirname(root)
    if not os.path.exists(os.path.join(root, ".git")):
        root = here
    named = {os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    inside = {path for path in named if f"{path}{os.sep}".startswith(f"{root.rstrip(os.sep)}{os.sep}")}
    installed = {path for path in inside if {"site-packages", "dist-packages"} & {*path.split(os.sep)}}
    return [path for path in sys.path if os.path.abspath(path) not in (inside - installed) | {here}]


def _crash(kind: type[BaseException], error: BaseException, trace) -> None:
    """Show an error and exit with 70, because Python's own exit code, 1, is a verdict of the checks."""
    if issubclass(kind, ImportError):
        print(f"error: {' '.join(str(error).split())}; {REMEDY}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
    sys.stderr.flush()
    os._exit(70)


def _require_dvc() -> None:
    """Exit with 70 if the installed DVC is not one of those that ``pyproject.toml`` asks for."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("dvc") or "one without a version"
    except PackageNotFoundError:
        found = "none"
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if not OLDEST <= numbers < (OLDEST[0] + 1,):
        wanted = f"dvc>={OLDEST[0]}.{OLDEST[1]},<{OLDEST[0] + 1}"
        print(f"error: expected {wanted}, got {found}; `pip install '{wanted}'`", file=sys.stderr)
        sys.exit(70)


if os.path.splitext(os.path.basename(sys.argv[0]))[0] in ("-m", "dvc-gate", "dvc-verify", "dvc-report"):
    sys.path[:] = _modules()
    import signal

    sys.excepthook = _crash  # an import that fails
    _require_dvc()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports: no traceback
