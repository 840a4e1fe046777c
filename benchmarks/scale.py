"""Measure time and memory of each stage as a corpus grows: `python -m benchmarks.scale`.

Generated corpora with 25 thousand, 250 thousand and 2.5 million training reviews of 80 words, a network and an n-gram
model at their own sizes, one epoch. The test split has 25,000 reviews, but `evaluate` is given the training split in
its place. A row appears when its stage has ended. It has the peak of the memory that belongs to the process, sampled
50 times a second, the peak with the pages of mapped files, and the growth of the former for each review since the
first size.

A stage whose memory would exceed three quarters of what is free, by its growth so far, is not run, and the row says
what it would need. Needs Linux, and 3 GB of disk in TMPDIR for 2.5 million reviews. `python -m benchmarks.scale 25000
250000` measures other sizes, and `--models nb-adam` only this model.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML

from demo.corpus import make_corpus, word_index
from demo.project import ROOT, write_project

SIZES = (25_000, 250_000, 2_500_000)
NETWORK, NGRAMS = "small", "nb-adam"
CORPUS = "generated"
TEST = BLOCK = 25_000  # reviews in the test split, and reviews generated at once


class Usage(NamedTuple):
    """Time and memory of a stage: seconds, and bytes at the peak."""

    seconds: float
    memory: int
    with_files: int


def project(folder: Path) -> dict[str, str]:
    """Write the project with both models at their own sizes, and return its environment."""
    environment, yaml, path = write_project(folder, 100), YAML(), folder / "params.yaml"
    values, own = yaml.load(path), yaml.load(ROOT / "params.yaml")["models"]
    values["models"] = {name: own[name] | {"corpus": CORPUS} for name in (NETWORK, NGRAMS)}
    for model in values["models"].values():
        model["train"]["epochs"] = 1
    keys = {"reviews": "texts", "text": "text", "label": "label", "labels": ["0", "1"], "bad_rows": 0}
    values["corpora"] = {CORPUS: keys}
    yaml.dump(values, path)
    return environment


def write_texts(folder: Path, reviews: int) -> None:
    """Write the texts of both splits, in blocks so that no memory is needed."""
    folder.mkdir()
    words, seed = {rank: word for word, rank in word_index().items()}, 0
    for split, count in (("train", reviews), ("test", TEST)):
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for begin in range(0, count, BLOCK):
                for ranks, label in zip(*make_corpus(min(BLOCK, count - begin), seed), strict=True):
                    writer.writerow([" ".join([words[rank] for rank in ranks]), label])
                seed += 1


def usage_of(stage: str, name: str, folder: Path, environment: dict[str, str]) -> Usage:
    """Run a stage in a process of its own."""
    begin, memory, with_files = time.perf_counter(), 0, 0
    with (folder / "messages").open("w+") as messages:
        command = [sys.executable, "-m", f"stages.{stage}", name]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=messages, stderr=messages)
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            sizes = dict(line.split(":", 1) for line in status.read_text().splitlines())
            if "RssAnon" in sizes:  # not in a process that has ended
                memory = max(memory, 1024 * int(sizes["RssAnon"].split()[0]))
                with_files = 1024 * int(sizes["VmHWM"].split()[0])
            time.sleep(0.02)
        if process.returncode:
            messages.seek(0)
            sys.exit(f"error: {stage} {name} failed:\n{messages.read()}")
    return Usage(time.perf_counter() - begin, memory, with_files)


def score_training_split(folder: Path) -> None:
    """Put the training split in the place of the test split."""
    for kind in ("x", "y", "lengths"):
        os.replace(folder / f"{kind}_train.npy", folder / f"{kind}_test.npy")


def available() -> int:
    """Bytes of free memory."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return 1024 * int(lines["MemAvailable"].split()[0])


def main(sizes: list[int], models: list[str]) -> None:
    """Print a row for each stage and corpus."""
    print("| training reviews | stage | time | per review | memory | with mapped files | growth per review |")
    print(f"|---{'|---' * 6}|", flush=True)
    stages = [("corpus", CORPUS), *((stage, name) for name in models for stage in ("pad", "train", "evaluate"))]
    usages: dict[tuple[str, str], dict[int, Usage]] = {stage: {} for stage in stages}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "project")
        environment = project(folder)
        for reviews in sizes:
            write_texts(folder / "texts", reviews)
            for (stage, name), done in usages.items():
                title = f"| {reviews:,} | `{stage}{'' if stage == 'corpus' else f' {name}'}` |"
                if stage == "evaluate":
                    score_training_split(folder / "data" / name)
                if len(done) > 1 and (needed := forecast(done, reviews)) > 0.75 * available():
                    print(f"{title} not run: it needs about {needed / 2**30:,.1f} GiB | | | | |", flush=True)
                    continue
                used = done[reviews] = usage_of(stage, name, folder, environment)
                cells = [f"{used.seconds:.1f} s", f"{1e6 * used.seconds / reviews:,.1f} us"]
                cells += [f"{size / 2**20:,.0f} MiB" for size in (used.memory, used.with_files)]
                cells.append(f"{per_review(done):,.0f} bytes" if len(done) > 1 else "")
                print(title, " | ".join(cells), "|", flush=True)
                if stage in ("corpus", "evaluate"):  # nothing reads these files any more
                    shutil.rmtree(folder / ("texts" if stage == "corpus" else f"data/{name}"))


def per_review(usages: dict[int, Usage]) -> float:
    """Bytes of memory for each further review, between the smallest and the largest corpus.

    >>> per_review({100: Usage(1.0, 5000, 0), 300: Usage(1.0, 7000, 0)})
    10.0
    """
    first, last = min(usages), max(usages)
    return (usages[last].memory - usages[first].memory) / (last - first)


def forecast(usages: dict[int, Usage], reviews: int) -> float:
    """Bytes that a stage will need, if its memory grows as it did so far.

    >>> forecast({100: Usage(1.0, 5000, 0), 300: Usage(1.0, 7000, 0)}, 1300)
    17000.0
    """
    last = max(usages)
    return usages[last].memory + per_review(usages) * (reviews - last)


if __name__ == "__main__":
    if sys.platform != "linux":
        sys.exit(f"error: expected Linux, which tells the memory of a process, got {sys.platform}")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="reviews")
    parser.add_argument("--models", nargs="*", choices=(NETWORK, NGRAMS), default=(NETWORK, NGRAMS))
    options = parser.parse_args()
    main(options.sizes, options.models)
