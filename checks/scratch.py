"""A clean checkout of a revision in a scratch folder, where its pipeline runs without touching anything else."""

import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sentiment import InputError

CANNOT_RUN = 3
"""The exit code of a check that has no verdict."""


class Scratch(NamedTuple):
    """The checkout of one commit, and the environment in which commands there find this Python and the raw data."""

    folder: Path
    commit: str
    target: str | None  # of `dvc repro`; None for the whole pipeline
    environment: dict[str, str]

    def git(self, *arguments: str) -> str:
        """What a ``git`` command prints there."""
        return git(self.folder, *arguments)

    def repro(self) -> None:
        """Run ``dvc repro`` there, everything it prints going to standard error.

        Raises:
            InputError: A stage failed; its own error has been printed by then.
        """
        command = ["dvc", "repro", *filter(None, [self.target])]
        with subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=self.folder, env=self.environment, stdout=sys.stderr, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                code = process.wait()
            finally:
                if process.returncode is None:  # interrupted: nothing a stage or its shell could save is wanted
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if code:
            raise InputError(f"`{' '.join(command)}` of {self.commit[:10]} failed; the stage's own error is above")


@contextmanager
def checkout(revision: str = "HEAD", model: str | None = None) -> Iterator[Scratch]:
    """Check out a revision of the current repository in a scratch folder that vanishes when the block ends.

    The repository is only read: the commit is fetched into a new one, which has no branches, hooks or DVC cache. What
    could lend the rerun a result stays outside: DVC's settings and caches of this user and machine, and PYTHONPATH.

    Args:
        revision: Anything that names a commit.
        model: The one to build there; all by default.

    Raises:
        InputError: There is no such commit, no pipeline in it, or no such model.
    """
    root = repository()
    try:
        commit = git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except InputError:
        raise InputError(f"revision: expected a commit, got {revision!r}; `git log --all` lists them") from None
    with tempfile.TemporaryDirectory(prefix="imdb-scratch-") as scratch:
        base = Path(scratch).resolve()
        folder = base / "project"
        git(base, "init", "--quiet", "--template=", str(folder))
        git(folder, "-c", "protocol.version=2", "fetch", "--quiet", "--no-tags", "--depth=1", str(root), commit)
        git(folder, "checkout", "--quiet", "--detach", commit)
        for name in ("dvc.yaml", "params.yaml"):
            if not (folder / name).exists():
                raise InputError(f"revision: {revision!r} ({commit[:10]}) has no {name}; name one with the pipeline")
        try:
            models = [*YAML(typ="safe").load(folder / "params.yaml")["models"]]
        except (YAMLError, TypeError, KeyError):
            raise InputError(
                f"revision: {revision!r} ({commit[:10]}) has no `models` in its params.yaml; name one with them"
            ) from None
        if model not in [None, *models]:
            raise InputError(f"model: expected one of {', '.join(models)}, got {model!r}")
        (folder / ".dvc/config.local").write_text("[cache]\n    dir = cache\n")  # wins over a committed setting too
        yield Scratch(folder, commit, model and f"evaluate@{model}", _environment(base))


def repository() -> Path:
    """The root of the Git repository around the current folder."""
    return Path(git(Path.cwd(), "rev-parse", "--show-toplevel"))


def git(folder: Path, *arguments: str) -> str:
    """What ``git`` prints in a folder, without the last line's end.

    Raises:
        InputError: It failed; its last words.
    """
    run = subprocess.run(
        ["git", *arguments], cwd=folder, env=_without("GIT_"), capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise InputError(f"`git {' '.join(arguments)}` failed in {folder}: {run.stderr.strip().splitlines()[-1:]}")
    return run.stdout.rstrip("\n")


def command(main: Callable[[], int]) -> None:
    """Exit with what ``main`` returns; with ``CANNOT_RUN`` and a line per fault for bad input; with 130 for Ctrl-C.

    A termination, or the terminal's end, cleans up like Ctrl-C. A crash shows its traceback and is ``CANNOT_RUN`` as
    well: Python's own code for it, 1, is a verdict here.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup asks
            signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(main())
    except InputError as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        traceback.print_exc()
    sys.exit(CANNOT_RUN)


def _without(*prefixes: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


def _environment(base: Path) -> dict[str, str]:
    """This process's environment, cut off from the user's DVC; paths to the raw data are made absolute."""
    environment = _without("GIT_", "DVC", "PYTHONPATH")
    for name in ("IMDB_SOURCE", "KERAS_HOME"):
        if (place := environment.get(name)) and "://" not in place:
            environment[name] = str(Path(place).expanduser().absolute())
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR", "TMPDIR"):
        (base / name).mkdir()
        environment[name] = str(base / name)
    environment["DVC_NO_ANALYTICS"] = "1"
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return environment
