"""What an exported folder holds beside the SavedModel: bytes that follow from a commit and what its pipeline made."""

import hashlib
import json
from pathlib import Path

from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo

from export.card import card
from sentiment.padding import FIRST_WORD

LICENSE = Path(__file__).parents[1] / "LICENSE"
REPRODUCE, INDEX = "reproduce.json", "{}_word_index.json"


def made(root: Path, name: str) -> dict[str, bytes]:
    """The files that the pipeline made for the model called ``name``, by their names in the folder.

    Args:
        root: Of a checkout in which the pipeline has run.
        name: The model's.
    """
    settings = (root / "models" / f"{name}.json").read_bytes()
    about = json.loads(settings)
    index = json.loads((root / "data/raw" / INDEX.format(about["corpus"])).read_bytes())
    ids = {word: rank + FIRST_WORD for word, rank in index.items() if rank + FIRST_WORD < about["vocabulary"]}
    files = {
        "LICENSE": LICENSE.read_bytes(),
        f"{name}.keras": (root / "models" / f"{name}.keras").read_bytes(),
        f"{name}.json": settings,
        "word_index.json": _json(dict(sorted(ids.items(), key=lambda item: item[1]))),
        "metrics.json": (root / "metrics" / f"{name}.json").read_bytes(),
    }
    noise = root / "metrics/noise" / f"{name}.json"
    return files | ({"noise.json": noise.read_bytes()} if noise.exists() else {})


def described(files: dict[str, bytes], root: Path, name: str, commit: str) -> dict[str, bytes]:
    """What describes these files: the model card, and the recipe that makes them again.

    Args:
        files: As ``made`` gives them.
        root: As for ``made``.
        name: The model's.
        commit: Of the checkout, in full.
    """
    about = json.loads(files[f"{name}.json"])
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
    return {"README.md": card(name, about, recipe, figures, spread).encode(), REPRODUCE: _json(recipe)}


def _recorded(root: Path, name: str, corpus: str) -> dict[str, dict]:
    """The params that the model's stages ran with, and the MD5 of its raw data, as dvc.lock has them."""
    params, data = {}, {}
    raw = (f"data/raw/{corpus}.", f"data/raw/{corpus}_")
    with Repo(str(root)) as repo:
        for stage in repo.index.stages:
            if stage.addressing.partition("@")[2] == name:
                for dep in stage.deps:
                    if isinstance(dep, ParamsDependency):
                        params |= dep.hash_info.value or {}
            data |= {str(out): out.hash_info.value for out in stage.outs if str(out).startswith(raw)}
    return {"data": data, "params": params}


def _json(values: dict) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
