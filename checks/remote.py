"""Search of DVC's remotes for the recorded outputs; no data is fetched and nothing is written."""

from collections import defaultdict
from collections.abc import Iterator

from dvc.data_cloud import Remote
from dvc.fs import get_cloud_fs
from dvc.output import Output
from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.tree import Tree as Listing

from .reading import NotInstalled
from .shell import InputError, explain


def kept(repo: Repo) -> list[Output]:
    """Return the recorded outputs that ``dvc push`` stores in a remote: none in Git, none of another repository."""
    outs = [out for stage in repo.index.stages if not stage.is_repo_import for out in stage.outs]
    return [out for out in outs if out.use_cache and out.can_push and out.hash_info and out.protocol == "local"]


def absent(repo: Repo) -> Iterator[tuple[Output, str]]:
    """Yield the outputs that their remote lacks as a whole or in part, each with the reason.

    Raises:
        InputError: A remote is not defined, or can't be read.
    """
    groups: dict[tuple[str | None, str], list[Output]] = defaultdict(list)
    for out in kept(repo):
        groups[out.remote or repo.config["core"].get("remote"), out.hash_name].append(out)
    for (name, algorithm), outs in groups.items():
        if name is None:
            raise InputError("remote: expected a default one, got none; `dvc remote default NAME` sets it")
        try:
            yield from _absent(repo, name, algorithm, outs)
        except (InputError, KeyboardInterrupt):
            raise
        except Exception as error:  # each kind of remote has its own errors
            raise InputError(f"remote {name}: {explain(error)}") from error


def _absent(repo: Repo, name: str, algorithm: str, outs: list[Output]) -> Iterator[tuple[Output, str]]:
    if name not in repo.config["remote"]:
        raise InputError(f"remote {name}: expected one in .dvc/config with a scheme that DVC knows, got none")
    cls, config, path = get_cloud_fs(repo.config, name=name)
    if issubclass(cls, NotInstalled):
        scheme = repo.config["remote"][name]["url"].partition("://")[0]
        raise InputError(f"remote {name}: expected DVC's plugin for {scheme}://, got none; `pip install dvc[{scheme}]`")
    remote = Remote(name, path, cls(**config), **config)
    if remote.fs.version_aware or remote.worktree:
        raise InputError(f"remote {name}: expected one that stores files by hash, got one with a cloud's versions")
    odb = remote.odb if algorithm == "md5" else remote.legacy_odb
    present = _present(odb, {out.hash_info.value for out in outs})
    files: dict[str, set[str]] = {}
    for out in outs:
        if out.hash_info.isdir and out.hash_info.value in present:
            files[out.hash_info.value] = {item.value for _, _, item in Listing.load(odb, out.hash_info)}
    present |= _present(odb, set().union(*files.values()))
    for value in sorted({out.hash_info.value for out in outs} - present)[:1]:
        _reach(odb, value)
    for out in outs:
        value = out.hash_info.value
        lacking = files.get(value, set()) - present
        if value not in present:
            yield out, f"not in the remote {name}"
        elif lacking:
            yield out, f"the remote {name} lacks {len(lacking)} of its {len(files[value])} contents"


def _reach(odb: HashFileDB, value: str) -> None:
    """Read the status of a missing file once more: a web server that is down seems to lack every file."""
    try:
        odb.fs.info(odb.oid_to_path(value))
    except FileNotFoundError as error:
        if error.__cause__ and getattr(error.__cause__, "status", None) not in (404, 410):
            raise


def _present(odb: HashFileDB, values: set[str]) -> set[str]:
    """Return those of the hashes that a remote has."""
    local = odb.fs.protocol == "local"  # there, DVC's ``oids_exist`` removes files with a wrong name
    return set((odb.list_oids_exists if local else odb.oids_exist)(sorted(values))) if values else set()
