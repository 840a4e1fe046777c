"""The raw files: ``imdb.npz``, read as a stream without executing any code, and ``imdb_word_index.json``.

Other corpora are written in the same format, as a stream too.

``imdb.npz`` is a zip archive of four arrays. Two of them, ``x_train`` and ``x_test``, are pickles. Unpickling may call
any function, and it makes a Python object of every number, so nothing is unpickled here. Such an array has a preamble,
which must be the one that NumPy writes, and a list of lists of integers. The few opcodes of these lists are decoded by
NumPy.
"""

import json
import pickle
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from sentiment import InputError

MOST_LABELS = 1000  # maximum number of different labels in a user's corpus
BLOCK = 4096  # approximate number of reviews yielded at once: about 4 MB of ranks
WINDOW = 96 * 1024  # number of bytes decoded at once, which stay in a processor's cache
PREAMBLE = 4096  # maximum number of bytes of a preamble; NumPy's have about 200

_HEADER = re.compile(rb"\{'descr': '([^']+)', 'fortran_order': False, 'shape': \((\d{1,12})L?,\), *\} *\n")
_UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError)

# The opcodes of lists of integers, and the size in bytes of each with its operand; `pickletools` documents them.
_INTEGERS = {b"K": 2, b"M": 3, b"J": 5}
_BRACKETS = {b"]": 1, b"(": 1, b"e": 1, b"a": 1, b"t": 1, b"b": 1, b".": 1}
_NOTES = {b"q": 2, b"r": 5, b"\x94": 1, b"\x95": 9}  # memo entries and frames, which do not change the value
_SIZES = _INTEGERS | _BRACKETS | _NOTES
_BYTES = [bytes([code]) for code in range(256)]
_SIZE = bytes(_SIZES.get(code, 1) for code in _BYTES)
_OPERAND = np.array([256 ** (_INTEGERS.get(code, 1) - 1) - 1 for code in _BYTES], np.uint32)  # as a mask
_AS_K = bytes.maketrans(b"MJ", b"KK")

# An empty list "]" is filled by batches "(" items "e" or by a single item "a"; two blocks may share a batch.
_BODY = re.compile(b"(?:[(](?:LIST)+e|LISTa)*([(](?:LIST)*|tb[.])?".replace(b"LIST", rb"\](?:[(]K+e|Ka)*"))

