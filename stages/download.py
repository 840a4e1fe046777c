"""Fill data/raw with the two raw files, from the first source that has the pinned bytes, and name their labels.

The sources: the file or folder that the environment variable ``IMDB_SOURCE`` names, and no other where it is set; the
Keras cache; the public addresses in ``params.yaml``.
"""

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import copyfile
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sentiment import InputError
from sentiment.data.text import IMDB
from stages.common.command import command
from stages.common.files import FULL, replacing, write_json
from stages.params import Download, Source, read_download

RAW = Path("data/raw")
REVIEWS, WORD_INDEX = "imdb.npz", "imdb_word_index.json"
ABOUT = {"labels": ["negative", "positive"], "tokens": IMDB._asdict(), "language": "en"}
"""Names of labels 0 and 1, how a text is split into words, and the language."""

REMEDY = "set IMDB_SOURCE to a local copy, or run `make demo`, which needs none of the data"


def main(settings: Download) -> None:
    """Have both files in place, say where each came from, and write the labels."""
    for name, pinned in {REVIEWS: settings.reviews, WORD_INDEX: settings.word_index}.items():
        target = RAW / name
        if holds(target, pinned):
            origin = "kept, it holds the pinned bytes"
        elif source := os.environ.get("IMDB_SOURCE"):
            origin = f"from {take_named(source, target, pinned)}"
        else:
            origin = f"from {take_first(target, pinned, settings)}"
        print(f"{target}: {origin}")
    write_json(RAW / "imdb_about.json", ABOUT)


def take_named(source: str, target: Path, pinned: Source) -> Path:
    """Copy ``target`` from the source the user asked for, and give the path it was found at.

    Raises:
        InputError: It is not there, or has other bytes: no other source is what the user asked for.
    """
    path = locate(source, target.name)
    try:
        take(target, pinned, partial(copyfile, path))
    except InputError as error:
        remedy = "it is another file than params.yaml pins; bring the official one, or unset IMDB_SOURCE"
        raise InputError(f"IMDB_SOURCE={source}: {path}: {error}; {remedy}") from None
    except (OSError, ValueError) as error:  # the latter of a null byte in the path
        if getattr(error, "errno", None) in FULL:
            raise
        remedy = f"name a folder that holds {target.name}, or unset IMDB_SOURCE"
        raise InputError(f"IMDB_SOURCE={source}: {path}: {reason(error)}; {remedy}") from None
    return path


def take_first(target: Path, pinned: Source, settings: Download) -> str:
    """Take ``target`` from the Keras cache or the first address that gives the pinned bytes, and say which.

    Raises:
        InputError: None does: a line for each place, and what to do.
    """
    cached, failures = keras_cache() / target.name, []
    places = {str(cached): partial(copyfile, cached)}
    places |= {url: partial(download, url, settings.timeout, settings.retries) for url in pinned.urls}
    for place, write in places.items():
        try:
            take(target, pinned, write)
            return place
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) in FULL:
                raise
            failures.append(f"{place}: {reason(error)}")
            if not isinstance(error, FileNotFoundError):  # an empty cache is nothing to warn of
                print(f"warning: {failures[-1]}", file=sys.stderr)
    raise InputError("\n".join([f"{target}: no source gave it", *failures, REMEDY]))


def take(target: Path, pinned: Source, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a temporary file, which becomes ``target`` only if its bytes are the pinned ones.

    Raises:
        InputError: They are not.
        OSError: They could not be read or written; the errors of ``requests`` are among these.
    """
    with replacing(target) as path:
        write(path)
        if (found := sha256(path)) != pinned.sha256:
            raise InputError(f"expected SHA-256 {pinned.sha256}, found {found}")


def download(url: str, timeout: float, retries: int, path: Path) -> None:
    """Write what ``url`` answers to ``path``; try again, ever later, after a failure that may pass.

    Args:
        url: An address, http or https.
        timeout: Seconds without a byte that count as a failure.
        retries: Further tries after the first.
        path: The file to write.

    Raises:
        requests.RequestException: The last failure. What the server refuses is not asked for twice.
    """
    import pooch  # here, so that a run that needs no network starts at once
    import requests

    get = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 16, timeout=timeout)
    for attempt in range(retries + 1):
        try:
            return get(url, str(path), None)
        except requests.RequestException as error:
            status = 500 if error.response is None else error.response.status_code
            if attempt == retries or (status < 500 and status not in (408, 429)):
                raise
            time.sleep(min(attempt + 1, 10))


def locate(source: str, name: str) -> Path:
    """Where the file ``name`` is, by a ``source`` that is its folder, it, or its companion, as a path or file:// URL.

    A relative path is one from the root of the repository, whose own copy ``dvc exp run --temp`` runs the stage in.

    Raises:
        InputError: The URL is none of a file of this machine.

    >>> locate("file:///mnt/imdb.npz", "imdb_word_index.json").as_posix()
    '/mnt/imdb_word_index.json'
    """
    if re.match("[a-z][a-z0-9+.-]+://", source, re.IGNORECASE):
        remedy = "name a folder, a file or a file:// URL, or unset IMDB_SOURCE to download"
        try:
            scheme, host, place, *_ = urlsplit(source)
        except ValueError as error:
            raise InputError(f"IMDB_SOURCE={source}: {error}; {remedy}") from None
        if scheme != "file" or host.lower() not in ("", "localhost"):
            raise InputError(f"IMDB_SOURCE={source}: expected a place on this machine, got {scheme}://{host}; {remedy}")
        source = url2pathname(place)
    path = Path(os.environ.get("DVC_ROOT", ""), os.path.expanduser(source))
    folder = path.parent if path.name in (REVIEWS, WORD_INDEX) and not path.is_dir() else path
    return folder / name


def keras_cache() -> Path:
    """The folder that ``keras.utils.get_file`` downloads data sets to."""
    return Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")) / "datasets"


def holds(path: Path, pinned: Source) -> bool:
    """Whether ``path`` is a readable file of the pinned bytes."""
    try:
        return sha256(path) == pinned.sha256
    except OSError:
        return False


def sha256(path: Path) -> str:
    """SHA-256 of a file, in lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def reason(error: BaseException) -> str:
    """The innermost cause of a failure, short: ``requests`` wraps it in three others."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).split(" for url")[0]


if __name__ == "__main__":
    command(main, read_download)
