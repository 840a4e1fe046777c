"""Get the two raw files from the first source with the pinned bytes, and write the names of their labels.

The sources are the object in DVC's cache that dvc.lock records, the Keras cache, and the public addresses in
``params.yaml``. If the environment variable ``IMDB_SOURCE`` names a file or folder, it is the only source.
"""

import hashlib
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
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
"""Names of labels 0 and 1, rules that split a text into words, and language of the reviews."""

REMEDY = "set IMDB_SOURCE to a local copy, or run `make demo`, which needs none of the data"


def main(settings: Download) -> None:
    """Get both files, print the source of each, and write the labels."""
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
    """Copy ``target`` from the source that the user names, and return its path there.

    Raises:
        InputError: The file is missing, or has other bytes. No other source is tried, because the user named this one.
    """
    path = locate(source, target.name)
    try:
        take(target, pinned, partial(copy, path))
    except InputError as error:
        remedy = "params.yaml pins another file; use the official one, or unset IMDB_SOURCE"
        raise InputError(f"IMDB_SOURCE={source}: {path}: {error}; {remedy}") from None
    except (OSError, ValueError) as error:  # a null byte in the path is a ValueError
        if getattr(error, "errno", None) in FULL:
            raise
        remedy = f"name a folder that holds {target.name}, or unset IMDB_SOURCE"
        raise InputError(f"IMDB_SOURCE={source}: {path}: {reason(error)}; {remedy}") from None
    return path


def take_first(target: Path, pinned: Source, settings: Download) -> str:
    """Copy ``target`` from DVC's cache, the Keras cache or the first address with the pinned bytes; return its name.

    Raises:
        InputError: No source has the pinned bytes. The message has a line for each source, and the remedy.
    """
    end, failures = time.monotonic() + settings.deadline, []
    for path in (dvc_cache(target), keras_cache() / target.name):
        if path is not None and (origin := _tried(target, pinned, str(path), partial(copy, path), failures)):
            return origin
    for url in pinned.urls:
        fetch = partial(download, url, pinned.size, settings.timeout, settings.retries, end)
        if origin := _tried(target, pinned, url, fetch, failures):
            return origin
    raise InputError("\n".join([f"{target}: no source gave it", *failures, REMEDY]))


def _tried(target: Path, pinned: Source, origin: str, write: Callable[[Path], object], failures: list[str]) -> str:
    """``origin`` if ``write`` gave the pinned bytes; otherwise "", after the error is appended to ``failures``."""
    try:
        take(target, pinned, write)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in FULL:
            raise
        failures.append(f"{origin}: {reason(error)}")
        if not isinstance(error, FileNotFoundError):  # an empty cache needs no warning
            print(f"warning: {failures[-1]}", file=sys.stderr)
        return ""
    return origin


