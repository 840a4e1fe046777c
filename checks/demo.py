"""The whole pipeline by a real `dvc repro`, on reviews it makes up: offline, in a scratch folder, in half a minute."""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PIPELINE = (
    "dvc.yaml",
    "params.yaml",
    "requirements.txt",
    ".dvcignore",
    ".dvc/config",
    ".dvc/plots",
    "sentiment",
    "stages",
)

NEUTRAL = [
    "the",
    "and",
    "a",
    "of",
    "to",
    "is",
    "it",
    "in",
    "this",
    "that",
    "was",
    "as",
    "for",
    "with",
    "movie",
    "but",
    "film",
    "on",
    "not",
    "you",
    "he",
    "are",
    "his",
    "have",
    "be",
    "one",
    "all",
    "at",
    "they",
    "by",
    "an",
    "who",
    "so",
    "from",
    "like",
    "there",
    "or",
    "just",
    "about",
    "out",
    "if",
    "has",
    "what",
    "some",
    "good",
    "can",
    "when",
    "more",
    "her",
    "she",
    "even",
    "my",
    "would",
    "story",
    "time",
    "really",
    "had",
    "well",
    "see",
    "only",
    "which",
    "people",
    "were",
    "made",
    "how",
    "first",
    "could",
    "other",
    "after",
    "plot",
    "scene",
    "actor",
    "end",
]
PRAISE = ["wonderful", "moving", "brilliant", "funny", "superb", "charming", "gripping", "warm", "clever", "touching"]
BLAME = ["awful", "boring", "terrible", "dull", "clumsy", "hollow", "lazy", "tedious", "silly", "wooden"]

SIZES = {  # of the demo's models: the same network, small enough for a minute
    "small": {"max_length": 40, "vocabulary": 60, "lstm": 16, "epochs": 4},
    "full": {"max_length": 120, "vocabulary": 120, "lstm": 32, "epochs": 4},
}


def make_corpus(reviews: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Reviews with a sentiment to learn, in the order of the real file: positive first.

    A review draws its words by frequency, the n-th most frequent with weight 1 / n (G. Zipf, 1935), and every tenth
    on average from the words of its sentiment; one in five of those comes from the wrong side, as in life.

    Args:
        reviews: How many; half of them are positive.
        seed: Of everything drawn.

    Returns:
        An object array [reviews] of lists of word ranks from 1, and int64 [reviews] labels.
    """
    random = np.random.default_rng(seed)
    labels = (np.arange(reviews) < reviews // 2).astype(np.int64)
    lengths = random.integers(10, 150, reviews)
    words = lengths.sum()
    weights = 1 / np.arange(1, len(NEUTRAL) + 1)
    ranks = 1 + random.choice(len(NEUTRAL), words, p=weights / weights.sum())
    praised = labels.repeat(lengths) ^ (random.random(words) < 0.2)
    telling = 1 + random.choice(len(PRAISE), words) * 2 + praised
    ranks = np.where(random.random(words) < 0.1, telling, ranks + 2 * len(PRAISE))
    lists = np.empty(reviews, object)
    lists[:] = [review.tolist() for review in np.split(ranks, np.cumsum(lengths)[:-1])]
    return lists, labels


def word_index() -> dict[str, int]:
    """The rank of each word of the made-up reviews; blame has odd ranks, praise even ones, so that both are common."""
    telling = [word for pair in zip(BLAME, PRAISE, strict=True) for word in pair]
    return {word: rank for rank, word in enumerate(telling + NEUTRAL, start=1)}


def write_corpus(folder: Path, reviews: int) -> None:
    """Write ``imdb.npz`` and ``imdb_word_index.json`` in the format of the real ones, ``reviews`` in each split."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for seed, split in enumerate(("train", "test")):
        arrays[f"x_{split}"], arrays[f"y_{split}"] = make_corpus(reviews, seed)
    np.savez_compressed(folder / "imdb.npz", **arrays)
    (folder / "imdb_word_index.json").write_text(json.dumps(word_index()))


def write_project(folder: Path, reviews: int) -> dict[str, str]:
    """Set up the pipeline in ``folder``, with a repository of its own, on a made-up corpus.

    Returns:
        The environment in which ``dvc`` commands there find the corpus and this Python.
    """
    for name in PIPELINE:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    corpus = folder / "corpus"
    write_corpus(corpus, reviews)
    _adapt(folder / "params.yaml", corpus)
    (folder / ".gitignore").write_text("/corpus/\n/.checkpoints/\n__pycache__/\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))}
    environment["IMDB_SOURCE"] = str(corpus)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    identity = ("-c", "user.name=demo", "-c", "user.email=demo@example.org", "-c", "commit.gpgsign=false")
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "--message", "The pipeline"]):
        subprocess.run(["git", *command], cwd=folder, env=environment, check=True)
    return environment


def _adapt(params: Path, corpus: Path) -> None:
    """Pin the made-up corpus in ``params.yaml`` and make the models small."""
    yaml = YAML()
    values = yaml.load(params)
    for key, name in {"reviews": "imdb.npz", "word_index": "imdb_word_index.json"}.items():
        values["download"][key]["sha256"] = hashlib.sha256((corpus / name).read_bytes()).hexdigest()
    for name, sizes in SIZES.items():
        for section in values["models"][name].values():
            section.update({key: value for key, value in sizes.items() if key in section})
    yaml.dump(values, params)


def main(folder: Path) -> None:
    """Build the project in ``folder``, run it and print its metrics."""
    environment = write_project(folder, reviews=4000)
    subprocess.run(["dvc", "repro"], cwd=folder, env=environment, check=True)
    files = [f"metrics/{model}.json" for model in SIZES]
    print(f"\nThe made-up reviews, as `dvc metrics show {' '.join(files)}` has them:\n", flush=True)
    subprocess.run(["dvc", "metrics", "show", *files], cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="an empty folder to keep it in; a scratch one by default")
    kept = parser.parse_args().folder
    try:
        if kept is None:
            with tempfile.TemporaryDirectory(prefix="imdb-demo-") as scratch:
                main(Path(scratch))
        elif kept.exists() and (not kept.is_dir() or any(kept.iterdir())):
            sys.exit(f"error: {kept} is not an empty folder; name one, or none to use a scratch folder")
        else:
            main(kept.resolve())
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: `{' '.join(error.cmd)}` failed with exit code {error.returncode}; see above")
    except KeyboardInterrupt:
        sys.exit(130)
