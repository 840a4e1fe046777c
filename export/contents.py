"""Files of an exported folder. Their bytes depend only on a commit and the outputs of its pipeline."""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo

from checks.shell import InputError, without
from export.card import card
from sentiment.kinds import find
from sentiment.model import ABOUT, INDEX, LAYERS

ROOT = Path(__file__).parents[1]
LICENSE = ROOT / "LICENSE"
REPRODUCE = "reproduce.json"
GRAPH = "saved_model/saved_model.pb"


def made(root: Path, name: str) -> dict[str, bytes]:
    """Return the pipeline's files of a model, by their names in the exported folder; ``sentiment.load`` reads them.

    Args:
        root: Root of a checkout in which the pipeline has run.
        name: Name of the model.
    """
    folder = root / "models" / name
    about = (folder / ABOUT).read_bytes()
    files = {file: (folder / file).read_bytes() for file in (find(json.loads(about)["kind"]).FILE, INDEX, LAYERS)}
    files |= {"LICENSE": LICENSE.read_bytes(), ABOUT: about}
    files["metrics.json"] = (root / "metrics" / f"{name}.json").read_bytes()
    noise = root / "metrics/noise" / f"{name}.json"
    return files | ({"noise.json": noise.read_bytes()} if noise.exists() else {})


def graph_files(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files of the SavedModel of a model, by their names in the exported folder.

    A separate process makes them, because TensorFlow numbers the functions that a process makes.

    Args:
        files: The files that ``made`` returns.

    Raises:
        InputError: The predictions of the SavedModel differ from the model's.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder, target = Path(scratch, "model"), Path(scratch, "saved_model")
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        command = [sys.executable, "-E", "-m", "export.graph", str(folder), str(target)]
        run = subprocess.run(
            command, cwd=ROOT, env=without("KERAS_", "TF_", "XLA_"), stdin=subprocess.DEVNULL, stdout=sys.stderr,
            stderr=subprocess.PIPE, text=True, errors="replace", check=False,
        )  # fmt: skip
        if run.returncode:
            raise InputError(f"saved_model: expected a graph of the model, got: {' '.join(run.stderr.split())[-500:]}")
        paths = (path for path in target.rglob("*") if path.is_file())
        return {path.relative_to(scratch).as_posix(): path.read_bytes() for path in paths}


def operations(content: bytes) -> set[str]:
    """Return the names of all operations in the bytes of ``saved_model.pb``, which is parsed and not loaded.

    Raises:
        ValueError: The bytes are not a SavedModel.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    from sentiment.keras import backend  # noqa: F401  # suppresses TensorFlow's messages at start-up

    try:
        graphs = [meta.graph_def for meta in SavedModel.FromString(content).meta_graphs]
    except DecodeError as error:
        raise ValueError(str(error)) from None
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for function in graph.library.function for node in function.node_def]
    return {node.op for node in nodes}


def described(files: dict[str, bytes], root: Path, name: str, commit: str) -> dict[str, bytes]:
    """Return the files that describe the others: the model card, and the recipe that reproduces them.

    Args:
        files: The files that ``made`` and ``graph_files`` return.
        root: Root of a checkout in which the pipeline has run.
        name: Name of the model.
        commit: Full hash of the checkout's commit.
    """
    about = json.loads(files[ABOUT])
    recipe = {
        "command": f"git checkout {commit} && make repro MODEL={name} && make export MODEL={name}",
        "commit": commit,
        "files": {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
        "model": name,
        "versions": json.loads((root / "data/environment.json").read_bytes())["packages"],
        "weights": about["weights"],
        **_recorded(root, name, about["corpus"]),
    }
    figures, spread = (json.loads(files.get(file, b"{}")) for file in ("metrics.json", "noise.json"))
    corpus = json.loads((root / f"data/raw/{about['corpus']}_about.json").read_bytes())
    text = card(
        name, about, recipe, figures, spread, layers=files[LAYERS].decode(), corpus=corpus,
        index=json.loads(files[INDEX]),
    )  # fmt: skip
    return {"README.md": text.encode(), REPRODUCE: (json.dumps(recipe, indent=2, ensure_ascii=False) + "\n").encode()}


def _recorded(root: Path, name: str, corpus: str) -> dict[str, dict]:
    """Return the params of the model's stages and the MD5 of its raw data, as dvc.lock records them."""
    params, data = {}, {}
    raw = [f"data/raw/{corpus}{end}" for end in (".npz", "_about.json", "_word_index.json")]
    with Repo(str(root)) as repo:
        for stage in repo.index.stages:
            stage_name = getattr(stage, "name", None) or ""  # unlike the stage's address, without the folder
            if stage_name.partition("@")[2] == name and stage_name != f"corpus@{name}":
                for dep in stage.deps:
                    if isinstance(dep, ParamsDependency):
                        params |= dep.hash_info.value or {}
            data |= {str(out): out.hash_info.value for out in stage.outs if Path(str(out)).as_posix() in raw}
    return {"data": data, "params": params}
