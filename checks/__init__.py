"""Checks of a DVC repository, for reviewers and CI: gate, verify and report."""

import os
import sys

if sys.argv[0] == "-m":  # modules come from what is installed, not from the folder that is checked
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != os.getcwd()]

import signal
from pathlib import Path


def _crash(*error) -> None:
    """Show the traceback and exit with a code that is no verdict; Python's own, 1, is one here."""
    sys.__excepthook__(*error)
    sys.stderr.flush()
    os._exit(70)


if Path(sys.argv[0]).stem in ("-m", "dvc-gate", "dvc-verify", "dvc-report"):
    sys.excepthook = _crash  # an import that fails
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while it imports: no traceback
