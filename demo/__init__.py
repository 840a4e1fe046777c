"""The whole pipeline on generated reviews: `python -m demo`."""

import signal
import sys

if sys.argv[0] == "-m":  # a command is starting: Ctrl-C during its imports ends it without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)
