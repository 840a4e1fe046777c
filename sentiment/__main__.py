"""What does a trained model say of a text? Reads texts, files or standard input, one review a line."""

import argparse
import hashlib
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from sentiment import InputError

if TYPE_CHECKING:
    import numpy as np

    from sentiment.answers import Answer

MODELS, RAW = Path("models"), Path("data/raw")
BATCH = 512
"""Reviews scored together, at most."""

LONGEST = 2**20
"""Bytes of a review, at most: a model reads its last few hundred words, and memory stays what it is."""


class Text(NamedTuple):
    """A text: where it stands, and its bytes, or None if they are too many."""

    place: str
    content: bytes | None


def main() -> int:
    """Answer what the command line names; the exit code is 1 if a text got no answer."""
    parser = argparse.ArgumentParser(prog="python -m sentiment", description=__doc__, allow_abbrev=False)
    parser.add_argument("text", nargs="*", help="a review; without any, and without --file, standard input is read")
    parser.add_argument("--file", action="append", default=[], type=Path, help="of reviews, one a line; repeatable")
    parser.add_argument("--model", help="a name under models/, or a .keras file with its .json beside it")
    parser.add_argument("--json", action="store_true", help="an object a line: " + ", ".join(KEYS) + "; or error")
    parser.add_argument(
        "--words",
        type=int,
        help="how many words to name that moved the answer most, towards either label; 3, or 0 with --json, as each"
        " takes a prediction",
    )
    options = parser.parse_args()
    words = (0 if options.json else 3) if options.words is None else options.words
    if words < 0:
        raise InputError(f"--words: expected a number from 0, got {words}")
    if missing := [str(file) for file in options.file if not file.is_file()]:
        raise InputError(f"--file: {', '.join(missing)}: expected a file of reviews, one a line")
    ask, form = load(find(options.model)), as_json if options.json else as_text
    asked = failed = 0
    for texts in batches(options.text, options.file):
        lines, refused = [None] * len(texts), 0
        contents = {}
        for at, text in enumerate(texts):
            try:
                contents[at] = decode(text)
            except InputError as error:
                lines[at] = form(str(error))
        for (at, _), answer in zip(contents.items(), ask([*contents.values()], words), strict=True):
            lines[at] = form(f"{texts[at].place}: {answer}" if isinstance(answer, str) else answer)
            refused += isinstance(answer, str)
        asked, failed = asked + len(texts), failed + refused + len(texts) - len(contents)
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    if failed:
        print(f"error: {failed} of {asked} texts got no answer; the lines in their place say why", file=sys.stderr)
    return int(failed > 0)


def find(name: str | None) -> Path:
    """The ``.keras`` file of a name, or of a path, or else the only one there is.

    Raises:
        InputError: There is none, or several.
    """
    there = sorted(path.stem for path in MODELS.glob("*.keras"))
    if name is None:
        if len(there) == 1:
            return MODELS / f"{there[0]}.keras"
        if there:
            raise InputError(f"--model: expected one of {', '.join(there)}, got none")
    elif name.endswith(".keras") and Path(name).is_file():
        return Path(name)
    elif name in there:
        return MODELS / f"{name}.keras"
    found = f"got {name}" if name else "there is none"
    known = ", ".join([*there, "a .keras file with its .json beside it"])
    raise InputError(f"--model: expected {known}, {found}; `make repro MODEL=small` trains `small` of params.yaml")


def load(path: Path) -> Callable[[list[str], int], list]:
    """A function that asks the model in a file: texts, and how many words to name of each way, to answers.

    Raises:
        InputError: The model, what stands beside it and the word index do not belong together.
    """
    from sentiment.answers import Asker

    beside = path.with_suffix(".json")
    try:
        about = json.loads(beside.read_bytes())
        predict = predictor(path.read_bytes(), about["weights"])
        index = read_index(path, about["corpus"], about["word_index"])
        keys = {key: about[key] for key in ("max_length", "vocabulary", "labels")}
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing; `make repro` writes it beside the model") from None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise InputError(f"{path}: {error}") from None
        raise InputError(f"{beside}: not what train writes ({error}); run `make repro` again") from None
    return Asker(predict, index, **keys).ask


