"""Memory and time of each stage on made-up corpora of growing size: `python -m benchmarks.scale 25000 250000 1000000`.

One epoch of the first model in params.yaml, at its own sizes. Prints a Markdown table: seconds and peak memory
(resident, the pages of mapped files included) of each stage's process.
"""

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from ruamel.yaml import YAML

from demo.project import ROOT, write_project
from stages.params import parse

MODEL = next(iter(parse((ROOT / "params.yaml").read_text(encoding="utf-8")).models))
STAGES = {"download": [], "pad": [MODEL], "train": [MODEL], "evaluate": [MODEL]}


def measure(stage: str, folder: Path, environment: dict[str, str]) -> tuple[float, int]:
    """Seconds and peak bytes of one stage."""
    start = time.perf_counter()
    command = [sys.executable, "-m", f"stages.{stage}", *STAGES[stage]]
    if sys.platform == "win32":
        sys.exit("error: expected Linux or macOS, which tell the memory of a process that has ended, got Windows")
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"error: {stage} failed; see above")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def one_epoch(params: Path) -> None:
    """Give the model, whose sizes the demo reduces, its own again, and one epoch."""
    yaml = YAML()
    values, own = yaml.load(params), yaml.load(ROOT / "params.yaml")["models"][MODEL]
    own["train"]["epochs"] = 1
    values["models"][MODEL] = own
    yaml.dump(values, params)


def main(sizes: list[int]) -> None:
    """A row per corpus, a column per stage."""
    print(f"| reviews in each split | {' | '.join(STAGES)} |\n|---|{'---|' * len(STAGES)}")
    for reviews in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            with ProcessPoolExecutor(1) as generator:  # a stage's peak would include its parent's memory
                environment = generator.submit(write_project, Path(scratch), reviews).result()
            one_epoch(Path(scratch, "params.yaml"))
            measured = [measure(stage, Path(scratch), environment) for stage in STAGES]
        cells = (f"{seconds:.1f} s, {peak / 2**20:,.0f} MiB" for seconds, peak in measured)
        print(f"| {reviews:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [25_000, 250_000, 1_000_000])
