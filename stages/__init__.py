"""One door per DVC stage: read params and inputs, call the library, write outputs."""

import signal
import sys
from importlib.util import find_spec

if sys.argv[0] == "-m":  # a stage is starting
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while it imports ends it without a traceback
    if sys.version_info < (3, 10) or find_spec("pydantic") is None:  # `.venv/bin/dvc repro`, say: DVC runs this one
        sys.exit(f"error: {sys.executable} is not the Python of .venv; run `source .venv/bin/activate` first")
