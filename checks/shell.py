"""Calls of Git, and the command line, messages and exit codes of a check."""

import argparse
import io
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from . import REMEDY

CANNOT_RUN = 3
"""Exit code of a check without a verdict, because a file or tool that it needs is missing or can't be read."""

CRASHED = 70
"""Exit code of a fault of the check itself: EX_SOFTWARE of sysexits.h, which is no verdict."""


class InputError(ValueError):
    """Fault of the user's input. The message says in one line what is wrong, expected and got, and the remedy."""


class GitError(InputError):
    """Failure of a Git command, with Git's own message and its exit code."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class Parser(argparse.ArgumentParser):
    """Parser that exits with 3 for a wrong command line, as argparse's 2 is a verdict, and refuses abbreviations."""

    def __init__(self, *arguments, description: str | None = None, **options):
        first = (description or "").partition("\n")[0]  # PYTHONOPTIMIZE=2 removes docstrings
        super().__init__(*arguments, allow_abbrev=False, description=first, **options)

    def error(self, message: str) -> NoReturn:
        """Print the message as one line and exit."""
        self.exit(CANNOT_RUN, f"error: {printable(message)}; --help lists the options\n")


ELSEWHERE = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_REPLACE_REF_BASE",
    "GIT_EXTERNAL_DIFF", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
)  # fmt: skip
"""Variables that point Git at another repository, or that change what its commands mean."""

INERT = (
    # Ordinary files in a repository can look like a bare repository with its own settings.
    ("safe.bareRepository", "explicit"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", os.devnull),
    ("log.showSignature", "false"),
)
"""Settings with which Git starts no program that a repository names."""


LOCAL = ("-c", "protocol.allow=never")
"""Options with which Git fetches nothing, such as the objects that a partial clone lacks."""


def git_environment() -> dict[str, str]:
    """Return this process's environment without the variables that point Git at another repository."""
    return {name: value for name, value in os.environ.items() if name not in ELSEWHERE}


def git(folder: Path, *arguments: str) -> str:
    """Return the output of ``git`` in a folder as text, without the last line end.

    Raises:
        GitError: Git failed; the message is Git's own.
        InputError: Git is not installed.
    """
    return git_bytes(folder, *arguments).decode("utf-8", "surrogateescape").removesuffix("\n")


def git_bytes(folder: Path, *arguments: str) -> bytes:
    """Return the output of ``git`` in a folder as bytes.

    The user's settings apply, from files and from the environment, except those that would start a program.

    Raises:
        GitError: Git failed; the message is Git's own.
        InputError: Git is not installed.
    """
    inert = [word for name, value in INERT for word in ("-c", f"{name}={value}")]
    environment = git_environment() | {"GIT_OPTIONAL_LOCKS": "0"}  # Git does not refresh the index
    try:
        run = subprocess.run(
            ["git", *inert, *arguments], cwd=folder, env=environment, capture_output=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"`git` did not start in {folder}: {error.strerror}") from None
    if run.returncode:
        reason = " ".join(run.stderr.decode("utf-8", "replace").split()) or f"exit code {run.returncode}"
        raise GitError(f"`git {' '.join(arguments)}` failed in {folder}: {reason}", run.returncode)
    return run.stdout


def without_filters(folder: Path) -> list[str]:
    """Return options with which Git runs none of the filters in its settings."""
    try:
        keys = git(folder, "config", "-z", "--name-only", "--get-regexp", r"^filter\..*\.(clean|smudge|process)$")
    except GitError:  # there are none
        return []
    names = {key.rpartition(".")[0] for key in keys.split("\0") if key}
    settings = [f"{name}.{key}=" for name in sorted(names) for key in ("clean", "smudge", "process", "required")]
    return [word for setting in settings for word in ("-c", setting)]


def repository(folder: Path | None = None) -> Path:
    """Return the root of the Git repository around a folder, by default the current one."""
    return Path(git(folder or Path.cwd(), "rev-parse", "--show-toplevel"))


def without(*prefixes: str) -> dict[str, str]:
    """Return this process's environment without the variables whose names have one of these prefixes."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


def printable(text: str) -> str:
    """Return text for one line of a terminal: line ends, escape codes and other invisible characters are written out.

    >>> printable("a\\x1b[31m\\nb")
    'a\\\\x1b[31m\\\\nb'
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode() for letter in text
    )


def markup(text: str) -> str:
    """Return text for one line of Markdown, in which nothing becomes markup.

    >>> markup("a|b <img>")
    'a\\\\|b \\\\<img\\\\>'
    """
    return re.sub(r"([\\|`*_<>@#\[\]])", r"\\\1", printable(text))


def explain(error: BaseException) -> str:
    """Return the messages of an error and its causes as one line."""
    causes = [error]
    while causes[-1].__cause__:
        causes.append(causes[-1].__cause__)
    return ": ".join(" ".join(str(cause).split()) or type(cause).__name__ for cause in causes)


def command(main: Callable[[], int], *faults: type[Exception]) -> NoReturn:
    """Exit with the code that ``main`` returns, or with one of these.

    ``CANNOT_RUN``, after one line on standard error: bad input, which is an ``InputError`` or one of the ``faults``.
    130: Ctrl-C, a termination, or the end of the terminal. 141: the reader of the output stopped (``| head``).
    ``CRASHED``, after a traceback: a fault of the program. After one line: a module that can't be imported.
    """
    for number in _signals():
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup asks
            signal.signal(number, _interrupt)
    if isinstance(sys.__stdout__, io.TextIOWrapper):  # not sys.stdout, which DVC wraps with colorama
        sys.__stdout__.reconfigure(errors="backslashreplace")  # for letters that the terminal's encoding lacks
    try:
        code = main()
        sys.stdout.flush()
    except (InputError, *faults) as error:
        print("\n".join(f"error: {printable(line)}" for line in str(error).split("\n")), file=sys.stderr)
        code = CANNOT_RUN
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        code = 141
    except MemoryError:
        print("error: out of memory", file=sys.stderr)
        code = CANNOT_RUN
    except ImportError as error:  # DVC imports some modules late
        print(f"error: {printable(explain(error))}; {REMEDY}", file=sys.stderr)
        code = CRASHED
    except Exception:
        traceback.print_exc()
        code = CRASHED
    sys.exit(code)


def _signals() -> list[int]:
    """Return the signals that end a command; Windows has no SIGHUP."""
    return [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _interrupt(*_) -> NoReturn:
    """End the command; a second Ctrl-C does not stop it from removing its temporary files."""
    for number in _signals():
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
