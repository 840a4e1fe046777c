"""Zip archives of uncompressed members: written with the same bytes everywhere, read from anyone in bounded memory."""

import io
import zipfile
import zlib

UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, OSError, EOFError, RuntimeError, ArithmeticError,
    zipfile.BadZipFile, zlib.error, MemoryError,
)  # fmt: skip
"""Errors that readers raise for damaged or malicious bytes."""


def members(content: bytes) -> dict[str, bytes]:
    """The members of an archive that compresses none, as Keras and NumPy write them, by their names.

    Raises:
        ValueError: A member is compressed, encrypted or there twice, or members claim to be longer than the archive.
        zipfile.BadZipFile: It is no archive.
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

    ``numpy.savez`` forces ZIP64 headers, whose form differs between versions of Python.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3  # Unix, on Windows too
            archive.writestr(info, content)
    return packed.getvalue()
