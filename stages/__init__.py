"""The stages of the pipeline, one file each: read params and inputs, call the library, write outputs."""

import sys

from stages.common import guard

if sys.argv[0] == "-m":  # a stage is starting, and has imported nothing yet
    guard.start()
