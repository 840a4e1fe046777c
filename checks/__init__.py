"""What a reviewer or CI runs on the repository."""

import signal
import sys
from pathlib import Path

if Path(sys.argv[0]).stem in ("-m", "dvc-gate", "dvc-verify", "dvc-report"):  # Ctrl-C while it imports: no traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)
