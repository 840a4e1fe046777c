"""Files of an exported folder beside the SavedModel: bytes that follow from a commit and what its pipeline made."""

import hashlib
import json
from pathlib import Path

from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo

from export.card import card
from sentiment.kinds import find
from sentiment.model import ABOUT, INDEX, LAYERS

LICENSE = Path(__file__).parents[1] / "LICENSE"
REPRODUCE = "reproduce.json"


def made(root: Path, name: str) -> dict[str, bytes]:
    """The files that the pipeline made for a model, by their names in the folder; ``sentiment.load`` reads them.

    Args:
        root: Of a checkout in which the pipeline has run.
        name: The model's.
    """
    folder = root / "models" / name
    about = (folder / ABOUT).read_bytes()
    files = {file: (folder / file).read_bytes() for file in (find(json.loads(about)["kind"]).FILE, INDEX, LAYERS)}
    files |= {"LICENSE": LICENSE.read_bytes(), ABOUT: about}
    files["metrics.json"] = (root / "metrics" / f"{name}.json").read_bytes()
    noise = root / "metrics/noise" / f"{name}.json"
    return files | ({"noise.json": noise.read_bytes()} if noise.exists() else {})


def described(files: dict[str, bytes], root: Path, name: str, commit: str) -> dict[str, bytes]:
    """Files that describe the others: the model card, and the recipe that makes them again.

    Args:
        files: As ``made`` gives them.
        root: As for ``made``.
        name: The model's.
        commit: Of the checkout, in full.
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
    """The params that the model's stages ran with, and the MD5 of its raw data, as dvc.lock has them."""
    params, data = {}, {}
    raw = [f"data/raw/{corpus}{end}" for end in (".npz", "_about.json", "_word_index.json")]
    with Repo(str(root)) as repo:
        for stage in repo.index.stages:
            called = (
                getattr(stage, "name", None) or ""
            )  # its address has the folder too, where that is not the current one
            if called.partition("@")[2] == name and called != f"corpus@{name}":
                for dep in stage.deps:
                    if isinstance(dep, ParamsDependency):
                        params |= dep.hash_info.value or {}
            data |= {str(out): out.hash_info.value for out in stage.outs if Path(str(out)).as_posix() in raw}
    return {"data": data, "params": params}
