"""Unfinished files of a killed DVC or a full disk: removed before `dvc repro`, and explained after it.

DVC writes ``.dvc/tmp/rwlock`` and ``dvc.lock`` in place. If it is killed while it writes, a part of the file remains,
which no later command can read.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from sentiment import InputError
from stages.common.command import command

LOCK, RECORD = Path(".dvc/tmp/rwlock"), Path("dvc.lock")
FOLDERS = (".dvc/cache", "data", "metrics", "models", "plots")
STRAY = re.compile(r".*\.[\w-]{22}\.tmp", re.ASCII)
"""Names of files that DVC writes before it moves them (``dvc_objects.fs.utils.tmp_fname``)."""

LITTLE = 2**26  # free bytes below which a disk is called full


def main() -> None:
    """Remove unfinished files that no running DVC needs, and print their names.

    Raises:
        InputError: A file of DVC is incomplete, and another DVC runs here; or DVC cannot replace an output.
    """
    cut, strays = [path for path in (LOCK, RECORD) if is_cut(path)], [*stray_files()]
    running = [process.pid for process in processes()] if cut or strays else []
    if cut and running:
        raise InputError(
            f"{cut[0]}: expected a complete file, got a part; wait for the DVC that runs here (process {running[0]})"
        )
    for path in cut:
        print(f"{path}: {restore(path)}, because a killed DVC or a full disk left it incomplete")
    if strays and not running:
        for path in strays:
            path.unlink(missing_ok=True)
        print(f"{strays[0]}: removed, with {len(strays) - 1} more unfinished files of a DVC that was killed")
    for path in odd_outputs():
        raise InputError(f"{path}: expected a file or a folder, got a pipe, a device or a broken link; delete it")


def explain() -> None:
    """Print a message if the disk is full, because DVC's own error is "No possible cache link types"."""
    free = shutil.disk_usage(".dvc").free
    if free < LITTLE:
        sys.exit(f"error: .dvc/cache: {free:,} bytes are free on its disk; make room and run the same command again")


def is_cut(path: Path) -> bool:
    """True if a file of DVC is incomplete: ``LOCK`` is not JSON, or ``RECORD`` does not end in a newline."""
    if not path.is_file():
        return False
    content = path.read_bytes()
    if path == RECORD:
        return not content.endswith(b"\n")
    try:
        json.loads(content)
    except ValueError:
        return True
    return False


def restore(path: Path) -> str:
    """Restore a file from Git's index, or delete it if Git has none; return a description."""
    run = subprocess.run(["git", "show", f":./{path.as_posix()}"], capture_output=True, check=False)
    if run.returncode:
        path.unlink(missing_ok=True)
        return "removed"
    path.write_bytes(run.stdout)
    return "restored from Git"


def stray_files() -> Iterator[Path]:
    """Unfinished files of DVC, in its cache and in the folders of outputs."""
    return (path for folder in FOLDERS for path in Path(folder).rglob("*.tmp") if STRAY.fullmatch(path.name))


def odd_outputs() -> Iterator[Path]:
    """Pipes, devices and broken links in place of recorded outputs or inputs. DVC would wait for a pipe for ever."""
    if RECORD.is_file():
        names = re.findall(r"^ +- path: (.+)$", RECORD.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        for path in map(Path, names):
            if os.path.lexists(path) and not path.is_file() and not path.is_dir():
                yield path


def processes() -> Iterator[psutil.Process]:
    """The processes of DVC in this folder, of all users."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = [Path(word).name for word in (process.info["cmdline"] or [])[:4]]
        if "dvc" in words and process.info["cwd"] == str(Path.cwd()):
            yield process


if __name__ == "__main__":
    after = sys.argv[1:] == ["--after"]
    sys.argv[1:] = []
    command(explain if after else main)
