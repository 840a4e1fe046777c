"""Write a trained model as one folder for people without this project: exported/<model>/."""

import hashlib
import json
import tempfile
from pathlib import Path

from dvc.repo import Repo

from checks.gate import gate
from checks.shell import InputError, Parser, command, git
from export.contents import INDEX, described, made
from sentiment import InputError as SentimentError

EXPORTED = Path("exported")


def main(arguments: list[str] | None = None) -> int:
    """Export the model that the command line names, from the root of the project."""
    parser = Parser(prog="python -m export", description=__doc__)
    parser.add_argument("model", help="a name under `models` in params.yaml")
    name = parser.parse_args(arguments).model
    check(name)
    files = made(Path(), name)
    files |= described(files, Path(), name, git(Path(), "rev-parse", "HEAD"))
    EXPORTED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=EXPORTED, ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch, "new")
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        save_graph(folder, name)
        target = EXPORTED / name
        if target.exists():
            target.rename(Path(scratch, "old"))
        folder.rename(target)
    print(f"{target}: {', '.join(sorted(path.name for path in target.iterdir()))}")
    return 0


def check(name: str) -> None:
    """Refuse a model that the commit does not record as it is here.

    Raises:
        InputError: The tree is dirty, the lock stale or edited, or the model is not trained, or another.
    """
    if changed := git(Path(), "status", "--porcelain").splitlines():
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise InputError(f"tree: {changed[0][3:]}{more} is not as committed; commit it or take it back")
    found = gate(Path()).findings
    wrong = [finding for finding in found if finding.kind.code and finding.stage.partition("@")[2] in ("", name)]
    if wrong:
        raise InputError(f"{wrong[0]}; `make gate` tells all, `make repro` mends it")
    with Repo() as repo:
        stages = {stage.addressing: stage for stage in repo.index.stages}
        makers = [stages.get(f"{stage}@{name}") for stage in ("train", "evaluate")]
        if None in makers:
            known = ", ".join(key.partition("@")[2] for key in stages if key.startswith("train@"))
            raise InputError(f"model: expected one of {known}, got {name!r}")
        read = {str(dep) for stage in makers for dep in stage.deps}
        makers += [stage for stage in repo.index.stages if read & {str(out) for out in stage.outs}]
        for out in {str(out): out for stage in makers for out in stage.outs if not out.hash_info.isdir}.values():
            path = Path(out.fs_path)
            if not path.exists():
                raise InputError(f"{out} is missing; `make repro MODEL={name}` makes it")
            if hashlib.md5(path.read_bytes()).hexdigest() != out.hash_info.value:
                raise InputError(f"{out} is not what dvc.lock records; `make repro MODEL={name}` makes it again")


def save_graph(folder: Path, name: str) -> None:
    """Write the SavedModel into a folder that has all the rest."""
    from export.graph import save, served
    from sentiment import archive, network

    network.use_no_gpu()
    about = json.loads((folder / f"{name}.json").read_bytes())
    index = json.loads(Path("data/raw", INDEX.format(about["corpus"])).read_bytes())
    save(served(archive.unpack((folder / f"{name}.keras").read_bytes()), index, about), folder / "saved_model")


if __name__ == "__main__":
    command(main, SentimentError, OSError)
