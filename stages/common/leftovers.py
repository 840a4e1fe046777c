"""What a killed DVC or a full disk leaves behind: found and removed before `dvc repro`, and explained after it.

DVC writes ``.dvc/tmp/rwlock`` in place. A process killed meanwhile leaves it cut, and no later command can read it.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from sentiment import InputError
from stages.common.command import command

LOCK = Path(".dvc/tmp/rwlock")
FOLDERS = (".dvc/cache", "data", "metrics", "models", "plots")
STRAY = re.compile(r".*\.[\w-]{22}\.tmp", re.ASCII)
"""Names of files that DVC writes before it moves them (``dvc_objects.fs.utils.tmp_fname``)."""

LITTLE = 2**26  # bytes


def main() -> None:
    """Remove what no DVC that runs here can still need, and say what has been removed.

    Raises:
        InputError: The lock is cut, and another DVC runs here.
    """
    cut, strays = is_cut(LOCK), [*stray_files()]
    running = [process.pid for process in processes()] if cut or strays else []
    if cut and running:
        raise InputError(
            f"{LOCK}: expected JSON, got a part of it, and DVC runs here (process {running[0]}); let it end"
        )
    if cut:
        LOCK.unlink(missing_ok=True)
        print(f"{LOCK}: removed, as a killed DVC or a full disk had left a part of it")
    if strays and not running:
        for path in strays:
            path.unlink(missing_ok=True)
        print(f"{strays[0]}: removed, with {len(strays) - 1} more unfinished files of a DVC that was ended")


def explain() -> None:
    """Say so if the disk is full: DVC's own error is "No possible cache link types"."""
    free = shutil.disk_usage(".dvc").free
    if free < LITTLE:
        sys.exit(f"error: .dvc/cache: {free:,} bytes are free on its disk; make room and run the same command again")


def is_cut(path: Path) -> bool:
    """Whether the lock is there and no JSON."""
    try:
        json.loads(path.read_bytes())
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False


def stray_files() -> Iterator[Path]:
    """Files that DVC has not finished, below its cache and the outputs."""
    return (path for folder in FOLDERS for path in Path(folder).rglob("*.tmp") if STRAY.fullmatch(path.name))


def processes() -> Iterator[psutil.Process]:
    """The processes of DVC in this folder, whoever started them."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = [Path(word).name for word in (process.info["cmdline"] or [])[:4]]
        if "dvc" in words and process.info["cwd"] == str(Path.cwd()):
            yield process


if __name__ == "__main__":
    after = sys.argv[1:] == ["--after"]
    sys.argv[1:] = []
    command(explain if after else main)
