"""Distribution of many runs over the processes of a launcher; no run is made twice."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from checks.scratch import InputError as CheckError
from sentiment import InputError
from sentiment.engine import shards
from stages.common.files import write_json


def sweep(runs: Sequence[object], make: Callable[[object], dict], folder: Path) -> list[dict]:
    """Return the result of ``make`` for each of ``runs``, in all processes.

    Each run is made in one process and kept in ``folder``, in a file of its name. A later sweep reads these files, even
    if another machine made them. A run that fails does not stop the others.

    Raises:
        InputError: Some runs failed; the message names them.
    """
    processes = shards.processes()
    kept, failed = {run: folder / f"{run}.json" for run in runs}, []
    for run in runs[processes.rank :: processes.size]:
        if kept[run].exists():
            continue
        try:
            write_json(kept[run], make(run))
        except (CheckError, InputError) as error:
            failed.append(f"run {run}: {error}")
            continue
        done = sum(path.exists() for path in kept.values())
        print(f"run {run} done, {done} of {len(runs)}", file=sys.stderr, flush=True)
    if failed := [fault for faults in shards.collect(failed) for fault in faults]:
        failed.append(f"{len(runs) - len(failed)} of {len(runs)} runs are kept in {folder}; run the same command again")
        raise InputError("\n".join(failed))
    # Only one process reads, and it may delete the folder as soon as it has the results.
    return shards.share(lambda: [json.loads(path.read_text(encoding="utf-8")) for path in kept.values()])
