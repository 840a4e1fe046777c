"""Speed relative to other libraries, measured in turns in one run. No test measures time."""

import signal
import sys

if sys.argv[0] == "-m":  # a command is starting: Ctrl-C during its imports ends it without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)
