"""Predict the label of texts with a trained model: texts, files or standard input, one review a line."""

import argparse
import gc
import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from sentiment import InputError, load, streams

if TYPE_CHECKING:
    from sentiment.model import Answer, TextModel

MODELS, ABOUT = Path("models"), "model.json"
BATCH = 512
"""Maximum number of reviews predicted together."""

MAX_TEXT_BYTES = 2**20
"""Maximum number of bytes of a review, which limits the memory."""

MOST_WORDS = 10**6

ADDRESS_SPACE = 512 << 20
"""Minimum number of bytes: with fewer, the libraries' native code hangs or aborts while it is loaded."""


class Text(NamedTuple):
    """A text: its origin for messages, such as ``line 3``, and its bytes, or None if it has too many bytes."""

    origin: str
    content: bytes | None


def main() -> int:
    """Print the prediction of each text. The exit code is 1 if a text has no prediction."""
    parser = argparse.ArgumentParser(prog="python -m sentiment", description=__doc__, allow_abbrev=False)
    parser.add_argument("text", nargs="*", help="a review; without any, standard input or --file is read")
    parser.add_argument("--file", action="append", default=[], type=Path, help="file with a review a line; repeatable")
    parser.add_argument("--model", help="name under models/, or a folder that `make export` wrote")
    parser.add_argument(
        "--json", action="store_true", help="print a JSON object a line: " + ", ".join(KEYS) + "; or error"
    )
    parser.add_argument(
        "--words",
        type=int,
        help="print this many words with the largest effects towards each label; default 3, or 0 with --json, as every"
        " word of a text takes a prediction of a network",
    )
    options = parser.parse_args()
    words = (0 if options.json else 3) if options.words is None else options.words
    if not 0 <= words <= MOST_WORDS:
        raise InputError(f"--words: expected a number from 0 to {MOST_WORDS:,}, got {words}")
    if missing := [str(file) for file in options.file if not file.is_file()]:
        raise InputError(f"--file: {', '.join(missing)}: expected a file of reviews, one a line")
    model = load(model_folder(options.model))
    asked = failed = 0
    for texts in batches(options.text, options.file):
        errors, contents = {}, {}
        for at, text in enumerate(texts):
            try:
                contents[at] = decode(text)
            except InputError as error:
                errors[at] = str(error)
        shown = dict(zip(contents, predict(model, [*contents.values()], words, as_objects=options.json), strict=True))
        for at, (answer, _) in shown.items():
            if answer.error:
                errors[at] = f"{texts[at].origin}: {answer.error}"
        wrong = {at: as_json(error) if options.json else f"no answer: {error}" for at, error in errors.items()}
        lines = [wrong[at] if at in wrong else shown[at][1] for at in range(len(texts))]
        asked, failed = asked + len(texts), failed + len(errors)
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        streams.flush()
        gc.enable()
    if failed:
        print(f"error: {failed} of {asked} texts got no answer; their output lines give the reasons", file=sys.stderr)
    return int(failed > 0)


def model_folder(name: str | None) -> Path:
    """The folder of a model, by its name or path. Without a name, it is the folder of the only model.

    Raises:
        InputError: There is no such model; or no name is given and there are several models.
    """
    names = sorted(path.parent.name for path in MODELS.glob(f"*/{ABOUT}"))
    if name is None:
        if len(names) == 1:
            return MODELS / names[0]
        if names:
            raise InputError(f"--model: expected one of {', '.join(names)}, got none")
    elif name in names:
        return MODELS / name
    elif Path(name, ABOUT).is_file():
        return Path(name)
    value = f"got {name}" if name else "there is none"
    known = ", ".join([*names, "a folder that `make export` wrote"])
    raise InputError(f"--model: expected {known}, {value}; `make repro MODEL=small` trains `small` of params.yaml")


def batches(texts: list[str], files: list[Path]) -> Iterator[list[Text]]:
    """The texts of the command line and of files in batches; without any, the lines of standard input."""
    named = [Text(f"text {number}", os.fsencode(text)) for number, text in enumerate(texts, 1)]
    for begin in range(0, len(named), BATCH):
        yield named[begin : begin + BATCH]
    for path in files:
        with path.open("rb", buffering=0) as file:
            yield from lines(file, f"{path}, line")
    if not texts and not files:
        with open(0, "rb", buffering=0, closefd=False) as file:
            yield from lines(file, "line")


