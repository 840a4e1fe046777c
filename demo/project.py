"""The pipeline in a separate Git repository, with a generated corpus and small models."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from demo.corpus import write_corpus
from stages.download import REVIEWS, WORD_INDEX

ROOT = Path(__file__).parents[1]
PIPELINE = (
    "dvc.yaml",
    "params.yaml",
    "checks.yaml",
    "requirements.txt",
    ".dvcignore",
    ".dvc/config",
    ".dvc/plots",
    "sentiment",
    "stages",
)

LARGEST = {"max_length": 120, "vocabulary": 120, "embedding": 32, "filters": 32, "units": 32, "dense": 32}
EPOCHS = 4


def write_project(folder: Path, reviews: int, *, keras: bool = False) -> dict[str, str]:
    """Set up the pipeline in ``folder``, with a new Git repository, on a generated corpus.

    Args:
        folder: An empty or new folder.
        reviews: Number of reviews in each split.
        keras: True to include the models that Keras trains.

    Returns:
        The environment variables of ``environment_of``.
    """
    for name in PIPELINE:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    write_corpus(folder / "corpus", reviews)
    adapt(folder / "params.yaml", folder / "corpus", keras=keras)
    (folder / ".gitignore").write_text("/corpus/\n/exported/\n/.checkpoints/\n__pycache__/\n*.tmp\n")
    environment = environment_of(folder)
    settings = ("user.name=demo", "user.email=demo@example.org", "commit.gpgsign=false", f"core.hooksPath={os.devnull}")
    git = [
        "git",
        *(word for setting in settings for word in ("-c", setting)),
    ]  # take precedence over the user's Git settings
    for command in (["init", "--quiet", "--template="], ["add", "."], ["commit", "--quiet", "--message", "Pipeline"]):
        subprocess.run([*git, *command], cwd=folder, env=environment, check=True)
    return environment


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment variables for ``dvc`` in a project that ``write_project`` has made.

    Compiled code is shared with this checkout, which has the same code.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))}
    environment.setdefault("NUMBA_CACHE_DIR", str(ROOT / "sentiment/engine/__pycache__"))
    environment["IMDB_SOURCE"] = str(folder / "corpus")
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return environment


def adapt(params: Path, corpus: Path, *, keras: bool) -> None:
    """Pin the generated corpus in ``params.yaml``, keep the models that ``shown`` names, and make them small."""
    yaml = YAML()  # keeps the comments
    values = yaml.load(params)
    for key, name in {"reviews": REVIEWS, "word_index": WORD_INDEX}.items():
        content = (corpus / name).read_bytes()
        values["download"][key] |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    values["corpora"] = {}
    values["models"] = {name: values["models"][name] for name in shown(values["models"], keras=keras)}
    for model in values["models"].values():
        model["corpus"] = "imdb"
        shrink(model)
    yaml.dump(values, params)


def shown(models: dict, *, keras: bool) -> list[str]:
    """Return the names of the demo's models: the first of each kind and engine; the engine Keras only if ``keras``."""
    first = {}
    for name, model in models.items():
        first.setdefault((model["architecture"]["kind"], model["train"]["engine"]), name)
    return [name for (_, engine), name in first.items() if keras or engine != "keras"]


def shrink(model: dict) -> None:
    """Make a model small: a third of its length, vocabulary and LSTM units, ``LARGEST`` sizes and ``EPOCHS`` epochs."""
    pad, architecture = model["pad"], model["architecture"]
    deep = architecture.get("deep", architecture)
    for section in (pad, deep):
        for key, largest in LARGEST.items():
            if section.get(key) is not None:
                third = key in ("max_length", "vocabulary", "units")
                section[key] = min(max(section[key] // 3, 4) if third else section[key], largest)
        if section.get("max_length") is not None:
            section["max_length"] = max(section["max_length"], deep.get("kernel", 1), deep.get("pool", 1))
    train = model["train"]
    for section in (train, train.get("wide", {}), train.get("deep", {})):
        if "epochs" in section:
            section["epochs"] = EPOCHS
