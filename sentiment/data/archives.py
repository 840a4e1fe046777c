"""Zip archives without compression: written with the same bytes everywhere, and read in bounded memory."""

import io
import tokenize
import zipfile
import zlib

UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, OSError, EOFError, RuntimeError, ArithmeticError,
    zipfile.BadZipFile, zlib.error, MemoryError, SyntaxError, tokenize.TokenError,
)  # fmt: skip
"""Errors that readers raise for damaged or malicious bytes."""


def reason(error: BaseException) -> str:
    """The message of an error in one line of at most 200 ASCII characters; the name of its type if it has none.

    >>> reason(ValueError("bad   name")), reason(EOFError())
    ('bad name', 'EOFError')
    """
    return f"{ascii(' '.join(str(error).split()))[1:-1] or type(error).__name__:.200}"


def members(content: bytes) -> dict[str, bytes]:
    """The members, by name, of an archive without compression, as Keras and NumPy write it.

    Raises:
        ValueError: A member is compressed, encrypted or repeated, or the sizes of all members exceed the archive.
        zipfile.BadZipFile: The bytes are not a zip archive.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        infos = archive.infolist()
        names = [info.filename for info in infos]
        if odd := [info.filename for info in infos if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1]:
            raise ValueError(f"expected members without compression and encryption, got {odd[0]!a:.80}")
        if len({*names}) < len(names):
            raise ValueError("expected each member once")
        if (total := sum(info.file_size for info in infos)) > len(content):
            raise ValueError(f"expected members of at most {len(content):,} bytes, got {total:,}")
        return {info.filename: archive.read(info) for info in infos}


def pack_members(contents: dict[str, bytes]) -> bytes:
    """An archive of these members, in this order: the same bytes at any time, on any system, in any version of Python.

    ``numpy.savez`` is not used, because it writes ZIP64 headers, which differ between versions of Python.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3  # Unix, on Windows too
            archive.writestr(info, content)
    return packed.getvalue()
