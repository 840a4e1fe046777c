"""Experiments and the comparison of the kinds of model; no stage needs them."""

import signal
import sys

if sys.argv[0] == "-m":  # a command is starting: Ctrl-C while it imports ends it without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)
