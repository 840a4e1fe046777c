"""Calls of Git, the command line of a check, and its exit codes."""

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

CANNOT_RUN = 3
"""The exit code of a check that has no verdict, because something it needs is missing or can't be read."""

CRASHED = 70
"""The exit code of a fault of the check itself: EX_SOFTWARE of sysexits.h, which is nobody's verdict."""


class InputError(ValueError):
    """The user's input is at fault: the message says what, expected, got and remedy, in one line."""


class GitError(InputError):
    """Git's own reason for not doing what it was asked, and its exit code."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class Parser(argparse.ArgumentParser):
    """Its own exit code for a wrong command line, 2, is a verdict here; and options are written out."""

    def __init__(self, *arguments, description: str | None = None, **options):
        first = (description or "").partition("\n")[0]  # there are no docstrings under PYTHONOPTIMIZE=2
        super().__init__(*arguments, allow_abbrev=False, description=first, **options)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line."""
        self.exit(CANNOT_RUN, f"error: {printable(message)}; --help lists what there is\n")


ELSEWHERE = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_REPLACE_REF_BASE",
    "GIT_EXTERNAL_DIFF", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
)  # fmt: skip
"""Variables that point Git at another repository, or that change what its commands mean."""

INERT = (
    # Ordinary files of a repository can look like a bare one, with settings of its own.
    ("safe.bareRepository", "explicit"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", os.devnull),
    ("log.showSignature", "false"),
)
"""Settings under which Git starts no program that a repository names."""


LOCAL = ("-c", "protocol.allow=never")
"""Options under which Git fetches nothing, such as the objects that a partial clone lacks."""


def git_environment() -> dict[str, str]:
    """This process's environment less the variables that point Git at another repository."""
    return {name: value for name, value in os.environ.items() if name not in ELSEWHERE}


def git(folder: Path, *arguments: str) -> str:
    """Output of ``git`` in a folder, as text, without the last line's end.

    Raises:
        GitError: It failed; its own words.
        InputError: There is no Git.
    """
    return git_bytes(folder, *arguments).decode("utf-8", "surrogateescape").removesuffix("\n")


def git_bytes(folder: Path, *arguments: str) -> bytes:
    """Output of ``git`` in a folder, as bytes.

    The user's settings count, from files and from the environment, less those that would start a program.

    Raises:
        GitError: It failed; its own words.
        InputError: There is no Git.
    """
    inert = [word for name, value in INERT for word in ("-c", f"{name}={value}")]
    environment = git_environment() | {"GIT_OPTIONAL_LOCKS": "0"}  # the index stays as it is
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
    """Options under which Git runs none of its filters, whose commands stand in its settings."""
    try:
        found = git(folder, "config", "-z", "--name-only", "--get-regexp", r"^filter\..*\.(clean|smudge|process)$")
    except GitError:  # there are none
        return []
    names = {key.rpartition(".")[0] for key in found.split("\0") if key}
    settings = [f"{name}.{key}=" for name in sorted(names) for key in ("clean", "smudge", "process", "required")]
    return [word for setting in settings for word in ("-c", setting)]


def repository(folder: Path | None = None) -> Path:
    """The root of the Git repository around a folder, by default the current one."""
    return Path(git(folder or Path.cwd(), "rev-parse", "--show-toplevel"))


def without(*prefixes: str) -> dict[str, str]:
    """This process's environment less the variables whose names begin so."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


def printable(text: str) -> str:
    """Text for one line of a terminal: line ends, escape codes and what else does not show are written out.

    >>> printable("a\\x1b[31m\\nb")
    'a\\\\x1b[31m\\\\nb'
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode() for letter in text
    )


def markup(text: str) -> str:
    """Text for one line of Markdown, in which nothing becomes markup.

    >>> markup("a|b <img>")
    'a\\\\|b \\\\<img\\\\>'
    """
    return re.sub(r"([\\|`*_<>@#\[\]])", r"\\\1", printable(text))


def explain(error: BaseException) -> str:
    """An error and its causes in one line."""
    causes = [error]
    while causes[-1].__cause__:
        causes.append(causes[-1].__cause__)
    return ": ".join(" ".join(str(cause).split()) or type(cause).__name__ for cause in causes)


def command(main: Callable[[], int], *faults: type[Exception]) -> NoReturn:
    """Exit with what ``main`` returns, or, where it has no verdict, with a code that is none.

    Bad input, ``InputError`` or another of the ``faults``, is a line on standard error and ``CANNOT_RUN``; Ctrl-C, a
    termination and the terminal's end are 130; a reader that went away (``| head``) is 141, as a shell has it; a fault
    of ours is its traceback and ``CRASHED``.
    """
    for number in _signals():
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup asks
            signal.signal(number, _interrupt)
    if isinstance(sys.__stdout__, io.TextIOWrapper):  # not sys.stdout, which colorama wraps for DVC
        sys.__stdout__.reconfigure(errors="backslashreplace")  # a terminal need not know every letter
    try:
        code = main()
        sys.stdout.flush()
    except (InputError, *faults) as error:
        print("\n".join(f"error: {printable(line)}" for line in str(error).split("\n")), file=sys.stderr)
        code = CANNOT_RUN
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it ends
        code = 141
    except MemoryError:
        print("error: expected more memory than there is", file=sys.stderr)
        code = CANNOT_RUN
    except Exception:
        traceback.print_exc()
        code = CRASHED
    sys.exit(code)


def _signals() -> list[int]:
    """The signals that end a command: Windows has no SIGHUP."""
    return [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _interrupt(*_) -> NoReturn:
    """End the command; a second Ctrl-C does not stop it from removing what it wrote."""
    for number in _signals():
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
