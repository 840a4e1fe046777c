"""Checks of a DVC repository, for reviewers and CI: gate, verify and report."""

import os
import sys


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


def _crash(*error) -> None:
    """Show the traceback and exit with 70, because Python's own exit code, 1, is a verdict of the checks."""
    sys.__excepthook__(*error)
    sys.stderr.flush()
    os._exit(70)


if os.path.splitext(os.path.basename(sys.argv[0]))[0] in ("-m", "dvc-gate", "dvc-verify", "dvc-report"):
    sys.path[:] = _modules()
    import signal

    sys.excepthook = _crash  # an import that fails
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports: no traceback
