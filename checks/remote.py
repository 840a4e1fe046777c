"""Asks DVC's remotes for the data that the locks and .dvc files record; no data is fetched and nothing is written."""

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
    """The recorded outputs that ``dvc push`` stores in a remote: not those in Git nor those of other repositories."""
    outs = [out for stage in repo.index.stages if not stage.is_repo_import for out in stage.outs]
    return [out for out in outs if out.use_cache and out.can_push and out.hash_info and out.protocol == "local"]


def absent(repo: Repo) -> Iterator[tuple[Output, str]]:
    """Yield the outputs that their remote lacks as a whole or in part, each with the reason.

    Raises:
        InputError: There is no such remote, or it can't be asked.
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
        except Exception as error:  # each kind of remote has errors of its own
            raise InputError(f"remote {name}: {explain(error)}") from error


def _absent(repo: Repo, name: str, algorithm: str, outs: list[Output]) -> Iterator[tuple[Output, str]]:
    if name not in repo.config["remote"]:
        raise InputError(f"remote {name}: expected one of a scheme that DVC knows in .dvc/config, got none")
    cls, config, path = get_cloud_fs(repo.config, name=name)
    if issubclass(cls, NotInstalled):
        scheme = repo.config["remote"][name]["url"].partition("://")[0]
        raise InputError(f"remote {name}: expected DVC's plugin for {scheme}://, got none; `pip install dvc[{scheme}]`")
    remote = Remote(name, path, cls(**config), **config)
    if remote.fs.version_aware or remote.worktree:
        raise InputError(f"remote {name}: expected one that stores files by hash, got one with a cloud's versions")
    odb = remote.odb if algorithm == "md5" else remote.legacy_odb
    there = _there(odb, {out.hash_info.value for out in outs})
    files: dict[str, set[str]] = {}
    for out in outs:
        if out.hash_info.isdir and out.hash_info.value in there:
            files[out.hash_info.value] = {item.value for _, _, item in Listing.load(odb, out.hash_info)}
    there |= _there(odb, set().union(*files.values()))
    for value in sorted({out.hash_info.value for out in outs} - there)[:1]:
        _reach(odb, value)
    for out in outs:
        value = out.hash_info.value
        lacking = files.get(value, set()) - there
        if value not in there:
            yield out, f"not in the remote {name}"
        elif lacking:
            yield out, f"the remote {name} lacks {len(lacking)} of its {len(files[value])} contents"


def _reach(odb: HashFileDB, value: str) -> None:
    """Ask for a file that seems to be missing once more, since a web server that is down lacks every file."""
    try:
        odb.fs.info(odb.oid_to_path(value))
    except FileNotFoundError as error:
        if error.__cause__ and getattr(error.__cause__, "status", None) not in (404, 410):
            raise


def _there(odb: HashFileDB, values: set[str]) -> set[str]:
    """Those of some hashes that a remote has."""
    local = odb.fs.protocol == "local"  # where DVC's other query removes the files that do not fit their names
    return set((odb.list_oids_exists if local else odb.oids_exist)(sorted(values))) if values else set()