def predictor(packed: bytes, expected: str) -> "Callable[[np.ndarray], np.ndarray]":
    """What predicts with a saved model: the compiled blocks, without TensorFlow, or else Keras.

    Raises:
        InputError: The weights do not have this digest.
    """
    from sentiment import saved
    from sentiment.engine.network import Network
    from sentiment.engine.trainer import CompiledPredictor
    from sentiment.training import digest

    try:
        layers, weights = saved.read(packed)
        if Network(layers).parameters == len(weights) and digest(weights) == expected:
            return CompiledPredictor(layers, weights, batch=BATCH).predict
    except (InputError, KeyError):  # no fault: this model is Keras's
        pass
    from sentiment import archive, network
    from sentiment.prediction import Predictor

    network.use_no_gpu()
    model = archive.unpack(packed)
    if (found := digest(network.get_weights(model))) != expected:
        raise InputError(f"expected the weights {expected} that its .json names, found {found}; run `make repro` again")
    keras = Predictor(model)
    return lambda ids: keras.predict(ids, batch=BATCH)


def read_index(model: Path, corpus: str, digest: str) -> dict[str, int]:
    """The word index that a model was trained with: in the project that the model lies in, or in this one.

    Raises:
        InputError: It has another SHA-256, or is missing.
    """
    name = f"{corpus}_word_index.json"
    places = [folder / RAW / name for folder in (model.resolve().parents[1], Path())]
    path = next((place for place in places if place.exists()), places[-1])
    if not path.exists():
        raise InputError(f"{path} is missing, the word index; `dvc repro download` fetches it")
    content = path.read_bytes()
    if (other := hashlib.sha256(content).hexdigest()) != digest:
        raise InputError(f"{path}: expected the word index {digest} that the model was trained with, found {other}")
    return json.loads(content)


def batches(texts: list[str], files: list[Path]) -> Iterator[list[Text]]:
    """The texts of the command line, in batches; standard input where it names none."""
    given = [Text(f"text {number}", os.fsencode(text)) for number, text in enumerate(texts, 1)]
    for begin in range(0, len(given), BATCH):
        yield given[begin : begin + BATCH]
    for path in files:
        with path.open("rb", buffering=0) as file:
            yield from lines(file, f"{path}, line")
    if not texts and not files:
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as file:
            yield from lines(file, "line")


def lines(file: BinaryIO, place: str) -> Iterator[list[Text]]:
    """The lines of an unbuffered file in batches: those that are there, without waiting for more, up to ``BATCH``."""
    batch, rest, number, skipping = [], bytearray(), 0, False
    while True:
        if batch and (sys.platform == "win32" or not select.select([file], [], [], 0)[0]):  # which asks sockets alone
            yield batch
            batch = []
        chunk = file.read(1 << 16)
        *ended, last = chunk.split(b"\n")
        for line in ended if chunk else [b""] if rest or skipping else []:
            number += 1
            content = rest + line
            batch.append(Text(f"{place} {number}", None if skipping or len(content) > LONGEST else bytes(content)))
            rest, skipping = bytearray(), False
            if len(batch) == BATCH:
                yield batch
                batch = []
        if not chunk:
            break
        rest += last
        if len(rest) > LONGEST:
            rest, skipping = bytearray(), True
    if batch:
        yield batch


def decode(text: Text) -> str:
    """The characters of a text.

    Raises:
        InputError: It has too many bytes, or bytes that are no text.
    """
    if text.content is None or len(text.content) > LONGEST:
        raise InputError(f"{text.place}: longer than {LONGEST:,} bytes; expected one review, as a line of its own")
    if (at := text.content.find(0)) >= 0:
        raise InputError(f"{text.place}: byte {at + 1} is NUL; expected text")
    try:
        return text.content.decode()
    except UnicodeDecodeError as error:
        wrong = text.content[error.start]
        raise InputError(f"{text.place}: byte {error.start + 1} is 0x{wrong:02x}; expected UTF-8") from None


KEYS = ("label", "probability", "words", "unknown", "truncated")


def as_json(answer: "Answer | str") -> str:
    """One object; ``probability`` is that of the second label, exactly."""
    return json.dumps({"error": answer} if isinstance(answer, str) else answer._asdict(), ensure_ascii=False)


def as_text(answer: "Answer | str") -> str:
    """The label, the probability of the second one, and the words that raised and lowered it."""
    if isinstance(answer, str):
        return f"no answer: {answer}"
    moved = " ".join(f"{word}{effect:+.3f}" for word, effect in answer.words)
    return f"{answer.label:8}  {answer.probability:.4f}  {moved}".rstrip()


if __name__ == "__main__":
    for name in ("SIGINT", "SIGPIPE"):  # Ctrl-C, and a reader that went away, end it without a word
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    sys.stdout.reconfigure(encoding="utf-8", errors="replace", newline="\n")
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit("\n".join(f"error: {line}" for line in str(error).splitlines()))
    except OSError as error:
        sys.exit(f"error: {error}")
