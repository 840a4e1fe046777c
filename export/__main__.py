"""Write a trained model to exported/<model>/, a folder that works without this project."""

import tempfile
from pathlib import Path

from dvc.repo import Repo
from networkx import descendants

from checks.gate import gate
from checks.shell import InputError, Parser, command, git
from export.contents import described, graph_files, made
from sentiment import InputError as SentimentError

EXPORTED = Path("exported")


def main(arguments: list[str] | None = None) -> int:
    """Export the model that the command line names, from the root of the project."""
    parser = Parser(prog="python -m export", description=__doc__)
    parser.add_argument("model", help="a name under `models` in params.yaml")
    name = parser.parse_args(arguments).model
    check(name)
    files = made(Path(), name)
    files |= graph_files(files)
    files |= described(files, Path(), name, git(Path(), "rev-parse", "HEAD"))
    EXPORTED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=EXPORTED, ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch, "new")
        folder.mkdir()
        for file, content in files.items():
            (folder / file).parent.mkdir(exist_ok=True, parents=True)
            (folder / file).write_bytes(content)
        target = EXPORTED / name
        if target.exists():
            target.rename(Path(scratch, "old"))
        folder.rename(target)
    print(f"{target}: {', '.join(sorted(path.name for path in target.iterdir()))}")
    return 0


def check(name: str) -> None:
    """Check that the working tree has the model, data and code that the commit records.

    Raises:
        InputError: There is no such model, a file is not committed, or the model or its inputs are stale or edited.
    """
    if changed := git(Path(), "status", "--porcelain").splitlines():
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise InputError(f"tree: {changed[0][3:]}{more} is not as committed; commit it or `git restore` it")
    with Repo() as repo:
        stages = {stage.addressing: stage for stage in repo.index.stages}
        last = stages.get(f"evaluate@{name}")
        if last is None:
            known = ", ".join(key.partition("@")[2] for key in stages if key.startswith("evaluate@"))
            raise InputError(f"model: expected one of {known}, got {name!r}")
        needed = {last, *descendants(repo.index.graph, last)}
        names = {"", *(stage.addressing for stage in needed)}
        wrong = [finding for finding in gate(Path()).findings if finding.kind.code and finding.stage in names]
        if wrong:
            raise InputError(f"{wrong[0]}; `make gate` lists all, `make repro` repairs it")
        for out in {str(out): out for stage in needed for out in (*stage.outs, *stage.deps)}.values():
            if str(out).startswith(("models", "metrics", "data")) and (state := out.workspace_status()):
                state = (
                    "is missing; `make repro MODEL={}` makes it"
                    if "deleted" in state.values()
                    else ("is not what dvc.lock records; `make repro MODEL={}` makes it again")
                )
                raise InputError(f"{out} {state.format(name)}")


if __name__ == "__main__":
    command(main, SentimentError, OSError)
