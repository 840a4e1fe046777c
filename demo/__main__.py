"""Run the whole pipeline by `dvc repro` on generated reviews: offline, in a scratch folder, in less than a minute."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from demo.project import write_project
from sentiment import InputError
from stages.params import parse


def main(folder: Path, reviews: int, *, kept: bool, keras: bool = False) -> None:
    """Build the project in an empty or new folder, run it and print its metrics.

    Args:
        folder: Folder of the project.
        reviews: Number of reviews in each split.
        kept: True if the folder stays after the run.
        keras: True to include the models that Keras trains.
    """
    environment = write_project(folder, reviews, keras=keras)
    params = parse((folder / "params.yaml").read_text(encoding="utf-8"))
    files = [f"metrics/{name}.json" for name in params.models]
    print(f"`dvc repro` in {folder}, {reviews:,} generated reviews to train on and as many to test on:\n", flush=True)
    run(["dvc", "repro", *([] if kept else ["--quiet"])], folder, environment)  # no hints on a deleted folder
    print(f"\nMetrics on the generated test reviews, by `dvc metrics show {' '.join(files)}`:\n", flush=True)
    run(["dvc", "metrics", "show", *files], folder, environment)


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Run a command in a folder. Ctrl-C kills it with all its processes, which have nothing to save.

    Raises:
        subprocess.CalledProcessError: The command failed, after printing its own error.
    """
    with subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if code:
        raise subprocess.CalledProcessError(code, command)


if __name__ == "__main__":
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="an empty or new folder to keep; by default a scratch one")
    parser.add_argument("--reviews", type=int, default=4000, help="reviews in each split; 4000 by default")
    parser.add_argument(
        "--keras", action="store_true", help="also train a model with Keras, whose import takes seconds"
    )
    options = parser.parse_args()
    if options.reviews < 20:
        parser.error(f"--reviews: expected at least 20, got {options.reviews}")
    kept = options.folder
    try:
        if kept is None:
            with tempfile.TemporaryDirectory(prefix="imdb-demo-", ignore_cleanup_errors=True) as scratch:
                main(Path(scratch), options.reviews, kept=False, keras=options.keras)
        elif kept.exists() and (not kept.is_dir() or any(kept.iterdir())):
            sys.exit(f"error: {kept} is not an empty folder; name an empty one, or none for a scratch folder")
        else:
            main(kept.resolve(), options.reviews, kept=True, keras=options.keras)
    except InputError as error:
        sys.exit("\n".join(f"error: {line}" for line in str(error).splitlines()))
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: `{' '.join(error.cmd)}` failed with exit code {error.returncode}; see above")
    except OSError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        if kept is not None:
            shutil.rmtree(kept, ignore_errors=True)
        print("\ninterrupted; the folder of the demo is deleted", file=sys.stderr)
        sys.exit(130)