def take(target: Path, pinned: Source, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary file, and move it to ``target`` if its bytes are the pinned ones.

    Raises:
        InputError: The bytes are not the pinned ones.
        OSError: The bytes could not be read or written; errors of ``requests`` are ``OSError`` too.
    """
    with replacing(target) as path:
        write(path)
        if (size := path.stat().st_size) != pinned.size:
            raise InputError(f"expected {pinned.size:,} bytes, found {size:,}")
        if (digest := sha256(path)) != pinned.sha256:
            raise InputError(f"expected SHA-256 {pinned.sha256}, found {digest}")


def download(url: str, size: int, timeout: float, retries: int, end: float, path: Path) -> None:
    """Download ``url`` to ``path``. After a temporary failure it tries again, with growing pauses.

    Args:
        url: An address, http or https.
        size: Expected number of bytes.
        timeout: Number of seconds without a byte after which a try has failed.
        retries: Maximum number of further tries.
        end: Time, by ``time.monotonic``, at which the download is given up.
        path: The file to write.

    Raises:
        requests.RequestException: The last try failed, or the server refused a try, after which there is no other.
        InputError: The server sends more bytes than expected.
        TimeoutError: The time ``end`` has passed.
    """
    import requests  # here, so that a run that needs no network starts at once

    passing = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    for attempt in range(retries + 1):
        try:
            path.write_bytes(_within(end - time.monotonic(), partial(_body, url, size, timeout)))
            return
        except requests.RequestException as error:
            status = error.response.status_code if error.response is not None else None
            again = status in (408, 429) or status >= 500 if status else isinstance(error, passing)
            if attempt == retries or not again or isinstance(error, requests.exceptions.SSLError):
                raise
            time.sleep(max(0, min(attempt + 1, 10, end - time.monotonic())))


def _body(url: str, size: int, timeout: float) -> bytes:
    """The bytes at an address, at most ``size`` of them."""
    import requests
    from tqdm import tqdm

    content = bytearray()
    with requests.get(url, stream=True, timeout=timeout) as response:
        response.raise_for_status()
        declared = response.headers.get("Content-Length", "")
        if declared.isdecimal() and "Content-Encoding" not in response.headers and int(declared[:20]) != size:
            raise InputError(f"expected {size:,} bytes, and the server declares {int(declared[:20]):,}")
        with tqdm(total=size, unit="B", unit_scale=True, disable=None) as bar:
            for chunk in response.iter_content(1 << 16):
                content += chunk
                bar.update(len(chunk))
                if len(content) > size:
                    raise InputError(f"expected {size:,} bytes, and the server sends more")
    return bytes(content)


def _within(seconds: float, make: Callable[[], bytes]) -> bytes:
    """The result of ``make()``, which runs in a thread, because the timeout of a socket restarts with each byte.

    Raises:
        TimeoutError: ``make()`` needs more time. Its thread ends with the process.
    """
    outcome = queue.SimpleQueue()

    def run():
        try:
            outcome.put((make(), None))
        except Exception as error:  # it is raised below
            outcome.put((b"", error))

    threading.Thread(target=run, daemon=True).start()
    content, error = (
        b"",
        TimeoutError("download.deadline is over; raise it for a slow connection"),
    )
    with suppress(queue.Empty):
        content, error = outcome.get(timeout=max(0, seconds))
    if error is not None:
        raise error
    return content


def copy(source: Path, path: Path) -> None:
    """Copy an ordinary file. A device or a pipe is refused, because it may have no end."""
    if source.exists() and not source.is_file():
        raise InputError("expected an ordinary file")
    copyfile(source, path)


def locate(source: str, name: str) -> Path:
    """Path of the file ``name``. ``source`` is its folder, or one of the two files, as a path or a file:// URL.

    A relative path is relative to the root of the user's repository, also if ``dvc exp run --temp`` runs in a copy.

    Raises:
        InputError: The URL does not name a file of this machine.

    >>> locate("file:///mnt/imdb.npz", "imdb_word_index.json").as_posix()
    '/mnt/imdb_word_index.json'
    """
    if re.match("[a-z][a-z0-9+.-]+://", source, re.IGNORECASE):
        remedy = "name a folder, a file or a file:// URL, or unset IMDB_SOURCE to download"
        try:
            scheme, host, url_path, *_ = urlsplit(source)
        except ValueError as error:
            raise InputError(f"IMDB_SOURCE={source}: {error}; {remedy}") from None
        if scheme != "file" or host.lower() not in ("", "localhost"):
            raise InputError(f"IMDB_SOURCE={source}: expected a path on this machine, got {scheme}://{host}; {remedy}")
        source = url2pathname(url_path)
    path = Path(os.environ.get("DVC_ROOT", ""), os.path.expanduser(source))
    folder = path.parent if path.name in (REVIEWS, WORD_INDEX) and not path.is_dir() else path
    return folder / name


def dvc_cache(target: Path) -> Path | None:
    """The object in DVC's cache that dvc.lock records for ``target``, or ``None`` if there is none."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            outs = {str(out): out for stage in repo.index.stages for out in stage.outs}
            out = outs.get(str(target))
            return Path(out.cache_path) if out is not None and out.hash_info else None
    except DvcException:  # not a DVC repository, for example if the stage is run by hand elsewhere
        return None


def keras_cache() -> Path:
    """The folder that ``keras.utils.get_file`` downloads data sets to."""
    return Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")) / "datasets"


def holds(path: Path, pinned: Source) -> bool:
    """True if ``path`` is a readable file with the pinned SHA-256."""
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
    """The message of the innermost cause of an error, shortened; ``requests`` wraps it in three other errors."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).split(" for url")[0]


if __name__ == "__main__":
    command(main, read_download)