_GLOBALS = {
    "numpy.core.multiarray._reconstruct": "_reconstruct",
    "numpy._core.multiarray._reconstruct": "_reconstruct",
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",  # how Python 3 spells bytes in protocol 2
}
# Bytes that NumPy writes before and after the number of items of an object array; NumPy 1 and 2 read them.
_BEFORE = (
    b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87R(K\x01",
    b"\x85cnumpy\ndtype\nX\x02\0\0\0O8K\0K\x01\x87R(K\x03X\x01\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89]",
)
_SPELLINGS_OF_B = (["b"], ["encode", "b", "latin1", "TUPLE2", "REDUCE"])


def length(file: BinaryIO, split: str) -> int:
    """Number of reviews of a split, from the header of its array; nothing else is read.

    Args:
        file: ``imdb.npz``, open and seekable.
        split: ``"train"`` or ``"test"``.

    Raises:
        InputError: The archive or the header is not as expected.
    """
    with _member(file, f"x_{split}") as stream:
        return _object_header(stream)


def reviews(file: BinaryIO, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Reviews of a split in the order of the file, in blocks of some thousands; memory does not grow with their number.

    An empty review has length 0; a split without reviews yields no block.

    Args:
        file: ``imdb.npz``, open and seekable; it is read while the blocks are yielded.
        split: ``"train"`` or ``"test"``.

    Yields:
        ranks: int32 [words], each at least 1, the reviews of the block end to end.
        lengths: int64 [reviews], the number of words of each.

    Raises:
        InputError: The archive is unreadable, or the array is not one of lists of word ranks. The blocks before the
            error have been yielded.
    """
    with _member(file, f"x_{split}") as stream:
        expected, number = _object_header(stream), 0
        head = stream.read(PREAMBLE)
        body = head[_preamble(head, expected) :]
        for ranks, lengths in _lists(_windows(stream, body)):
            if len(ranks) and ranks.min() < 1:
                at = int(np.argmax(ranks < 1))
                review = number + int(np.searchsorted(np.cumsum(lengths), at, "right"))
                raise InputError(f"review {review} holds {ranks[at]}, ranks start at 1")
            number += len(lengths)
            if number > expected:
                break
            yield ranks, lengths
        if number != expected:
            raise InputError(f"the header promises {expected} reviews, found {'more' if number > expected else number}")


def labels(file: BinaryIO, split: str, different: int = 2) -> np.ndarray:
    """Labels of a split in the order of the file, from 0: uint8 [reviews], or uint16 if one is above 255.

    Args:
        file: ``imdb.npz``, open and seekable.
        split: ``"train"`` or ``"test"``.
        different: The number of different labels.

    Raises:
        InputError: The archive is unreadable, a label is too high or below 0, or the number of labels is wrong.
    """
    expected = length(file, split)
    with _member(file, f"y_{split}") as stream:
        kind, number = _header(stream)
        if not re.fullmatch("[<>|](?:[iu][1248]|b1)", kind):
            raise InputError(f"expected an array of integers, got {kind!r}")
        if number != expected:
            raise InputError(f"expected a label for each of {expected} reviews, got {number}")
        size = number * np.dtype(kind).itemsize
        data = stream.read(size + 1)
        if len(data) != size:
            raise InputError(f"expected {size} bytes of labels, got {'more' if len(data) > size else len(data)}")
        values = np.frombuffer(data, kind)
        if len(wrong := np.flatnonzero((values < 0) | (values >= different))):
            expected = "0 or 1" if different == 2 else f"0 to {different - 1}"
            raise InputError(f"review {wrong[0]} has the label {values[wrong[0]]}, expected {expected}")
        return values.astype(np.min_scalar_type(max(255, values.max(initial=0))))


def write(file: BinaryIO, splits: dict[str, tuple[Iterable[list[int]], np.ndarray]]) -> None:
    """Write reviews and labels in the format of ``imdb.npz``. The bytes are a function of reviews and labels alone.

    The file is not compressed, because the output of zlib differs between its versions.

    Args:
        file: The file to write, open and seekable.
        splits: For ``"train"`` and ``"test"``, the reviews and their labels, int [reviews]. A review is a list of word
            ranks from 1. The reviews are read one by one.

    Raises:
        InputError: There are more reviews than labels, or fewer.

    >>> import io
    >>> write(file := io.BytesIO(), {"train": ([[1, 2], [], [3]], np.array([0, 1, 1]))})
    >>> [(ranks.tolist(), lengths.tolist()) for ranks, lengths in reviews(file, "train")]
    [([1, 2, 3], [2, 0, 1])]
    """
    with zipfile.ZipFile(file, "w") as archive:
        for split, (lists, labels) in splits.items():
            with archive.open(zipfile.ZipInfo(f"x_{split}.npy"), "w", force_zip64=True) as stream:
                kind = {"descr": "|O", "fortran_order": False, "shape": (len(labels),)}
                np.lib.format.write_array_header_1_0(stream, kind)
                stream.write(_items(len(labels)).join(_BEFORE))
                number = 0
                for ranks in lists:
                    stream.write(_items(ranks) + b"a")
                    number += 1
                stream.write(b"tb.")
            if number != len(labels):
                raise InputError(f"x_{split}: expected a review for each of {len(labels)} labels, got {number}")
            with archive.open(zipfile.ZipInfo(f"y_{split}.npy"), "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, labels.astype("<i8"), (1, 0))


def word_index(file: BinaryIO) -> dict[str, int]:
    """Rank of each word, 1 for the most frequent.

    Args:
        file: ``imdb_word_index.json``, open.

    Raises:
        InputError: The file is not a JSON object of words and positive integers.

    >>> import io
    >>> word_index(io.BytesIO(b'{"the": 1, "and": 2}'))
    {'the': 1, 'and': 2}
    """
    try:
        index = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"word index: not readable as JSON: {error}; get the file again") from None
    if not isinstance(index, dict):
        raise InputError(f"word index: expected an object of words and ranks, got a {type(index).__name__}")
    for word, rank in index.items():
        if type(rank) is not int or rank < 1:
            raise InputError(f"word index: the rank of {word!r} is {rank!r}, expected a positive integer")
    return index


def _items(value: int | list[int]) -> bytes:
    """The pickle of an integer or a list of integers, without the first opcode (protocol) and the last one (end)."""
    return pickle.dumps(value, 2)[2:-1]


@contextmanager
def _member(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """Open an array of the archive for reading; any error in the block becomes an ``InputError``."""
    try:
        with zipfile.ZipFile(file) as archive:
            if f"{name}.npy" not in archive.namelist():
                raise InputError(f"not in the archive, which holds {archive.namelist()[:8]}")
            info = archive.getinfo(f"{name}.npy")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(f"compressed by method {info.compress_type}, expected 0 or 8 as NumPy writes")
            with archive.open(info) as stream:
                yield stream
    except _UNREADABLE as error:
        remedy = "expected imdb.npz as Keras publishes it or as numpy.savez writes lists of integers"
        raise InputError(f"{name}: {' '.join(str(error).split())}; {remedy}") from None


def _header(stream: BinaryIO) -> tuple[str, int]:
    """The type and the number of elements of a one-dimensional ``.npy`` array, whose header is read from ``stream``."""
    start = stream.read(12)
    if start[:6] != b"\x93NUMPY" or len(start) < 12 or start[6] not in (1, 2, 3):
        raise InputError(f"expected a .npy array, got {start!r}")
    begin = 10 if start[6] == 1 else 12
    size = int.from_bytes(start[8:begin], "little")
    text = start[begin:] + stream.read(max(0, min(size, PREAMBLE) - len(start[begin:])))
    if not (match := _HEADER.fullmatch(text)):
        raise InputError(f"expected the header of a one-dimensional array, got {text[:100]!r}")
    return match[1].decode("latin1"), int(match[2])


def _object_header(stream: BinaryIO) -> int:
    kind, number = _header(stream)
    if kind != "|O":
        raise InputError(f"expected an array of lists, got {kind!r}")
    return number


def _preamble(data: bytes, number: int) -> int:
    """Position in ``data`` of the first item of the outer list, after a check that the preamble is NumPy's."""
    written = []
    for name, value, at in _opcodes(data):
        match name:
            case "PROTO" | "FRAME":
                continue
            case "EMPTY_LIST":
                if not any(written == _array_of(number, b) for b in _SPELLINGS_OF_B):
                    raise InputError(f"the pickle is not of one array of {number} lists")
                return at + 1
            case "GLOBAL" | "INST" | "STACK_GLOBAL":
                if value not in _GLOBALS:
                    raise _refusal(data[at:], value)
                if name == "STACK_GLOBAL":
                    del written[-2:]
                value = _GLOBALS[value]
            case "NONE" | "NEWFALSE" | "NEWTRUE":
                value = {"NEWFALSE": False, "NEWTRUE": True}.get(name)
            case _ if value is None:
                value = name
        written.append(value.decode("latin1") if isinstance(value, bytes) else value)
    raise InputError("the pickle ends before its list")


def _array_of(number: int, b: list[str]) -> list:
    """Operands and names of the opcodes that NumPy writes before the items of an object array."""
    made = ["_reconstruct", "ndarray", 0, "TUPLE1", *b, "TUPLE3", "REDUCE"]
    kind = ["dtype", "O8", 0, 1, "TUPLE3", "REDUCE", "MARK", 3, "|", None, None, None, -1, -1, 63, "TUPLE", "BUILD"]
    return [*made, "MARK", 1, number, "TUPLE1", *kind, False]


def _opcodes(data: bytes) -> Iterator[tuple[str, object, int]]:
    """Name, operand and position of each opcode; memo entries are looked up, and globals have dotted names."""
    memo, operands = {}, []
    for opcode, operand, at in pickletools.genops(data):
        name = opcode.name
        if name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if operand is None else operand] = operands[-1] if operands else None
            continue
        if name in ("GET", "BINGET", "LONG_BINGET"):
            operand = memo.get(operand)
        elif name in ("GLOBAL", "INST"):
            operand = operand.replace(" ", ".")
        elif name == "STACK_GLOBAL":
            operand = ".".join(str(part or "?") for part in operands[-2:])
        operands.append(operand)
        yield name, operand, at


def _refusal(data: bytes, name: str = "") -> InputError:
    """Error about a pickle that continues with ``data``. It names the function that the pickle calls, or the opcode."""
    first = ""
    try:
        for opcode, operand, _ in _opcodes(data):
            if opcode in ("GLOBAL", "INST", "STACK_GLOBAL"):
                name = name or operand
                break
            first = first or opcode
    except ValueError:  # the pickle ends here, or this is not a pickle
        first = first or f"the byte {data[:1]!r}"
    asked = f"asks for {name}" if name else f"holds {first}"
    hint = " (one list in two places; copy it)" if "GET" in first and not name else ""
    return InputError(f"the pickle {asked}{hint}, and was not executed")


def _windows(stream: BinaryIO, data: bytes) -> Iterator[tuple[bytes, np.ndarray]]:
    """The opcodes and the integers of each window. A thread decodes one while the next is decompressed here."""
    with ThreadPoolExecutor(1) as thread:
        decoding = thread.submit(_decode, data)
        while decoding:
            chunk = stream.read(WINDOW)
            text, integers, remaining = decoding.result()
            if remaining and remaining[:1] not in _SIZES:
                raise _refusal((remaining + chunk)[:PREAMBLE])
            decoding = thread.submit(_decode, remaining + chunk) if chunk else None
            yield text, integers
    if remaining:
        raise InputError("the pickle ends inside a number")


def _decode(data: bytes) -> tuple[bytes, np.ndarray, bytes]:
    """The complete opcodes of ``data`` before the first unknown one, their integers, int32, and the remaining bytes.

    In the opcodes, every integer is "K", and memo entries and frames are left out.
    """
    starts, end = _starts(data)
    codes = np.frombuffer(data, np.uint8).take(starts, mode="wrap")  # all are inside; "wrap" is the fastest mode
    text = codes.tobytes()
    if unknown := text.translate(None, b"".join(_SIZES)):
        known = text.index(unknown[:1])
        starts, end, codes, text = starts[:known], int(starts[known]), codes[:known], text[:known]
    # The four bytes at each position, as an integer. The mask of the opcode keeps the bytes of the operand.
    words = np.ndarray(len(data), "<u4", data + bytes(4), 1, (1,)).copy()
    operands = words[starts] & _OPERAND.take(codes, mode="wrap")
    integers = operands[(codes == ord("K")) | (codes == ord("M")) | (codes == ord("J"))]
    return text.translate(_AS_K, b"".join(_NOTES)), integers.view(np.int32), data[end:]


def _starts(data: bytes) -> tuple[np.ndarray, int]:
    """Positions of the complete opcodes of ``data``, the first of which is at 0, and the end of the last one.

    The start of an opcode depends on all opcodes before it. So the position of the next opcode is computed for every
    position, as if an opcode started there. Five doublings give the position 32 opcodes later. A loop follows these
    long steps, and the starts in between are computed from the shorter steps.
    """
    size = len(data)
    step = np.arange(size + max(_SIZE))  # positions outside lead to themselves
    step[:size] += np.frombuffer(data.translate(_SIZE), np.uint8)
    steps = [step]
    for _ in range(5):
        steps.append(steps[-1].take(steps[-1], mode="wrap"))
    far, walk = memoryview(steps.pop()), [0]
    while walk[-1] < size:
        walk.append(far[walk[-1]])
    starts = np.array(walk)
    for step in reversed(steps):
        starts = np.stack([starts, step.take(starts, mode="wrap")], axis=1).ravel()
    stop = int(np.searchsorted(starts, size))
    if starts[stop] > size:
        stop -= 1  # the operand of this opcode is incomplete
    return starts[:stop], int(starts[stop])


def _lists(windows: Iterable[tuple[bytes, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of complete lists: their integers end to end, and their lengths."""
    texts, numbers, pending = [], [], 0
    for text, integers in windows:
        texts.append(text)
        numbers.append(integers)
        pending += text.count(b"]")
        if pending > BLOCK:
            text, integers = b"".join(texts), np.concatenate(numbers)
            cut = text.rindex(b"]")  # the last list may continue in the next window
            lengths, tail = _lengths(text[:cut])
            used = int(lengths.sum())
            yield integers[:used], lengths
            texts, numbers, pending = [tail[:1] + text[cut:]], [integers[used:]], 1
    lengths, tail = _lengths(b"".join(texts))
    if tail != b"tb.":
        raise InputError("the pickle ends inside its list")
    if len(lengths):
        yield np.concatenate(numbers), lengths


def _lengths(text: bytes) -> tuple[np.ndarray, bytes]:
    """The number of integers of each list in ``text``, int64 [lists]; and the part after the last complete batch.

    >>> _lengths(b"(](KKK" b"e]]Ka" b"etb.")
    (array([3, 0, 1]), b'tb.')
    """
    match = _BODY.match(text)
    if match.end() != len(text):
        raise InputError("the pickle is not of lists of integers")
    codes = np.frombuffer(text, np.uint8)
    brackets = np.flatnonzero(codes != ord("K"))
    before = brackets - np.arange(len(brackets))  # integers before each bracket
    begins = before[codes[brackets] == ord("]")]
    return np.diff(begins, append=len(text) - len(brackets)), match[1] or b""
