"""The whole pipeline by a real `dvc repro`, on reviews it makes up: offline, in a scratch folder, in half a minute."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from demo.project import write_project
from sentiment import InputError
from stages.params import read


def main(folder: Path) -> None:
    """Build the project in ``folder``, run it and print its metrics."""
    params = read()
    files = [f"metrics/{name}.json" for name in (*params.models, *params.baselines)]
    environment = write_project(folder, reviews=4000)
    subprocess.run(["dvc", "repro"], cwd=folder, env=environment, check=True)
    print(f"\nThe made-up reviews, as `dvc metrics show {' '.join(files)}` has them:\n", flush=True)
    subprocess.run(["dvc", "metrics", "show", *files], cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="an empty folder to keep it in; a scratch one by default")
    kept = parser.parse_args().folder
    try:
        if kept is None:
            with tempfile.TemporaryDirectory(prefix="imdb-demo-") as scratch:
                main(Path(scratch))
        elif kept.exists() and (not kept.is_dir() or any(kept.iterdir())):
            sys.exit(f"error: {kept} is not an empty folder; name one, or none to use a scratch folder")
        else:
            main(kept.resolve())
    except InputError as error:
        sys.exit("\n".join(f"error: {line}" for line in str(error).splitlines()))
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: `{' '.join(error.cmd)}` failed with exit code {error.returncode}; see above")
    except KeyboardInterrupt:
        sys.exit(130)
