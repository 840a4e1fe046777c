"""One door per DVC stage: read params and inputs, call the library, write outputs."""

import signal
import sys

if sys.argv[0] == "-m":  # a stage is starting: Ctrl-C while it imports ends it without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)