def lines(file: BinaryIO, origin: str) -> Iterator[list[Text]]:
    """The lines of an unbuffered file in batches of at most ``BATCH``, without waiting for more to fill a batch."""
    batch, partial, number, skipping = [], bytearray(), 0, False
    while True:
        # On Windows, select works only with sockets.
        if batch and (sys.platform == "win32" or not select.select([file], [], [], 0)[0]):
            yield batch
            batch = []
        chunk = file.read(1 << 16)
        *ended, last = chunk.split(b"\n")
        for line in ended if chunk else [b""] if partial or skipping else []:
            number += 1
            content = partial + line
            too_long = skipping or len(content) > MAX_TEXT_BYTES
            batch.append(Text(f"{origin} {number}", None if too_long else bytes(content)))
            partial, skipping = bytearray(), False
            if len(batch) == BATCH:
                yield batch
                batch = []
        if not chunk:
            break
        partial += last
        if len(partial) > MAX_TEXT_BYTES:
            partial, skipping = bytearray(), True
    if batch:
        yield batch


def decode(text: Text) -> str:
    """The characters of a text.

    Raises:
        InputError: It has too many bytes, or bytes that are not UTF-8.
    """
    if text.content is None or len(text.content) > MAX_TEXT_BYTES:
        raise InputError(
            f"{text.origin}: longer than {MAX_TEXT_BYTES:,} bytes; expected one review, as a line of its own"
        )
    if (at := text.content.find(0)) >= 0:
        raise InputError(f"{text.origin}: byte {at + 1} is NUL; expected text")
    try:
        return text.content.decode()
    except UnicodeDecodeError as error:
        wrong = text.content[error.start]
        raise InputError(f"{text.origin}: byte {error.start + 1} is 0x{wrong:02x}; expected UTF-8") from None


def predict(model: "TextModel", texts: list[str], count: int, *, as_objects: bool) -> list[tuple["Answer", str]]:
    """The prediction of each text and the line that shows it, with colours if output goes to a terminal."""
    if count and not as_objects and colors():
        return [(each.answer, each.colored()) for each in map(model.explain, texts)]
    answers = model.predict(texts, words=count)
    return [(answer, as_json(answer) if as_objects else str(answer)) for answer in answers]


def colors() -> bool:
    """True if output goes to a terminal that shows colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


KEYS = ("label", "probability", "words", "unknown", "truncated")


def as_json(answer: "Answer | str") -> str:
    """A prediction or an error as a JSON object; for ``probability`` see ``Answer``, here it is not rounded."""
    if error := answer if isinstance(answer, str) else answer.error:
        values = {"error": error}
    else:
        values = {key: getattr(answer, key) for key in KEYS}
        values |= {"probabilities": answer.probabilities} if answer.probabilities else {}
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def run() -> None:
    """Run the command line: bad input ends in one line on standard error and exit code 1."""
    for name in ("SIGINT", "SIGPIPE"):  # Ctrl-C and a closed pipe end the process without a message
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    gc.disable()  # until the first predictions: modules are no garbage, and looking for it takes a sixth of the time
    streams.prepare()
    sys.stdout.reconfigure(encoding="utf-8", errors="replace", newline="\n")
    try:
        check_limits()
        start_numba()
        code = main()
    except InputError as error:
        code = "\n".join(f"error: {line}" for line in str(error).splitlines())
    except OSError as error:
        code = f"error: {error.filename}: {error.strerror}" if error.filename else f"error: {error}"
    except MemoryError as error:
        code = f"error: out of memory ({str(error) or 'no more is available'}); predict fewer texts at once"
    except ImportError as error:  # also raised if there is too little memory for a library
        code = f"error: {error}; expected the packages of .venv, no others on PYTHONPATH, and memory for them"
    streams.discard()
    sys.exit(code)


def check_limits() -> None:
    """Check the limit of memory, and keep OpenBLAS from starting threads, which a limit of processes could forbid.

    Raises:
        InputError: The address space is too small.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # predictions do not use it
    if sys.platform == "win32":  # Windows has no such limit
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < ADDRESS_SPACE:
        least, available = ADDRESS_SPACE >> 20, limit >> 20
        raise InputError(
            f"address space: expected {least} MiB at least, got {available}; `ulimit -v unlimited` lifts it"
        )


def start_numba() -> None:
    """Import Numba, whose import fails with some of the user's settings of Numba.

    Raises:
        InputError: The import fails.
    """
    from yaml import YAMLError

    try:
        import numba  # noqa: F401
    except (ValueError, TypeError, AttributeError, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"Numba does not start ({reason}); unset variables that begin with NUMBA_, and delete .numba_config.yaml"
        ) from None


if __name__ == "__main__":
    run()
