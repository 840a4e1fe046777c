"""Experiments, and the comparison of the kinds of model. No stage needs them."""

import signal
import sys

if sys.argv[0] == "-m":  # a command is starting: Ctrl-C during its imports ends it without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)
