"""Measure stages on larger corpora, and training on more processes: `python -m benchmarks.scale 25000 250000 1000000`.

It runs each stage on generated corpora of these sizes, with one epoch of the first model in params.yaml at its own
sizes; `corpus` reads the same reviews as CSV files. It prints a Markdown table with the seconds and the peak memory of
each stage (resident, with the pages of mapped files), and then the output of `python -m benchmarks.processes`.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks import processes
from demo.corpus import make_corpus, word_index
from demo.project import ROOT, write_project
from stages.params import parse

MODEL = next(iter(parse((ROOT / "params.yaml").read_text(encoding="utf-8")).models))
STAGES = {"download": [], "corpus": ["own"], "pad": [MODEL], "train": [MODEL], "evaluate": [MODEL]}


def generate(folder: Path, reviews: int) -> dict[str, str]:
    """Write the project, with its reviews also in CSV files, and return its environment."""
    environment = write_project(folder, reviews)
    words = {rank: word for word, rank in word_index().items()}
    (folder / "own").mkdir()
    for seed, split in enumerate(("train", "test")):
        with (folder / "own" / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for ranks, label in zip(*make_corpus(reviews, seed), strict=True):
                writer.writerow([" ".join(words[rank] for rank in ranks), label])
    return environment


def measure(stage: str, folder: Path, environment: dict[str, str]) -> tuple[float, int]:
    """Return the seconds and the peak bytes of one stage."""
    start = time.perf_counter()
    command = [sys.executable, "-m", f"stages.{stage}", *STAGES[stage]]
    if sys.platform == "win32":
        sys.exit("error: expected Linux or macOS, which report the memory of a finished process, got Windows")
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"error: {stage} failed; see above")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def adapt(params: Path) -> None:
    """Restore the model's sizes, which the demo reduces, set one epoch, and name the CSV files."""
    yaml = YAML()
    values, model = yaml.load(params), yaml.load(ROOT / "params.yaml")["models"][MODEL]
    model["train"]["epochs"] = 1
    values["models"][MODEL] = model | {"corpus": "imdb"}
    keys = {"reviews": "own", "text": "text", "label": "label", "labels": ["0", "1"], "bad_rows": 0}
    values["corpora"] = {"own": keys}
    yaml.dump(values, params)


def main(sizes: list[int]) -> None:
    """Print a table with a row per corpus and a column per stage."""
    print(f"| reviews in each split | {' | '.join(STAGES)} |\n|---|{'---|' * len(STAGES)}")
    for reviews in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            with ProcessPoolExecutor(1) as generator:  # a stage's peak would include its parent's memory
                environment = generator.submit(generate, Path(scratch), reviews).result()
            adapt(Path(scratch, "params.yaml"))
            measured = [measure(stage, Path(scratch), environment) for stage in STAGES]
        cells = (f"{seconds:.1f} s, {peak / 2**20:,.0f} MiB" for seconds, peak in measured)
        print(f"| {reviews:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [25_000, 250_000, 1_000_000])
    print()
    processes.main([])
